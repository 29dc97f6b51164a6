//! Names of configuration files, kept in memory once.
//!
//! Every value of a configuration has its place, and a project has few files: a place names its file by a number.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::{LazyLock, PoisonError, RwLock};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of a configuration file, relative to the project directory. A process keeps those that it has met until it
/// ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FileName(NonZeroU32);

#[derive(Default)]
struct Known {
    names: Vec<&'static str>,
    numbers: HashMap<&'static str, FileName>,
}

static KNOWN: LazyLock<RwLock<Known>> = LazyLock::new(RwLock::default);

impl FileName {
    /// Returns the name.
    pub fn as_str(&self) -> &'static str {
        let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
        known.names[self.0.get() as usize - 1]
    }
}

impl From<&str> for FileName {
    fn from(name: &str) -> Self {
        let number = {
            let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner);
            known.numbers.get(name).copied()
        };
        number.unwrap_or_else(|| {
            let mut known = KNOWN.write().unwrap_or_else(PoisonError::into_inner);
            // Another thread may have been quicker.
            if let Some(number) = known.numbers.get(name) {
                return *number;
            }
            let name: &'static str = Box::leak(name.into());
            known.names.push(name);
            let number = u32::try_from(known.names.len()).ok().and_then(NonZeroU32::new);
            let number = Self(number.expect("nobody has four billion files"));
            known.numbers.insert(name, number);
            number
        })
    }
}

impl From<String> for FileName {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl Deref for FileName {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

/// By the name.
impl Ord for FileName {
    fn cmp(&self, other: &Self) -> Ordering {
        match self.0 == other.0 {
            true => Ordering::Equal,
            false => self.as_str().cmp(other.as_str()),
        }
    }
}

impl PartialOrd for FileName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Cow::<'de, str>::deserialize(deserializer)?.as_ref().into())
    }
}

impl JsonSchema for FileName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        String::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        String::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Place;

    #[test]
    fn equal_names_are_one_and_sort_as_text() {
        let [b, a, again] = ["file-name/b.yml", "file-name/a.yml", "file-name/b.yml"].map(FileName::from);
        assert_eq!(b, again);
        assert!(a < b);
        assert_eq!(serde_json::to_string(&a).unwrap(), "\"file-name/a.yml\"");
        assert_eq!(
            serde_json::from_str::<FileName>("\"file-name/b.yml\"").unwrap(),
            b
        );
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Option<Place>>(), 16);
    }
}
