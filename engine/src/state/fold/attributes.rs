//! What an object's attributes become.

use std::sync::Arc;

use crate::provider::ObjectState;
use crate::state::fold::error::{FoldError, same_id};
use crate::state::record::Record;
use crate::value::{AttributePath, Attributes, PathSegment, Value};

/// Takes over what a provider says is there.
pub(super) fn adopt(
    record: &mut Record,
    state: &ObjectState,
    inputs: &Attributes,
    prior: &Attributes,
) -> Result<(), FoldError> {
    same_id(record, &state.id)?;
    record.id = Some(state.id.clone());
    record.private = state.private.clone().into();
    record.attributes = state.attributes.clone();
    for path in &state.unreadable {
        if let Some(value) = lookup(inputs, path).or_else(|| lookup(prior, path)) {
            restore(&mut record.attributes, path, value);
        }
    }
    Ok(())
}

/// Makes the record say what the world says; inputs that the world has follow.
pub(super) fn accept(record: &mut Record, attributes: &Attributes) {
    let before = std::mem::replace(&mut record.attributes, attributes.clone());
    record.inputs.retain(|name, value| match attributes.get(name) {
        Some(actual) => {
            *value = actual.clone();
            true
        }
        None => !before.contains_key(name),
    });
}

fn lookup(attributes: &Attributes, path: &AttributePath) -> Option<Value> {
    let mut segments = path.0.iter();
    let Some(PathSegment::Key(name)) = segments.next() else {
        return None;
    };
    segments
        .try_fold(attributes.get(name)?, |value, segment| match (segment, value) {
            (PathSegment::Key(name), Value::Map(entries)) => entries.get(name),
            (PathSegment::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        })
        .cloned()
}

/// Sets the value at a path that the world does not tell; a path into something that is not there is left alone.
fn restore(attributes: &mut Attributes, path: &AttributePath, value: Value) {
    fn set(entries: &mut Attributes, name: &Arc<str>, rest: &[PathSegment], value: Value) {
        match rest.split_first() {
            None => {
                entries.insert(name.clone(), value);
            }
            Some((next, rest)) => {
                if let Some(inner) = entries.get_mut(name) {
                    descend(inner, next, rest, value);
                }
            }
        }
    }
    fn descend(at: &mut Value, next: &PathSegment, rest: &[PathSegment], value: Value) {
        match (next, at) {
            (PathSegment::Key(name), Value::Map(entries)) => set(entries, name, rest, value),
            (PathSegment::Index(index), Value::List(items)) => {
                if let Some(item) = items.get_mut(*index) {
                    match rest.split_first() {
                        None => *item = value,
                        Some((next, rest)) => descend(item, next, rest, value),
                    }
                }
            }
            _ => {}
        }
    }
    if let Some((PathSegment::Key(name), rest)) = path.0.split_first() {
        set(attributes, name, rest, value);
    }
}
