//! One process: it opens the journal, gathers, plans and applies, as `gabion apply` does; and it can be struck.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{CountedIds, RunId};
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};
use gabion_engine::apply::{ApplyControl, ApplyOptions, ApplyReport, ApplyRequest, NoSecrets, apply};
use gabion_engine::gather::{GatherLimits, GatherRequest, gather};
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::{Mode, Plan, bindings, planner};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::resource::Configuration;
use gabion_engine::retry::{NoJitter, RetryPolicy};
use gabion_engine::state::event::Holder;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::{Clock, Journal, JournalOptions, State, StateStore};
use gabion_engine::world::Refresh;
use gabion_testing::fake::fault::Random;
use jiff::Timestamp;
use tokio::time::Instant;

use crate::aim::{self, Strike};
use crate::gate::Gate;
use crate::ledger::Ledger;

/// How long a holder may be silent.
pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// A clock that follows the virtual time.
#[derive(Clone, Copy)]
pub(crate) struct VirtualClock {
    pub(crate) began: Instant,
}

impl Clock for VirtualClock {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH + self.began.elapsed()
    }
}

/// What a process is started with.
pub(crate) struct Start {
    pub(crate) gate: Arc<Gate>,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) store: Arc<dyn StateStore>,
    pub(crate) providers: ProviderRegistry,
    pub(crate) configuration: Arc<Configuration>,
    pub(crate) mode: Mode,
    pub(crate) holder: Holder,
    pub(crate) processes: Processes,
    pub(crate) run: u64,
    pub(crate) clock: VirtualClock,
    pub(crate) ids: Arc<CountedIds>,
    pub(crate) key: Arc<FingerprintKey>,
    pub(crate) parallelism: usize,
    /// What shall become of it, and the chance that decides where.
    pub(crate) strike: Option<(Strike, Random)>,
    /// A saved plan to go on with, if nothing moved since.
    pub(crate) resume: Option<Arc<Plan>>,
}

/// How a process ended by itself.
pub(crate) enum Ended {
    /// It carried out a plan.
    Applied {
        plan: Arc<Plan>,
        report: Box<ApplyReport>,
    },
    /// It could not go on, and said so.
    Stopped(String),
}

/// What it had planned when it was struck, to go on with.
pub(crate) type Planned = Arc<std::sync::Mutex<Option<Arc<Plan>>>>;

/// Leads a process to its end.
pub(crate) async fn run(start: Start, planned: Planned) -> Ended {
    let options = JournalOptions {
        project: "simulation".into(),
        holder: start.holder.clone(),
        run: RunId::from_uuid(uuid::Uuid::from_u64_pair(1, start.run)),
        lease_length: LEASE,
        lock_timeout: Duration::from_secs(3600),
        heartbeat: HeartbeatMode::Task,
        processes: start.processes.clone(),
        key: Some(start.key.clone()),
        head_mark: None,
        lineage: None,
        clock: Arc::new(start.clock),
        ids: start.ids.clone(),
    };
    let journal = match Journal::open(start.store.clone(), options).await {
        Ok(journal) => Arc::new(journal),
        Err(error) => return Ended::Stopped(format!("the journal: {error}")),
    };
    start.gate.writes(&journal);
    start.ledger.reloaded(&journal.state());
    let ended = work(&start, &journal, &planned).await;
    let closed = journal.close().await;
    match (ended, closed) {
        (Ended::Applied { .. }, Err(error)) => Ended::Stopped(format!("closing: {error}")),
        (ended, _) => ended,
    }
}

async fn work(start: &Start, journal: &Arc<Journal>, planned: &Planned) -> Ended {
    let state = journal.state();
    let resumed = start.resume.clone().filter(|plan| {
        let moved = bindings::moved(plan, &plan.digest(), &state, &Default::default());
        moved.is_empty()
    });
    let plan = match resumed {
        Some(plan) => {
            start
                .ledger
                .story
                .tell(|| format!("{}: goes on with the same plan", start.gate.name));
            plan
        }
        None => match plan(start, &state).await {
            Ok(plan) => Arc::new(plan),
            Err(why) => return Ended::Stopped(why),
        },
    };
    start
        .ledger
        .story
        .tell(|| format!("{}: plans {}", start.gate.name, summary(&plan)));
    if let Ok(mut planned) = planned.lock() {
        *planned = Some(plan.clone());
    }
    let steps = aim::steps(&plan, &state);
    let aim = start
        .strike
        .clone()
        .and_then(|(strike, mut random)| aim::choose(&plan, &steps, &state, &mut random, strike));
    start.gate.prepare(steps, aim);
    let facts = std::collections::BTreeMap::new();
    let request = ApplyRequest {
        plan: &plan,
        digest: plan.digest(),
        providers: &start.providers,
        facts: &facts,
        secrets: &NoSecrets,
        fingerprints: Some(start.key.clone()),
        operation: "apply".to_owned(),
        who: start.gate.name.clone(),
    };
    let options = ApplyOptions {
        parallelism: start.parallelism,
        retry: retry(),
        ids: start.ids.clone(),
        ..ApplyOptions::default()
    };
    let mut teller = Teller(start);
    match apply(request, journal, &options, &ApplyControl::new(), &mut teller).await {
        Ok(report) => Ended::Applied {
            plan,
            report: Box::new(report),
        },
        Err(error) => Ended::Stopped(format!("applying: {error}")),
    }
}

/// Gathers and plans; nothing is written.
pub(crate) async fn plan(start: &Start, state: &State) -> Result<Plan, String> {
    let request = GatherRequest {
        state,
        configuration: &start.configuration,
        providers: &start.providers,
        refresh: Refresh::Full,
        unmanaged: false,
        lease: None,
        fingerprints: Some(&start.key),
        now: start.clock.now(),
    };
    let limits = GatherLimits {
        retry: retry(),
        ..GatherLimits::default()
    };
    let world = gather(request, &limits, &mut ())
        .await
        .map_err(|error| format!("gathering: {error}"))?;
    let options = PlanOptions {
        mode: start.mode,
        key: Some(start.key.clone()),
        ..PlanOptions::default()
    };
    let (plan, problems) = planner::plan(&PlanInput {
        configuration: &start.configuration,
        state,
        world: &world,
        providers: &start.providers,
        options: &options,
    });
    if problems.has_errors() {
        let texts: Vec<String> = problems.iter().map(|problem| format!("{problem:?}")).collect();
        return Err(format!("planning: {}", texts.join("; ")));
    }
    plan.ok_or_else(|| "planning: there is no plan".to_owned())
}

pub(crate) fn retry() -> RetryPolicy {
    RetryPolicy {
        first: Duration::from_millis(500),
        most: Duration::from_secs(4),
        tries: 5,
        jitter: Arc::new(NoJitter),
    }
}

/// Tells how steps end.
struct Teller<'a>(&'a Start);

impl ApplyObserver for Teller<'_> {
    fn observe(&mut self, event: &ApplyEvent) {
        let name = &self.0.gate.name;
        self.0.ledger.story.tell(|| match event {
            ApplyEvent::StepFinished {
                address,
                operation,
                outcome,
                ..
            } => format!("{name}: {operation:?} {address}: {outcome:?}"),
            ApplyEvent::StepStarted { address, .. } => format!("{name}: starts {address}"),
            other => format!("{name}: {}", first_line(&format!("{other:?}"))),
        });
    }
}

fn first_line(text: &str) -> String {
    text.lines()
        .next()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

/// Returns what a plan does, in a line.
pub(crate) fn summary(plan: &Plan) -> String {
    let mut parts: Vec<String> = plan
        .settlements
        .iter()
        .map(|settlement| {
            let found = match settlement.observation {
                gabion_engine::provider::Observation::Present(_) => "present",
                gabion_engine::provider::Observation::Absent => "absent",
                gabion_engine::provider::Observation::Unknown { .. } => "unknown",
            };
            format!("{} was found {found}", settlement.address)
        })
        .collect();
    parts.extend(
        plan.unsettled
            .iter()
            .map(|open| format!("{} is unsettled: {}", open.address, open.reason)),
    );
    parts.extend(
        plan.moves
            .iter()
            .map(|moved| format!("move {} to {}", moved.from, moved.to)),
    );
    parts.extend(plan.vanished.iter().map(|uid| format!("{uid} vanished")));
    parts.extend(
        plan.changes
            .iter()
            .filter(|change| {
                change.action != gabion_engine::plan::change::Action::NoOp || change.importing.is_some()
            })
            .map(|change| {
                let deposed = if change.deposed { " deposed" } else { "" };
                let import = if change.importing.is_some() { " import" } else { "" };
                format!("{:?}{deposed}{import} {}", change.action, change.address)
            }),
    );
    parts.extend(
        plan.drift
            .iter()
            .map(|drift| format!("drift of {}: {:?}", drift.address, drift.kind)),
    );
    parts.extend(plan.notes.iter().map(|note| format!("note: {}", note.message)));
    if parts.is_empty() {
        return "nothing".to_owned();
    }
    parts.join("; ")
}
