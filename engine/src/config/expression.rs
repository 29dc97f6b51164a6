//! Expressions: `${{ … }}` inside texts.
//!
//! An expression is a reference: `env.NAME`, `secrets.NAME`, an attribute of what exists already,
//! `data.type.name.attribute`, or an attribute of a resource, `type.name.attribute`
//! with `.key` and `[index]` after it. Resource names hold `/`, `-`, `:` and `@`; any other name is quoted:
//! `aws_route53_record["*.example.com"].fqdn`. `$${{` is a literal `${{`. A text that is exactly one expression keeps
//! the type of what it refers to; any other is a text.
//!
//! Parsing and evaluation are pure. What a reference means is a [`Scope`]'s to say.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::sync::Arc;

use super::expression_parser::Parser;
use crate::address::ResourceAddress;
use crate::value::{AttributePath, Secret, TemplateText, Unknown, Value};

/// A text with expressions in it. Displays as its source.
#[derive(Clone, PartialEq, Eq)]
pub struct Template {
    text: Arc<str>,
    parts: Vec<Part>,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Part {
    Literal(String),
    Reference(Reference),
}

/// One reference in a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What it refers to.
    pub target: Target,
    /// What of it; empty for all of it.
    pub path: AttributePath,
    /// Where the reference (without braces) stands in the template's text, in bytes.
    pub range: Range<usize>,
}

/// What a reference refers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// `env.NAME`: a variable of the environment of whoever runs gabion. Always secret.
    Environment(Arc<str>),
    /// `secrets.NAME`: a secret of the project. Always secret.
    Secret(Arc<str>),
    /// An attribute of a resource.
    Resource(ResourceAddress),
    /// `data.KIND.NAME`: an attribute of what a data document reads.
    Data(ResourceAddress),
    /// Another scope (`vars`, `each`, or one that a document type knows); the path is what follows.
    Scope(Arc<str>),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "env.{name}"),
            Self::Secret(name) => write!(f, "secrets.{name}"),
            Self::Resource(address) => write!(f, "{address}"),
            Self::Data(address) => write!(f, "data.{address}"),
            Self::Scope(name) => f.write_str(name),
        }
    }
}

/// The reference as an expression has it, without braces.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.to_string();
        let separator = if path.is_empty() || path.starts_with('[') {
            ""
        } else {
            "."
        };
        write!(f, "{}{separator}{path}", self.target)
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExpressionError {
    /// What is wrong, as a full sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// Where, in bytes of the template's text.
    pub range: Range<usize>,
}

impl Template {
    /// Tells whether a text has an expression (or an escaped one) in it, so that it must be parsed.
    pub fn is_in(text: &str) -> bool {
        text.contains("${{")
    }

    /// Parses a text; any text without `${{` is a template too.
    ///
    /// # Errors
    /// All errors in the text, in order.
    pub fn parse(text: &str) -> Result<Self, Vec<ExpressionError>> {
        let parts = Parser::new(text).template()?;
        Ok(Self {
            text: text.into(),
            parts,
        })
    }

    /// Returns the source.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns the source with what `value` says of each reference in its place. What it says nothing of stays.
    ///
    /// # Errors
    /// The first reference whose value is no scalar and stands within a text.
    pub fn filled(&self, value: &dyn Fn(&Reference) -> Option<Value>) -> Result<Value, EvaluateError> {
        if let Some(reference) = self.single() {
            return Ok(value(reference).unwrap_or_else(|| self.to_value()));
        }
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => text.push_str(&literal.replace("${{", "$${{")),
                Part::Reference(reference) => match value(reference) {
                    None => text.push_str(&format!("${{{{ {reference} }}}}")),
                    Some(value) => match scalar_text(&value) {
                        Some(part) => text.push_str(&part.replace("${{", "$${{")),
                        None => {
                            return Err(EvaluateError::NotText {
                                reference: reference.clone(),
                                found: if value.is_null() {
                                    "nothing"
                                } else {
                                    "a list or map"
                                },
                            });
                        }
                    },
                },
            }
        }
        Ok(match Self::parse(&text) {
            Ok(filled) => filled.to_value(),
            // Parts that make an expression only together are no expression of anybody's.
            Err(_) => self.to_value(),
        })
    }

    /// Returns the text, escapes resolved, when there is no expression in it.
    pub fn literal(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the reference when the text is exactly one expression, which then keeps its type.
    pub fn single(&self) -> Option<&Reference> {
        match self.parts.as_slice() {
            [Part::Reference(reference)] => Some(reference),
            _ => None,
        }
    }

    /// Returns the references, in order.
    pub fn references(&self) -> impl Iterator<Item = &Reference> {
        self.parts.iter().filter_map(|part| match part {
            Part::Reference(reference) => Some(reference),
            Part::Literal(_) => None,
        })
    }

    /// Returns the value as a plan has it before anything is evaluated: a literal's text, or an unknown that carries
    /// this template.
    pub fn to_value(&self) -> Value {
        match self.literal() {
            Some(text) => Value::string(text),
            None => Value::template(&self.text),
        }
    }

    /// Evaluates the template.
    ///
    /// One unknown part makes the whole unknown, else one secret part makes the whole secret; both carry this
    /// template.
    ///
    /// # Errors
    /// The first reference that `scope` does not have, or that is no scalar within a text.
    pub fn evaluate(&self, scope: &dyn Scope) -> Result<Value, EvaluateError> {
        if let Some(reference) = self.single() {
            return Ok(match self.resolve(reference, scope)? {
                Value::Secret(secret) => Value::Secret(self.own(&secret)),
                value if value.is_wholly_known() => value,
                _ => self.unknown(),
            });
        }
        let mut text = String::new();
        let (mut unknown, mut secret, mut sealed) = (false, false, false);
        for part in &self.parts {
            let reference = match part {
                Part::Literal(literal) => {
                    text.push_str(literal);
                    continue;
                }
                Part::Reference(reference) => reference,
            };
            let value = match self.resolve(reference, scope)? {
                Value::Secret(found) => {
                    secret = true;
                    found.expose().cloned()
                }
                value => Some(value),
            };
            match value {
                None => sealed = true,
                Some(Value::Unknown(_)) => unknown = true,
                Some(value) => match scalar_text(&value) {
                    Some(part) => text.push_str(&part),
                    None => {
                        return Err(EvaluateError::NotText {
                            reference: reference.clone(),
                            found: if value.is_null() {
                                "nothing"
                            } else {
                                "a list or map"
                            },
                        });
                    }
                },
            }
        }
        Ok(if unknown {
            self.unknown()
        } else if sealed {
            Value::Secret(Secret::sealed(Some(self.template()), None))
        } else if secret {
            Value::Secret(Secret::new(Some(self.template()), Value::string(text)))
        } else {
            Value::string(text)
        })
    }

    fn resolve(&self, reference: &Reference, scope: &dyn Scope) -> Result<Value, EvaluateError> {
        let value = match scope.resolve(reference) {
            Resolved::Known(value) => value,
            Resolved::Unknown => Value::unknown(),
            Resolved::Missing => {
                return Err(EvaluateError::Missing {
                    reference: reference.clone(),
                });
            }
        };
        let from_outside = matches!(reference.target, Target::Environment(_) | Target::Secret(_));
        Ok(match value {
            Value::Secret(_) | Value::Unknown(_) => value,
            value if from_outside => Value::Secret(Secret::new(Some(self.template()), value)),
            value => value,
        })
    }

    /// The same secret, coming from this template.
    fn own(&self, secret: &Secret) -> Secret {
        let template = Some(self.template());
        match secret.expose() {
            Some(value) => Secret::new(template, value.clone()).with_fingerprint(secret.fingerprint.clone()),
            None => Secret::sealed(template, secret.fingerprint.clone()),
        }
    }

    fn template(&self) -> TemplateText {
        TemplateText::new(&self.text)
    }

    fn unknown(&self) -> Value {
        Value::Unknown(Unknown {
            template: Some(self.template()),
        })
    }
}

impl FromStr for Template {
    type Err = ExpressionError;

    /// Parses a template whose source was parsed before (a plan's, say), so that one error is enough.
    fn from_str(text: &str) -> Result<Self, ExpressionError> {
        Self::parse(text).map_err(|mut errors| errors.swap_remove(0))
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// What references mean.
pub trait Scope {
    /// Returns the value of a reference, its path followed.
    fn resolve(&self, reference: &Reference) -> Resolved;
}

impl<F: Fn(&Reference) -> Resolved> Scope for F {
    fn resolve(&self, reference: &Reference) -> Resolved {
        self(reference)
    }
}

/// What a [`Scope`] says about a reference.
#[derive(Clone, Debug, PartialEq)]
pub enum Resolved {
    /// It has this value. Values of `env` and `secrets` become secret even when they are not.
    Known(Value),
    /// It has no value before apply.
    Unknown,
    /// There is no such thing.
    Missing,
}

/// Why a template has no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvaluateError {
    /// A reference to something that is not there.
    #[error("`{reference}` has no value")]
    Missing {
        /// The reference.
        reference: Reference,
    },
    /// Something other than a scalar within a text.
    #[error("`{reference}` is {found} and cannot stand within a text")]
    NotText {
        /// The reference.
        reference: Reference,
        /// What it is.
        found: &'static str,
    },
}

impl EvaluateError {
    /// Returns the reference that it is about.
    pub fn reference(&self) -> &Reference {
        match self {
            Self::Missing { reference } | Self::NotText { reference, .. } => reference,
        }
    }
}

fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.to_string()),
        Value::Int(number) => Some(number.to_string()),
        Value::Float(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Unknown(_) | Value::Secret(_) => None,
    }
}
