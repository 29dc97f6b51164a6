//! The place of a value within attributes.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::intern::{intern, intern_root};

/// One step into a value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathSegment {
    /// An entry of a map.
    Key(Arc<str>),
    /// An item of a list, from 0.
    Index(usize),
}

/// The place of a value within attributes, printed as `a.b[0]["odd key"]`. Copies share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AttributePath(pub Arc<[PathSegment]>);

impl AttributePath {
    /// Returns the path of a top-level attribute.
    pub fn root(name: impl AsRef<str>) -> Self {
        intern_root(name.as_ref())
    }

    /// Returns this path, one key deeper.
    #[must_use]
    pub fn key(&self, name: impl AsRef<str>) -> Self {
        self.deeper(PathSegment::Key(intern(name.as_ref())))
    }

    /// Returns this path, one index deeper.
    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.deeper(PathSegment::Index(index))
    }

    fn deeper(&self, segment: PathSegment) -> Self {
        let own = self.0.iter().cloned();
        Self(own.chain(std::iter::once(segment)).collect())
    }

    /// Returns this path within a top-level attribute.
    #[must_use]
    pub fn below(&self, name: impl AsRef<str>) -> Self {
        let root = Self::root(name);
        match self.0.is_empty() {
            true => root,
            false => Self(root.0.iter().chain(&*self.0).cloned().collect()),
        }
    }

    /// Returns the top-level attribute's name.
    pub fn first_key(&self) -> Option<&str> {
        match self.0.first() {
            Some(PathSegment::Key(name)) => Some(name),
            _ => None,
        }
    }

    /// Returns whether `other` is this path or inside it.
    pub fn contains(&self, other: &AttributePath) -> bool {
        other.0.starts_with(&self.0)
    }
}

impl fmt::Display for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, segment) in self.0.iter().enumerate() {
            match segment {
                PathSegment::Index(index) => write!(f, "[{index}]")?,
                PathSegment::Key(name) => {
                    let plain = !name.is_empty()
                        && name
                            .chars()
                            .all(|c| c.is_ascii_alphanumeric() || "-_".contains(c));
                    match (plain, position) {
                        (true, 0) => f.write_str(name)?,
                        (true, _) => write!(f, ".{name}")?,
                        (false, _) => {
                            write!(f, "[\"{}\"]", name.replace('\\', "\\\\").replace('"', "\\\""))?;
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for AttributePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not an attribute path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an attribute path; write it as `name.key[0][\"odd key\"]`")]
pub struct ParsePathError(pub String);

impl std::str::FromStr for AttributePath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let wrong = || ParsePathError(text.to_owned());
        let mut segments = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            if let Some(quoted) = rest.strip_prefix("[\"") {
                let mut name = String::new();
                let mut chars = quoted.char_indices();
                let end = loop {
                    match chars.next().ok_or_else(wrong)? {
                        (_, '\\') => name.push(chars.next().ok_or_else(wrong)?.1),
                        (at, '"') => break at + 1,
                        (_, other) => name.push(other),
                    }
                };
                rest = quoted[end..].strip_prefix(']').ok_or_else(wrong)?;
                segments.push(PathSegment::Key(name.into()));
            } else if let Some(number) = rest.strip_prefix('[') {
                let end = number.find(']').ok_or_else(wrong)?;
                segments.push(PathSegment::Index(number[..end].parse().map_err(|_| wrong())?));
                rest = &number[end + 1..];
            } else {
                let name = match (segments.is_empty(), rest.strip_prefix('.')) {
                    (true, None) => rest,
                    (false, Some(name)) => name,
                    _ => return Err(wrong()),
                };
                let end = name.find(['.', '[']).unwrap_or(name.len());
                if end == 0 {
                    return Err(wrong());
                }
                segments.push(PathSegment::Key(intern(&name[..end])));
                rest = &name[end..];
            }
        }
        if segments.is_empty() {
            Err(wrong())
        } else {
            Ok(Self(segments.into()))
        }
    }
}

impl Serialize for AttributePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AttributePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(D::Error::custom)
    }
}

impl JsonSchema for AttributePath {
    fn schema_name() -> Cow<'static, str> {
        "AttributePath".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The path of an attribute.",
            "examples": ["env.HF_TOKEN", "ports[0]"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_print_and_parse_the_same() {
        for text in ["a", "a.b[0].c", "a[\"x.y\"][2]", "a[\"q\\\"q\"]"] {
            assert_eq!(text.parse::<AttributePath>().unwrap().to_string(), text);
        }
        for text in ["", ".", "a..b", "a[", "a[x]", "a[\"x\""] {
            assert!(text.parse::<AttributePath>().is_err(), "{text}");
        }
    }
}
