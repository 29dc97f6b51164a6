//! Differences between two values of an attribute, under the attribute's own notion of sameness.

use crate::schema::Equality;
use crate::value::{Comparison, Value};

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
