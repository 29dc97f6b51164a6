//! `profiles.yml`: parameters that runs, fleets and presets have in common.
//!
//! One profile gives every such document the keys that it does not set itself: the one that was asked for by name, else
//! the one that says that it is the default. The values keep their places, so that a problem with one points into `profiles.yml` and says which document it was taken for.

use gabion_engine::config::{FromNode, MapReader, Node, NodeKind, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span, suggestion};

use crate::document::profile::{PROFILE_KEYS, ProfileParams};
use crate::term::{excerpt, map_type, read_map};

map_type! {
    /// A profile.
    pub struct Profile: "profile" {
        ..params: ProfileParams,
        /// Its name.
        name: Option<Spanned<String>> = None,
        /// Whether documents have it without being told.
        default: bool = false,
    }
}

impl FromNode for Profile {
    fn expected() -> String {
        "a profile".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

/// The keys of a document type that a profile may set.
fn keys_for(document_type: &str) -> &'static [&'static str] {
    // What a fleet shares with runs.
    const FLEET: [&str; 10] = [
        "backends",
        "regions",
        "availability_zones",
        "instance_types",
        "reservation",
        "spot_policy",
        "retry",
        "max_price",
        "tags",
        "backend_options",
    ];
    match document_type {
        "service" | "task" | "dev-environment" | "preset" => &PROFILE_KEYS,
        "fleet" => &FLEET,
        _ => &[],
    }
}

/// A project's profiles.
#[derive(Debug, Default)]
pub struct Profiles<'a> {
    chosen: Option<&'a Node>,
}

impl<'a> Profiles<'a> {
    /// Reads and checks all profiles, and chooses one: that of the name, else the default one.
    pub fn read(node: Option<&'a Node>, name: Option<&Spanned<String>>, problems: &mut Diagnostics) -> Self {
        let Some(node) = node else {
            problems.extend(name.map(|name| unknown(name, &[])));
            return Self::default();
        };
        let Some(mut map) = MapReader::open(node, "file with profiles", problems) else {
            return Self::default();
        };
        let profiles = map.required::<Vec<Option<Profile>>>("profiles");
        map.finish();
        let nodes = node.get("profiles").and_then(Node::as_list).unwrap_or_default();
        let mut names: Vec<&Spanned<String>> = Vec::new();
        let mut named = None;
        let mut default: Option<(&Node, Span)> = None;
        let profiles = profiles.unwrap_or_default();
        for (profile, node) in profiles.iter().zip(nodes) {
            let Some(profile) = profile else { continue };
            if let Some(name) = &profile.name {
                if let Some(first) = names.iter().find(|first| first.value == name.value) {
                    problems.push(
                        Diagnostic::error("duplicate-name", "duplicate name")
                            .detail(format!("There are two profiles `{}`.", name.value))
                            .at(name.span.clone())
                            .related(first.span.clone(), "the first one")
                            .hint("rename one of the two"),
                    );
                }
                names.push(name);
            }
            if name.is_some_and(|name| profile.name.as_ref().is_some_and(|own| own.value == name.value)) {
                named.get_or_insert(node);
            }
            let Some((key, _)) = node.entry("default").filter(|_| profile.default) else {
                continue;
            };
            match &default {
                None => default = Some((node, key.span.clone())),
                Some((_, first)) => problems.push(
                    Diagnostic::error("two-defaults", "two default profiles")
                        .detail("Documents have one profile without being told which.")
                        .at(key.span.clone())
                        .related(first.clone(), "the first one")
                        .hint("keep one `default: true`"),
                ),
            }
        }
        let Some(name) = name else {
            let chosen = default.map(|(node, _)| node);
            return Self { chosen };
        };
        // One with a mistake in it is there.
        let written = |node: &&Node| node.get("name").and_then(Node::text) == Some(name.value.as_str());
        if named.is_none() && !nodes.iter().any(|node| written(&node)) {
            problems.push(unknown(name, &names));
        }
        Self { chosen: named }
    }

    /// Adds to a problem with a value of a profile which document it was taken for; `at` is where that starts.
    pub fn explained(&self, problem: Diagnostic, at: &Span) -> Diagnostic {
        let is_here = |span: &Span| {
            let profile = self.chosen.map(|profile| &profile.span.file);
            profile.is_some_and(|file| std::sync::Arc::ptr_eq(file, &span.file))
        };
        let says_so = problem.related.iter().any(|related| related.span == *at);
        if problem.primary.as_ref().is_some_and(is_here) && !says_so {
            problem.related(at.clone(), "used here")
        } else {
            problem
        }
    }

    /// Returns a document with the chosen profile's values for what it does not set; `at` is where it starts.
    #[must_use]
    pub fn merged(&self, document: &Node, document_type: &str, at: &Span) -> Node {
        let mut merged = document.clone();
        let (Some(profile), NodeKind::Map(entries)) = (self.chosen, &mut merged.kind) else {
            return merged;
        };
        // Machines that are there already have nothing of what a profile says about making some.
        if entries.iter().any(|(key, _)| key.name == "ssh_config") {
            return merged;
        }
        for key in keys_for(document_type) {
            let Some((name, value)) = profile.entry(key).filter(|(_, value)| !value.is_null()) else {
                continue;
            };
            let is_set = entries
                .iter()
                .any(|(written, value)| written.name == *key && !value.is_null());
            if is_set {
                continue;
            }
            entries.retain(|(written, _)| written.name != *key);
            let mut value = value.clone();
            mark(&mut value, at);
            entries.push((name.clone(), value));
        }
        merged
    }
}

/// The error that nobody declares the profile that was asked for.
fn unknown(name: &Spanned<String>, known: &[&Spanned<String>]) -> Diagnostic {
    let names = || known.iter().map(|known| known.value.as_str());
    let hint = suggestion(&name.value, names()).unwrap_or_else(|| {
        if known.is_empty() {
            return "write `profiles.yml`, or `.dstack/profiles.yml`, with `profiles: [{name: …}]`"
                .to_owned();
        }
        let names: Vec<String> = names().map(|name| format!("`{name}`")).collect();
        format!("the project has {}", names.join(", "))
    });
    Diagnostic::error("unknown-profile", "unknown profile")
        .detail(format!("The project has no profile `{}`.", excerpt(&name.value)))
        .at(name.span.clone())
        .hint(hint)
}

/// Notes at every value that it was taken for a document that starts at `at`.
fn mark(value: &mut Node, at: &Span) {
    value.alias.get_or_insert_with(|| at.clone());
    match &mut value.kind {
        NodeKind::List(items) => items.iter_mut().for_each(|item| mark(item, at)),
        NodeKind::Map(entries) => entries.iter_mut().for_each(|(_, value)| mark(value, at)),
        _ => {}
    }
}
