//! `type: task`.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::profile::ProfileParams;
use super::replica_group::check_unique;
use super::resources::Resources;
use super::rules::{check_group_references, check_image, exclude, is_set, needs_commands};
use super::run::RunFields;
use crate::grammar::name::GroupName;
use crate::grammar::port::PortMapping;
use crate::term::{Term, Text, map_schema, map_type, plain_map, read_map};

/// A number from 1 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AtLeastOne(pub u32);

impl FromNode for AtLeastOne {
    fn expected() -> String {
        "a whole number, 1 or more".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = u32::from_node(node, problems)?;
        if number >= 1 {
            return Some(Self(number));
        }
        problems.push(node.wrong_type(&Self::expected()));
        None
    }
}

impl Term for AtLeastOne {
    fn write(&self) -> Yaml {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["integer", "string"], "minimum": 1, "pattern": "^ *[0-9_]+ *$"})
    }
}

map_type! {
    /// Nodes of a task that are alike.
    pub struct NodeGroup: "node group" {
        /// Its name; its position if not given.
        name: Option<Spanned<GroupName>> = None,
        /// How many nodes.
        nodes: AtLeastOne = AtLeastOne(1),
        /// What each node needs; the task's own `resources` do not count for groups.
        resources: Resources = Resources::default(),
        /// Shell commands, joined with `&&`.
        commands: Vec<Spanned<Text>> = Vec::new(),
        /// Ports to reach.
        ports: Vec<PortMapping> = Vec::new(),
    }
    check NodeGroup::check;
}

plain_map!(
    NodeGroup,
    "a node group such as `{name: workers, nodes: 2, commands: […]}`"
);

impl NodeGroup {
    fn check(&mut self, map: &mut MapReader<'_>) {
        if !is_set(map, "resources") {
            self.resources = Resources::unsaid(&map.node().span);
        }
    }

    /// Returns the name; [`NodeGroups`] sees to it that every group has one.
    pub fn name(&self) -> &str {
        self.name.as_ref().map_or("", |name| name.value.0.as_str())
    }
}

/// The node groups of a task: at least one, each with a name of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeGroups(pub Vec<Spanned<NodeGroup>>);

impl FromNode for NodeGroups {
    fn expected() -> String {
        "a list of node groups".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut groups = Vec::<Spanned<NodeGroup>>::from_node(node, problems)?;
        if groups.is_empty() {
            problems.push(
                node.error("empty-list", "empty list")
                    .detail("A task with node groups has one at least.")
                    .hint("add one, or write `nodes: 1`"),
            );
            return None;
        }
        let mut names = Vec::new();
        for (index, group) in groups.iter_mut().enumerate() {
            let place = group.span.clone();
            let unnamed = || Spanned::new(GroupName(index.to_string()), place);
            names.push(group.value.name.get_or_insert_with(unnamed).clone());
        }
        check_unique(&names, problems);
        Some(Self(groups))
    }
}

impl Term for NodeGroups {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        json!({"type": "array", "minItems": 1, "items": map_schema::<NodeGroup>()})
    }
}

map_type! {
    /// A task document.
    pub struct Task: "task" {
        ..run: RunFields,
        ..profile: ProfileParams,
        /// Its name, unique among the tasks.
        name: Spanned<String>,
        /// Shell commands, joined with `&&`.
        commands: Vec<Spanned<Text>> = Vec::new(),
        /// Ports to reach.
        ports: Vec<PortMapping> = Vec::new(),
        /// How many nodes, 1 if not given.
        nodes: Option<Spanned<AtLeastOne>> = None,
        /// Groups of nodes that differ.
        groups: Option<Spanned<NodeGroups>> = None,
        /// Whether only the current branch of a repository is fetched.
        single_branch: bool = true,
    }
    known ["type"]
    check Task::check;
}

impl FromNode for Task {
    fn expected() -> String {
        "a task document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

impl Task {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let (nodes, groups) = (is_set(map, "nodes"), is_set(map, "groups"));
        exclude(map, ("nodes", nodes), ("groups", groups));
        if self.nodes.is_none() && self.groups.is_none() {
            self.nodes = Some(Spanned::new(AtLeastOne(1), map.node().span.clone()));
        }
        let has_image = self.run.image.is_some();
        let Some(groups) = &self.groups else {
            if self.commands.is_empty() && !has_image {
                needs_commands("A task", map.node().span.clone(), map.problems());
            }
            check_image(&self.run.resources, has_image, self.run.docker, map.problems());
            let nodes = self.nodes.as_ref().map_or(1, |nodes| nodes.value.0);
            check_group_references(&self.commands, "nodes", &[nodes], map.problems());
            return;
        };
        let written = [
            ("commands", !self.commands.is_empty()),
            ("ports", !self.ports.is_empty()),
            ("entrypoint", self.run.entrypoint.is_some()),
        ];
        for (key, _) in written.iter().filter(|(_, written)| *written) {
            let place = map.key_span(key);
            let hint = match *key {
                "entrypoint" => "write it into each group's `commands`".to_owned(),
                key => format!("put `{key}` into each group"),
            };
            map.problems().push(
                Diagnostic::error("misplaced-key", "misplaced key")
                    .detail(format!("A task with node groups has no `{key}` of its own."))
                    .at(place)
                    .related(groups.span.clone(), "the groups")
                    .hint(hint),
            );
        }
        let sizes: Vec<u32> = groups.value.0.iter().map(|group| group.value.nodes.0).collect();
        for group in &groups.value.0 {
            if group.value.commands.is_empty() && !has_image {
                let what = format!("The node group `{}`", group.value.name());
                needs_commands(&what, group.span.clone(), map.problems());
            }
            check_image(&group.value.resources, has_image, self.run.docker, map.problems());
            check_group_references(&group.value.commands, "nodes", &sizes, map.problems());
        }
    }

    /// Returns the number of nodes of each group, in order; one group when all nodes are alike.
    pub fn sizes(&self) -> Vec<u32> {
        match &self.groups {
            Some(groups) => groups.value.0.iter().map(|group| group.value.nodes.0).collect(),
            None => vec![self.nodes.as_ref().map_or(1, |nodes| nodes.value.0)],
        }
    }
}
