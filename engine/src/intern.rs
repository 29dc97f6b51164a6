//! Names that occur many times, kept in memory once.
//!
//! A project of many thousands of resources has few names of attributes, types and providers. What is interned here is
//! equal to what is not: nothing depends on it but how much memory it takes.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use crate::value::{AttributePath, PathSegment};

/// How many names a thread keeps. What has more names is a map of the user's own, such as of environment variables.
const MOST: usize = 1024;
/// How long a name may be: the digest of a plan is one, which every record names.
const LONGEST: usize = 80;

thread_local! {
    static NAMES: RefCell<HashSet<Arc<str>>> = RefCell::new(HashSet::new());
    static ROOTS: RefCell<HashMap<Box<str>, AttributePath>> = RefCell::new(HashMap::new());
}

/// Returns a text that is shared with the earlier ones that equal it.
pub(crate) fn intern(text: &str) -> Arc<str> {
    if text.len() > LONGEST {
        return Arc::from(text);
    }
    NAMES.with_borrow_mut(|names| {
        if let Some(known) = names.get(text) {
            return known.clone();
        }
        let new: Arc<str> = Arc::from(text);
        if names.len() < MOST {
            names.insert(new.clone());
        }
        new
    })
}

/// Returns the path of a top-level attribute, shared with the earlier ones of its name.
pub(crate) fn intern_root(name: &str) -> AttributePath {
    let new = || AttributePath(Arc::new([PathSegment::Key(intern(name))]));
    if name.len() > LONGEST {
        return new();
    }
    ROOTS.with_borrow_mut(|roots| {
        if let Some(known) = roots.get(name) {
            return known.clone();
        }
        let root = new();
        if roots.len() < MOST {
            roots.insert(name.into(), root.clone());
        }
        root
    })
}

/// A text that is interned when it is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interned(pub(crate) Arc<str>);

impl<'de> Deserialize<'de> for Interned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Interned;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Interned, E> {
                Ok(Interned(intern(text)))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

/// Reads a text interned: for fields (`#[serde(deserialize_with)]`).
pub(crate) fn interned<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
    Interned::deserialize(deserializer).map(|Interned(text)| text)
}

/// Reads a text interned, if there is one: for fields (`#[serde(default, deserialize_with)]`).
pub(crate) fn interned_option<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Arc<str>>, D::Error> {
    let text = Option::<Interned>::deserialize(deserializer)?;
    Ok(text.map(|Interned(text)| text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_text() {
        let (a, b): (Interned, Interned) =
            serde_json::from_str(r#"["interned twice", "interned\u0020twice"]"#)
                .map(|[a, b]: [Interned; 2]| (a, b))
                .unwrap();
        assert!(Arc::ptr_eq(&a.0, &b.0));
        let long = "x".repeat(LONGEST + 1);
        assert!(!Arc::ptr_eq(&intern(&long), &intern(&long)));
    }
}
