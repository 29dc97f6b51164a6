//! Profile parameters: what runs, presets and `profiles.yml` say about machines, retries and time.

use std::collections::BTreeSet;
use std::time::Duration;

use gabion_engine::config::{FromNode, MapReader, Node, OneOrMany, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::backend::Backend;
use super::scaling::Positive;
use crate::grammar::cron::Cron;
use crate::grammar::duration::{IdleLimit, Limit};
use crate::grammar::reference::EntityReference;
use crate::grammar::tags::Tags;
use crate::term::{Term, keyword, map_schema, map_type, plain_map, read_map, write_map};

keyword! {
    /// Which machines may be used.
    pub enum SpotPolicy: "a spot policy" {
        /// Interruptible ones.
        Spot = "spot",
        /// Uninterruptible ones.
        OnDemand = "on-demand",
        /// Either.
        Auto = "auto",
    }
}

keyword! {
    /// Whether machines may be made.
    pub enum CreationPolicy: "a creation policy" {
        /// Only machines that are there.
        Reuse = "reuse",
        /// Machines that are there, else new ones.
        ReuseOrCreate = "reuse-or-create",
    }
}

keyword! {
    /// The order in which nodes start.
    pub enum StartupOrder: "a startup order" {
        /// Any.
        Any = "any",
        /// The master first.
        MasterFirst = "master-first",
        /// The workers first.
        WorkersFirst = "workers-first",
    }
}

keyword! {
    /// When a run with several nodes is finished.
    pub enum StopCriteria: "a stop criterion" {
        /// When all nodes are.
        AllDone = "all-done",
        /// When the master is.
        MasterDone = "master-done",
    }
}

keyword! {
    /// What is tried again.
    pub enum RetryEvent: "an event to retry on" {
        /// There was no machine.
        NoCapacity = "no-capacity",
        /// The machine was taken away.
        Interruption = "interruption",
        /// The program failed.
        Error = "error",
    }
}

const ALL_EVENTS: [RetryEvent; 3] = [
    RetryEvent::NoCapacity,
    RetryEvent::Interruption,
    RetryEvent::Error,
];

map_type! {
    /// After what, and for how long, a run is tried again.
    pub struct RetryRule: "retry rule" {
        /// After what; after anything if not given.
        on_events: Vec<RetryEvent> = ALL_EVENTS.to_vec(),
        /// For how long.
        duration: Duration = Duration::from_secs(3600),
    }
    check RetryRule::check;
}

impl RetryRule {
    fn check(&self, map: &mut MapReader<'_>) {
        if self.on_events.is_empty() {
            let place = map.get("on_events").map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("empty-list", "empty list")
                    .detail("`on_events` must name at least one event.")
                    .at(place)
                    .hint("remove it to retry on every event, or write `retry: false`"),
            );
        }
    }
}

/// Whether a run is tried again.
#[derive(Clone, Debug, PartialEq)]
pub enum Retry {
    /// Never.
    Never,
    /// As the rule says.
    Rule(RetryRule),
}

impl FromNode for Retry {
    fn expected() -> String {
        "`true`, `false`, or a map of `on_events` and `duration`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            return read_map(node, problems).map(Self::Rule);
        }
        let rule = RetryRule {
            on_events: ALL_EVENTS.to_vec(),
            duration: Duration::from_secs(3600),
        };
        let Some(retry) = node.as_bool() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        Some(if retry { Self::Rule(rule) } else { Self::Never })
    }
}

impl Term for Retry {
    fn write(&self) -> Yaml {
        match self {
            Self::Never => false.into(),
            Self::Rule(rule) => write_map(rule),
        }
    }

    fn schema() -> Json {
        json!({"anyOf": [bool::schema(), map_schema::<RetryRule>()], "title": "true, false or a rule"})
    }
}

map_type! {
    /// When a run whose accelerators idle is stopped.
    pub struct UtilizationPolicy: "utilization policy" {
        /// The least utilization, in percent.
        min_gpu_utilization: Spanned<u32>,
        /// Over which time, at least 5m.
        time_window: Spanned<Duration>,
    }
    check UtilizationPolicy::check;
}

plain_map!(
    UtilizationPolicy,
    "a map of `min_gpu_utilization` and `time_window`"
);

impl UtilizationPolicy {
    fn check(&self, map: &mut MapReader<'_>) {
        if self.min_gpu_utilization.value > 100 {
            map.problems().push(
                Diagnostic::error("out-of-range", "number out of range")
                    .detail("A utilization is from 0 to 100 percent.")
                    .at(self.min_gpu_utilization.span.clone())
                    .hint("write a number from 0 to 100"),
            );
        }
        if self.time_window.value < Duration::from_secs(300) {
            map.problems().push(
                Diagnostic::error("bad-duration", "bad duration")
                    .detail("Utilization is watched for 5 minutes at least.")
                    .at(self.time_window.span.clone())
                    .hint("write `5m` or more"),
            );
        }
    }
}

map_type! {
    /// When a run starts.
    pub struct Schedule: "schedule" {
        /// One or several times, in UTC.
        cron: OneOrMany<Cron>,
    }
    check Schedule::check;
}

plain_map!(Schedule, "a map such as `{cron: \"0 8 * * mon-fri\"}`");

impl Schedule {
    fn check(&self, map: &mut MapReader<'_>) {
        if self.cron.0.is_empty() {
            let place = map.get("cron").map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("empty-list", "empty list")
                    .detail("A schedule needs at least one time.")
                    .at(place)
                    .hint("such as `cron: \"0 8 * * mon-fri\"`"),
            );
        }
    }
}

map_type! {
    /// The map form of an instance to use.
    pub struct InstanceMap: "instance" {
        /// The instance's name.
        name: Option<String> = None,
        /// The instance's host name or address.
        hostname: Option<String> = None,
        /// The fleet that it is in.
        fleet: Option<EntityReference> = None,
        /// Its number in the fleet.
        instance: Option<u32> = None,
    }
}

/// An instance to use.
#[derive(Clone, Debug, PartialEq)]
pub enum InstanceSelector {
    /// By name.
    Name(String),
    /// By host name or address.
    Hostname(String),
    /// By its number in a fleet.
    InFleet(EntityReference, u32),
}

impl FromNode for InstanceSelector {
    fn expected() -> String {
        "an instance's name, or a map of `name`, `hostname`, or `fleet` and `instance`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_none() {
            let name = String::from_node(node, problems)?;
            return Self::checked(Self::Name(name), node, problems);
        }
        let map: InstanceMap = read_map(node, problems)?;
        let selector = match (map.name, map.hostname, map.fleet, map.instance) {
            (Some(name), None, None, None) => Self::Name(name),
            (None, Some(hostname), None, None) => Self::Hostname(hostname),
            (None, None, Some(fleet), Some(instance)) => Self::InFleet(fleet, instance),
            _ => {
                problems.push(
                    node.error("bad-instance", "bad instance")
                        .detail(
                            "An instance is named by `name`, by `hostname`, or by `fleet` and `instance`.",
                        )
                        .hint("keep one of these"),
                );
                return None;
            }
        };
        Self::checked(selector, node, problems)
    }
}

impl InstanceSelector {
    fn checked(self, node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if matches!(&self, Self::Name(name) | Self::Hostname(name) if name.is_empty()) {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        }
        Some(self)
    }
}

impl Term for InstanceSelector {
    fn write(&self) -> Yaml {
        match self {
            Self::Name(name) => name.write(),
            Self::Hostname(hostname) => map_of([("hostname", hostname.write())]),
            Self::InFleet(fleet, number) => map_of([("fleet", fleet.write()), ("instance", number.write())]),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "string", "minLength": 1}, map_schema::<InstanceMap>()],
            "title": "instance",
            "examples": ["my-fleet-0", {"hostname": "10.0.0.7"}, {"fleet": "my-fleet", "instance": 0}],
        })
    }
}

fn map_of<const N: usize>(entries: [(&str, Yaml); N]) -> Yaml {
    Yaml::Mapping(
        entries
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect(),
    )
}

keyword! {
    /// Backends with options of their own.
    pub enum BackendWithOptions: "a backend with options" {
        /// Vast.ai.
        Vastai = "vastai",
    }
}

keyword! {
    /// Which offers are tried first.
    pub enum OfferOrder: "an order of offers" {
        /// The best rated.
        Score = "score",
        /// The cheapest.
        Price = "price",
    }
}

map_type! {
    /// Options of one backend.
    pub struct BackendOptions: "set of backend options" {
        /// The backend.
        ("type") backend: BackendWithOptions = BackendWithOptions::Vastai,
        /// Which offers are tried first.
        offer_order: OfferOrder = OfferOrder::Score,
        /// The least reliability of an offer, from 0 to 1.
        min_reliability: Spanned<f64> => 0.9,
        /// The least score of an offer.
        min_score: Option<u32> = None,
    }
    check BackendOptions::check;
}

plain_map!(
    BackendOptions,
    "a map such as `{type: vastai, offer_order: price}`"
);

impl BackendOptions {
    fn check(&self, map: &mut MapReader<'_>) {
        if !(0.0..=1.0).contains(&self.min_reliability.value) {
            map.problems().push(
                Diagnostic::error("out-of-range", "number out of range")
                    .detail("A reliability is from 0 to 1.")
                    .at(self.min_reliability.span.clone())
                    .hint("write a number from 0 to 1"),
            );
        }
    }
}

map_type! {
    /// What runs, presets and `profiles.yml` say about machines, retries and time.
    pub struct ProfileParams: "profile" {
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
        spot_policy: SpotPolicy = SpotPolicy::OnDemand,
        /// Whether a run is tried again.
        retry: Retry = Retry::Never,
        /// How long it may run.
        max_duration: Limit<-1> = Limit::Off,
        /// How long it may take to stop.
        stop_duration: Limit<300> = Limit::default(),
        /// The highest price of a machine, in dollars an hour.
        max_price: Option<Positive> = None,
        /// Whether machines may be made.
        creation_policy: CreationPolicy = CreationPolicy::ReuseOrCreate,
        /// How long a machine made for it may be idle before it is deleted.
        idle_duration: IdleLimit<300> = IdleLimit(Limit::default()),
        /// When a run whose accelerators idle is stopped.
        utilization_policy: Option<UtilizationPolicy> = None,
        /// The order in which nodes start.
        startup_order: StartupOrder = StartupOrder::Any,
        /// When a run with several nodes is finished.
        stop_criteria: StopCriteria = StopCriteria::AllDone,
        /// When the run starts.
        schedule: Option<Spanned<Schedule>> = None,
        /// The fleets that may be used; any if none are given.
        fleets: Vec<Spanned<EntityReference>> = Vec::new(),
        /// The instances that may be used, of those that are there.
        instances: Option<Vec<InstanceSelector>> = None,
        /// Tags for the machines that are made.
        tags: Tags = Tags::default(),
        /// Options of single backends.
        backend_options: Vec<BackendOptions> = Vec::new(),
    }
    check ProfileParams::check;
}

/// The keys of [`ProfileParams`].
pub(crate) const PROFILE_KEYS: [&str; 20] = [
    "backends",
    "regions",
    "availability_zones",
    "instance_types",
    "reservation",
    "spot_policy",
    "retry",
    "max_duration",
    "stop_duration",
    "max_price",
    "creation_policy",
    "idle_duration",
    "utilization_policy",
    "startup_order",
    "stop_criteria",
    "schedule",
    "fleets",
    "instances",
    "tags",
    "backend_options",
];

impl ProfileParams {
    fn check(&self, map: &mut MapReader<'_>) {
        if self.instances.as_ref().is_some_and(Vec::is_empty) {
            let place = map.get("instances").map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("empty-list", "empty list")
                    .detail("`instances` must name at least one instance.")
                    .at(place)
                    .hint("name one, or remove `instances`"),
            );
        }
        check_backend_options(&self.backend_options, map);
    }
}

/// Reports a backend whose options are given twice.
pub(crate) fn check_backend_options(options: &[BackendOptions], map: &mut MapReader<'_>) {
    let mut seen = BTreeSet::new();
    for (index, options) in options.iter().enumerate() {
        if seen.insert(options.backend) {
            continue;
        }
        let place = map
            .get("backend_options")
            .and_then(|node| node.as_list()?.get(index));
        let place = place.map(|node| node.span.clone());
        map.problems().push(
            Diagnostic::error("duplicate-backend", "duplicate backend")
                .detail(format!("`{}` has its options above already.", options.backend))
                .at(place)
                .hint("put them together"),
        );
    }
}
