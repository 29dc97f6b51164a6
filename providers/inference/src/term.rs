//! Terms: values of the language that are read from a document, written back, and described to editors.
//!
//! Maps are declared with [`map_type!`] and words with [`keyword!`], once for all three; values with a one-line form
//! implement [`Line`]. What is written is the resolved form, with every default in it, and reads as the same value.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use gabion_engine::config::{FromNode, MapReader, Node, NodeKind, OneOrMany, Spanned, Template};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Map, Value as Json, json};
use serde_yaml::{Mapping, Value as Yaml};

/// A value of the language.
pub trait Term: FromNode {
    /// Returns the value as it is written.
    fn write(&self) -> Yaml;

    /// Returns the JSON Schema of what is read.
    fn schema() -> Json;
}

/// A map with fixed keys; see [`map_type!`].
pub trait MapTerm: Sized {
    /// What it is, without an article, for messages.
    const WHAT: &'static str;

    /// Reads its keys, of a map that may have others.
    fn read(map: &mut MapReader<'_>) -> Option<Self>;

    /// Writes its keys.
    fn write_into(&self, out: &mut Mapping);

    /// Describes its keys.
    fn describe(schema: &mut MapSchema);
}

/// The keys of a map, for its JSON Schema.
#[derive(Debug, Default)]
pub struct MapSchema {
    properties: Map<String, Json>,
    required: Vec<&'static str>,
}

impl MapSchema {
    /// Adds a key: what it is, what is read, and what its absence means (`None` when it must be there).
    pub fn key(&mut self, key: &'static str, doc: &str, mut schema: Json, default: Option<Yaml>) {
        schema["description"] = doc.trim().into();
        let says_what = ["examples", "enum", "const"]
            .iter()
            .any(|key| schema.get(key).is_some());
        if default.is_none() && !says_what {
            schema["examples"] = json!([example_of(key)]);
        }
        match default {
            None => self.required.push(key),
            Some(default) => match serde_json::to_value(default) {
                Ok(Json::Null) | Err(_) => {}
                Ok(default) => schema["default"] = default,
            },
        }
        self.properties.insert(key.to_owned(), schema);
    }

    /// Adds another name of a key.
    pub fn alias(&mut self, old: &'static str, key: &'static str) {
        if let Some(schema) = self.properties.get(key) {
            let mut schema = schema.clone();
            schema["description"] = format!("Another name of `{key}`.").into();
            if let Some(schema) = schema.as_object_mut() {
                schema.remove("default");
            }
            self.properties.insert(old.to_owned(), schema);
        }
        // Either of the two names will do, which the decoder checks.
        self.required.retain(|required| *required != key);
    }

    /// Adds a key that means nothing any more.
    pub fn without_effect(&mut self, key: &'static str) {
        let schema = json!({"deprecated": true, "description": "Means nothing any more."});
        self.properties.insert(key.to_owned(), schema);
    }

    fn into_json(self) -> Json {
        let mut schema = json!({
            "type": "object",
            "additionalProperties": false,
            "properties": self.properties,
        });
        if !self.required.is_empty() {
            schema["required"] = self.required.into();
        }
        schema
    }
}

/// Returns an example of a text that must be there.
fn example_of(key: &str) -> Json {
    match key {
        "hosts" => json!(["10.0.0.7", "10.0.0.8"]),
        "hostname" => "10.0.0.7".into(),
        "user" => "ubuntu".into(),
        "identity_file" => "~/.ssh/id_ed25519".into(),
        "username" => "$oauthtoken".into(),
        "password" => "${{ secrets.REGISTRY_PASSWORD }}".into(),
        "local_path" => "./settings.json".into(),
        "path" => "/app/settings.json".into(),
        "value" => "application/json".into(),
        _ => "qwen".into(),
    }
}

/// Reads a map.
pub fn read_map<T: MapTerm>(node: &Node, problems: &mut Diagnostics) -> Option<T> {
    let mut map = MapReader::open(node, T::WHAT, problems)?;
    let value = T::read(&mut map);
    map.finish();
    value
}

/// Writes a map.
pub fn write_map<T: MapTerm>(value: &T) -> Yaml {
    let mut out = Mapping::new();
    value.write_into(&mut out);
    Yaml::Mapping(out)
}

/// Describes a map.
pub fn map_schema<T: MapTerm>() -> Json {
    let mut schema = MapSchema::default();
    T::describe(&mut schema);
    schema.into_json()
}

/// Writes one key of a map; what is not set is left out.
pub fn write_key(out: &mut Mapping, key: &str, value: Yaml) {
    if !value.is_null() {
        out.insert(key.into(), value);
    }
}

/// A value with a one-line form, which its `Display` prints.
pub trait Line: Sized + fmt::Display {
    /// What it is, with its article and an example, for messages.
    const WHAT: &'static str;
    /// The code of the error about a bad one.
    const CODE: &'static str;
    /// That error in a few words.
    const SUMMARY: &'static str;
    /// How to write a good one.
    const HINT: &'static str;

    /// Reads the one-line form.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    fn parse(text: &str) -> Result<Self, String>;

    /// Returns the part of a bad text that is wrong, if it is not all of it.
    fn culprit(text: &str) -> Option<Range<usize>> {
        let _ = text;
        None
    }
}

/// Reads the one-line form of a value from a scalar.
pub fn read_line<T: Line>(node: &Node, problems: &mut Diagnostics) -> Option<T> {
    let Some(text) = node.text().filter(|_| !matches!(node.kind, NodeKind::Bool(_))) else {
        problems.push(node.wrong_type(T::WHAT));
        return None;
    };
    match T::parse(text) {
        Ok(value) => Some(value),
        Err(_) if Template::is_in(text) => {
            problems.push(node.wrong_type(T::WHAT));
            None
        }
        Err(why) => {
            let problem = node.error(T::CODE, T::SUMMARY).detail(why).hint(T::HINT);
            problems.push(match T::culprit(text) {
                Some(part) => problem.at(node.part(part.start, part.end)),
                None => problem,
            });
            None
        }
    }
}

/// Returns a text for a message: one line, not too long.
pub(crate) fn excerpt(text: &str) -> String {
    let mut short: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl<T: Term> Term for Spanned<T> {
    fn write(&self) -> Yaml {
        self.value.write()
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Term> Term for Option<T> {
    fn write(&self) -> Yaml {
        self.as_ref().map_or(Yaml::Null, Term::write)
    }

    fn schema() -> Json {
        T::schema()
    }
}

impl<T: Term> Term for Vec<T> {
    fn write(&self) -> Yaml {
        Yaml::Sequence(self.iter().map(Term::write).collect())
    }

    fn schema() -> Json {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Term> Term for OneOrMany<T> {
    fn write(&self) -> Yaml {
        Yaml::Sequence(self.0.iter().map(Term::write).collect())
    }

    fn schema() -> Json {
        let mut schema = json!({"anyOf": [T::schema(), {"type": "array", "items": T::schema()}]});
        if let Some(example) = T::schema().get("examples").and_then(|examples| examples.get(0)) {
            schema["examples"] = json!([example, [example]]);
        }
        schema
    }
}

impl<T: Term> Term for BTreeMap<String, T> {
    fn write(&self) -> Yaml {
        let entries = self
            .iter()
            .map(|(key, value)| (key.as_str().into(), value.write()));
        Yaml::Mapping(entries.collect())
    }

    fn schema() -> Json {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}

impl Term for bool {
    fn write(&self) -> Yaml {
        (*self).into()
    }

    fn schema() -> Json {
        json!({"anyOf": [
            {"type": "boolean"},
            {"enum": ["true", "false", "yes", "no", "on", "off", "True", "False", "Yes", "No", "On", "Off"]},
            {"enum": [0, 1]},
        ], "title": "true or false"})
    }
}

impl Term for String {
    fn write(&self) -> Yaml {
        self.as_str().into()
    }

    fn schema() -> Json {
        json!({"title": "text", "type": ["string", "number"]})
    }
}

macro_rules! number_terms {
    ($($number:ty: $schema:tt),* $(,)?) => {$(
        impl Term for $number {
            fn write(&self) -> Yaml {
                (*self).into()
            }

            fn schema() -> Json {
                json!($schema)
            }
        }
    )*};
}

number_terms! {
    u16: {"title": "whole number", "examples": [2], "type": ["integer", "string"], "minimum": 0, "maximum": 65535, "pattern": "^ *[0-9_]+ *$"},
    u32: {"title": "whole number", "examples": [2], "type": ["integer", "string"], "minimum": 0, "maximum": 4294967295_u32, "pattern": "^ *[0-9_]+ *$"},
    u64: {"title": "whole number", "examples": [2], "type": ["integer", "string"], "minimum": 0, "pattern": "^ *[0-9_]+ *$"},
    f64: {"title": "number", "examples": [0.5], "type": ["number", "string"]},
}

/// Written in the largest unit that it is a whole number of.
impl Term for Duration {
    fn write(&self) -> Yaml {
        crate::grammar::duration::print(*self).into()
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "integer", "minimum": 0}, {"type": "string", "pattern": "^ *[0-9]+ *[smhdw]?$"}],
            "title": "duration",
            "examples": ["5m", 300],
        })
    }
}

/// A text that may hold expressions, as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Text(pub String);

impl std::ops::Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl FromNode for Text {
    fn expected() -> String {
        "text".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        Template::read(node, problems).map(|template| Self(template.text().to_owned()))
    }
}

impl Term for Text {
    fn write(&self) -> Yaml {
        self.0.as_str().into()
    }

    fn schema() -> Json {
        json!({"title": "text", "type": ["string", "number"]})
    }
}

/// Declares a map with fixed keys: how it is read, written and described.
///
/// A field without a default must be there. `= value` is the default of a field; `=> value` that of a
/// [`Spanned`] one, whose place is then the map's. `..field: Type` takes the keys of another map in.
macro_rules! map_type {
    (
        $(#[doc = $doc:literal])+
        pub struct $name:ident: $what:literal {
            $(..$flat:ident: $flat_type:ty,)*
            $($(#[doc = $field_doc:literal])+ $(($key:literal))? $field:ident: $type:ty $(= $default:expr)? $(=> $placed:expr)?,)*
        }
        $(alias { $($old:literal => $current:literal),* $(,)? })?
        $(known [$($known:literal),* $(,)?])?
        $(without_effect [$($gone:literal),* $(,)?])?
        $(check $check:path;)?
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $(
                /// Keys that others have too.
                pub $flat: $flat_type,
            )*
            $($(#[doc = $field_doc])+ pub $field: $type,)*
        }

        impl $crate::term::MapTerm for $name {
            const WHAT: &'static str = $what;

            fn read(map: &mut gabion_engine::config::MapReader<'_>) -> Option<Self> {
                $($(map.alias($old, $current);)*)?
                $(map.known(&[$($known),*]);)?
                $(map.known(&[$($gone),*]);)?
                $(let $flat = <$flat_type as $crate::term::MapTerm>::read(map);)*
                $(let $field: Option<$type> = $crate::term::map_type!(
                    @read map, $crate::term::map_type!(@key $field $($key)?), $type, [$($default)?], [$($placed)?]
                );)*
                let value = Self { $($flat: $flat?,)* $($field: $field?,)* };
                $(let value = {
                    let mut value = value;
                    $check(&mut value, map);
                    value
                };)?
                Some(value)
            }

            fn write_into(&self, out: &mut serde_yaml::Mapping) {
                $($crate::term::MapTerm::write_into(&self.$flat, out);)*
                $($crate::term::write_key(
                    out, $crate::term::map_type!(@key $field $($key)?), $crate::term::Term::write(&self.$field)
                );)*
            }

            fn describe(schema: &mut $crate::term::MapSchema) {
                $(<$flat_type as $crate::term::MapTerm>::describe(schema);)*
                $(schema.key(
                    $crate::term::map_type!(@key $field $($key)?),
                    concat!($($field_doc),+),
                    <$type as $crate::term::Term>::schema(),
                    $crate::term::map_type!(@default $type, [$($default)?], [$($placed)?]),
                );)*
                $($(schema.alias($old, $current);)*)?
                $($(schema.without_effect($gone);)*)?
            }
        }
    };
    (@key $field:ident) => { stringify!($field) };
    (@key $field:ident $key:literal) => { $key };
    (@read $map:ident, $key:expr, $type:ty, [], []) => { $map.required::<$type>($key) };
    (@read $map:ident, $key:expr, $type:ty, [$default:expr], []) => { $map.or::<$type>($key, $default) };
    (@read $map:ident, $key:expr, $type:ty, [], [$placed:expr]) => {{
        let here = $map.node().span.clone();
        $map.or::<$type>($key, gabion_engine::config::Spanned::new($placed, here))
    }};
    (@default $type:ty, [], []) => { None };
    (@default $type:ty, [$default:expr], []) => {{
        let default: $type = $default;
        Some($crate::term::Term::write(&default))
    }};
    (@default $type:ty, [], [$placed:expr]) => { Some($crate::term::Term::write(&$placed)) };
}

/// Makes a term of a map that is always written as one.
macro_rules! plain_map {
    ($name:ident, $expected:literal) => {
        impl gabion_engine::config::FromNode for $name {
            fn expected() -> String {
                $expected.to_owned()
            }

            fn from_node(
                node: &gabion_engine::config::Node,
                problems: &mut gabion_engine::diagnostic::Diagnostics,
            ) -> Option<Self> {
                $crate::term::read_map(node, problems)
            }
        }

        impl $crate::term::Term for $name {
            fn write(&self) -> serde_yaml::Value {
                $crate::term::write_map(self)
            }

            fn schema() -> serde_json::Value {
                $crate::term::map_schema::<Self>()
            }
        }
    };
}

/// Declares a word of the language; the first word of each variant is the one that is written.
macro_rules! keyword {
    (
        $(#[doc = $doc:literal])+
        pub enum $name:ident: $what:literal {
            $($(#[doc = $variant_doc:literal])+ $variant:ident = $word:literal $(| $other:literal)*,)+
        }
    ) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl $name {
            /// Returns the word.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)+
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl gabion_engine::config::Keyword for $name {
            const WHAT: &'static str = $what;
            const WORDS: &'static [(&'static str, Self)] =
                &[$(($word, Self::$variant), $(($other, Self::$variant),)*)+];
        }

        impl $crate::term::Term for $name {
            fn write(&self) -> serde_yaml::Value {
                self.as_str().into()
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({"enum": [$($word, $($other,)*)+]})
            }
        }
    };
}

pub(crate) use {keyword, map_type, plain_map};
