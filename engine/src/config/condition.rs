//! Conditions: small comparisons that must hold before or after a resource is applied.
//!
//! `${{ a }}`, `!${{ a }}`, or `LEFT op RIGHT` with `==`, `!=`, `<`, `<=`, `>`, `>=`, where each side is an expression,
//! a number, `true`, `false`, `null` or a text in quotes (a single word needs none).

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use super::expression::{EvaluateError, ExpressionError, Reference, Scope, Template};
use crate::value::{Comparison, Value};

/// A parsed condition. Displays as its source.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionExpression {
    text: String,
    kind: Kind,
}

#[derive(Clone, Debug, PartialEq)]
enum Kind {
    Truth {
        operand: Operand,
        negated: bool,
    },
    Compare {
        left: Operand,
        operator: Operator,
        right: Operand,
    },
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Value(Value),
    /// A single expression, and where it starts in the condition's text.
    Template(Template, usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    LessOrEqual,
    GreaterOrEqual,
    Less,
    Greater,
}

/// Longer signs first: `<=` is no `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("==", Operator::Equal),
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

const FORMS: &str = "write `${{ a }} == value` with one of == != < <= > >=, or `${{ a }}` or `!${{ a }}`";

/// Whether a condition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It holds.
    Holds,
    /// It does not.
    Fails,
    /// Something in it is not known before apply.
    Unknown,
}

/// Why a condition has no verdict.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConditionError {
    /// A side has no value.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The values cannot be compared this way. The values themselves are not named: they may be secret.
    #[error("{0}")]
    Type(&'static str),
}

impl ConditionExpression {
    /// Returns the references in it, each with where it stands in the text.
    pub fn references(&self) -> Vec<(Reference, std::ops::Range<usize>)> {
        let operands = match &self.kind {
            Kind::Truth { operand, .. } => vec![operand],
            Kind::Compare { left, right, .. } => vec![left, right],
        };
        let mut found = Vec::new();
        for operand in operands {
            if let Operand::Template(template, at) = operand {
                found.extend(template.references().map(|reference| {
                    (
                        reference.clone(),
                        reference.range.start + at..reference.range.end + at,
                    )
                }));
            }
        }
        found
    }

    /// Returns the condition with what `value` says of each reference in its place, or nothing if it says nothing of any.
    ///
    /// # Errors
    /// The first reference whose value cannot stand in a condition, and why.
    pub fn filled(
        &self,
        value: &dyn Fn(&Reference) -> Option<Value>,
    ) -> Result<Option<String>, (Reference, &'static str)> {
        let fill = |operand: &Operand| match operand {
            Operand::Value(value) => Ok((literal(value).unwrap_or_default(), None)),
            Operand::Template(template, _) => {
                match template.single().map(|reference| (reference, value(reference))) {
                    Some((reference, Some(value))) => match literal(&value) {
                        Ok(text) => Ok((text, Some((reference.clone(), value)))),
                        Err(why) => Err((reference.clone(), why)),
                    },
                    Some((_, None)) | None => Ok((template.to_string(), None)),
                }
            }
        };
        match &self.kind {
            Kind::Truth { operand, negated } => match fill(operand)? {
                (_, None) => Ok(None),
                // A value alone compares nothing, and is no condition.
                (text, Some((_, Value::Bool(_)))) => Ok(Some(format!("{text} == {}", !negated))),
                (_, Some((reference, _))) => Err((reference, "is neither true nor false")),
            },
            Kind::Compare {
                left,
                operator,
                right,
            } => {
                let ((left, in_left), (right, in_right)) = (fill(left)?, fill(right)?);
                let sign = OPERATORS.iter().find(|(_, known)| known == operator);
                let sign = sign.map(|(sign, _)| *sign).unwrap_or_default();
                let is_filled = in_left.is_some() || in_right.is_some();
                Ok(is_filled.then(|| format!("{left} {sign} {right}")))
            }
        }
    }

    /// Evaluates the condition. A secret is compared by its value.
    ///
    /// # Errors
    /// When a reference has no value, or the values cannot be compared.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Verdict, ConditionError> {
        let holds = match &self.kind {
            Kind::Truth { operand, negated } => match operand.evaluate(scope)? {
                None => return Ok(Verdict::Unknown),
                Some(Value::Bool(truth)) => truth != *negated,
                Some(_) => return Err(ConditionError::Type("the value is neither true nor false")),
            },
            Kind::Compare {
                left,
                operator,
                right,
            } => match (left.evaluate(scope)?, right.evaluate(scope)?) {
                (Some(left), Some(right)) => compare(&left, *operator, &right)?,
                _ => return Ok(Verdict::Unknown),
            },
        };
        Ok(if holds { Verdict::Holds } else { Verdict::Fails })
    }
}

impl Operand {
    /// The value, secrets opened, or nothing when it is not known.
    fn evaluate(&self, scope: &dyn Scope) -> Result<Option<Value>, EvaluateError> {
        let value = match self {
            Self::Value(value) => value.clone(),
            Self::Template(template, _) => template.evaluate(scope)?,
        };
        Ok(match value {
            Value::Secret(secret) => secret.expose().cloned(),
            value if value.is_wholly_known() => Some(value),
            _ => None,
        })
    }
}

fn compare(left: &Value, operator: Operator, right: &Value) -> Result<bool, ConditionError> {
    let equal = left.compare(right) == Comparison::Equal;
    let order = || {
        order(left, right).ok_or(ConditionError::Type(
            "only two numbers, or two texts, can be ordered",
        ))
    };
    Ok(match operator {
        Operator::Equal => equal,
        Operator::NotEqual => !equal,
        Operator::Less => order()? == Ordering::Less,
        Operator::LessOrEqual => order()? != Ordering::Greater,
        Operator::Greater => order()? == Ordering::Greater,
        Operator::GreaterOrEqual => order()? != Ordering::Less,
    })
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::String(left), Value::String(right)) => Some(left.cmp(right)),
        _ => number(left)?.partial_cmp(&number(right)?),
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Int(number) => Some(*number as f64),
        Value::Float(number) => Some(*number),
        _ => None,
    }
}

impl FromStr for ConditionExpression {
    type Err = ExpressionError;

    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        let trimmed = text.trim();
        let start = text.len() - text.trim_start().len();
        let kind = if let Some((at, sign, operator)) = find_operator(trimmed) {
            Kind::Compare {
                left: operand(&trimmed[..at], start)?,
                operator,
                right: operand(&trimmed[at + sign.len()..], start + at + sign.len())?,
            }
        } else {
            let negated = trimmed.starts_with('!');
            let skipped = usize::from(negated);
            let operand = operand(&trimmed[skipped..], start + skipped)?;
            if matches!(operand, Operand::Value(_)) {
                return Err(bad(0..text.len(), "This condition compares nothing."));
            }
            Kind::Truth { operand, negated }
        };
        Ok(Self {
            text: text.to_owned(),
            kind,
        })
    }
}

impl fmt::Display for ConditionExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first operator outside of braces and quotes.
fn find_operator(text: &str) -> Option<(usize, &'static str, Operator)> {
    let mut at = 0;
    let mut quote = None;
    while at < text.len() {
        let rest = &text[at..];
        let next = rest.chars().next().map_or(1, char::len_utf8);
        if let Some(open) = quote {
            if rest.starts_with(open) {
                quote = None;
            }
        } else if rest.starts_with("${{") {
            at += rest.find("}}")? + 2;
            continue;
        } else if rest.starts_with(['"', '\'']) {
            quote = rest.chars().next();
        } else if let Some((sign, operator)) = OPERATORS.iter().find(|(sign, _)| rest.starts_with(sign)) {
            return Some((at, sign, *operator));
        }
        at += next;
    }
    None
}

fn operand(text: &str, start: usize) -> Result<Operand, ExpressionError> {
    let trimmed = text.trim();
    let start = start + text.len() - text.trim_start().len();
    let range = start..start + trimmed.len();
    if Template::is_in(trimmed) {
        let template = Template::from_str(trimmed).map_err(|error| ExpressionError {
            range: error.range.start + start..error.range.end + start,
            ..error
        })?;
        return match template.single() {
            Some(_) => Ok(Operand::Template(template, start)),
            None => Err(bad(
                range,
                "A side of a comparison is one expression, or one value.",
            )),
        };
    }
    let quoted = |quote: char| {
        let inner = trimmed.strip_prefix(quote)?.strip_suffix(quote)?;
        (!inner.contains(quote)).then(|| Value::string(inner))
    };
    let value = match trimmed {
        "" => return Err(bad(range, "This comparison lacks a side.")),
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        "null" => Value::Null,
        text => {
            let number = text.parse().ok().map(Value::Int);
            let float = || {
                text.parse::<f64>()
                    .ok()
                    .filter(|number| number.is_finite())
                    .map(Value::Float)
            };
            let word = || (!text.contains(['"', '\'', ' ', '=', '!', '<', '>'])).then(|| Value::string(text));
            number
                .or_else(float)
                .or_else(|| quoted('"'))
                .or_else(|| quoted('\''))
                .or_else(word)
                .ok_or_else(|| bad(range, "This is no value: a text with spaces needs quotes."))?
        }
    };
    Ok(Operand::Value(value))
}

/// Returns a value as it is written in a condition, or why it cannot be.
fn literal(value: &Value) -> Result<String, &'static str> {
    match value {
        Value::Null => Ok("null".to_owned()),
        Value::Bool(truth) => Ok(truth.to_string()),
        Value::Int(number) => Ok(number.to_string()),
        // With its point: `1.0` is no `1`.
        Value::Float(number) => Ok(format!("{number:?}")),
        Value::String(text) if Template::is_in(text) => Err("holds `${{`"),
        Value::String(text) if !text.contains('"') => Ok(format!("\"{text}\"")),
        Value::String(text) if !text.contains('\'') => Ok(format!("'{text}'")),
        Value::String(_) => Err("holds both kinds of quotes"),
        Value::Secret(_) => Err("is a secret"),
        _ => Err("is no single value"),
    }
}

fn bad(range: std::ops::Range<usize>, message: &str) -> ExpressionError {
    ExpressionError {
        message: message.to_owned(),
        hint: Some(FORMS.to_owned()),
        range,
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::Resolved;
    use super::*;

    fn scope(reference: &Reference) -> Resolved {
        match reference.to_string().as_str() {
            "a.b.count" => Resolved::Known(Value::Int(3)),
            "a.b.on" => Resolved::Known(Value::Bool(true)),
            "a.b.zone" => Resolved::Known(Value::string("eu-west-1a")),
            "a.b.later" => Resolved::Unknown,
            "env.X" => Resolved::Known(Value::string("x")),
            _ => Resolved::Missing,
        }
    }

    #[test]
    fn comparisons_hold_or_fail() {
        let check = |text: &str, expected: Verdict| {
            let condition: ConditionExpression =
                text.parse().unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(condition.evaluate(&scope), Ok(expected), "{text}");
            assert_eq!(condition.to_string(), text);
        };
        check("${{ a.b.count }} == 3", Verdict::Holds);
        check("${{ a.b.count }}!=3", Verdict::Fails);
        check("2.5 < ${{ a.b.count }}", Verdict::Holds);
        check("${{ a.b.count }} >= 3", Verdict::Holds);
        check("${{ a.b.count }} > 3", Verdict::Fails);
        check("${{ a.b.zone }} == eu-west-1a", Verdict::Holds);
        check("${{ a.b.zone }} == 'eu < west'", Verdict::Fails);
        check("${{ a.b.zone }} == null", Verdict::Fails);
        check(" ${{ a.b.on }} ", Verdict::Holds);
        check("!${{ a.b.on }}", Verdict::Fails);
        check("${{ a.b.later }} == 1", Verdict::Unknown);
        check("${{ env.X }} == x", Verdict::Holds);
    }

    #[test]
    fn what_cannot_be_compared_is_an_error() {
        let evaluate = |text: &str| {
            text.parse::<ConditionExpression>()
                .unwrap()
                .evaluate(&scope)
                .unwrap_err()
        };
        assert!(matches!(
            evaluate("${{ a.b.count }} < text"),
            ConditionError::Type(_)
        ));
        assert!(matches!(evaluate("${{ a.b.count }}"), ConditionError::Type(_)));
        assert!(matches!(
            evaluate("${{ a.b.nope }} == 1"),
            ConditionError::Evaluate(_)
        ));
    }

    #[test]
    fn bad_conditions_name_their_place() {
        let check = |text: &str, place: &str| {
            let error = text.parse::<ConditionExpression>().unwrap_err();
            assert_eq!(&text[error.range], place, "{text}");
        };
        check("", "");
        check("5", "5");
        check("${{ a.b.c }} ==", "");
        check("${{ a.b.c }} == two words", "two words");
        check("x${{ a.b.c }} == 1", "x${{ a.b.c }}");
        check("${{ a.b.c }} == ${{ a..b }}", ".");
    }
}
