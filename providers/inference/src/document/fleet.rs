//! `type: fleet`: machines, made in a cloud or reached by SSH.

use gabion_engine::config::{FromNode, MapReader, Node, NodeKind, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::backend::Backend;
use super::profile::{BackendOptions, Retry, SpotPolicy, check_backend_options};
use super::resources::Resources;
use super::rules::is_set;
use super::scaling::Positive;
use super::ssh_config::SshConfig;
use crate::grammar::duration::IdleLimit;
use crate::grammar::duration::Limit;
use crate::grammar::env::Env;
use crate::grammar::range::Range;
use crate::grammar::tags::Tags;
use crate::term::{Term, keyword, map_schema, map_type, read_map, write_map};

keyword! {
    /// How machines stand to each other.
    pub enum Placement: "a placement" {
        /// Anywhere.
        Any = "any",
        /// Close together, with a fast network between.
        Cluster = "cluster",
    }
}

/// Into how many parts a machine is split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocks {
    /// As many as possible.
    Auto,
    /// This many.
    Count(u32),
}

impl FromNode for Blocks {
    fn expected() -> String {
        "`auto`, or a whole number, 1 or more".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_str() == Some("auto") {
            return Some(Self::Auto);
        }
        let number = match &node.kind {
            NodeKind::Int(number) => u32::try_from(*number).ok(),
            NodeKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        let found = number.filter(|number| *number >= 1).map(Self::Count);
        if found.is_none() {
            problems.push(node.wrong_type(&Self::expected()));
        }
        found
    }
}

impl Term for Blocks {
    fn write(&self) -> Yaml {
        match self {
            Self::Auto => "auto".into(),
            Self::Count(count) => (*count).into(),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [{"enum": ["auto"]}, {"type": ["integer", "string"], "minimum": 1, "pattern": "^[0-9]+$"}], "title": "number or auto"})
    }
}

map_type! {
    /// The map form of a number of machines.
    pub struct NodesMap: "number of machines" {
        /// The least.
        min: Option<u32> = None,
        /// How many are made at first; the least if not given.
        target: Option<u32> = None,
        /// The most; any number if not given.
        max: Option<u32> = None,
    }
}

/// How many machines a fleet has: `2`, `0..4`, `2..`, or a map of `min`, `target` and `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FleetNodes {
    /// The least.
    pub min: u32,
    /// How many are made at first.
    pub target: u32,
    /// The most; `None` for any number.
    pub max: Option<u32>,
}

impl FromNode for FleetNodes {
    fn expected() -> String {
        "a number of machines such as `2` or `0..4`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let (min, target, max) = if node.as_map().is_some() {
            let map: NodesMap = read_map(node, problems)?;
            (map.min, map.target, map.max)
        } else {
            // `..` alone is any number.
            let any = node.as_str().is_some_and(|text| text.trim() == "..");
            let range = if any {
                Range { min: None, max: None }
            } else {
                Range::<u32>::from_node(node, problems)?
            };
            (range.min, None, range.max)
        };
        let min = min.unwrap_or(0);
        let nodes = Self {
            min,
            target: target.unwrap_or(min),
            max,
        };
        let in_order = nodes.target >= nodes.min && max.is_none_or(|max| nodes.target <= max);
        if in_order {
            return Some(nodes);
        }
        problems.push(
            node.error("bad-range", "bad range")
                .detail("`min` must not be more than `target`, and `target` not more than `max`.")
                .hint("put them in order"),
        );
        None
    }
}

impl Term for FleetNodes {
    fn write(&self) -> Yaml {
        write_map(&NodesMap {
            min: Some(self.min),
            target: Some(self.target),
            max: self.max,
        })
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^ *[0-9]* *(\\.\\.)? *[0-9]* *$"},
                map_schema::<NodesMap>(),
            ],
            "title": "number or range",
            "examples": [2, "0..4", "2..", {"min": 1, "target": 2, "max": 4}],
        })
    }
}

map_type! {
    /// A fleet document.
    pub struct Fleet: "fleet" {
        /// Its name, unique among the fleets.
        name: Spanned<String>,
        /// How the machines stand to each other.
        placement: Placement = Placement::Any,
        /// Into how many parts each machine is split.
        blocks: Blocks = Blocks::Count(1),
        /// How many machines are made in a cloud.
        nodes: Option<Spanned<FleetNodes>> = None,
        /// The machines that are there already.
        ssh_config: Option<Spanned<SshConfig>> = None,
        /// Environment variables, for machines reached by SSH.
        env: Env = Env::default(),
        /// What each machine needs.
        resources: Option<Resources> = None,
        /// The backends that may be used; the project's if none are given.
        backends: Vec<Spanned<Backend>> = Vec::new(),
        /// The regions that may be used.
        regions: Vec<String> = Vec::new(),
        /// The availability zones that may be used.
        availability_zones: Vec<String> = Vec::new(),
        /// The types of machine that may be used, as the backend names them.
        instance_types: Vec<String> = Vec::new(),
        /// The reservation that machines come from.
        reservation: Option<String> = None,
        /// Which machines may be used.
        spot_policy: Option<SpotPolicy> = None,
        /// Whether making machines is tried again.
        retry: Option<Retry> = None,
        /// The highest price of a machine, in dollars an hour.
        max_price: Option<Positive> = None,
        /// How long a machine above the least number may be idle before it is deleted.
        idle_duration: Option<IdleLimit<259200>> = None,
        /// Tags for what is made.
        tags: Tags = Tags::default(),
        /// Options of single backends.
        backend_options: Vec<BackendOptions> = Vec::new(),
    }
    known ["type"]
    check Fleet::check;
}

/// Keys of fleets in a cloud that one reached by SSH does not have.
const CLOUD_KEYS: [&str; 12] = [
    "resources",
    "backends",
    "regions",
    "availability_zones",
    "instance_types",
    "reservation",
    "spot_policy",
    "retry",
    "max_price",
    "idle_duration",
    "tags",
    "backend_options",
];

impl FromNode for Fleet {
    fn expected() -> String {
        "a fleet document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

impl Fleet {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let here = map.node().span.clone();
        match (&self.nodes, &self.ssh_config) {
            (None, None) => map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail(
                        "A fleet needs `nodes` (machines to make) or `ssh_config` (machines that are there).",
                    )
                    .at(here)
                    .hint("add `nodes: 2`, or `ssh_config: {…}`"),
            ),
            (Some(nodes), Some(ssh)) => {
                let (first, second) = if nodes.span < ssh.span {
                    (&nodes.span, &ssh.span)
                } else {
                    (&ssh.span, &nodes.span)
                };
                map.problems().push(
                    Diagnostic::error("exclusive-keys", "keys that exclude each other")
                        .detail("`nodes` and `ssh_config` cannot both be set.")
                        .at(second.clone())
                        .related(first.clone(), "the other is set here")
                        .hint("make two fleets of it"),
                );
            }
            (Some(_), None) => {
                // What a cloud fleet means when it does not say.
                self.resources.get_or_insert_with(|| Resources::unsaid(&here));
                self.spot_policy.get_or_insert(SpotPolicy::OnDemand);
                self.retry.get_or_insert(Retry::Never);
                self.idle_duration.get_or_insert(IdleLimit(Limit::default()));
                if let Some(span) = map.key_span("env").filter(|_| !self.env.0.is_empty()) {
                    map.problems().push(
                        Diagnostic::error("misplaced-key", "misplaced key")
                            .detail("`env` is for machines reached by SSH; this fleet makes its machines.")
                            .at(span)
                            .hint("remove `env`"),
                    );
                }
            }
            (None, Some(ssh)) => {
                for key in CLOUD_KEYS {
                    let is_empty = |node: &Node| {
                        node.as_list().is_some_and(<[Node]>::is_empty)
                            || node.as_map().is_some_and(<[_]>::is_empty)
                    };
                    if !is_set(map, key) || map.node().get(key).is_some_and(is_empty) {
                        continue;
                    }
                    let Some(span) = map.key_span(key) else { continue };
                    if came_from_elsewhere(map.node(), key) {
                        continue;
                    }
                    map.problems().push(
                        Diagnostic::error("misplaced-key", "misplaced key")
                            .detail(format!(
                                "`{key}` is about machines to make; this fleet's are there already."
                            ))
                            .at(span)
                            .related(ssh.span.clone(), "they are reached by SSH")
                            .hint(format!("remove `{key}`")),
                    );
                }
            }
        }
        check_backend_options(&self.backend_options, map);
    }
}

/// Returns whether a key is that of a profile: it is written in another file.
fn came_from_elsewhere(node: &Node, key: &str) -> bool {
    node.entry(key)
        .is_some_and(|(key, _)| !std::sync::Arc::ptr_eq(&key.span.file, &node.span.file))
}
