//! The attributes of a resource, compact and shared.

use std::borrow::Cow;
use std::fmt;
use std::iter::Map;
use std::mem;
use std::slice;
use std::sync::Arc;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::intern::Interned;
use crate::value::Value;

type Entry = (Arc<str>, Value);

/// The attributes of a resource or object, by name and in the order of their names.
///
/// Copies share what they hold until one of them is changed: planning and applying hand the same attributes on many
/// times, and a project has many thousands of them.
#[derive(Clone, Default)]
pub struct Attributes(Arc<[Entry]>);

/// What [`Attributes::iter`] returns.
pub type Iter<'a> = Map<slice::Iter<'a, Entry>, fn(&'a Entry) -> (&'a Arc<str>, &'a Value)>;
/// What [`Attributes::iter_mut`] returns.
pub type IterMut<'a> = Map<slice::IterMut<'a, Entry>, fn(&'a mut Entry) -> (&'a Arc<str>, &'a mut Value)>;

fn both(entry: &Entry) -> (&Arc<str>, &Value) {
    (&entry.0, &entry.1)
}

fn both_mut(entry: &mut Entry) -> (&Arc<str>, &mut Value) {
    (&entry.0, &mut entry.1)
}

impl Attributes {
    /// Makes attributes without any.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps entries that are in order; none take no memory of their own.
    fn of(entries: Vec<Entry>) -> Self {
        match entries.is_empty() {
            true => Self::default(),
            false => Self(entries.into()),
        }
    }

    fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// Returns the entries, their values to be changed: those of a copy of their own, if others share them.
    fn own(&mut self) -> &mut [Entry] {
        Arc::make_mut(&mut self.0)
    }

    /// Changes which entries there are. They lie together with the count of who shares them, in no more room than they
    /// need: most resources have few, many resources have them, and they are seldom changed once they are there.
    fn change<T>(&mut self, change: impl FnOnce(&mut Vec<Entry>) -> T) -> T {
        let mut entries = self.take();
        let result = change(&mut entries);
        *self = Self::of(entries);
        result
    }

    /// Takes the entries out, with room for one more: those of a copy, if others share them.
    fn take(&mut self) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(self.len() + 1);
        let mut entries = mem::take(&mut self.0);
        match Arc::get_mut(&mut entries) {
            Some(own) => taken.extend(
                own.iter_mut()
                    .map(|(name, value)| (name.clone(), mem::take(value))),
            ),
            None => taken.extend_from_slice(&entries),
        }
        taken
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries().binary_search_by(|(own, _)| (**own).cmp(name))
    }

    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries().is_empty()
    }

    /// Returns whether both are the same in memory: then they are equal without a look at them.
    pub fn shares(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || (self.is_empty() && other.is_empty())
    }

    /// Returns the value of one.
    pub fn get<N: AsRef<str> + ?Sized>(&self, name: &N) -> Option<&Value> {
        let at = self.find(name.as_ref()).ok()?;
        Some(&self.entries()[at].1)
    }

    /// Returns the value of one, to be changed.
    pub fn get_mut<N: AsRef<str> + ?Sized>(&mut self, name: &N) -> Option<&mut Value> {
        let at = self.find(name.as_ref()).ok()?;
        Some(&mut self.own()[at].1)
    }

    /// Returns whether there is one of this name.
    pub fn contains_key<N: AsRef<str> + ?Sized>(&self, name: &N) -> bool {
        self.find(name.as_ref()).is_ok()
    }

    /// Sets the value of one, and returns the one that it had.
    pub fn insert(&mut self, name: Arc<str>, value: Value) -> Option<Value> {
        match self.find(&name) {
            Ok(at) => Some(mem::replace(&mut self.own()[at].1, value)),
            Err(at) => {
                self.change(|entries| entries.insert(at, (name, value)));
                None
            }
        }
    }

    /// Takes one out.
    pub fn remove<N: AsRef<str> + ?Sized>(&mut self, name: &N) -> Option<Value> {
        let at = self.find(name.as_ref()).ok()?;
        Some(self.change(|entries| entries.remove(at)).1)
    }

    /// Returns the value of one, to be changed; one that is not there is made first.
    pub fn get_or_insert_with(&mut self, name: &Arc<str>, make: impl FnOnce() -> Value) -> &mut Value {
        let at = match self.find(name) {
            Ok(at) => at,
            Err(at) => {
                self.change(|entries| entries.insert(at, (name.clone(), make())));
                at
            }
        };
        &mut self.own()[at].1
    }

    /// Keeps those for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&Arc<str>, &mut Value) -> bool) {
        if !self.is_empty() {
            self.change(|entries| entries.retain_mut(|(name, value)| keep(name, value)));
        }
    }

    /// Keeps those for which `keep` holds; where that is all of them, they stay shared.
    pub fn keep(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        if !self.iter().all(|(name, value)| keep(name, value)) {
            self.change(|entries| entries.retain(|(name, value)| keep(name, value)));
        }
    }

    /// Returns the names and values.
    pub fn iter(&self) -> Iter<'_> {
        self.entries().iter().map(both)
    }

    /// Returns the names and values, these to be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_> {
        self.own().iter_mut().map(both_mut)
    }

    /// Returns the names.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &Arc<str>> + ExactSizeIterator + Clone {
        self.entries().iter().map(|(name, _)| name)
    }

    /// Returns the values.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Value> + ExactSizeIterator + Clone {
        self.entries().iter().map(|(_, value)| value)
    }

    /// Returns the values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut Value> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// Returns the values by themselves.
    pub fn into_values(self) -> impl Iterator<Item = Value> {
        self.into_iter().map(|(_, value)| value)
    }
}

/// Sorts entries by name; of several with one name the last counts.
fn sorted(mut entries: Vec<Entry>) -> Attributes {
    if !entries.is_sorted_by(|a, b| a.0 < b.0) {
        entries.reverse();
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        entries.dedup_by(|later, first| later.0 == first.0);
    }
    Attributes::of(entries)
}

impl FromIterator<Entry> for Attributes {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        sorted(entries.into_iter().collect())
    }
}

impl<const N: usize> From<[Entry; N]> for Attributes {
    fn from(entries: [Entry; N]) -> Self {
        sorted(Vec::from(entries))
    }
}

impl Extend<Entry> for Attributes {
    fn extend<I: IntoIterator<Item = Entry>>(&mut self, entries: I) {
        let mut all = self.take();
        all.extend(entries);
        *self = sorted(all);
    }
}

impl<'a> IntoIterator for &'a Attributes {
    type Item = (&'a Arc<str>, &'a Value);
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a> IntoIterator for &'a mut Attributes {
    type Item = (&'a Arc<str>, &'a mut Value);
    type IntoIter = IterMut<'a>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

impl IntoIterator for Attributes {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(mut self) -> Self::IntoIter {
        self.take().into_iter()
    }
}

impl<N: AsRef<str> + ?Sized> std::ops::Index<&N> for Attributes {
    type Output = Value;

    fn index(&self, name: &N) -> &Value {
        self.get(name).expect("whoever indexes knows that it is there")
    }
}

impl PartialEq for Attributes {
    fn eq(&self, other: &Self) -> bool {
        self.shares(other) || self.entries() == other.entries()
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self).finish()
    }
}

impl Serialize for Attributes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self)
    }
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;

        impl<'de> Visitor<'de> for Entries {
            type Value = Attributes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut entries = Vec::with_capacity(map.size_hint().unwrap_or(4).min(64));
                while let Some((Interned(name), value)) = map.next_entry()? {
                    entries.push((name, value));
                }
                Ok(sorted(entries))
            }
        }

        deserializer.deserialize_map(Entries)
    }
}

impl JsonSchema for Attributes {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        <std::collections::BTreeMap<Arc<str>, Value> as JsonSchema>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        <std::collections::BTreeMap<Arc<str>, Value> as JsonSchema>::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intern::intern;

    fn of(names: &[&str]) -> Attributes {
        names
            .iter()
            .enumerate()
            .map(|(at, name)| (intern(name), Value::Int(i64::try_from(at).unwrap())))
            .collect()
    }

    #[test]
    fn they_are_in_the_order_of_their_names_and_the_last_of_a_name_counts() {
        let attributes = of(&["c", "a", "b", "a"]);
        let names: Vec<&str> = attributes.keys().map(|name| &**name).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(attributes.get("a"), Some(&Value::Int(3)));
    }

    #[test]
    fn a_copy_that_is_changed_leaves_the_other_as_it_was() {
        let first = of(&["a", "b"]);
        let mut second = first.clone();
        assert!(second.shares(&first));
        second.insert("c".into(), Value::Null);
        second.remove("a");
        for value in second.values_mut() {
            *value = Value::Bool(true);
        }
        assert_eq!(first, of(&["a", "b"]));
        assert_eq!(
            second,
            Attributes::from([("b".into(), true.into()), ("c".into(), true.into())])
        );
    }

    #[test]
    fn they_are_added_and_taken_out_one_by_one_or_together() {
        let mut attributes = of(&["b", "d"]);
        let shared = attributes.clone();
        assert_eq!(attributes.insert("a".into(), Value::Int(7)), None);
        assert_eq!(attributes.insert("b".into(), Value::Int(8)), Some(Value::Int(0)));
        *attributes.get_or_insert_with(&"c".into(), || Value::Null) = Value::Int(9);
        attributes.extend([("e".into(), Value::Null), ("a".into(), Value::Int(5))]);
        assert_eq!(attributes.remove("d"), Some(Value::Int(1)));
        attributes.retain(|name, _| &**name != "e");
        let expected = [("a", 5), ("b", 8), ("c", 9)];
        let expected = expected.map(|(name, number)| (intern(name), Value::Int(number)));
        assert_eq!(attributes, Attributes::from(expected.clone()));
        assert!(attributes.into_iter().eq(expected));
        assert_eq!(shared, of(&["b", "d"]));
        let mut last = of(&["a"]);
        last.remove("a");
        assert!(last.is_empty() && last.shares(&Attributes::new()));
    }

    #[test]
    fn what_is_written_reads_back() {
        let written = serde_json::to_string(&of(&["b", "a"])).unwrap();
        assert_eq!(written, r#"{"a":1,"b":0}"#);
        assert_eq!(
            serde_json::from_str::<Attributes>(&written).unwrap(),
            of(&["b", "a"])
        );
        let unsorted: Attributes = serde_json::from_str(r#"{"b":0,"a":7,"a":1}"#).unwrap();
        assert_eq!(unsorted, of(&["b", "a"]));
    }
}
