//! Ranges: `4`, `2..8`, `2..`, `..8`, or a map of `min` and `max`.

use std::fmt;

use gabion_engine::config::{FromNode, MapReader, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, excerpt};

/// A value that can be the bound of a range and is written as a text.
pub trait Bound: Copy + PartialOrd + fmt::Display {
    /// What the bound is, with its article, for messages.
    const WHAT: &'static str;

    /// Reads the bound.
    fn parse(text: &str) -> Option<Self>;

    /// Writes the bound alone.
    fn write(self) -> Yaml;
}

impl Bound for u32 {
    const WHAT: &'static str = "a whole number";

    fn parse(text: &str) -> Option<Self> {
        // A whole number may be written as `2.0`.
        let whole = text.strip_suffix(".0").unwrap_or(text);
        let digits = !whole.is_empty() && whole.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| whole.parse().ok())?
    }

    fn write(self) -> Yaml {
        self.into()
    }
}

/// A range with at least one bound; a single value is a range from it to itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range<T> {
    /// The lower bound; `None` when there is none.
    pub min: Option<T>,
    /// The upper bound; `None` when there is none.
    pub max: Option<T>,
}

impl<T: Bound> Range<T> {
    /// A range of one value.
    pub fn exactly(value: T) -> Self {
        Self {
            min: Some(value),
            max: Some(value),
        }
    }

    /// A range without an upper bound.
    pub fn at_least(value: T) -> Self {
        Self {
            min: Some(value),
            max: None,
        }
    }

    /// Returns whether a value is in the range.
    pub fn contains(&self, value: T) -> bool {
        self.min.is_none_or(|min| min <= value) && self.max.is_none_or(|max| value <= max)
    }

    /// Reads a range; spaces do not count.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let bound = |part: &str| match part {
            "" => Ok(None),
            part => T::parse(part)
                .map(Some)
                .ok_or_else(|| format!("`{}` in `{}` is not {}.", excerpt(part), excerpt(text), T::WHAT)),
        };
        let range = match compact.split_once("..") {
            None => {
                let value = T::parse(&compact).ok_or_else(|| {
                    format!(
                        "`{}` is neither {} nor a range `min..max`.",
                        excerpt(text),
                        T::WHAT
                    )
                })?;
                Self::exactly(value)
            }
            Some((min, max)) => Self {
                min: bound(min)?,
                max: bound(max)?,
            },
        };
        range.check(text)
    }

    fn check(self, text: &str) -> Result<Self, String> {
        match (self.min, self.max) {
            (None, None) => Err(format!(
                "The range `{}` has neither a lower nor an upper bound.",
                excerpt(text)
            )),
            (Some(min), Some(max)) if min > max => Err(format!(
                "The range `{}` is upside down: {min} is more than {max}.",
                excerpt(text)
            )),
            _ => Ok(self),
        }
    }
}

impl<T: Bound> fmt::Display for Range<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => write!(f, "{min}"),
            (min, max) => {
                min.map_or(Ok(()), |min| write!(f, "{min}"))?;
                f.write_str("..")?;
                max.map_or(Ok(()), |max| write!(f, "{max}"))
            }
        }
    }
}

impl<T: Bound> FromNode for Range<T> {
    fn expected() -> String {
        format!("{} or a range `min..max`", T::WHAT)
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            let mut map = MapReader::open(node, "range", problems)?;
            let min = map.optional::<String>("min");
            let max = map.optional::<String>("max");
            map.finish();
            let (min, max) = (min?.unwrap_or_default(), max?.unwrap_or_default());
            return read(node, &format!("{min}..{max}"), problems);
        }
        match node.text() {
            Some(text) => read(node, text, problems),
            None => {
                problems.push(node.wrong_type(&Self::expected()));
                None
            }
        }
    }
}

impl<T: Bound> Term for Range<T> {
    fn write(&self) -> Yaml {
        match (self.min, self.max) {
            (Some(min), Some(max)) if min == max => min.write(),
            _ => self.to_string().into(),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": ["integer", "number", "string"], "minimum": 0},
                {"type": "object", "additionalProperties": false, "properties": {
                    "min": {"type": ["integer", "number", "string", "null"], "description": "The lower bound."},
                    "max": {"type": ["integer", "number", "string", "null"], "description": "The upper bound."},
                }},
            ],
            "title": format!("{} or a range", T::WHAT.split(" such as").next().unwrap_or(T::WHAT)),
            "examples": [4, "2..8", "2..", "..8", {"min": 2, "max": 8}],
        })
    }
}

fn read<T: Bound>(node: &Node, text: &str, problems: &mut Diagnostics) -> Option<Range<T>> {
    Range::parse(text)
        .map_err(|why| {
            problems.push(
                node.error("bad-range", "bad range")
                    .detail(why)
                    .hint("write `4`, `2..8`, `2..` (at least 2) or `..8` (at most 8)"),
            );
        })
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_parse_and_print_the_same() {
        for text in ["4", "2..8", "2..", "..8"] {
            assert_eq!(Range::<u32>::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Range::<u32>::parse(" 2 .. 8 ").unwrap().to_string(), "2..8");
        for text in ["", "..", "8..2", "x", "2...8", "-1"] {
            assert!(Range::<u32>::parse(text).is_err(), "{text}");
        }
    }
}
