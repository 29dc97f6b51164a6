//! Amounts of memory: `16GB`, `512MB`, `1TB`; a bare number is GB. 1 TB is 1024 GB.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::range::Bound;
use crate::term::{Line, Term, excerpt, read_line};

/// An amount of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory {
    megabytes: u64,
}

impl Memory {
    /// Makes an amount of whole gigabytes.
    pub fn gigabytes(amount: u64) -> Self {
        Self {
            megabytes: amount * 1024,
        }
    }

    /// Returns the amount in megabytes.
    pub fn as_megabytes(self) -> u64 {
        self.megabytes
    }
}

const WHAT: &str = "an amount of memory such as `16GB`";

impl Bound for Memory {
    const WHAT: &'static str = WHAT;

    fn write(self) -> Yaml {
        self.to_string().into()
    }

    fn parse(text: &str) -> Option<Self> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let text = text.to_ascii_uppercase();
        let (number, factor) = match text.as_str() {
            text if text.ends_with("MB") => (&text[..text.len() - 2], 1),
            text if text.ends_with("GB") => (&text[..text.len() - 2], 1024),
            text if text.ends_with("TB") => (&text[..text.len() - 2], 1024 * 1024),
            text => (text, 1024),
        };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
            return None;
        }
        let amount: f64 = number.parse().ok()?;
        let megabytes = amount * f64::from(factor);
        (megabytes < 1e15).then_some(Self {
            megabytes: megabytes.round() as u64,
        })
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.megabytes {
            amount if amount % (1024 * 1024) == 0 && amount > 0 => write!(f, "{}TB", amount / (1024 * 1024)),
            amount if amount % 1024 == 0 => write!(f, "{}GB", amount / 1024),
            amount => write!(f, "{amount}MB"),
        }
    }
}

impl Line for Memory {
    const WHAT: &'static str = WHAT;
    const CODE: &'static str = "bad-memory";
    const SUMMARY: &'static str = "bad amount of memory";
    const HINT: &'static str = "write `512MB`, `16GB` or `1TB`; a number alone is GB";

    fn parse(text: &str) -> Result<Self, String> {
        Bound::parse(text).ok_or_else(|| format!("`{}` is not {WHAT}.", excerpt(text)))
    }
}

impl FromNode for Memory {
    fn expected() -> String {
        WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for Memory {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": "^ *[0-9.]+ *([mMgGtT][bB])? *$"}],
            "title": "amount of memory",
            "examples": ["16GB"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_parse_and_print() {
        let cases = [
            ("16GB", "16GB"),
            ("512mb", "512MB"),
            ("1TB", "1TB"),
            ("24", "24GB"),
            ("0.5GB", "512MB"),
            ("16 GB", "16GB"),
        ];
        for (text, printed) in cases {
            assert_eq!(<Memory as Bound>::parse(text).unwrap().to_string(), printed);
        }
        for text in ["", "GB", "16GiB", "1e9", "-1GB"] {
            assert!(<Memory as Bound>::parse(text).is_none(), "{text}");
        }
    }
}
