//! Names of things: resource types, addresses, and the identifiers that events carry.
//!
//! An address is unique in a configuration and readable; a [`Uid`] belongs to one object for its life and follows it
//! through moves. Identifiers are newtypes so that one cannot stand where another is meant.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::str::FromStr;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::intern::{intern, interned};
use crate::words::is_unsafe;

/// A text that is not an address, a type or a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {wanted}: {reason}")]
pub struct ParseNameError {
    /// What was read.
    pub text: String,
    /// What it should have been, with its article.
    pub wanted: &'static str,
    /// Why it is not.
    pub reason: &'static str,
}

macro_rules! text_newtype {
    ($(#[$doc:meta])* $name:ident($(#[$field:meta])*)) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name($(#[$field])* Arc<str>);

        impl $name {
            /// Returns the text.
            pub fn as_str(&self) -> &str {
                &self.0
            }

            /// Returns the text as copies share it.
            pub fn text(&self) -> &Arc<str> {
                &self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }
        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }
    };
}

text_newtype!(
    /// The type of a resource, such as `aws_instance` or `host_unit`: lower-case letters, digits and `_`.
    ResourceType(#[serde(deserialize_with = "interned")])
);
text_newtype!(
    /// The name of a resource within its type; lowered resources have paths such as `qwen/default/0`.
    ResourceName()
);
text_newtype!(
    /// The name under which a provider is registered, such as `host`.
    ProviderName(#[serde(deserialize_with = "interned")])
);
text_newtype!(
    /// The provider's own identifier of an object; opaque to the engine.
    ObjectId()
);

impl ResourceType {
    /// Reads a resource type.
    ///
    /// # Errors
    /// When the text is empty, does not start with a lower-case letter, or holds anything but `a-z`, `0-9` and `_`.
    pub fn new(text: &str) -> Result<Self, ParseNameError> {
        let wrong = |reason| ParseNameError {
            text: text.to_owned(),
            wanted: "a resource type",
            reason,
        };
        match text.bytes().next() {
            None => return Err(wrong("it is empty")),
            Some(first) if !first.is_ascii_lowercase() => {
                return Err(wrong("it must start with a lower-case letter"));
            }
            Some(_) => {}
        }
        if text
            .bytes()
            .any(|b| !(b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
        {
            return Err(wrong("only lower-case letters, digits and `_` are allowed"));
        }
        Ok(Self(intern(text)))
    }
}

impl ResourceName {
    /// Reads a resource name: any text without control characters, invisible ones, quotes, brackets or white space.
    ///
    /// # Errors
    /// When the text is empty or holds such a character.
    pub fn new(text: &str) -> Result<Self, ParseNameError> {
        let wrong = |reason| ParseNameError {
            text: text.to_owned(),
            wanted: "a resource name",
            reason,
        };
        if text.is_empty() {
            return Err(wrong("it is empty"));
        }
        if text
            .chars()
            .any(|c| is_unsafe(c) || c.is_whitespace() || "\"'[]{}$".contains(c))
        {
            return Err(wrong(
                "white space, invisible characters, quotes, brackets, braces and `$` are not allowed",
            ));
        }
        Ok(Self(text.into()))
    }
}

impl ProviderName {
    /// Makes a provider name; wiring code calls this with its own constants.
    pub fn new(text: &str) -> Self {
        Self(intern(text))
    }
}

impl ObjectId {
    /// Makes an object id from whatever the provider's world calls the object.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }
}

/// The address of a resource: its type and its name, unique in a configuration.
///
/// Written `type.name`, or `type["name"]` when the name holds a character that an expression would read as its own
/// (`.`). Copies share it: graphs, plans and records name the same resources many times.
#[derive(Clone)]
pub struct ResourceAddress(Arc<AddressParts>);

/// What an address consists of.
#[derive(PartialEq, Eq, Hash)]
pub struct AddressParts {
    /// The resource's type.
    pub resource_type: ResourceType,
    /// The resource's name.
    pub name: ResourceName,
}

impl Deref for ResourceAddress {
    type Target = AddressParts;

    fn deref(&self) -> &AddressParts {
        &self.0
    }
}

impl PartialEq for ResourceAddress {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for ResourceAddress {}

impl Hash for ResourceAddress {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// By type, then by name.
impl Ord for ResourceAddress {
    fn cmp(&self, other: &Self) -> Ordering {
        if Arc::ptr_eq(&self.0, &other.0) {
            return Ordering::Equal;
        }
        // Types are interned, and most comparisons are among resources of one type.
        let by_type = match Arc::ptr_eq(&self.resource_type.0, &other.resource_type.0) {
            true => Ordering::Equal,
            false => self.resource_type.cmp(&other.resource_type),
        };
        by_type.then_with(|| self.name.cmp(&other.name))
    }
}

impl PartialOrd for ResourceAddress {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl ResourceAddress {
    /// Puts an address together.
    pub fn new(resource_type: ResourceType, name: ResourceName) -> Self {
        Self(Arc::new(AddressParts { resource_type, name }))
    }

    /// Reads type and name apart, as lowering code has them.
    ///
    /// # Errors
    /// When either is not well formed.
    pub fn of(resource_type: &str, name: &str) -> Result<Self, ParseNameError> {
        Ok(Self::new(
            ResourceType::new(resource_type)?,
            ResourceName::new(name)?,
        ))
    }
}

impl fmt::Display for ResourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = self
            .name
            .0
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_/:@".contains(c));
        if plain {
            write!(f, "{}.{}", self.resource_type, self.name)
        } else {
            write!(f, "{}[\"{}\"]", self.resource_type, self.name)
        }
    }
}

impl fmt::Debug for ResourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for ResourceAddress {
    type Err = ParseNameError;

    fn from_str(text: &str) -> Result<Self, ParseNameError> {
        let wrong = |reason| ParseNameError {
            text: text.to_owned(),
            wanted: "an address",
            reason,
        };
        let (kind, rest) = match text.find(['.', '[']) {
            Some(at) => text.split_at(at),
            None => return Err(wrong("it has no `.` between type and name")),
        };
        let name = if let Some(quoted) = rest.strip_prefix("[\"") {
            quoted
                .strip_suffix("\"]")
                .ok_or_else(|| wrong("the quoted name does not end with `\"]`"))?
        } else {
            rest.strip_prefix('.')
                .ok_or_else(|| wrong("a name in brackets must be quoted"))?
        };
        Self::of(kind, name)
    }
}

impl JsonSchema for ResourceAddress {
    fn schema_name() -> Cow<'static, str> {
        "ResourceAddress".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "The address of a resource, its type and its name.",
            "examples": ["host_unit.qwen/default/0"],
        })
    }
}

impl Serialize for ResourceAddress {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ResourceAddress {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

macro_rules! uuid_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(#[schemars(with = "String")] Uuid);

        impl $name {
            /// Wraps an identifier that the caller's [`IdSource`] made.
            pub fn from_uuid(id: Uuid) -> Self {
                Self(id)
            }

            /// Returns the identifier.
            pub fn as_uuid(&self) -> Uuid {
                self.0
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
        impl FromStr for $name {
            type Err = uuid::Error;

            fn from_str(text: &str) -> Result<Self, uuid::Error> {
                text.parse().map(Self)
            }
        }
    };
}

uuid_newtype!(
    /// The identifier of one object for its whole life; a replacement is another object with another uid.
    Uid
);
uuid_newtype!(
    /// The identifier of one call that changes the world; the provider's idempotency key where one exists.
    OperationId
);
uuid_newtype!(
    /// The identifier of one run of a command that writes to the log.
    RunId
);
uuid_newtype!(
    /// The identifier that a state gets when it is created and keeps for ever.
    Lineage
);

/// Where identifiers come from: random in production, counted in tests.
pub trait IdSource: Send + Sync {
    /// Returns an identifier that was never returned before.
    fn next(&self) -> Uuid;
}

/// Time-ordered random identifiers (UUID version 7).
#[derive(Debug, Default, Clone, Copy)]
pub struct RandomIds;

impl IdSource for RandomIds {
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// Identifiers that count from one, for tests: the same run makes the same identifiers.
#[derive(Debug, Default)]
pub struct CountedIds(std::sync::atomic::AtomicU64);

impl IdSource for CountedIds {
    fn next(&self) -> Uuid {
        let count = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        Uuid::from_u64_pair(0, count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_prints_and_parses_the_same() {
        for text in [
            "host_unit.qwen/default/0",
            "aws_route53_record[\"*.example.com\"]",
            "gabion_data.a",
        ] {
            let address: ResourceAddress = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn malformed_addresses_are_refused() {
        for text in ["", "a", "A.b", "a.", "a.[x]", "a[\"x\"", "1a.b", "a.b c"] {
            assert!(text.parse::<ResourceAddress>().is_err(), "{text}");
        }
    }
}
