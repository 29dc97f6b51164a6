//! What an apply and its log cost on SQLite: prints one line of JSON.
//!
//! `cargo bench -p gabion-engine --bench apply`, with `GABION_BENCH_OBJECTS=1000,10000` by default.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use gabion_data::DataProvider;
use gabion_engine::address::{CountedIds, IdSource, RunId};
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};
use gabion_engine::apply::{ApplyControl, ApplyOptions, ApplyRequest, apply};
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::gather::{GatherLimits, GatherRequest, gather};
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::{Mode, Plan, planner};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::resource::Configuration;
use gabion_engine::retry::{NoJitter, RetryPolicy};
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::clock::StoppedClock;
use gabion_engine::state::event::Holder;
use gabion_engine::state::folded::Folded;
use gabion_engine::state::head::HeadMark;
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::process::Processes;
use gabion_engine::state::snapshot::Head;
use gabion_engine::state::store::{
    AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{
    Journal, JournalOptions, SqliteStore, State, StateStore, StoreError, load_for_reading,
};
use gabion_engine::world::Refresh;
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};
use jiff::Timestamp;
use nix::time::{ClockId, clock_gettime};
use serde_json::json;

/// An SQLite store that counts its commits.
struct Counting {
    inner: SqliteStore,
    commits: AtomicUsize,
}

#[async_trait]
impl StateStore for Counting {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.inner.create(request).await
    }
    async fn load(&self) -> Result<Loaded, StoreError> {
        self.inner.load().await
    }
    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.append(request).await
    }
    async fn append_folded(&self, epoch: u64, folded: Arc<Folded>) -> Result<Head, StoreError> {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.inner.append_folded(epoch, folded).await
    }
    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.inner.events(after, limit).await
    }
    async fn base(&self) -> Result<State, StoreError> {
        self.inner.base().await
    }
    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.inner.compact(epoch, up_to).await
    }
    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.inner.take_lease(request).await
    }
    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.inner.renew(epoch, length, at).await
    }
    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.inner.release(epoch).await
    }
    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.inner.lease().await
    }
    fn is_local(&self) -> bool {
        true
    }
    fn location(&self) -> String {
        self.inner.location()
    }
}

/// How long something took, by the clock and by what this process computed.
struct Spent {
    began: Instant,
    computed: Duration,
}

impl Spent {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            computed: computed(),
        }
    }

    fn seconds(&self) -> serde_json::Value {
        json!({
            "wall": rounded(self.began.elapsed()),
            "cpu": rounded(computed().saturating_sub(self.computed)),
        })
    }
}

fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).unwrap().into()
}

fn rounded(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn retry() -> RetryPolicy {
    RetryPolicy {
        first: Duration::from_millis(100),
        most: Duration::from_secs(1),
        tries: 3,
        jitter: Arc::new(NoJitter),
    }
}

/// Nobody watches.
struct Silent;

impl ApplyObserver for Silent {
    fn observe(&mut self, _: &ApplyEvent) {}
}

struct Bench {
    directory: tempfile::TempDir,
    providers: ProviderRegistry,
    store: Arc<Counting>,
    ids: Arc<CountedIds>,
}

impl Bench {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut providers = ProviderRegistry::default();
        providers.register(Arc::new(DataProvider::default()));
        let store = Counting {
            inner: SqliteStore::at(directory.path().join(".gabion/state.db")),
            commits: AtomicUsize::new(0),
        };
        Self {
            directory,
            providers,
            store: Arc::new(store),
            ids: Arc::default(),
        }
    }

    fn configuration(&self, text: &str) -> (Configuration, Sources) {
        let sources = Sources::from_texts("bench", [("main.gabion.yml", text)]);
        let (project, problems) = Project::parse(sources.clone());
        let inputs = LowerInputs {
            purpose: Purpose::Plan,
            registry: &DocumentRegistry::new(),
            recorded: &NothingRecorded,
            environment: &|_| None,
            secret: &no_secrets,
            version: "0.1.0",
        };
        let (configuration, found) = project.lower(inputs, &problems);
        assert!(!problems.has_errors() && !found.has_errors());
        (configuration, sources)
    }

    async fn plan(&self, text: &str, mode: Mode) -> Plan {
        let (configuration, sources) = self.configuration(text);
        let state = load_for_reading(&*self.store, None).await.unwrap();
        let request = GatherRequest {
            state: &state,
            configuration: &configuration,
            providers: &self.providers,
            refresh: Refresh::Full,
            unmanaged: false,
            lease: None,
            fingerprints: None,
            now: Timestamp::UNIX_EPOCH,
        };
        let limits = GatherLimits {
            retry: retry(),
            ..GatherLimits::default()
        };
        let world = gather(request, &limits, &mut ()).await.unwrap();
        let options = PlanOptions {
            mode,
            sources,
            ..PlanOptions::default()
        };
        let (plan, problems) = planner::plan(&PlanInput {
            configuration: &configuration,
            state: &state,
            world: &world,
            providers: &self.providers,
            options: &options,
        });
        assert!(!problems.has_errors());
        plan.unwrap()
    }

    async fn apply(&self, plan: &Plan) -> usize {
        let options = JournalOptions {
            project: "bench".into(),
            holder: Holder {
                who: "ada".to_owned(),
                host: "laptop".to_owned(),
                process: None,
                operation: "apply".to_owned(),
            },
            run: RunId::from_uuid(self.ids.next()),
            lease_length: Duration::from_secs(30),
            lock_timeout: Duration::ZERO,
            heartbeat: HeartbeatMode::Thread,
            processes: Processes::default(),
            key: None,
            lineage: None,
            head_mark: Some(HeadMark::new(
                &self.directory.path().join("marks"),
                Path::new("/bench"),
                "",
            )),
            clock: Arc::new(StoppedClock::default()),
            ids: self.ids.clone(),
        };
        let before = self.store.commits.load(Ordering::Relaxed);
        let journal = Arc::new(Journal::open(self.store.clone(), options).await.unwrap());
        let request = ApplyRequest {
            plan,
            digest: plan.digest(),
            providers: &self.providers,
            facts: &BTreeMap::new(),
            secrets: &BTreeMap::new(),
            fingerprints: None,
            operation: "apply".to_owned(),
            who: "ada".to_owned(),
        };
        let options = ApplyOptions {
            parallelism: 10,
            retry: retry(),
            ids: self.ids.clone(),
            ..ApplyOptions::default()
        };
        let report = apply(request, &journal, &options, &ApplyControl::new(), &mut Silent)
            .await
            .unwrap();
        journal.close().await.unwrap();
        assert!(report.is_complete());
        self.store.commits.load(Ordering::Relaxed) - before
    }

    async fn log_bytes(&self) -> usize {
        let (mut after, mut bytes) = (0, 0);
        loop {
            let events = self.store.events(after, 1000).await.unwrap();
            let Some(last) = events.last() else {
                return bytes;
            };
            after = last.event.sequence;
            bytes += events.iter().map(|event| event.encoded.len()).sum::<usize>();
        }
    }
}

fn independent(count: usize) -> String {
    let mut text = String::new();
    for n in 0..count {
        write!(
            text,
            "---\ntype: resource\nkind: gabion_data\nname: d{n}\nproperties: {{input: {n}}}\n"
        )
        .unwrap();
    }
    text
}

fn chain(count: usize) -> String {
    let mut text = independent(1);
    for n in 1..count {
        write!(
            text,
            "---\ntype: resource\nkind: gabion_data\nname: d{n}\nproperties: {{input: '${{{{ gabion_data.d{}.output }}}}'}}\n",
            n - 1
        )
        .unwrap();
    }
    text
}

/// Returns how long it takes to put a page on stable storage beside the store: the median of many times.
fn synced(directory: &Path) -> Duration {
    let path = directory.join("page");
    let mut file = File::create(&path).unwrap();
    let mut times: Vec<Duration> = (0..201)
        .map(|_| {
            file.write_all(&[7; 4096]).unwrap();
            let began = Instant::now();
            file.sync_data().unwrap();
            began.elapsed()
        })
        .collect();
    std::fs::remove_file(path).unwrap();
    times.sort();
    times[times.len() / 2]
}

/// Returns what it costs to fold, chain and write `count` creations, an intent and a result each, in appends of 128.
async fn append(count: u64) -> serde_json::Value {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::at(directory.path().join("state.db"));
    store.create(creation()).await.unwrap();
    let request = LeaseRequest {
        holder: holder("ada"),
        length: Duration::from_secs(30),
        at: creation().at,
        replaces: None,
    };
    let epoch = store.take_lease(request).await.unwrap().epoch;
    let mut state = store.load().await.unwrap().state;
    let bodies = (0..count).flat_map(|n| {
        [
            create(n, n, &format!("r{n}")),
            succeeded(n, &format!("id-{n}"), 1),
        ]
    });
    let mut bodies = std::iter::once(lease_taken()).chain(bodies).peekable();
    let (mut folding, mut writing) = (Duration::ZERO, Duration::ZERO);
    while bodies.peek().is_some() {
        let part: Vec<_> = bodies.by_ref().take(128).collect();
        let before = computed();
        let mut folded = Folded::new(state);
        for event in events(folded.before().serial + 1, epoch, part) {
            folded.push(event).unwrap();
        }
        state = folded.after().clone();
        let between = computed();
        store.append_folded(epoch, Arc::new(folded)).await.unwrap();
        folding += between.saturating_sub(before);
        writing += computed().saturating_sub(between);
    }
    let count = u32::try_from(state.serial).unwrap();
    let each = |spent: Duration| (spent / count).as_secs_f64() * 1e6;
    json!({
        "events": state.serial,
        "fold_microseconds_each": each(folding),
        "write_microseconds_each": each(writing),
    })
}

async fn measure(text: &str) -> serde_json::Value {
    let bench = Bench::new();
    let planning = Spent::begin();
    let plan = bench.plan(text, Mode::Apply).await;
    let planning = planning.seconds();
    let before = synced(bench.directory.path());
    let applying = Spent::begin();
    let commits = bench.apply(&plan).await;
    let wall = applying.began.elapsed();
    let applying = applying.seconds();
    let sync = (before + synced(bench.directory.path())) / 2;
    let log_bytes = bench.log_bytes().await;
    let loading = Spent::begin();
    let objects = SqliteStore::at(bench.store.location())
        .load()
        .await
        .unwrap()
        .state
        .len();
    let loading = loading.seconds();
    let again = Spent::begin();
    assert!(bench.plan(text, Mode::Apply).await.steps.is_empty());
    let again = again.seconds();
    let plan = bench.plan(text, Mode::Destroy).await;
    let destroying = Spent::begin();
    bench.apply(&plan).await;
    json!({
        "objects": objects,
        "commits": commits,
        // What a commit cannot cost less than, as it was before and after.
        "sync_seconds": sync.as_secs_f64(),
        "wall_over_syncs": wall.div_duration_f64(sync * u32::try_from(commits).unwrap()),
        "log_bytes": log_bytes,
        "plan_seconds": planning,
        "apply_seconds": applying,
        "load_seconds": loading,
        "empty_plan_seconds": again,
        "destroy_seconds": destroying.seconds(),
    })
}

#[expect(
    clippy::disallowed_methods,
    reason = "a benchmark is told its size by whoever runs it"
)]
fn main() {
    // Whoever only tests that it runs, as `cargo test --benches` does, gives no such argument.
    let default = match std::env::args().any(|argument| argument == "--bench") {
        true => "1000,10000",
        false => "10",
    };
    let counts = std::env::var("GABION_BENCH_OBJECTS").unwrap_or_else(|_| default.to_owned());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let figures = runtime.block_on(async {
        let mut independents = Vec::new();
        for count in counts.split(',') {
            independents.push(measure(&independent(count.parse().unwrap())).await);
        }
        let (longest, most) = if default == "10" {
            (10, 10)
        } else {
            (2_000, 10_000)
        };
        json!({
            "independent": independents,
            "chain": measure(&chain(longest)).await,
            "append": append(most).await,
        })
    });
    println!("{figures}");
}
