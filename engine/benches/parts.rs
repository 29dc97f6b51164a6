//! What the parts of gabion cost by themselves: parse, lower, graph, diff, plan, and appending to the log.
//!
//! `cargo bench -p gabion-engine --bench parts`; a part of a name after `--` chooses, such as `-- parse/1000`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;

use criterion::measurement::WallTime;
use criterion::{BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use gabion_data::DataProvider;
use gabion_engine::address::ResourceType;
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::diff::differences;
use gabion_engine::graph::ResourceGraph;
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::planner;
use gabion_engine::plan::problem::Places;
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::resource::Configuration;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::folded::Folded;
use gabion_engine::state::store::LeaseRequest;
use gabion_engine::state::{SqliteStore, State, StateStore};
use gabion_engine::value::{Attributes, Value};
use gabion_engine::world::World;
use gabion_testing::fake::schema::provider_schema;
use gabion_testing::store_events::{create, creation, events, holder, lease_taken, succeeded};
use jiff::Timestamp;
use tokio::runtime::Runtime;

/// How many resources.
const SIZES: [usize; 2] = [1_000, 10_000];

/// How many events are appended at a time.
const APPENDED: usize = 128;

/// A tenth are parents, and each of the others refers to one of them.
fn text(size: usize) -> String {
    let parents = size / 10;
    let mut text = String::new();
    for number in 0..size {
        let input = match number.checked_sub(parents) {
            Some(_) => format!("\"${{{{ gabion_data.r{}.id }}}}\"", number % parents),
            None => "first".to_owned(),
        };
        write!(
            text,
            "---\ntype: resource\nkind: gabion_data\nname: r{number}\nproperties:\n  input: {{of: {input}, number: {number}}}\n"
        )
        .unwrap();
    }
    text
}

fn sources(size: usize) -> Sources {
    Sources::from_texts("bench", [("main.gabion.yml", text(size).as_str())])
}

fn parsed(sources: Sources) -> Project {
    let (project, problems) = Project::parse(sources);
    assert!(!problems.has_errors(), "{problems}");
    project
}

fn lowered(project: &Project) -> Configuration {
    let inputs = LowerInputs {
        purpose: Purpose::Plan,
        registry: &DocumentRegistry::new(),
        recorded: &NothingRecorded,
        environment: &|_| None,
        secret: &no_secrets,
        version: "0.1.0",
    };
    let (configuration, problems) = project.lower(inputs, &Default::default());
    assert!(!problems.has_errors(), "{problems}");
    configuration
}

/// Attributes of a machine as a provider tells them; the last of its tags has this value.
fn machine(number: usize, version: &str) -> Attributes {
    let text = |text: &str| Value::from(text);
    let tags = [("role", "replica"), ("team", "serving"), ("version", version)];
    let tags = tags.map(|(name, value)| (Arc::from(name), text(value)));
    let attributes = [
        ("id", text(&format!("machine-{number}"))),
        ("name", text(&format!("m{number}"))),
        ("image", text("server-1")),
        ("size", text("xlarge")),
        ("network", text("network-1")),
        ("disks", Value::List(vec![text("disk-2"), text("disk-1")])),
        ("user_data", text("#!/bin/sh\nexec server --port 8000\n")),
        ("ip", text("10.0.0.1")),
        ("zone", text("zone-a")),
        ("tags", Value::Map(tags.into())),
    ];
    attributes
        .into_iter()
        .map(|(name, value)| (Arc::from(name), value))
        .collect()
}

fn group<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    // Ten of the larger ones take seconds.
    group.sample_size(10);
    group
}

fn parse(criterion: &mut Criterion) {
    let mut group = group(criterion, "parse");
    for size in SIZES {
        let sources = sources(size);
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(|| sources.clone(), parsed, BatchSize::PerIteration);
        });
    }
}

fn lower(criterion: &mut Criterion) {
    let mut group = group(criterion, "lower");
    for size in SIZES {
        let project = parsed(sources(size));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_with_large_drop(|| lowered(&project));
        });
    }
}

fn graph(criterion: &mut Criterion) {
    let mut group = group(criterion, "graph");
    for size in SIZES {
        let sources = sources(size);
        let configuration = lowered(&parsed(sources.clone()));
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_with_large_drop(|| {
                ResourceGraph::build(&configuration.resources, &Places::new(&sources))
            });
        });
    }
}

/// Machines of which every second one has another tag.
fn diff(criterion: &mut Criterion) {
    let schema = provider_schema();
    let schema = &schema.resource_types[&ResourceType::new("fake_machine").unwrap()];
    let mut group = group(criterion, "diff");
    for size in SIZES {
        let pairs: Vec<(Attributes, Attributes)> = (0..size)
            .map(|number| {
                let after = if number % 2 == 0 { "1" } else { "2" };
                (machine(number, "1"), machine(number, after))
            })
            .collect();
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                for (before, after) in &pairs {
                    black_box(differences(schema, before, after));
                }
            });
        });
    }
}

/// A plan that makes everything.
fn plan(criterion: &mut Criterion) {
    let mut providers = ProviderRegistry::default();
    providers.register(Arc::new(DataProvider::default()));
    let (state, world) = (State::default(), World::unread(Timestamp::UNIX_EPOCH));
    let mut group = group(criterion, "plan");
    for size in SIZES {
        let sources = sources(size);
        let configuration = lowered(&parsed(sources.clone()));
        let options = PlanOptions {
            sources,
            ..PlanOptions::default()
        };
        group.throughput(Throughput::Elements(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_with_large_drop(|| {
                let (plan, problems) = planner::plan(&PlanInput {
                    configuration: &configuration,
                    state: &state,
                    world: &world,
                    providers: &providers,
                    options: &options,
                });
                assert!(!problems.has_errors(), "{problems}");
                plan.unwrap()
            });
        });
    }
}

/// Creations, an intent and a result each, on SQLite: folded, chained and written in appends of 128.
fn append(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let mut group = group(criterion, "append");
    for size in SIZES {
        let count = size as u64;
        let bodies: Vec<EventBody> = (0..count)
            .flat_map(|n| {
                [
                    create(n, n, &format!("r{n}")),
                    succeeded(n, &format!("id-{n}"), 1),
                ]
            })
            .collect();
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_batched(
                || (runtime.block_on(Log::new()), bodies.clone()),
                |(mut log, bodies)| {
                    runtime.block_on(log.append(bodies));
                    log
                },
                BatchSize::PerIteration,
            );
        });
    }
}

/// A new log whose lease is taken.
struct Log {
    store: SqliteStore,
    epoch: u64,
    state: State,
    _directory: tempfile::TempDir,
}

impl Log {
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::at(directory.path().join("state.db"));
        store.create(creation()).await.unwrap();
        let request = LeaseRequest {
            holder: holder("ada"),
            length: std::time::Duration::from_secs(30),
            at: creation().at,
            replaces: None,
        };
        let epoch = store.take_lease(request).await.unwrap().epoch;
        let state = store.load().await.unwrap().state;
        Self {
            store,
            epoch,
            state,
            _directory: directory,
        }
    }

    async fn append(&mut self, bodies: Vec<EventBody>) {
        let mut bodies = std::iter::once(lease_taken()).chain(bodies).peekable();
        while bodies.peek().is_some() {
            let part: Vec<_> = bodies.by_ref().take(APPENDED).collect();
            let mut folded = Folded::new(self.state.clone());
            for event in events(folded.before().serial + 1, self.epoch, part) {
                folded.push(event).unwrap();
            }
            self.state = folded.after().clone();
            self.store
                .append_folded(self.epoch, Arc::new(folded))
                .await
                .unwrap();
        }
    }
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for part in [parse, lower, graph, diff, plan, append] {
        part(&mut criterion);
    }
    criterion.final_summary();
}
