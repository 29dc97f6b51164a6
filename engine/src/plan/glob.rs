//! Patterns over addresses, as `--target` and `--exclude` take them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::address::ResourceAddress;

/// A pattern over addresses: `*` stands for any characters, also none, and `?` for one.
///
/// `host_unit.qwen/*` is every unit of `qwen`; an address without either is itself.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressGlob(Arc<str>);

/// A text that is no pattern over addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a pattern over addresses; write it as `type.name`, with `*` for any characters")]
pub struct ParseGlobError(String);

impl AddressGlob {
    /// Returns the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether an address fits the pattern.
    pub fn matches(&self, address: &ResourceAddress) -> bool {
        // An address with a wildcard in its name (`aws_route53_record["*.example.com"]`) fits itself, too.
        let text = address.to_string();
        *self.0 == *text || fits(&self.0, &text)
    }
}

impl FromStr for AddressGlob {
    type Err = ParseGlobError;

    fn from_str(text: &str) -> Result<Self, ParseGlobError> {
        let text = text.trim();
        let whole = text.contains(['.', '*', '[']) && !text.contains(char::is_whitespace);
        if whole {
            Ok(Self(text.into()))
        } else {
            Err(ParseGlobError(text.to_owned()))
        }
    }
}

impl fmt::Display for AddressGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for AddressGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

/// Matches with one retry point, the last `*`: at worst the product of the lengths, and no recursion.
fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                retry = Some((p + 1, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match &mut retry {
                Some((after_star, from)) => {
                    *from += 1;
                    p = *after_star;
                    t = *from;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_shells_do() {
        let check = |pattern: &str, address: &str, expected: bool| {
            let glob: AddressGlob = pattern.parse().unwrap();
            assert_eq!(
                glob.matches(&address.parse().unwrap()),
                expected,
                "{pattern} {address}"
            );
        };
        check("host_unit.a", "host_unit.a", true);
        check("host_unit.a", "host_unit.ab", false);
        check("host_unit.qwen/*", "host_unit.qwen/default/0", true);
        check("*.qwen/*", "router_worker.qwen/default/1", true);
        check("*.qwen/*/1", "router_worker.qwen/default/1", true);
        check("*", "a.b", true);
        check("host_unit.?", "host_unit.a", true);
        check("host_unit.?", "host_unit.ab", false);
        check("r[\"*.x\"]", "r[\"*.x\"]", true);
        assert!("nonsense".parse::<AddressGlob>().is_err());
    }
}
