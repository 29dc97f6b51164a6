//! Replica groups: replicas of one service that differ in commands, resources or role.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::profile::SpotPolicy;
use super::resources::Resources;
use super::router::GroupRouter;
use super::rules::{exclude, is_set};
use super::scaling::Scaling;
use super::task::AtLeastOne;
use crate::grammar::name::GroupName;
use crate::grammar::python::PythonVersion;
use crate::grammar::range::Range;
use crate::term::{Term, Text, keyword, map_schema, map_type, plain_map};

keyword! {
    /// What replicas do where reading prompts and writing answers are separate.
    pub enum GroupRole: "a role of replicas" {
        /// They read prompts.
        Prefill = "prefill",
        /// They write answers.
        Decode = "decode",
    }
}

/// How many replicas there are: a number, or a range with an upper bound.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReplicaCount {
    /// The least.
    pub min: u32,
    /// The most.
    pub max: u32,
}

impl ReplicaCount {
    /// Returns whether it is one number.
    pub fn is_fixed(self) -> bool {
        self.min == self.max
    }

    /// Returns the range.
    pub fn range(self) -> Range<u32> {
        Range {
            min: Some(self.min),
            max: Some(self.max),
        }
    }
}

impl std::fmt::Display for ReplicaCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.range().fmt(f)
    }
}

impl FromNode for ReplicaCount {
    fn expected() -> String {
        "a number of replicas such as `2` or `1..4`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let range = Range::<u32>::from_node(node, problems)?;
        let Some(max) = range.max else {
            problems.push(
                node.error("bad-range", "bad range")
                    .detail(format!(
                        "`{range}` has no upper bound, and a number of replicas needs one."
                    ))
                    .hint(format!("write `{range}4`, or another upper bound")),
            );
            return None;
        };
        Some(Self {
            min: range.min.unwrap_or(0),
            max,
        })
    }
}

impl Term for ReplicaCount {
    fn write(&self) -> Yaml {
        self.range().write()
    }

    fn schema() -> Json {
        let mut schema = Range::<u32>::schema();
        schema["title"] = "number or range of replicas".into();
        schema["examples"] = json!([1, "1..4", "..4"]);
        schema
    }
}

map_type! {
    /// Replicas of a service that are alike.
    pub struct ReplicaGroup: "replica group" {
        /// Its name; its position if not given.
        name: Option<Spanned<GroupName>> = None,
        /// How many replicas.
        replicas: Spanned<ReplicaCount>,
        /// How many machines each replica spans, 1 if not given: as many programs with the same commands, each with its rank in `$DSTACK_NODE_RANK`. Rank 0 answers requests. An extension of gabion's.
        nodes: Option<Spanned<AtLeastOne>> = None,
        /// When there are more, and when fewer; a range of replicas needs it.
        scaling: Option<Spanned<Scaling>> = None,
        /// What each replica needs; the service's own `resources` do not count for groups.
        resources: Resources = Resources::default(),
        /// Which machines may be used.
        spot_policy: Option<SpotPolicy> = None,
        /// The reservation that machines come from.
        reservation: Option<String> = None,
        /// Shell commands, joined with `&&`.
        commands: Vec<Spanned<Text>> = Vec::new(),
        /// The container image.
        image: Option<Spanned<Text>> = None,
        /// The version of Python in the default image.
        python: Option<PythonVersion> = None,
        /// Whether the default image has the CUDA compiler.
        nvcc: Option<bool> = None,
        /// Whether commands can use Docker.
        docker: Option<bool> = None,
        /// Whether the container may do what the machine may.
        privileged: Option<bool> = None,
        /// Makes the group's replica the router of the others.
        router: Option<Spanned<GroupRouter>> = None,
        /// What the replicas do where prefill and decode are separate. Only needed when `commands` hold no `--disaggregation-mode`, because a script starts the engine. An extension of gabion's.
        role: Option<Spanned<GroupRole>> = None,
    }
    alias { "count" => "replicas" }
    check ReplicaGroup::check;
}

plain_map!(
    ReplicaGroup,
    "a replica group such as `{name: decode, replicas: 2, commands: […]}`"
);

impl ReplicaGroup {
    fn check(&mut self, map: &mut MapReader<'_>) {
        if !is_set(map, "resources") {
            self.resources = Resources::unsaid(&map.node().span);
        }
        let image = ("image", is_set(map, "image"));
        let python = ("python", is_set(map, "python"));
        let docker = ("docker", self.docker == Some(true));
        exclude(map, image, python);
        exclude(map, image, docker);
        exclude(map, python, docker);
        exclude(map, ("nvcc", self.nvcc == Some(true)), docker);
        exclude(map, docker, ("privileged", self.privileged == Some(false)));
        check_scaling(&self.replicas, self.scaling.as_ref(), map.problems());
        check_nodes(&mut self.nodes, map.problems());
        let is_several = self.nodes.as_ref().is_some_and(|nodes| nodes.value.0 > 1);
        exclude(map, ("router", self.router.is_some()), ("nodes", is_several));
        exclude(
            map,
            ("router", self.router.is_some()),
            ("role", self.role.is_some()),
        );
        if let Some(router) = self
            .router
            .as_ref()
            .filter(|_| self.replicas.value != ReplicaCount { min: 1, max: 1 })
        {
            map.problems().push(
                Diagnostic::error("router-replicas", "router with several replicas")
                    .detail("A group with a `router` has exactly one replica.")
                    .at(self.replicas.span.clone())
                    .related(router.span.clone(), "the router")
                    .hint("write `replicas: 1`"),
            );
        }
    }

    /// Returns the name; [`Groups`] sees to it that every group has one.
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", |name| name.value.0.as_str())
    }
}

/// The most nodes of a replica.
const MOST_NODES: u32 = 256;

/// Reports a replica that would span more nodes than any does.
pub(crate) fn check_nodes(nodes: &mut Option<Spanned<AtLeastOne>>, problems: &mut Diagnostics) {
    if let Some(many) = nodes.take_if(|nodes| nodes.value.0 > MOST_NODES) {
        problems.push(
            Diagnostic::error("too-many", "too many nodes")
                .detail(format!("A replica has at most {MOST_NODES} nodes."))
                .at(many.span)
                .hint("ask for fewer; `replicas` is how many there are of the whole"),
        );
    }
}

/// Reports a range without `scaling`, and `scaling` without a range.
pub(crate) fn check_scaling(
    replicas: &Spanned<ReplicaCount>,
    scaling: Option<&Spanned<Scaling>>,
    problems: &mut Diagnostics,
) {
    match scaling {
        None if !replicas.value.is_fixed() => problems.push(
            Diagnostic::error("missing-key", "missing key")
                .detail(format!(
                    "`replicas: {}` is a range, and nothing says when there are more or fewer.",
                    replicas.value
                ))
                .at(replicas.span.clone())
                .hint("add `scaling: {metric: rps, target: 10}`, or write one number"),
        ),
        Some(scaling) if replicas.value.is_fixed() => problems.push(
            Diagnostic::error("scaling-without-range", "scaling without a range")
                .detail(format!(
                    "`scaling` chooses a number of replicas in a range, and there are always {}.",
                    replicas.value
                ))
                .at(scaling.span.clone())
                .related(replicas.span.clone(), "the number of replicas")
                .hint("write a range such as `replicas: 1..4`, or remove `scaling`"),
        ),
        _ => {}
    }
}

/// The replica groups of a service: at least one, each with a name of its own, at most one router among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Groups(pub Vec<ReplicaGroup>);

impl FromNode for Groups {
    fn expected() -> String {
        "a list of replica groups".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut groups = Vec::<ReplicaGroup>::from_node(node, problems)?;
        if groups.is_empty() {
            problems.push(
                node.error("empty-list", "empty list")
                    .detail("A service with replica groups has one at least.")
                    .hint("add one, or write `replicas: 1`"),
            );
            return None;
        }
        let places = node
            .as_list()
            .unwrap_or_default()
            .iter()
            .map(|node| node.span.clone());
        let mut names: Vec<Spanned<GroupName>> = Vec::new();
        for (index, (group, place)) in groups.iter_mut().zip(places).enumerate() {
            let unnamed = || Spanned::new(GroupName(index.to_string()), place);
            names.push(group.name.get_or_insert_with(unnamed).clone());
        }
        check_unique(&names, problems);
        let mut routers = groups.iter().filter_map(|group| group.router.as_ref());
        if let Some(first) = routers.next() {
            for other in routers {
                problems.push(
                    Diagnostic::error("two-routers", "two routers")
                        .detail("One replica group of a service may be its router.")
                        .at(other.span.clone())
                        .related(first.span.clone(), "the first one")
                        .hint("keep one `router`"),
                );
            }
        }
        Some(Self(groups))
    }
}

/// Reports names that two groups have.
pub(crate) fn check_unique(names: &[Spanned<GroupName>], problems: &mut Diagnostics) {
    for (index, name) in names.iter().enumerate() {
        if let Some(first) = names[..index].iter().find(|first| first.value == name.value) {
            problems.push(
                Diagnostic::error("duplicate-name", "duplicate name")
                    .detail(format!("Two groups are called `{}`.", name.value))
                    .at(name.span.clone())
                    .related(first.span.clone(), "the first one")
                    .hint("rename one; a group without a name is called after its position, from 0"),
            );
        }
    }
}

impl Term for Groups {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        json!({"type": "array", "minItems": 1, "items": map_schema::<ReplicaGroup>()})
    }
}
