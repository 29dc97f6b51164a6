//! Differences between two values of an attribute, under the attribute's own notion of sameness.

use std::cmp::Ordering;
use std::sync::Arc;

use crate::schema::{Equality, ResourceSchema};
use crate::value::{AttributePath, Attributes, Comparison, Value};

/// A leaf that differs between two states of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Which.
    pub path: AttributePath,
    /// Its value in the first; `None` when it is absent there.
    pub before: Option<Value>,
    /// Its value in the second; `None` when it is absent there.
    pub after: Option<Value>,
    /// Whether the schema says that it is secret.
    pub sensitive: bool,
}

/// What comparing two states of an object found.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Differences {
    /// The leaves that differ, sorted by path.
    pub found: Vec<Difference>,
    /// The leaves that could not be compared: secrets without fingerprints of one key.
    pub not_compared: Vec<AttributePath>,
}

/// Compares two states of an object leaf by leaf, each attribute under its schema's equality.
///
/// Null counts as absent. Lists of different lengths, and attributes that are not compared exactly, are one leaf:
/// positions would mislead.
pub fn differences(schema: &ResourceSchema, before: &Attributes, after: &Attributes) -> Differences {
    let mut all = Differences::default();
    // What is not known differs from itself, and a secret cannot always be compared.
    let is_plain = |value: &Value| value.is_wholly_known() && !value.has_secret();
    if before.shares(after) && before.values().all(is_plain) {
        return all;
    }
    for (name, b, a) in pairs(before, after) {
        let attribute = schema.attributes.get(name);
        let equality = attribute.map(|a| a.equality).unwrap_or_default();
        let sensitive = attribute.is_some_and(|a| a.sensitive);
        match same(equality, b.unwrap_or(&Value::Null), a.unwrap_or(&Value::Null)) {
            Comparison::Equal => {}
            _ if equality == Equality::Exact => {
                all.descend(&AttributePath::root(name), b, a, sensitive);
            }
            _ => all.leaf(&AttributePath::root(name), equality, b, a, sensitive),
        }
    }
    all.found.sort_by(|x, y| x.path.cmp(&y.path));
    all.not_compared.sort();
    all
}

/// Returns the names that either has, in order, with the values of both.
fn pairs<'a>(
    before: &'a Attributes,
    after: &'a Attributes,
) -> impl Iterator<Item = (&'a str, Option<&'a Value>, Option<&'a Value>)> {
    let (mut before, mut after) = (before.iter().peekable(), after.iter().peekable());
    std::iter::from_fn(move || {
        let order = match (before.peek(), after.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((b, _)), Some((a, _))) => b.cmp(a),
        };
        let b = before.next_if(|_| order.is_le());
        let a = after.next_if(|_| order.is_ge());
        let (name, _) = b.or(a)?;
        let value = |entry: Option<(&'a Arc<str>, &'a Value)>| present(entry.map(|(_, value)| value));
        Some((&**name, value(b), value(a)))
    })
}

fn present(value: Option<&Value>) -> Option<&Value> {
    value.filter(|value| !value.is_null())
}

impl Differences {
    fn descend(
        &mut self,
        path: &AttributePath,
        before: Option<&Value>,
        after: Option<&Value>,
        sensitive: bool,
    ) {
        let empty = Attributes::new();
        match (before, after) {
            (Some(Value::List(b)), Some(Value::List(a))) if b.len() == a.len() => {
                for (index, (b, a)) in b.iter().zip(a).enumerate() {
                    self.descend(&path.index(index), present(Some(b)), present(Some(a)), sensitive);
                }
            }
            (Some(Value::Map(b)), Some(Value::Map(a))) => self.entries(path, b, a, sensitive),
            (Some(Value::Map(b)), None) if !b.is_empty() => self.entries(path, b, &empty, sensitive),
            (None, Some(Value::Map(a))) if !a.is_empty() => self.entries(path, &empty, a, sensitive),
            _ => self.leaf(path, Equality::Exact, before, after, sensitive),
        }
    }

    fn entries(&mut self, path: &AttributePath, before: &Attributes, after: &Attributes, sensitive: bool) {
        for (name, b, a) in pairs(before, after) {
            self.descend(&path.key(name), b, a, sensitive);
        }
    }

    fn leaf(
        &mut self,
        path: &AttributePath,
        equality: Equality,
        before: Option<&Value>,
        after: Option<&Value>,
        sensitive: bool,
    ) {
        let verdict = match (before, after) {
            (None, None) => Comparison::Equal,
            (Some(b), Some(a)) => same(equality, b, a),
            _ => Comparison::Different,
        };
        match verdict {
            Comparison::Equal => {}
            Comparison::CannotTell => self.not_compared.push(path.clone()),
            Comparison::Different => self.found.push(Difference {
                path: path.clone(),
                before: before.cloned(),
                after: after.cloned(),
                sensitive,
            }),
        }
    }
}

/// Compares two values of an attribute.
pub fn same(equality: Equality, a: &Value, b: &Value) -> Comparison {
    let exact = a.compare(b);
    if exact != Comparison::Different {
        return exact;
    }
    let equal = match (equality, a, b) {
        (Equality::Set, Value::List(x), Value::List(y)) => is_permutation(x, y),
        (Equality::Json, Value::String(x), Value::String(y)) => {
            match (
                serde_json::from_str::<serde_json::Value>(x),
                serde_json::from_str::<serde_json::Value>(y),
            ) {
                (Ok(x), Ok(y)) => x == y,
                _ => false,
            }
        }
        (Equality::NormalisedText, Value::String(x), Value::String(y)) => x
            .trim_end()
            .lines()
            .map(str::trim_end)
            .eq(y.trim_end().lines().map(str::trim_end)),
        (Equality::CaseInsensitive, Value::String(x), Value::String(y)) => {
            x.to_lowercase() == y.to_lowercase()
        }
        (Equality::Volatile, ..) => true,
        _ => false,
    };
    if equal {
        Comparison::Equal
    } else {
        Comparison::Different
    }
}

fn is_permutation(a: &[Value], b: &[Value]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let mut taken = vec![false; b.len()];
    a.iter().all(|x| {
        let found = b
            .iter()
            .enumerate()
            .find(|(i, y)| !taken[*i] && x.compare(y) == Comparison::Equal);
        match found {
            Some((index, _)) => {
                taken[index] = true;
                true
            }
            None => false,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sameness_follows_the_attribute() {
        let list = |items: &[i64]| Value::List(items.iter().map(|n| Value::Int(*n)).collect());
        let cases = [
            (
                Equality::Set,
                list(&[1, 2, 2]),
                list(&[2, 1, 2]),
                Comparison::Equal,
            ),
            (
                Equality::Set,
                list(&[1, 2, 2]),
                list(&[2, 1, 1]),
                Comparison::Different,
            ),
            (
                Equality::Exact,
                list(&[1, 2]),
                list(&[2, 1]),
                Comparison::Different,
            ),
            (
                Equality::Json,
                "{\"a\": 1}".into(),
                "{\"a\":1}".into(),
                Comparison::Equal,
            ),
            (
                Equality::NormalisedText,
                "a \nb\n\n".into(),
                "a\nb".into(),
                Comparison::Equal,
            ),
            (
                Equality::Volatile,
                Value::from("one serial number"),
                Value::Null,
                Comparison::Equal,
            ),
            (
                Equality::CaseInsensitive,
                "AbC".into(),
                "aBc".into(),
                Comparison::Equal,
            ),
            (
                Equality::Exact,
                Value::unknown(),
                Value::Int(1),
                Comparison::Different,
            ),
        ];
        for (equality, a, b, expected) in cases {
            assert_eq!(same(equality, &a, &b), expected, "{equality:?} {a:?} {b:?}");
        }
    }
}
