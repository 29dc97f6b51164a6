//! A life: one project from its first apply to its destruction, with a strike whenever something is done.
//!
//! Everything in it follows from its seed: the project, its edits, the faults, the strikes and the virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use gabion_data::DataProvider;
use gabion_engine::address::CountedIds;
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::provider::{Provider, ProviderRegistry};
use gabion_engine::resource::Configuration;
use gabion_engine::state::StateStore;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_testing::fake::api::{Answer, ApiRequest, ApiResponse, CloudClient, Fields, Marks, Verb};
use gabion_testing::fake::fault::{Chaos, Fault, FaultRule, Random};
use gabion_testing::fake::{FakeCloud, FakeProvider};
use tokio::time::Instant;

use crate::aim::Strike;
use crate::cell::{Action, Cell};
use crate::configuration::configuration;
use crate::gate::Gate;
use crate::invariants::{self, Late, Outside};
use crate::ledger::Ledger;
use crate::process::{self, Ended, Planned, Start, VirtualClock};
use crate::processes::Machine;
use crate::project::{Kind, Project};
use crate::store_gate::GatedStore;
use crate::stores::{Shelf, StoreKind, Warehouse};
use crate::story::Story;
use crate::wire::{GatedProvider, Wire};

/// How often a project is edited and applied in one life.
const ROUNDS: usize = 8;
/// Virtual time after which a process is taken for stuck.
const STUCK: Duration = Duration::from_secs(4 * 3600);

/// What a life came to.
#[derive(Debug, Clone, Default)]
pub struct LifeReport {
    /// How many times a process crashed or was paused at a boundary.
    pub points: u64,
    /// How many processes there were.
    pub processes: u64,
    /// How often each cell of the table was hit.
    pub cells: BTreeMap<Cell, u64>,
    /// What does not hold, if anything.
    pub violation: Option<String>,
    /// What happened, if it was to be told.
    pub story: Vec<String>,
}

/// Leads a life.
pub(crate) fn lead(seed: u64, kind: StoreKind, warehouse: &mut Warehouse, told: bool) -> LifeReport {
    let shelf = warehouse.shelf(kind, seed);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without input and output can always be made");
    let machine = Machine::at(warehouse.directory()).expect("the simulated machine can be made");
    runtime.block_on(async {
        let mut life = Life::new(seed, &*shelf, machine, told);
        if let Err(violation) = life.live().await {
            life.ledger.violated(violation);
        }
        LifeReport {
            points: life.points,
            processes: life.runs,
            cells: life.ledger.cells(),
            violation: life.ledger.violation(),
            story: life.ledger.story.lines(),
        }
    })
}

struct Life<'a> {
    random: Random,
    shelf: &'a dyn Shelf,
    machine: Machine,
    cloud: FakeCloud,
    provider: Arc<dyn Provider>,
    ledger: Arc<Ledger>,
    clock: VirtualClock,
    ids: Arc<CountedIds>,
    key: Arc<FingerprintKey>,
    project: Project,
    /// Objects that are there and belong to nobody: prepared for import, or given up.
    foreign: BTreeSet<String>,
    runs: u64,
    points: u64,
    stormy: bool,
}

/// A process that was started.
struct Running {
    gate: Arc<Gate>,
    holder: gabion_engine::state::event::Holder,
    planned: Planned,
    task: tokio::task::JoinHandle<Ended>,
}

/// Says that a process has ended, also when it panics.
struct Ending(Arc<Gate>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// What became of a process.
enum Fate {
    Ended,
    Struck,
}

type Broken = String;

impl<'a> Life<'a> {
    fn new(seed: u64, shelf: &'a dyn Shelf, machine: Machine, told: bool) -> Self {
        let mut random = Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x6a09_e667_f3bc_c908);
        let cloud = FakeCloud::new(random.next());
        let consistency = Duration::from_secs(random.below(9));
        let rate = (random.below(4) == 0).then_some(20);
        cloud.configure(|settings| {
            settings.latency = Duration::from_millis(40);
            settings.jitter = Duration::from_millis(200);
            settings.boot = Duration::from_secs(3);
            settings.consistency = consistency;
            settings.rate = rate;
        });
        let ledger = Arc::new(Ledger::new(Story::new(told)));
        let provider = Arc::new(FakeProvider::new(Arc::new(Wire {
            cloud: cloud.clone(),
            ledger: ledger.clone(),
        })));
        let project = Project::new(&mut random);
        Self {
            random,
            shelf,
            machine,
            cloud,
            provider,
            ledger,
            clock: VirtualClock {
                began: Instant::now(),
            },
            ids: Arc::default(),
            key: Arc::new(FingerprintKey::new([7; 32])),
            project,
            foreign: BTreeSet::new(),
            runs: 0,
            points: 0,
            stormy: false,
        }
    }

    async fn live(&mut self) -> Result<(), Broken> {
        for round in 0..ROUNDS {
            if round > 0 {
                self.edit().await;
            }
            let configuration = Arc::new(configuration(&self.project));
            self.tell(|life| {
                let nodes: Vec<String> = life
                    .project
                    .nodes
                    .iter()
                    .map(|(key, node)| format!("{key} {node:?}"))
                    .collect();
                format!("round {round}: {}", nodes.join("\n             "))
            });
            self.round(&configuration, Mode::Apply).await?;
            self.project.settled();
        }
        let configuration = Arc::new(configuration(&self.project));
        self.round(&configuration, Mode::Destroy).await?;
        // What is on its way arrives before the end.
        tokio::time::sleep(Duration::from_secs(400)).await;
        self.settle(&configuration, Mode::Destroy, Late::Settled).await?;
        self.check_log().await
    }

    /// Strikes an apply, and the applies after it, until one is left alone; then everything must be right.
    async fn round(&mut self, configuration: &Arc<Configuration>, mode: Mode) -> Result<(), Broken> {
        let storm = self.random.below(2) == 0;
        self.storm(storm);
        match self.random.below(10) {
            0..=5 => self.crashes(configuration, mode).await?,
            6..=7 => self.pause(configuration, mode).await?,
            _ => self.contend(configuration, mode).await?,
        }
        self.storm(false);
        self.settle(configuration, mode, Late::MayCome).await
    }

    /// Crashes one process after the other.
    async fn crashes(&mut self, configuration: &Arc<Configuration>, mode: Mode) -> Result<(), Broken> {
        let mut resume = None;
        for _ in 0..4 {
            let strike = if self.random.below(12) == 0 {
                Strike::Refuse
            } else {
                Strike::Crash
            };
            let running = self.start(configuration, mode, Some(strike), resume.take());
            let (fate, planned) = self.follow(running).await?;
            self.nothing_is_unknown().await?;
            match fate {
                Fate::Struck if self.random.below(4) == 0 => resume = planned,
                Fate::Struck => {}
                Fate::Ended => return Ok(()),
            }
            if self.random.below(3) == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Pauses a process for longer than its lease, while another one works; then continues it.
    async fn pause(&mut self, configuration: &Arc<Configuration>, mode: Mode) -> Result<(), Broken> {
        let first = self.start(configuration, mode, Some(Strike::Pause), None);
        let gate = first.gate.clone();
        let holder = first.holder.clone();
        let struck = tokio::select! {
            biased;
            () = gate.struck() => true,
            () = tokio::time::sleep(STUCK) => return Err("a process does not end".to_owned()),
            () = gate.ended() => false,
        };
        if !struck {
            return self.over(first).await.map(drop);
        }
        self.hit(&gate);
        let epoch = self.ledger.epoch();
        let second = self.start(configuration, mode, None, None);
        let early = self.random.below(3) == 0;
        if early {
            // It is continued while the other one is at work.
            while self.ledger.epoch() == epoch && !second.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            tokio::time::sleep(Duration::from_millis(self.random.below(4000))).await;
            gate.resume();
        }
        self.over(second).await?;
        if self.ledger.epoch() == epoch {
            // The other one could not even take the lease: this was only a process that took its time.
            self.ledger.withdraw();
            self.points -= 1;
        }
        gate.resume();
        self.tell(|_| format!("{} is continued", gate.name));
        self.over(first).await?;
        self.machine.end(&holder);
        self.nothing_is_unknown().await
    }

    /// Lets two processes work at once, one of which may crash.
    async fn contend(&mut self, configuration: &Arc<Configuration>, mode: Mode) -> Result<(), Broken> {
        let strike = (self.random.below(3) > 0).then_some(Strike::Crash);
        let first = self.start(configuration, mode, strike, None);
        let strike = (self.random.below(3) == 0).then_some(Strike::Crash);
        let second = self.start(configuration, mode, strike, None);
        let (fate, _) = self.follow(first).await?;
        if let Fate::Struck = fate {
            self.tell(|_| "the other one goes on".to_owned());
        }
        self.follow(second).await?;
        self.nothing_is_unknown().await
    }

    /// Restarts without faults: one apply that finds out what was left, one more if there is more to do; then the plan
    /// is empty and everything fits.
    async fn settle(
        &mut self,
        configuration: &Arc<Configuration>,
        mode: Mode,
        late: Late,
    ) -> Result<(), Broken> {
        let mut last = String::new();
        let mut tries = 0;
        while tries < 3 {
            // What comes late asks for a run of its own whenever it comes.
            tries += u32::from(!self.has_turned_up().await);
            let running = self.start(configuration, mode, None, None);
            match self.over(running).await? {
                Ended::Applied { plan, report } => {
                    if is_empty(&plan) {
                        return self.everything_fits(configuration, mode, late).await;
                    }
                    last = process::summary(&plan);
                    // What came late may not be seen yet, and in the way already.
                    tokio::time::sleep(Duration::from_secs(10)).await;
                    if !report.is_complete() {
                        self.tell(|_| format!("not complete: {:?}", report.steps));
                    }
                }
                Ended::Stopped(why) => return Err(format!("a quiet apply stopped: {why}")),
            }
        }
        Err(format!("after two quiet applies the plan is not empty: {last}"))
    }

    async fn has_turned_up(&self) -> bool {
        match self.shelf.open().load().await {
            Ok(loaded) => invariants::turned_up(&loaded.state, &self.cloud.dump()),
            Err(_) => false,
        }
    }

    fn start(
        &mut self,
        configuration: &Arc<Configuration>,
        mode: Mode,
        strike: Option<Strike>,
        resume: Option<Arc<Plan>>,
    ) -> Running {
        self.runs += 1;
        let name = format!("process {}", self.runs);
        let gate = Gate::new(name.clone(), Random::new(self.random.next()), self.ledger.clone());
        let pid = (self.random.below(4) > 0).then_some(1000 + self.runs as u32);
        let holder = self.machine.start(&name, pid);
        let store: Arc<dyn StateStore> = Arc::new(GatedStore {
            inner: self.shelf.open(),
            gate: gate.clone(),
            ledger: self.ledger.clone(),
        });
        let mut providers = ProviderRegistry::default();
        providers.register(Arc::new(GatedProvider {
            inner: self.provider.clone(),
            gate: gate.clone(),
        }));
        providers.register(Arc::new(DataProvider::default()));
        let start = Start {
            gate: gate.clone(),
            ledger: self.ledger.clone(),
            store,
            providers,
            configuration: configuration.clone(),
            mode,
            holder: holder.clone(),
            processes: self.machine.processes(),
            run: self.runs,
            clock: self.clock,
            ids: self.ids.clone(),
            key: self.key.clone(),
            parallelism: 1 + self.random.below(6) as usize,
            strike: strike.map(|strike| (strike, Random::new(self.random.next()))),
            resume,
        };
        self.tell(|_| {
            format!(
                "{name} starts{} {}{}",
                if pid.is_some() { "" } else { " elsewhere" },
                if mode == Mode::Destroy {
                    "to destroy"
                } else {
                    "to apply"
                },
                strike.map_or_else(String::new, |strike| format!(", {strike:?} ahead"))
            )
        });
        let planned: Planned = Arc::new(Mutex::new(None));
        let process = process::run(start, planned.clone());
        let ending = Ending(gate.clone());
        let task = tokio::spawn(async move {
            let _ending = ending;
            process.await
        });
        Running {
            gate,
            holder,
            planned,
            task,
        }
    }

    /// Follows a process until it ends or is struck down.
    async fn follow(&mut self, mut running: Running) -> Result<(Fate, Option<Arc<Plan>>), Broken> {
        let gate = running.gate.clone();
        tokio::select! {
            biased;
            () = gate.struck() => {}
            () = tokio::time::sleep(STUCK) => return Err(format!("{} does not end", gate.name)),
            () = gate.ended() => {
                self.over(running).await?;
                return Ok((Fate::Ended, None));
            }
        }
        let strike = self.hit(&gate);
        let planned = running.planned.lock().ok().and_then(|planned| planned.clone());
        if strike != Strike::Crash {
            self.over(running).await?;
            return Ok((Fate::Struck, planned));
        }
        running.task.abort();
        // It is gone either way.
        let _gone = (&mut running.task).await;
        self.machine.end(&running.holder);
        Ok((Fate::Struck, planned))
    }

    /// Counts a strike.
    fn hit(&mut self, gate: &Gate) -> Strike {
        let strike = gate.take_hit().unwrap_or(Strike::Crash);
        self.points += u64::from(strike != Strike::Refuse);
        strike
    }

    /// Waits until a process ends by itself.
    async fn over(&mut self, running: Running) -> Result<Ended, Broken> {
        let name = running.gate.name.clone();
        let ended = tokio::time::timeout(STUCK, running.task).await;
        running.gate.kill();
        self.machine.end(&running.holder);
        match ended {
            Ok(Ok(ended)) => {
                // One that could not go on may not even have looked.
                if matches!(ended, Ended::Applied { .. }) {
                    self.ledger.ended();
                }
                self.tell(|_| match &ended {
                    Ended::Applied { report, .. } => format!(
                        "{name} ended: {} done, {} failed, {} skipped, {} uncertain",
                        report.done, report.failed, report.skipped, report.uncertain
                    ),
                    Ended::Stopped(why) => format!("{name} stopped: {why}"),
                });
                Ok(ended)
            }
            Ok(Err(error)) => Err(format!("{name} panicked: {error}")),
            Err(_) => Err(format!("{name} does not end")),
        }
    }

    /// Turns faults on or off.
    fn storm(&mut self, on: bool) {
        self.stormy = on;
        self.shelf.storm(on);
        if !on {
            self.cloud.calm();
            return;
        }
        self.cloud.chaos(Chaos {
            throttle: 40,
            transient: 40,
            lose_request: 40,
            lose_response: 60,
            never_ready: 0,
            invalid: 30,
            no_capacity: 150,
            withdraw: 100,
        });
        let verb = [Verb::Create, Verb::Update, Verb::Delete][self.random.below(3) as usize];
        let fault = match self.random.below(8) {
            0 | 1 => Fault::Late(Duration::from_millis(self.random.below(300_000))),
            2 => Fault::Late(Duration::from_millis(self.random.below(20_000))),
            3 => Fault::Slow(Duration::from_millis(self.random.below(25_000))),
            4 => Fault::Hang,
            5 => Fault::HangAfter,
            _ => return,
        };
        let skip = self.random.below(4) as u32;
        self.cloud.fault(FaultRule::next(verb, fault).after(skip));
    }

    /// Edits the project, toward one or two actions.
    async fn edit(&mut self) {
        let count = 1 + self.random.below(3);
        for _ in 0..count {
            // Replacements have the most boundaries.
            let wish = match self.random.below(16) {
                0..=2 => Action::ReplaceCreateFirst,
                3..=5 => Action::ReplaceDeleteFirst,
                other => Action::ALL[other as usize - 6],
            };
            if wish == Action::Import {
                self.prepare_import().await;
            } else {
                self.project.edit(&mut self.random, wish);
            }
        }
    }

    /// Makes an object that belongs to nobody, and wants it managed.
    async fn prepare_import(&mut self) {
        let key = self.project.new_key(Kind::Disk);
        let (fixed, loose) = (key.number, 1 + self.random.below(3));
        let label: Arc<str> = format!("y{}", key.number).into();
        let mut fields = Fields::new();
        fields.insert("name".into(), (*label).into());
        let kind = if self.random.below(2) == 0 {
            fields.insert("size".into(), loose.into());
            Kind::Disk
        } else {
            fields.insert("cidr".into(), format!("10.{fixed}.0.0/16").into());
            fields.insert("tags".into(), serde_json::json!({"tier": format!("t{loose}")}));
            Kind::Network
        };
        let request = ApiRequest::Create {
            resource_type: kind.resource_type().to_owned(),
            fields,
            marks: Marks::default(),
            token: None,
        };
        self.storm(false);
        if let Answer::Done(ApiResponse::Object(object)) = self.cloud.send(request).await {
            // Whoever writes an id down has seen the object.
            tokio::time::sleep(Duration::from_secs(10)).await;
            self.foreign.insert(object.id.clone());
            let wanted = loose + u64::from(self.random.below(3) == 0);
            self.project.import(kind, object.id, label, fixed, wanted);
        }
    }

    /// Right after a strike already: whatever is in the cloud is in the log.
    async fn nothing_is_unknown(&mut self) -> Result<(), Broken> {
        self.shelf.storm(false);
        let checked = self.check_known().await;
        self.shelf.storm(self.stormy);
        checked
    }

    async fn check_known(&mut self) -> Result<(), Broken> {
        // What was on the wire arrives first.
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.broken()?;
        let loaded = match self.shelf.open().load().await {
            Ok(loaded) => loaded,
            Err(gabion_engine::state::StoreError::NotFound { .. }) => return Ok(()),
            Err(error) => return Err(format!("the state cannot be loaded: {error}")),
        };
        self.ledger.loaded(self.ledger.acknowledged(), &loaded);
        self.broken()?;
        let forgotten = self.ledger.forgotten();
        let outside = Outside {
            foreign: &self.foreign,
            forgotten: &forgotten,
        };
        invariants::known(&loaded.state, &self.cloud.dump(), &outside)
    }

    async fn everything_fits(
        &mut self,
        configuration: &Configuration,
        mode: Mode,
        late: Late,
    ) -> Result<(), Broken> {
        self.nothing_is_unknown().await?;
        let loaded = self
            .shelf
            .open()
            .load()
            .await
            .map_err(|error| error.to_string())?;
        let forgotten = self.ledger.forgotten();
        let outside = Outside {
            foreign: &self.foreign,
            forgotten: &forgotten,
        };
        invariants::settled(
            &loaded.state,
            &self.cloud.dump(),
            configuration,
            mode,
            &outside,
            late,
        )
    }

    async fn check_log(&mut self) -> Result<(), Broken> {
        let store = self.shelf.open();
        let found = gabion_engine::state::verify::verify(&*store)
            .await
            .map_err(|error| format!("the state cannot be verified: {error}"))?;
        match found.damage.first() {
            Some(damage) => Err(format!("the state is damaged: {damage}")),
            None => self.broken(),
        }
    }

    fn broken(&self) -> Result<(), Broken> {
        match self.ledger.violation() {
            Some(violation) => Err(violation),
            None => Ok(()),
        }
    }

    fn tell(&self, line: impl FnOnce(&Self) -> String) {
        self.ledger.story.tell(|| line(self));
    }
}

fn is_empty(plan: &Plan) -> bool {
    plan.steps.is_empty()
        && plan.settlements.is_empty()
        && plan.unsettled.is_empty()
        && plan.vanished.is_empty()
        && plan.moves.is_empty()
        && plan.drift.is_empty()
        && plan.blocked.is_empty()
}
