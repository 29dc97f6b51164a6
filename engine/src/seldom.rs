//! Values that are seldom anything but their default.
//!
//! A project of many thousands of resources says little of most of them. What nothing is said of takes the room of a
//! pointer, not of the value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, LazyLock};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::ResourceAddress;
use crate::plan::change::PlannedAlternatives;
use crate::resource::{Alternatives, Condition, Lifecycle, TimeoutOverrides};
use crate::schema::Timeouts;
use crate::state::record::Pin;

/// A value that takes no room while it is its type's default. Reads, compares, prints and is written as the value.
#[derive(Clone)]
pub struct Seldom<T>(Option<Box<T>>);

/// What can be seldom: its default is at hand without making it.
pub trait Usual: Default + PartialEq + 'static {
    /// Returns the default.
    fn usual() -> &'static Self;
}

macro_rules! usual {
    ($($name:ty),*) => {
        $(impl Usual for $name {
            fn usual() -> &'static Self {
                static USUAL: LazyLock<$name> = LazyLock::new(Default::default);
                &USUAL
            }
        })*
    };
}

usual!(
    Alternatives,
    BTreeMap<Arc<str>, Pin>,
    Lifecycle,
    PlannedAlternatives,
    TimeoutOverrides,
    Timeouts,
    Vec<Arc<str>>,
    Vec<Condition>,
    Vec<ResourceAddress>,
    Vec<String>,
    serde_json::Value
);

impl<T: Usual> Seldom<T> {
    /// Returns whether it is its type's default.
    pub fn is_usual(&self) -> bool {
        **self == *T::usual()
    }
}

impl<T> Default for Seldom<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Usual> From<T> for Seldom<T> {
    fn from(value: T) -> Self {
        Self((value != *T::usual()).then(|| Box::new(value)))
    }
}

impl<T: Usual> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or_else(|| T::usual())
    }
}

impl<T: Usual> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.get_or_insert_default()
    }
}

impl<T: Usual> PartialEq for Seldom<T> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<T: Usual + Eq> Eq for Seldom<T> {}

impl<T: Usual + fmt::Debug> fmt::Debug for Seldom<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

impl<T: Usual + Serialize> Serialize for Seldom<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        T::serialize(self, serializer)
    }
}

impl<'de, T: Usual + Deserialize<'de>> Deserialize<'de> for Seldom<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::from)
    }
}

impl<T: JsonSchema> JsonSchema for Seldom<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> std::borrow::Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_and_is_written_as_its_value() {
        let usual = Seldom::from(Lifecycle::default());
        assert!(usual.0.is_none());
        assert_eq!(usual, Seldom::default());
        assert_eq!(
            serde_json::to_string(&usual).unwrap(),
            serde_json::to_string(&Lifecycle::default()).unwrap()
        );
        let mut other = usual.clone();
        other.prevent_destroy = true;
        assert_ne!(other, usual);
        let written = serde_json::to_string(&other).unwrap();
        assert_eq!(
            serde_json::from_str::<Seldom<Lifecycle>>(&written).unwrap(),
            other
        );
        other.prevent_destroy = false;
        assert_eq!(other, usual);
    }

    #[test]
    fn it_takes_the_room_of_a_pointer() {
        assert_eq!(size_of::<Seldom<Timeouts>>(), size_of::<usize>());
    }
}
