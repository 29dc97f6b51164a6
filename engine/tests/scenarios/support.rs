//! What scenarios are written with: a project as YAML, a fake cloud, a store; plan, apply, look.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gabion_data::DataProvider;
use gabion_engine::address::{CountedIds, ResourceAddress, RunId};
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver, StepOutcome};
use gabion_engine::apply::{ApplyControl, ApplyError, ApplyOptions, ApplyReport, ApplyRequest, apply};
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::gather::{GatherLimits, GatherRequest, gather};
use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::step::StepOperation;
use gabion_engine::plan::{Mode, Plan, planner};
use gabion_engine::provider::{Provider, ProviderRegistry};
use gabion_engine::resource::{Alternative, Alternatives, Configuration};
use gabion_engine::retry::{NoJitter, RetryPolicy};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::{EventBody, Holder};
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::record::{Record, Status};
use gabion_engine::state::{Journal, JournalOptions, MemoryStore, State, StateStore, load_for_reading};
use gabion_engine::value::{Secret, Value};
use gabion_engine::world::{Refresh, World};
use gabion_testing::fake::FakeCloud;
use jiff::Timestamp;

/// A project, its cloud and its state.
pub(crate) struct Scenario {
    pub(crate) cloud: FakeCloud,
    pub(crate) providers: ProviderRegistry,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) key: Option<Arc<FingerprintKey>>,
    pub(crate) environment: BTreeMap<String, String>,
    /// Zones that every machine may be in when there is no room for it in the one that the cloud chooses.
    pub(crate) other_zones: Vec<&'static str>,
    pub(crate) apply_options: ApplyOptions,
    /// When the world is gathered; the log's clock stands still at the epoch.
    pub(crate) now: Timestamp,
    pub(crate) heartbeat: HeartbeatMode,
    ids: Arc<CountedIds>,
    runs: AtomicU64,
    /// The command that plans are applied by.
    operation: Mutex<&'static str>,
}

/// What an apply did.
pub(crate) struct Applied {
    pub(crate) report: ApplyReport,
    pub(crate) events: Vec<ApplyEvent>,
}

/// Writes down what an apply says.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) events: Vec<ApplyEvent>,
}

impl ApplyObserver for Notes {
    fn observe(&mut self, event: &ApplyEvent) {
        self.events.push(event.clone());
    }
}

impl Scenario {
    /// A cloud that answers at once, and a memory store.
    pub(crate) fn new() -> Self {
        Self::on(Arc::new(MemoryStore::new()))
    }

    /// The same on another store.
    pub(crate) fn on(store: Arc<dyn StateStore>) -> Self {
        let cloud = FakeCloud::new(7);
        let fake = Arc::new(cloud.provider());
        Self::with(store, cloud, fake)
    }

    /// The same with another provider over the cloud.
    pub(crate) fn with(store: Arc<dyn StateStore>, cloud: FakeCloud, fake: Arc<dyn Provider>) -> Self {
        let mut providers = ProviderRegistry::default();
        providers.register(fake);
        providers.register(Arc::new(DataProvider::default()));
        let ids = Arc::new(CountedIds::default());
        Self {
            cloud,
            providers,
            store,
            key: Some(Arc::new(FingerprintKey::new([7; 32]))),
            environment: BTreeMap::new(),
            other_zones: Vec::new(),
            apply_options: ApplyOptions {
                parallelism: 10,
                retry: retry(),
                ids: ids.clone(),
                ..ApplyOptions::default()
            },
            now: Timestamp::UNIX_EPOCH,
            heartbeat: HeartbeatMode::Task,
            ids,
            runs: AtomicU64::new(0),
            operation: Mutex::new("apply"),
        }
    }

    /// Reads a project of one file; `gabion.yml` may come after a line `=== gabion.yml`.
    pub(crate) fn configuration(&self, text: &str) -> Configuration {
        let (main, settings) = match text.split_once("=== gabion.yml\n") {
            Some((main, settings)) => (main, Some(settings)),
            None => (text, None),
        };
        let mut texts = vec![("main.gabion.yml", main)];
        texts.extend(settings.map(|settings| ("gabion.yml", settings)));
        if main.trim().is_empty() {
            texts.remove(0);
        }
        let (project, mut problems) = Project::parse(Sources::from_texts("scenario", texts));
        let registry = DocumentRegistry::new();
        let environment = |name: &str| self.environment.get(name).cloned();
        let inputs = LowerInputs {
            purpose: Purpose::Plan,
            registry: &registry,
            recorded: &NothingRecorded,
            environment: &environment,
            secret: &no_secrets,
            version: "0.1.0",
        };
        let (mut configuration, found) = project.lower(inputs, &problems);
        for resource in &mut configuration.resources {
            if resource.address.resource_type.as_str() == "fake_machine" {
                resource.alternatives = self.alternatives().into();
            }
        }
        problems.extend(found);
        assert!(!problems.has_errors(), "{}", texts_of(&problems));
        configuration
    }

    fn alternatives(&self) -> Alternatives {
        let zone = |zone: &&str| Alternative {
            label: (*zone).into(),
            inputs: [("zone".into(), Value::string(zone))].into(),
        };
        Alternatives {
            chosen: "any zone".into(),
            others: self.other_zones.iter().map(zone).collect(),
        }
    }

    pub(crate) async fn state(&self) -> State {
        load_for_reading(&*self.store, None).await.unwrap()
    }

    pub(crate) async fn record(&self, address: &str) -> Record {
        let address = address.parse().unwrap();
        self.state()
            .await
            .current(&address)
            .cloned()
            .expect("it is recorded")
    }

    pub(crate) async fn is_recorded(&self, address: &str) -> bool {
        let address: ResourceAddress = address.parse().unwrap();
        self.state().await.current(&address).is_some()
    }

    /// Everything in the log, as it is written.
    pub(crate) async fn log(&self) -> Vec<EventBody> {
        let events = self.store.events(0, 100_000).await.unwrap();
        events.iter().map(|chained| chained.event.body.clone()).collect()
    }

    pub(crate) async fn gather(&self, configuration: &Configuration, refresh: Refresh) -> World {
        let state = self.state().await;
        let request = GatherRequest {
            state: &state,
            configuration,
            providers: &self.providers,
            refresh,
            unmanaged: false,
            lease: None,
            fingerprints: self.key.as_deref(),
            now: self.now,
        };
        let limits = GatherLimits {
            retry: retry(),
            ..GatherLimits::default()
        };
        gather(request, &limits, &mut ()).await.unwrap()
    }

    pub(crate) async fn try_plan(
        &self,
        configuration: &Configuration,
        mut options: PlanOptions,
    ) -> (Option<Plan>, Diagnostics) {
        let state = self.state().await;
        let world = self.gather(configuration, Refresh::Full).await;
        options.key = self.key.clone();
        options.secrets = self
            .environment
            .iter()
            .map(|(name, value)| {
                let value = Secret::new(None, value.as_str().into());
                (format!("env.{name}").into(), value)
            })
            .collect();
        let plan_of = |configuration: &Configuration| {
            planner::plan(&PlanInput {
                configuration,
                state: &state,
                world: &world,
                providers: &self.providers,
                options: &options,
            })
        };
        // As the program plans: the configuration shares with the records what is the same in both.
        let mut sharing = configuration.clone();
        sharing.share_with(&state);
        let (plan, problems) = plan_of(&sharing);
        let digest = |plan: &Option<Plan>| plan.as_ref().map(Plan::digest);
        assert_eq!(digest(&plan), digest(&plan_of(configuration).0));
        (plan, problems)
    }

    pub(crate) async fn plan_with(&self, text: &str, options: PlanOptions) -> Plan {
        let configuration = self.configuration(text);
        let (plan, problems) = self.try_plan(&configuration, options).await;
        assert!(!problems.has_errors(), "{}", texts_of(&problems));
        plan.unwrap()
    }

    pub(crate) async fn plan(&self, text: &str) -> Plan {
        self.plan_with(text, PlanOptions::default()).await
    }

    pub(crate) async fn destroy_plan(&self, text: &str) -> Plan {
        let options = PlanOptions {
            mode: Mode::Destroy,
            ..PlanOptions::default()
        };
        self.plan_with(text, options).await
    }

    pub(crate) async fn open(&self) -> Arc<Journal> {
        let run = self.runs.fetch_add(1, Ordering::Relaxed) + 1;
        let options = JournalOptions {
            project: "scenario".into(),
            holder: Holder {
                who: "ada".to_owned(),
                host: "laptop".to_owned(),
                process: None,
                operation: self.operation().to_owned(),
            },
            run: RunId::from_uuid(uuid::Uuid::from_u64_pair(1, run)),
            lease_length: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(3600),
            heartbeat: self.heartbeat,
            processes: Processes::default(),
            key: self.key.clone(),
            head_mark: None,
            lineage: None,
            clock: Arc::new(StoppedClock::default()),
            ids: self.ids.clone(),
        };
        Arc::new(Journal::open(self.store.clone(), options).await.unwrap())
    }

    /// Applies a plan on an open journal.
    pub(crate) async fn carry_out(
        &self,
        plan: &Plan,
        journal: &Arc<Journal>,
        control: &ApplyControl,
        notes: &mut dyn ApplyObserver,
    ) -> Result<ApplyReport, ApplyError> {
        let secrets: BTreeMap<String, Value> = self
            .environment
            .iter()
            .map(|(name, value)| (format!("env.{name}"), value.as_str().into()))
            .collect();
        let facts = BTreeMap::new();
        let request = ApplyRequest {
            plan,
            digest: plan.digest(),
            providers: &self.providers,
            facts: &facts,
            secrets: &secrets,
            fingerprints: self.key.clone(),
            operation: self.operation().to_owned(),
            who: "ada".to_owned(),
        };
        apply(request, journal, &self.apply_options, control, notes).await
    }

    /// Applies a plan, as it comes out of a file.
    pub(crate) async fn try_apply_plan(&self, plan: &Plan) -> Result<Applied, ApplyError> {
        let saved = Plan::from_file(&plan.to_file().unwrap()).unwrap();
        let journal = self.open().await;
        let mut notes = Notes::default();
        let result = self
            .carry_out(&saved, &journal, &ApplyControl::new(), &mut notes)
            .await;
        let closed = journal.close().await;
        let report = result?;
        if let Err(source) = closed {
            let report = Box::new(report);
            return Err(ApplyError::Log { source, report });
        }
        Ok(Applied {
            report,
            events: notes.events,
        })
    }

    fn operation(&self) -> &'static str {
        *self.operation.lock().unwrap()
    }

    /// Applies a plan of another command.
    pub(crate) async fn carry_out_as(&self, plan: &Plan, operation: &'static str) -> Applied {
        let before = std::mem::replace(&mut *self.operation.lock().unwrap(), operation);
        let applied = self.apply_plan(plan).await;
        *self.operation.lock().unwrap() = before;
        applied
    }

    pub(crate) async fn apply_plan(&self, plan: &Plan) -> Applied {
        self.try_apply_plan(plan).await.unwrap()
    }

    /// Plans and applies.
    pub(crate) async fn apply(&self, text: &str) -> Applied {
        let plan = self.plan(text).await;
        self.apply_plan(&plan).await
    }

    /// Plans and applies; everything must be done, and the next plan be empty.
    pub(crate) async fn settle(&self, text: &str) -> Applied {
        let applied = self.apply(text).await;
        assert!(applied.report.is_complete(), "{}", applied.outcomes());
        self.expect_empty(text).await;
        applied
    }

    /// The plan has nothing to do.
    pub(crate) async fn expect_empty(&self, text: &str) {
        let plan = self.plan(text).await;
        assert_eq!(summary(&plan), "nothing");
        assert!(plan.steps.is_empty(), "{:?}", plan.steps);
        assert!(plan.drift.is_empty(), "{:?}", plan.drift);
    }

    pub(crate) async fn destroy(&self, text: &str) -> Applied {
        let plan = self.destroy_plan(text).await;
        self.apply_plan(&plan).await
    }

    /// What the cloud was told to do since a number of changes.
    pub(crate) fn changes_since(&self, count: usize) -> Vec<String> {
        let changes = self.cloud.dump().changes;
        changes[count..]
            .iter()
            .map(|change| {
                format!(
                    "{:?} {}",
                    change.verb,
                    change.address.as_deref().unwrap_or(&change.id)
                )
                .to_lowercase()
            })
            .collect()
    }

    pub(crate) fn change_count(&self) -> usize {
        self.cloud.dump().changes.len()
    }
}

impl Applied {
    /// How each step ended, a line each.
    pub(crate) fn outcomes(&self) -> String {
        outcomes(&self.report)
    }

    /// The phases, retries and the like that were said about an address.
    pub(crate) fn count(&self, wanted: impl Fn(&ApplyEvent) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        first: Duration::from_secs(1),
        most: Duration::from_secs(8),
        tries: 6,
        jitter: Arc::new(NoJitter),
    }
}

pub(crate) fn outcomes(report: &ApplyReport) -> String {
    let mut text = String::new();
    for step in &report.steps {
        let operation = match step.operation {
            StepOperation::Create { deposes: None } => "create",
            StepOperation::Create { deposes: Some(_) } => "create (deposing)",
            StepOperation::Update => "update",
            StepOperation::Delete { .. } => "delete",
            StepOperation::DeleteWith { .. } => "delete with",
            StepOperation::Check => "check",
        };
        let outcome = match &step.outcome {
            StepOutcome::Done => "done".to_owned(),
            StepOutcome::Unneeded => "unneeded".to_owned(),
            StepOutcome::Failed(error) => format!("failed: {}", error.message),
            StepOutcome::Uncertain(error) => format!("uncertain: {}", error.message),
            StepOutcome::Skipped { because } => format!("skipped because {because}"),
        };
        writeln!(text, "{operation} {}: {outcome}", step.address).unwrap();
    }
    text
}

/// What a plan does, a line for each change that does anything.
pub(crate) fn summary(plan: &Plan) -> String {
    let mut lines: Vec<String> = plan
        .settlements
        .iter()
        .map(|settlement| {
            let found = match settlement.observation {
                _ if settlement.late => "late",
                gabion_engine::provider::Observation::Present(_) => "present",
                gabion_engine::provider::Observation::Absent => "absent",
                gabion_engine::provider::Observation::Unknown { .. } => "unknown",
            };
            format!("found {} {found}", settlement.address)
        })
        .collect();
    lines.extend(plan.changes.iter().filter_map(line));
    if lines.is_empty() {
        return "nothing".to_owned();
    }
    lines.join("\n")
}

fn line(change: &Change) -> Option<String> {
    let verb = match change.action {
        Action::NoOp if change.previous_address.is_some() => "move",
        Action::NoOp if change.importing.is_some() => "import",
        Action::NoOp => return None,
        Action::Create => "create",
        Action::Update if change.importing.is_some() => "import and update",
        Action::Update => "update",
        Action::Replace(ReplaceOrder::CreateThenDelete) => "replace create-first",
        Action::Replace(ReplaceOrder::DeleteThenCreate) => "replace delete-first",
        Action::Delete if change.deposed => "delete deposed",
        Action::Delete => "delete",
        Action::Forget => "forget",
    };
    let mut line = format!("{verb} {}", change.address);
    let paths: Vec<String> = change
        .attributes
        .iter()
        .filter(|_| matches!(change.action, Action::Update | Action::Replace(_)))
        .map(|attribute| {
            let forces = if attribute.forces_replacement { "!" } else { "" };
            format!("{}{forces}", attribute.path)
        })
        .collect();
    if !paths.is_empty() {
        write!(line, " ({})", paths.join(", ")).unwrap();
    }
    Some(line)
}

pub(crate) fn texts_of(problems: &Diagnostics) -> String {
    problems.iter().map(|problem| format!("{problem:?}\n")).collect()
}

/// A status, for assertions.
pub(crate) fn is(record: &Record, status: Status) -> bool {
    record.status == status && record.open.is_none()
}

/// Compares texts line by line, indentation and empty lines aside.
#[track_caller]
pub(crate) fn same(actual: &str, expected: &str) {
    let lines = |text: &str| {
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (actual, expected) = (lines(actual), lines(expected));
    assert!(
        actual == expected,
        "expected:\n{}\n\ngot:\n{}\n",
        expected.join("\n"),
        actual.join("\n")
    );
}

/// A resource document.
pub(crate) fn resource(kind: &str, name: &str, properties: &str) -> String {
    format!("---\ntype: resource\nkind: {kind}\nname: {name}\nproperties: {{{properties}}}\n")
}

/// A machine with an image.
pub(crate) fn machine(name: &str, image: &str) -> String {
    resource("fake_machine", name, &format!("name: {name}, image: {image}"))
}

/// A `gabion_data` with an input.
pub(crate) fn data(name: &str, input: &str) -> String {
    resource("gabion_data", name, &format!("input: {input}"))
}
