//! Reading and writing attributes by path.

use crate::value::{AttributePath, Attributes, PathSegment, Value};

/// Puts what stands at some paths in the place of what is asked for there.
pub(crate) fn keep(paths: &[AttributePath], standing: &Attributes, asked: &mut Attributes) {
    for path in paths {
        match get(standing, path) {
            Some(value) => set(asked, path, value.clone()),
            None => remove(asked, path),
        }
    }
}

/// Returns the value at a path, if there is one.
pub(crate) fn get<'a>(attributes: &'a Attributes, path: &AttributePath) -> Option<&'a Value> {
    let (first, rest) = path.0.split_first()?;
    let PathSegment::Key(name) = first else {
        return None;
    };
    rest.iter()
        .try_fold(attributes.get(name)?, |value, segment| match (segment, value) {
            (PathSegment::Key(name), Value::Map(entries)) => entries.get(name),
            (PathSegment::Index(index), Value::List(items)) => items.get(*index),
            _ => None,
        })
}

/// Sets the value at a path; maps on the way are made, anything else that does not fit leaves it unset.
pub(crate) fn set(attributes: &mut Attributes, path: &AttributePath, value: Value) {
    let Some((PathSegment::Key(name), rest)) = path.0.split_first() else {
        return;
    };
    if rest.is_empty() {
        attributes.insert(name.clone(), value);
        return;
    }
    let mut at = attributes.get_or_insert_with(name, || Value::Map(Attributes::new()));
    for segment in rest {
        at = match (segment, at) {
            (PathSegment::Key(name), Value::Map(entries)) => {
                // A map, so that deeper segments find one; overwritten when this is the last segment.
                entries.get_or_insert_with(name, || Value::Map(Attributes::new()))
            }
            (PathSegment::Index(index), Value::List(items)) => match items.get_mut(*index) {
                Some(item) => item,
                None => return,
            },
            _ => return,
        };
    }
    *at = value;
}

/// Removes the value at a path that ends in a key.
pub(crate) fn remove(attributes: &mut Attributes, path: &AttributePath) {
    let Some((PathSegment::Key(name), rest)) = path.0.split_first() else {
        return;
    };
    let Some((last, middle)) = rest.split_last() else {
        attributes.remove(name);
        return;
    };
    let Some(mut at) = attributes.get_mut(name) else {
        return;
    };
    for segment in middle {
        let next = match (segment, at) {
            (PathSegment::Key(name), Value::Map(entries)) => entries.get_mut(name),
            (PathSegment::Index(index), Value::List(items)) => items.get_mut(*index),
            _ => None,
        };
        match next {
            Some(next) => at = next,
            None => return,
        }
    }
    if let (PathSegment::Key(name), Value::Map(entries)) = (last, at) {
        entries.remove(name);
    }
}

/// Returns whether one of two paths is the other or inside it.
pub(crate) fn overlap(a: &AttributePath, b: &AttributePath) -> bool {
    a.contains(b) || b.contains(a)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_found_and_can_be_removed() {
        let mut attributes = Attributes::from([(
            "list".into(),
            Value::List(vec![Value::map([("a", Value::Int(1))])]),
        )]);
        for text in ["x", "m.a.b", "list[0].b"] {
            let path: AttributePath = text.parse().unwrap();
            set(&mut attributes, &path, Value::Int(7));
            assert_eq!(get(&attributes, &path), Some(&Value::Int(7)), "{text}");
            remove(&mut attributes, &path);
            assert_eq!(get(&attributes, &path), None, "{text}");
        }
        set(&mut attributes, &"list[5].a".parse().unwrap(), Value::Int(7));
        assert_eq!(
            get(&attributes, &"list[0].a".parse().unwrap()),
            Some(&Value::Int(1))
        );
    }
}
