//! Sealing what providers describe: beyond the secrets that they mark, what the schema calls sensitive and what came
//! from a secret and is read back in clear.

use crate::provider::ObjectState;
use crate::schema::ResourceSchema;
use crate::state::fingerprint::{self, FingerprintKey};
use crate::value::{AttributePath, Attributes, PathSegment, Secret, TemplateText, Value};

/// Seals with a key; without one, secrets get no fingerprint and cannot be compared later.
#[derive(Debug, Clone, Copy)]
pub struct Sealer<'a> {
    key: Option<&'a FingerprintKey>,
}

impl<'a> Sealer<'a> {
    /// Makes a sealer.
    pub fn new(key: Option<&'a FingerprintKey>) -> Self {
        Self { key }
    }

    /// Returns a value whose secrets have a fingerprint and no longer their values.
    pub fn value(&self, value: &Value) -> Value {
        fingerprint::seal(value, self.key)
    }

    /// Returns attributes whose secrets have a fingerprint and no longer their values.
    pub fn attributes(&self, attributes: &Attributes) -> Attributes {
        fingerprint::seal_attributes(attributes, self.key)
    }

    /// Returns what a provider described, with everything sealed that is secret: what the provider marked, what the
    /// schema calls sensitive, and what came from a secret in the inputs and was read back in clear.
    pub fn object(&self, schema: &ResourceSchema, inputs: &Attributes, state: &ObjectState) -> ObjectState {
        ObjectState {
            attributes: self.attributes(&mark_secrets(schema, inputs, &state.attributes)),
            ..state.clone()
        }
    }
}

/// Returns attributes in which everything that must be secret is: it keeps its value, for whoever still needs it.
pub fn mark_secrets(schema: &ResourceSchema, inputs: &Attributes, attributes: &Attributes) -> Attributes {
    let mut marked = attributes.clone();
    for (name, value) in inputs {
        for path in value.paths_where(&|leaf| matches!(leaf, Value::Secret(_))) {
            let template = match value.at(&path) {
                Some(Value::Secret(secret)) => secret.template.clone(),
                _ => None,
            };
            if let Some(found) = marked.get_mut(name) {
                hide(found, &path, template.as_ref());
            }
        }
    }
    for (name, attribute) in &schema.attributes {
        if attribute.sensitive
            && let Some(found) = marked.get_mut(name)
        {
            *found = hidden(std::mem::take(found));
        }
    }
    marked
}

/// Makes an attribute secret that a schema calls so.
///
/// One that is put together from secrets stays so, each compared by itself, and what is between them becomes secret too;
/// any other is one secret as a whole. Desired, recorded and actual values must all come by here: only what has the same
/// shape can be compared.
pub(crate) fn hidden(value: Value) -> Value {
    let hide = |value: Value| match value {
        Value::Secret(_) | Value::Unknown(_) | Value::Null => value,
        open => Value::Secret(Secret::new(None, open)),
    };
    if value.has_secret() {
        return value.map_leaves(&mut |leaf| hide(leaf.clone()));
    }
    hide(value)
}

/// Makes the value at a path secret; where the path leads nowhere, as much of it as there is.
fn hide(value: &mut Value, path: &AttributePath, template: Option<&TemplateText>) {
    let mut at = value;
    for segment in &*path.0 {
        // A map or list that looks otherwise than the inputs: anything in it may hold the secret.
        let leads_on = match (segment, &*at) {
            (PathSegment::Key(name), Value::Map(entries)) => entries.contains_key(name),
            (PathSegment::Index(index), Value::List(items)) => *index < items.len(),
            _ => false,
        };
        if !leads_on {
            break;
        }
        at = match (segment, at) {
            (PathSegment::Key(name), Value::Map(entries)) => {
                entries.get_mut(name).expect("it was found just now")
            }
            (PathSegment::Index(index), Value::List(items)) => &mut items[*index],
            _ => unreachable!("only lists and maps lead on"),
        };
    }
    if !matches!(at, Value::Secret(_) | Value::Null | Value::Unknown(_)) {
        let exposed = std::mem::take(at);
        *at = Value::Secret(Secret::new(template.cloned(), exposed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{ObjectId, ResourceType};
    use crate::schema::{AttributeKind, AttributeSchema};

    fn secret(text: &str) -> Value {
        Value::Secret(Secret::new(
            Some(TemplateText::new("${{ secrets.T }}")),
            text.into(),
        ))
    }

    #[test]
    fn what_came_from_a_secret_stays_one_when_it_is_read_back_in_clear() {
        let schema = ResourceSchema::new(ResourceType::new("a_thing").unwrap(), "A thing.").attribute(
            "password",
            AttributeSchema::computed(AttributeKind::String, "Given by the world.").sensitive(),
        );
        let inputs = Attributes::from([
            (
                "env".into(),
                Value::map([("TOKEN", secret("hunter2")), ("MODE", "fast".into())]),
            ),
            ("args".into(), Value::List(vec!["run".into(), secret("hunter2")])),
        ]);
        let state = ObjectState {
            id: ObjectId::new("1"),
            attributes: Attributes::from([
                (
                    "env".into(),
                    Value::map([("TOKEN", "hunter2".into()), ("MODE", "fast".into())]),
                ),
                // Read back in another shape: all of it may hold the secret.
                ("args".into(), "run hunter2".into()),
                ("password".into(), "given-by-the-world".into()),
            ]),
            private: serde_json::Value::Null,
            unreadable: Vec::new(),
        };
        let key = FingerprintKey::new([7; 32]);
        let sealed = Sealer::new(Some(&key)).object(&schema, &inputs, &state);
        let written = serde_json::to_string(&sealed).unwrap();
        assert!(
            !written.contains("hunter2") && !written.contains("given-by"),
            "{written}"
        );
        assert!(written.contains("fast"), "{written}");
        let expected = Sealer::new(Some(&key)).attributes(&inputs);
        assert_eq!(
            sealed.attributes["env"].compare(&expected["env"]),
            crate::value::Comparison::Equal
        );
    }

    #[test]
    fn a_sensitive_map_of_secrets_is_compared_secret_by_secret() {
        let schema = ResourceSchema::new(ResourceType::new("a_thing").unwrap(), "A thing.").attribute(
            "tokens",
            AttributeSchema::optional(AttributeKind::Map(Box::new(AttributeKind::String)), "Tokens.")
                .sensitive(),
        );
        let key = FingerprintKey::new([7; 32]);
        let sealed = |client: &str| {
            let tokens = Value::map([
                ("client", secret(client)),
                ("open", "not a secret by itself".into()),
            ]);
            let inputs = Attributes::from([("tokens".into(), tokens)]);
            let state = ObjectState {
                id: ObjectId::new("1"),
                attributes: inputs.clone(),
                private: serde_json::Value::Null,
                unreadable: Vec::new(),
            };
            Sealer::new(Some(&key))
                .object(&schema, &inputs, &state)
                .attributes
        };
        let (first, again, other) = (sealed("one"), sealed("one"), sealed("two"));
        assert!(!serde_json::to_string(&first).unwrap().contains("by itself"));
        assert_eq!(
            first["tokens"].compare(&again["tokens"]),
            crate::value::Comparison::Equal
        );
        assert_eq!(
            first["tokens"].compare(&other["tokens"]),
            crate::value::Comparison::Different
        );
    }
}
