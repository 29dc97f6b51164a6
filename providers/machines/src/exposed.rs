//! Values on the way to the machine that needs them, secret ones included.
//!
//! A value's written form has no secrets in it, by design. A program on a machine needs them: they travel beside the
//! values, in memory and on the encrypted connection only, in the order in which the values hold them.

use gabion_engine::provider::{CreateRequest, ObjectState, Observation, ReadOutcome, UpdateRequest};
use gabion_engine::value::{Attributes, Secret, Value};
use serde::{Deserialize, Serialize};

/// A request or an answer with the secrets that it holds.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Exposed<T> {
    body: T,
    /// One for each secret of the body; `None` for one whose value is not at hand.
    secrets: Vec<Option<Value>>,
}

impl<T: Holder> Exposed<T> {
    /// Takes the secrets of a body along.
    pub(crate) fn of(body: T) -> Self {
        let mut secrets = Vec::new();
        let mut body = body;
        body.each(&mut |attributes| {
            for value in attributes.values_mut() {
                each_secret(value, &mut |secret| secrets.push(secret.expose().cloned()));
            }
        });
        Self { body, secrets }
    }

    /// Returns the body with its secrets in place.
    pub(crate) fn into_body(self) -> T {
        let mut body = self.body;
        let mut secrets = self.secrets.into_iter();
        body.each(&mut |attributes| {
            for value in attributes.values_mut() {
                each_secret(value, &mut |secret| {
                    if let Some(Some(value)) = secrets.next() {
                        let exposed = Secret::new(secret.template.clone(), value);
                        *secret = exposed.with_fingerprint(secret.fingerprint.clone());
                    }
                });
            }
        });
        body
    }
}

fn each_secret(value: &mut Value, visit: &mut dyn FnMut(&mut Secret)) {
    match value {
        Value::Secret(secret) => visit(secret),
        Value::List(items) => items.iter_mut().for_each(|item| each_secret(item, visit)),
        Value::Map(entries) => entries.values_mut().for_each(|entry| each_secret(entry, visit)),
        _ => {}
    }
}

/// What holds attributes, in an order that does not change.
pub(crate) trait Holder {
    /// Visits each set of attributes that may hold the value of a secret.
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes));
}

impl Holder for CreateRequest {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes)) {
        visit(&mut self.inputs);
        visit(&mut self.planned);
    }
}

impl Holder for UpdateRequest {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes)) {
        visit(&mut self.object.inputs);
        visit(&mut self.object.attributes);
        visit(&mut self.inputs);
        visit(&mut self.planned);
    }
}

impl Holder for ObjectState {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes)) {
        visit(&mut self.attributes);
    }
}

impl Holder for Vec<ReadOutcome> {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes)) {
        for outcome in self {
            if let ReadOutcome::Present(state) = outcome {
                state.each(visit);
            }
        }
    }
}

impl Holder for Observation {
    fn each(&mut self, visit: &mut dyn FnMut(&mut Attributes)) {
        if let Self::Present(state) = self {
            state.each(visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use gabion_engine::address::ObjectId;

    use super::*;

    #[test]
    fn secrets_travel_beside_their_values() {
        let secret = |text: &str| Value::Secret(Secret::new(None, Value::string(text)));
        let sealed = Value::Secret(Secret::sealed(None, None));
        let env = Value::map([("A", secret("one")), ("B", sealed), ("C", secret("three"))]);
        let state = ObjectState {
            id: ObjectId::new("x"),
            attributes: Attributes::from([
                (Arc::from("env"), env),
                (Arc::from("list"), Value::List(vec![secret("four")])),
            ]),
            private: serde_json::Value::Null,
            unreadable: Vec::new(),
        };
        let wire = serde_json::to_vec(&Exposed::of(state)).unwrap();
        let back: Exposed<ObjectState> = serde_json::from_slice(&wire).unwrap();
        let state = back.into_body();
        let shown = |value: &Value| match value {
            Value::Secret(secret) => secret.expose().and_then(Value::as_str).map(str::to_owned),
            _ => None,
        };
        let env = state.attributes["env"].as_map().unwrap();
        assert_eq!(shown(&env["A"]).as_deref(), Some("one"));
        assert_eq!(shown(&env["B"]), None);
        assert_eq!(shown(&env["C"]).as_deref(), Some("three"));
        assert_eq!(
            shown(&state.attributes["list"].as_list().unwrap()[0]).as_deref(),
            Some("four")
        );
    }
}
