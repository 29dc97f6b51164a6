//! `type: service`.

use gabion_engine::config::{FromNode, MapReader, Node, NodeKind, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use serde_json::{Value as Json, json};
use serde_yaml::{Mapping, Value as Yaml};

use super::model::Model;
use super::probe::Probe;
use super::profile::ProfileParams;
use super::rate_limit::RateLimit;
use super::replica_group::{Groups, ReplicaCount, ReplicaGroup, check_nodes, check_scaling};
use super::rolling::Rolling;
use super::router::ServiceRouter;
use super::rules::{check_group_references, check_image, exclude, is_set, needs_commands};
use super::run::RunFields;
use super::scaling::Scaling;
use super::task::AtLeastOne;
use crate::grammar::port::ServicePort;
use crate::grammar::reference::EntityReference;
use crate::term::{MapTerm, Term, Text, map_type};

/// dstack's own limit of a service's probes.
const MAX_PROBES: usize = 10;

map_type! {
    /// A service document.
    pub struct Service: "service" {
        ..run: RunFields,
        ..profile: ProfileParams,
        /// Its name, unique among the services.
        name: Spanned<String>,
        /// Shell commands, run one after the other until one fails. `$PORT` is the port that gabion leased for the replica. Secrets do not belong here: every user of a machine can read the arguments of its programs.
        commands: Vec<Spanned<Text>> = Vec::new(),
        /// The port that the program listens on. Where several replicas share a machine, as on `local`, each gets a port of its own in `$PORT` and this one is not used; commands that never use `$PORT` listen on this one.
        port: Spanned<ServicePort>,
        /// The name under which the gateway's model endpoint serves it. Two services of one gateway cannot have the same. For a service with a model or a router only the inference paths pass the gateway.
        model: Option<Model> = None,
        /// The gateway that it is reached through: a name; `true`, the default one; `false`, none but this machine's own loopback. If not given: the default gateway, else the only one, else the loopback.
        gateway: GatewayChoice = GatewayChoice::Any,
        /// Whether a gateway speaks HTTPS for it; `auto` is what the gateway can.
        https: Spanned<Https> => Https::On,
        /// Whether a request needs one of the bearer tokens in `gabion.yml`. `false` lets in everybody who reaches the gateway.
        auth: Spanned<bool> => true,
        /// Whether `/services/NAME` is cut off before a request goes on, on gateways without a domain.
        strip_prefix: bool = true,
        /// Path prefixes that pass the gateway beside `/v1/`, `/generate` and `/chat/completions`, for a service with a model or a router. An extension of gabion's.
        paths: Vec<Spanned<String>> = Vec::new(),
        /// How many replicas, 1 if not given; or, in an older form, a list of replica groups.
        replicas: Option<Spanned<Replicas>> = None,
        /// How many machines each replica spans, 1 if not given: as many programs with the same commands, each with its rank in `$DSTACK_NODE_RANK`. Rank 0 answers requests, and all of them are replaced together. An extension of gabion's.
        nodes: Option<Spanned<AtLeastOne>> = None,
        /// Groups of replicas that differ.
        groups: Option<Spanned<Groups>> = None,
        /// When there are more replicas, and when fewer; a range of replicas needs it.
        scaling: Option<Spanned<Scaling>> = None,
        /// How many replicas are replaced at a time when it changes. An extension of gabion's.
        rolling: Rolling = Rolling::default(),
        /// When a replica counts as ready. With a `model` and without this, one short completion must succeed.
        probes: Option<Vec<Spanned<Probe>>> = None,
        /// How many requests it takes.
        rate_limits: Vec<Spanned<RateLimit>> = Vec::new(),
        /// Its own router, in the older form, which wins over its gateway's.
        router: Option<Spanned<ServiceRouter>> = None,
        /// Whether only the current branch of a repository is fetched.
        single_branch: bool = true,
    }
    known ["type"]
    check Service::check;
}

impl FromNode for Service {
    fn expected() -> String {
        "a service document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        crate::term::read_map(node, problems)
    }
}

impl Service {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let (replicas, groups) = (is_set(map, "replicas"), is_set(map, "groups"));
        exclude(map, ("replicas", replicas), ("groups", groups));
        self.check_dialect(map, groups);
        check_nodes(&mut self.nodes, map.problems());
        let here = map.node().span.clone();
        match (&self.replicas, &self.groups) {
            (None, None) => {
                let one = Replicas::Count(ReplicaCount { min: 1, max: 1 });
                self.replicas = Some(Spanned::new(one, here));
                // dstack takes no notice of it.
                if let Some(scaling) = self.scaling.take() {
                    map.problems().push(
                        Diagnostic::warning("scaling-without-range", "scaling without a range")
                            .detail("Without `replicas` there is always one, so `scaling` means nothing.")
                            .at(scaling.span)
                            .hint("add a range such as `replicas: 1..4`, or remove `scaling`"),
                    );
                }
            }
            // Today's form of the same.
            (Some(written), None) if self.router.is_none() => {
                if let Replicas::Groups(groups) = &written.value {
                    self.groups = Some(Spanned::new(groups.clone(), written.span.clone()));
                    self.replicas = None;
                }
            }
            _ => {}
        }
        match self.groups() {
            Some(_) => self.check_groups(map),
            None => self.check_alike(map),
        }
        self.check_probes(map);
        self.check_rate_limits(map.problems());
        self.check_schedule(map.problems());
    }

    /// The rules of a service whose replicas are alike.
    fn check_alike(&self, map: &mut MapReader<'_>) {
        if self.commands.is_empty() && self.run.image.is_none() {
            needs_commands("A service", map.node().span.clone(), map.problems());
        }
        let count = self.count();
        if let Some(count) = &count {
            check_scaling(count, self.scaling.as_ref(), map.problems());
        }
        check_image(
            &self.run.resources,
            self.run.image.is_some(),
            self.run.docker,
            map.problems(),
        );
        let least = count.map_or(1, |count| count.value.min);
        check_group_references(&self.commands, "replicas", &[least], map.problems());
    }

    /// The rules between a service and its replica groups.
    fn check_groups(&self, map: &mut MapReader<'_>) {
        let Some(groups) = self.groups() else { return };
        for key in ["commands", "scaling", "nodes"] {
            let written = match key {
                "commands" => !self.commands.is_empty(),
                "nodes" => self.nodes.is_some(),
                _ => self.scaling.is_some(),
            };
            if let Some(span) = map.key_span(key).filter(|_| written) {
                map.problems().push(
                    Diagnostic::error("misplaced-key", "misplaced key")
                        .detail(format!(
                            "A service with replica groups has no `{key}` of its own."
                        ))
                        .at(span)
                        .related(groups.span.clone(), "the groups")
                        .hint(format!("put `{key}` into each group")),
                );
            }
        }
        self.check_container_keys(&groups, map);
        let sizes: Vec<u32> = groups
            .value
            .0
            .iter()
            .map(|group| group.replicas.value.min)
            .collect();
        for group in &groups.value.0 {
            let has_image = group.image.is_some() || self.run.image.is_some();
            if group.commands.is_empty() && !has_image {
                let what = format!("The replica group `{}`", group.name());
                needs_commands(&what, group.replicas.span.clone(), map.problems());
            }
            let docker = group.docker.unwrap_or(self.run.docker);
            check_image(&group.resources, has_image, docker, map.problems());
            check_group_references(&group.commands, "replicas", &sizes, map.problems());
        }
    }

    /// Keys about containers stand on the service or in its groups, never on both; and sources of images exclude
    /// each other across the two.
    fn check_container_keys(&self, groups: &Spanned<Groups>, map: &mut MapReader<'_>) {
        let on_service = [
            ("image", is_set(map, "image")),
            ("docker", self.run.docker),
            ("privileged", self.run.privileged),
            ("python", is_set(map, "python")),
            ("nvcc", self.run.nvcc),
            ("spot_policy", is_set(map, "spot_policy")),
            ("reservation", is_set(map, "reservation")),
        ];
        let conflicts = |key: &str| -> &[&str] {
            match key {
                "image" => &["image", "docker", "python", "nvcc"],
                "docker" => &["docker", "image", "python", "nvcc"],
                "python" => &["python", "image", "docker"],
                "nvcc" => &["nvcc", "image", "docker"],
                "privileged" => &["privileged"],
                "spot_policy" => &["spot_policy"],
                _ => &["reservation"],
            }
        };
        let nodes = map
            .get("groups")
            .filter(|node| !node.is_null())
            .or_else(|| map.get("replicas"))
            .and_then(Node::as_list)
            .unwrap_or_default();
        for (key, _) in on_service.iter().filter(|(_, set)| *set) {
            let Some(service_span) = map.key_span(key) else {
                continue;
            };
            for (node, group) in nodes.iter().zip(&groups.value.0) {
                for other in conflicts(key) {
                    let Some((written, _)) = node.entry(other).filter(|(_, value)| !value.is_null()) else {
                        continue;
                    };
                    // What a profile gives is for the groups that say nothing else.
                    if !std::sync::Arc::ptr_eq(&written.span.file, &service_span.file) {
                        continue;
                    }
                    map.problems().push(
                        Diagnostic::error("exclusive-keys", "keys that exclude each other")
                            .detail(format!(
                                "`{key}` of the service and `{other}` of its replica group `{}` cannot both be set.",
                                group.name()
                            ))
                            .at(written.span.clone())
                            .related(service_span.clone(), "set for the whole service here")
                            .hint("set it for the service, or in each group"),
                    );
                }
            }
        }
    }

    /// The older form's `router` goes with no key of today's form.
    fn check_dialect(&self, map: &mut MapReader<'_>, has_groups_key: bool) {
        let Some(router) = map.key_span("router").filter(|_| self.router.is_some()) else {
            return;
        };
        let in_group = self.groups().and_then(|groups| {
            let routers = groups.value.0.iter().filter_map(|group| group.router.as_ref());
            routers.map(|router| router.span.clone()).next()
        });
        let (other, what) = match (in_group, map.key_span("groups").filter(|_| has_groups_key)) {
            (Some(span), _) => (span, "a replica group's `router`"),
            (None, Some(span)) => (span, "`groups`"),
            (None, None) => return,
        };
        map.problems().push(
            Diagnostic::error("mixed-dialects", "mixed dialects")
                .detail(format!(
                    "The service's `router` belongs to the older form, where gabion starts the router; {what} belongs to today's, where a replica group is the router."
                ))
                .at(router)
                .related(other, "today's form")
                .hint("keep one: list the groups under `replicas`, or make the router a group with `router: {type: smg}`"),
        );
    }

    fn check_probes(&self, map: &mut MapReader<'_>) {
        let probes = self.probes.as_deref().unwrap_or_default();
        if let Some(extra) = probes.get(MAX_PROBES) {
            map.problems().push(
                Diagnostic::error("too-many", "too many probes")
                    .detail(format!("A service has at most {MAX_PROBES} probes."))
                    .at(extra.span.clone())
                    .hint("remove some"),
            );
        }
        for (index, probe) in probes.iter().enumerate() {
            if let Some(first) = probes[..index].iter().find(|first| first.value == probe.value) {
                map.problems().push(
                    Diagnostic::error("duplicate-probe", "duplicate probe")
                        .detail("This probe is there already.")
                        .at(probe.span.clone())
                        .related(first.span.clone(), "the first one")
                        .hint("remove one of the two"),
                );
            }
        }
    }

    fn check_rate_limits(&self, problems: &mut Diagnostics) {
        for (index, limit) in self.rate_limits.iter().enumerate() {
            let same = |first: &&Spanned<RateLimit>| first.value.prefix.value == limit.value.prefix.value;
            if let Some(first) = self.rate_limits[..index].iter().find(same) {
                problems.push(
                    Diagnostic::error("duplicate-prefix", "duplicate prefix")
                        .detail(format!(
                            "The prefix `{}` has a limit already.",
                            limit.value.prefix.value
                        ))
                        .at(limit.value.prefix.span.clone())
                        .related(first.value.prefix.span.clone(), "the first one")
                        .hint("give each limit a prefix of its own"),
                );
            }
        }
    }

    fn check_schedule(&self, problems: &mut Diagnostics) {
        let Some(schedule) = &self.profile.schedule else {
            return;
        };
        let scales_to_zero = match self.groups() {
            Some(groups) => groups.value.0.iter().all(|group| group.replicas.value.min == 0),
            None => self.count().is_some_and(|count| count.value.min == 0),
        };
        if scales_to_zero {
            problems.push(
                Diagnostic::error("scheduled-zero", "scheduled service without replicas")
                    .detail("A service that starts by a schedule needs a replica then; this one starts with none.")
                    .at(schedule.span.clone())
                    .hint("write a least number of replicas of 1, or remove `schedule`"),
            );
        }
    }

    /// Returns the replica groups, in whichever form they are written; `None` when all replicas are alike.
    pub fn groups(&self) -> Option<Spanned<Groups>> {
        if let Some(groups) = &self.groups {
            return Some(groups.clone());
        }
        match &self.replicas {
            Some(Spanned {
                value: Replicas::Groups(groups),
                span,
            }) => Some(Spanned::new(groups.clone(), span.clone())),
            _ => None,
        }
    }

    /// Returns the number of replicas; `None` when there are groups.
    pub fn count(&self) -> Option<Spanned<ReplicaCount>> {
        match &self.replicas {
            Some(Spanned {
                value: Replicas::Count(count),
                span,
            }) => Some(Spanned::new(*count, span.clone())),
            _ => None,
        }
    }

    /// Writes the document, with `type` first.
    pub fn write(&self) -> Yaml {
        let mut out = Mapping::new();
        out.insert("type".into(), "service".into());
        let Some(groups) = self.groups() else {
            self.write_into(&mut out);
            return Yaml::Mapping(out);
        };
        // What a group sets may not stand on the service too: it is written in every group then.
        let groups = &groups.value.0;
        let sets_policy = groups.iter().any(|group| group.spot_policy.is_some());
        let sets_reservation = groups.iter().any(|group| group.reservation.is_some());
        let mut service = self.clone();
        for group in service.groups_mut() {
            if sets_policy {
                group.spot_policy.get_or_insert(self.profile.spot_policy);
            }
            if sets_reservation && group.reservation.is_none() {
                group.reservation.clone_from(&self.profile.reservation);
            }
        }
        service.write_into(&mut out);
        if sets_policy {
            out.shift_remove("spot_policy");
        }
        if sets_reservation {
            out.shift_remove("reservation");
        }
        Yaml::Mapping(out)
    }

    fn groups_mut(&mut self) -> &mut [ReplicaGroup] {
        match (&mut self.groups, &mut self.replicas) {
            (Some(groups), _) => &mut groups.value.0,
            (
                None,
                Some(Spanned {
                    value: Replicas::Groups(groups),
                    ..
                }),
            ) => &mut groups.0,
            _ => &mut [],
        }
    }
}

/// What stands under `replicas`.
#[derive(Clone, Debug, PartialEq)]
pub enum Replicas {
    /// How many there are, all alike.
    Count(ReplicaCount),
    /// Groups, in an older form.
    Groups(Groups),
}

impl Replicas {
    /// Returns the groups, if it is a list of them.
    pub fn groups(&self) -> Option<&Groups> {
        match self {
            Self::Groups(groups) => Some(groups),
            Self::Count(_) => None,
        }
    }
}

impl FromNode for Replicas {
    fn expected() -> String {
        ReplicaCount::expected()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.kind {
            NodeKind::List(_) => Groups::from_node(node, problems).map(Self::Groups),
            _ => ReplicaCount::from_node(node, problems).map(Self::Count),
        }
    }
}

impl Term for Replicas {
    fn write(&self) -> Yaml {
        match self {
            Self::Count(count) => count.write(),
            Self::Groups(groups) => groups.write(),
        }
    }

    fn schema() -> Json {
        let mut schema = ReplicaCount::schema();
        if let Some(forms) = schema["anyOf"].as_array_mut() {
            forms.push(Groups::schema());
        }
        schema
    }
}

/// Which gateway a service is reached through.
#[derive(Clone, Debug, PartialEq)]
pub enum GatewayChoice {
    /// The default one, else the only one, else this machine's loopback.
    Any,
    /// The default one; it must exist.
    Default(Span),
    /// None: this machine's loopback.
    None,
    /// This one.
    Named(Spanned<EntityReference>),
}

impl FromNode for GatewayChoice {
    fn expected() -> String {
        "a gateway's name, `true` or `false`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = match node.kind {
            NodeKind::Int(1) => Some(true),
            NodeKind::Int(0) => Some(false),
            _ => None,
        };
        match node.as_bool().or(number) {
            Some(true) => Some(Self::Default(node.span.clone())),
            Some(false) => Some(Self::None),
            None => Spanned::from_node(node, problems).map(Self::Named),
        }
    }
}

impl Term for GatewayChoice {
    fn write(&self) -> Yaml {
        match self {
            Self::Any => Yaml::Null,
            Self::Default(_) => true.into(),
            Self::None => false.into(),
            Self::Named(reference) => reference.write(),
        }
    }

    fn schema() -> Json {
        let mut schema = EntityReference::schema();
        if let Some(forms) = schema["anyOf"].as_array_mut() {
            forms.push(json!({"type": "boolean"}));
        }
        schema["title"] = "name, true or false".into();
        schema["examples"] = json!(["front"]);
        schema
    }
}

/// Whether a gateway speaks HTTPS for a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Https {
    /// It does.
    On,
    /// It does not.
    Off,
    /// If it can.
    Auto,
}

impl FromNode for Https {
    fn expected() -> String {
        "`true`, `false` or `auto`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match (node.as_bool(), node.as_str()) {
            (Some(true), _) => Some(Self::On),
            (Some(false), _) => Some(Self::Off),
            (None, Some("auto")) => Some(Self::Auto),
            _ => {
                problems.push(node.wrong_type(&Self::expected()));
                None
            }
        }
    }
}

impl Term for Https {
    fn write(&self) -> Yaml {
        match self {
            Self::On => true.into(),
            Self::Off => false.into(),
            Self::Auto => "auto".into(),
        }
    }

    fn schema() -> Json {
        json!({"enum": [true, false, "auto", "true", "false", "yes", "no", "on", "off"]})
    }
}
