//! `required_version`: which versions of gabion may work on a project.

use std::fmt;
use std::str::FromStr;

use super::decode::FromNode;
use super::node::Node;
use crate::diagnostic::Diagnostics;

/// A requirement such as `>= 0.2, < 0.5`: every part must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRequirement {
    text: String,
    parts: Vec<(Comparison, [u64; 3])>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
}

impl VersionRequirement {
    /// Tells whether a version (`1.2.3`) meets the requirement. A pre-release counts as its release.
    pub fn is_met_by(&self, version: &str) -> bool {
        let Some(version) = numbers(version.split(['-', '+']).next().unwrap_or_default()) else {
            return false;
        };
        self.parts.iter().all(|(comparison, wanted)| match comparison {
            Comparison::Less => version < *wanted,
            Comparison::LessOrEqual => version <= *wanted,
            Comparison::Equal => version == *wanted,
            Comparison::GreaterOrEqual => version >= *wanted,
            Comparison::Greater => version > *wanted,
        })
    }
}

impl FromStr for VersionRequirement {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let part = |part: &str| {
            let part = part.trim();
            let (comparison, version) = [
                ("<=", Comparison::LessOrEqual),
                (">=", Comparison::GreaterOrEqual),
                ("<", Comparison::Less),
                (">", Comparison::Greater),
                ("=", Comparison::Equal),
            ]
            .into_iter()
            .find_map(|(sign, comparison)| part.strip_prefix(sign).map(|rest| (comparison, rest)))
            .unwrap_or((Comparison::Equal, part));
            numbers(version.trim()).map(|version| (comparison, version))
        };
        let parts = text.split(',').map(part).collect::<Option<Vec<_>>>().ok_or(())?;
        Ok(Self {
            text: text.to_owned(),
            parts,
        })
    }
}

impl fmt::Display for VersionRequirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromNode for VersionRequirement {
    fn expected() -> String {
        "a version requirement such as `>= 0.2, < 0.5`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let requirement = node.text().and_then(|text| text.parse().ok());
        if requirement.is_none() {
            problems.push(node.wrong_type(&Self::expected()));
        }
        requirement
    }
}

/// Up to three numbers; those left out are 0.
fn numbers(text: &str) -> Option<[u64; 3]> {
    let mut version = [0; 3];
    let mut parts = text.split('.');
    for (slot, part) in version.iter_mut().zip(parts.by_ref()) {
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_of_a_requirement_must_hold() {
        let check = |requirement: &str, version: &str, met: bool| {
            let parsed: VersionRequirement = requirement.parse().unwrap();
            assert_eq!(parsed.is_met_by(version), met, "{requirement} {version}");
        };
        check(">= 0.1", "0.1.0", true);
        check(">= 0.2, < 0.5", "0.1.9", false);
        check(">= 0.2, < 0.5", "0.4.7", true);
        check(">= 0.2, < 0.5", "0.5.0", false);
        check("0.1.0", "0.1.0-dev", true);
        check("> 1", "1.0.0", false);
        for text in ["", ">=", "a", "1.2.3.4", ">= 1,"] {
            assert!(text.parse::<VersionRequirement>().is_err(), "{text}");
        }
    }
}
