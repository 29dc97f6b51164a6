//! A project over time: its configuration, its state and its world.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::{Lineage, ResourceAddress, RunId, Uid};
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::plan::Plan;
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::planner::plan;
use gabion_engine::provider::{ObjectState, ProviderRegistry, ReadOutcome};
use gabion_engine::resource::Configuration;
use gabion_engine::state::event::{Created, Event, EventBody, Holder, Writer};
use gabion_engine::state::{FORMAT_VERSION, State};
use gabion_engine::value::{AttributePath, PathSegment, Value};
use gabion_engine::world::{Refresh, World};
use jiff::Timestamp;
use uuid::Uuid;

use super::provider::Toy;

/// A project over time.
pub(crate) struct Scenario {
    pub(crate) configuration: Configuration,
    pub(crate) state: State,
    /// What there is.
    pub(crate) cloud: BTreeMap<Uid, ObjectState>,
    /// What reading and observing give, beside what the cloud holds.
    pub(crate) world: World,
    pub(crate) providers: ProviderRegistry,
    pub(crate) options: PlanOptions,
    pub(crate) environment: BTreeMap<String, String>,
    pub(super) made: u64,
    /// The digest of the plan that is carried out.
    pub(super) running: Arc<str>,
}

/// Reads an address.
pub(crate) fn address(text: &str) -> ResourceAddress {
    text.parse().unwrap()
}

/// Returns the uid of the object that has an address.
pub(crate) fn uid_of(scenario: &Scenario, at: &str) -> Uid {
    scenario
        .state
        .current(&address(at))
        .unwrap_or_else(|| panic!("no {at}"))
        .uid
}

impl Scenario {
    /// A new project with this configuration.
    pub(crate) fn new(yaml: &str) -> Self {
        let mut providers = ProviderRegistry::default();
        providers.register(Arc::new(Toy::default()));
        let mut world = World::unread(Timestamp::UNIX_EPOCH);
        world.refresh = Refresh::Full;
        let mut scenario = Self {
            configuration: Configuration::default(),
            state: State::default(),
            cloud: BTreeMap::new(),
            world,
            providers,
            options: PlanOptions::default(),
            environment: BTreeMap::new(),
            made: 0,
            running: "".into(),
        };
        scenario.fold(EventBody::Created(Created {
            format_version: FORMAT_VERSION,
            lineage: Lineage::from_uuid(Uuid::from_u64_pair(9, 9)),
            project: "toy".into(),
        }));
        scenario.fold(EventBody::LeaseTaken {
            holder: Holder {
                who: "ann".to_owned(),
                host: "desk".to_owned(),
                process: None,
                operation: "apply".to_owned(),
            },
        });
        scenario.configure(yaml);
        scenario
    }

    /// A project that was applied with this configuration.
    pub(crate) fn applied(yaml: &str) -> Self {
        let mut scenario = Self::new(yaml);
        scenario.apply();
        scenario
    }

    /// Changes the configuration: several documents in one file.
    pub(crate) fn configure(&mut self, yaml: &str) {
        match yaml {
            "" => self.configure_files(&[("gabion.yml", "project: toy")]),
            yaml => self.configure_files(&[("main.gabion.yml", yaml)]),
        }
    }

    /// Changes the configuration.
    pub(crate) fn configure_files(&mut self, files: &[(&str, &str)]) {
        let texts: Vec<(String, String)> = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), expand(text)))
            .collect();
        let sources = Sources::from_texts("toy", texts);
        let environment = |name: &str| self.environment.get(name).cloned();
        let registry = DocumentRegistry::new();
        let (mut project, mut problems) = Project::parse(sources.clone());
        let inputs = LowerInputs {
            purpose: Purpose::Plan,
            registry: &registry,
            recorded: &NothingRecorded,
            environment: &environment,
            secret: &no_secrets,
            version: "0.1.0",
        };
        let (configuration, found) = project.lower(inputs, &problems);
        problems.extend(found);
        assert!(!problems.has_errors(), "{problems}");
        self.check_sharing(&mut project, inputs, &configuration);
        self.configuration = configuration;
        self.options.sources = sources;
    }

    /// What documents share with the records makes no difference to what they mean.
    fn check_sharing(&self, project: &mut Project, inputs: LowerInputs<'_>, configuration: &Configuration) {
        project.share_with(&self.state);
        let (shared, _) = project.lower(inputs, &Diagnostics::new());
        assert_eq!(shared, *configuration);
        for resource in &shared.resources {
            if let Some(record) = self.state.current(&resource.address) {
                assert!(std::ptr::eq(&*resource.address, &*record.address));
            }
        }
    }

    /// Plans with what there is now. What the configuration shares with the records makes no difference.
    pub(crate) fn try_plan(&self) -> (Option<Plan>, Diagnostics) {
        let mut world = self.world.clone();
        if world.refresh == Refresh::Full {
            for record in self.state.records().filter(|record| record.open.is_none()) {
                let found = match self.cloud.get(&record.uid) {
                    Some(object) => ReadOutcome::Present(object.clone()),
                    None => ReadOutcome::Absent,
                };
                world.objects.entry(record.uid).or_insert(found);
            }
        }
        let plan_of = |configuration: &Configuration| {
            plan(&PlanInput {
                configuration,
                state: &self.state,
                world: &world,
                providers: &self.providers,
                options: &self.options,
            })
        };
        let (plan, problems) = plan_of(&self.configuration);
        let mut sharing = self.configuration.clone();
        sharing.share_with(&self.state);
        assert_eq!(sharing.resources, self.configuration.resources);
        let (same, same_problems) = plan_of(&sharing);
        assert_eq!(same, plan);
        assert_eq!(same_problems.to_string(), problems.to_string());
        let digest = |plan: &Option<Plan>| plan.as_ref().map(Plan::digest);
        assert_eq!(digest(&same), digest(&plan));
        (plan, problems)
    }

    /// Plans, and expects a plan.
    pub(crate) fn plan(&self) -> Plan {
        let (plan, problems) = self.try_plan();
        assert!(!problems.has_errors(), "{problems}");
        plan.expect("without errors there is a plan")
    }

    /// Plans, and expects only problems.
    pub(crate) fn problems(&self) -> String {
        let (plan, problems) = self.try_plan();
        assert!(plan.is_none(), "there is a plan");
        problems.to_string()
    }

    /// Plans and applies, and expects that nothing is left to do.
    pub(crate) fn apply(&mut self) {
        let plan = self.plan();
        self.carry_out(&plan);
        let after = self.plan();
        assert!(after.is_empty(), "{}", super::render(&after));
    }

    /// Changes an attribute of an object behind the state's back.
    pub(crate) fn tamper(&mut self, at: &str, path: &str, value: impl Into<Value>) {
        let uid = uid_of(self, at);
        let path: AttributePath = path.parse().unwrap();
        let object = self.cloud.get_mut(&uid).unwrap();
        let Some((PathSegment::Key(root), rest)) = path.0.split_first() else {
            panic!("no name")
        };
        let mut target = object.attributes.get_or_insert_with(root, Value::default);
        for segment in rest {
            target = match (segment, target) {
                (PathSegment::Key(key), Value::Map(entries)) => {
                    entries.get_or_insert_with(key, Value::default)
                }
                (PathSegment::Index(index), Value::List(items)) => &mut items[*index],
                _ => panic!("nothing at {path}"),
            };
        }
        *target = value.into();
    }

    /// Deletes an object behind the state's back.
    pub(crate) fn lose(&mut self, at: &str) {
        self.cloud.remove(&uid_of(self, at));
    }

    /// Makes an object unreadable.
    pub(crate) fn hide(&mut self, at: &str) {
        let reason = "The machine does not answer.".to_owned();
        self.world
            .objects
            .insert(uid_of(self, at), ReadOutcome::CannotTell { reason });
    }

    /// Writes an event.
    pub(crate) fn fold(&mut self, body: EventBody) {
        let writer = Writer {
            run: RunId::from_uuid(Uuid::from_u64_pair(8, 8)),
            epoch: self.state.epoch + u64::from(body.takes_lease()),
        };
        let event = Event::after(&self.state, writer, Timestamp::UNIX_EPOCH, body);
        self.state
            .fold(&event)
            .unwrap_or_else(|error| panic!("{error}: {event:#?}"));
    }
}

/// Lets scenarios write `box a: {input: 1}` for a resource, with what is no property after a `|`:
/// `box a: {input: 1} | lifecycle: {prevent_destroy: true}`. Other lines stand as they are.
fn expand(text: &str) -> String {
    let mut out = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(3, ' ').collect();
        let short = match words.as_slice() {
            [kind @ ("box" | "slot" | "part"), name, rest] if name.ends_with(':') => {
                Some((*kind, name.trim_end_matches(':'), *rest))
            }
            _ => None,
        };
        match short {
            Some((kind, name, rest)) => {
                let (properties, more) = rest.split_once(" | ").unwrap_or((rest, ""));
                let more = more.replace(" | ", "\n");
                out.push_str(&format!(
                    "---\ntype: resource\nkind: {kind}\nname: {name}\nproperties: {properties}\n{more}\n"
                ));
            }
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}
