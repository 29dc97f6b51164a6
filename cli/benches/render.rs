//! What it costs to write a plan as text, Markdown and JSON.
//!
//! `cargo bench -p gabion --bench render`; a part of a name after `--` chooses, such as `-- markdown/1000`.

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::fmt::Write as _;
use std::sync::Arc;

use criterion::{BenchmarkId, Criterion, Throughput};
use gabion::rendering::{self, PlanForm};
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::{Plan, planner};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::State;
use gabion_engine::world::World;
use gabion_testing::fake::FakeCloud;
use jiff::Timestamp;

/// How many resources.
const SIZES: [usize; 2] = [1_000, 10_000];

/// The forms, with their names.
const FORMS: [(&str, PlanForm); 3] = [
    ("text", PlanForm::Text),
    (
        "markdown",
        PlanForm::Markdown {
            max_bytes: usize::MAX,
        },
    ),
    ("json", PlanForm::Json),
];

/// Machines, each with what a plan shows of one.
fn text(size: usize) -> String {
    let mut text = String::new();
    for number in 0..size {
        write!(
            text,
            "---\ntype: resource\nkind: fake_machine\nname: m{number}\nproperties:\n  name: m{number}\n  image: server-1\n  tags: \
             {{role: replica, version: v1}}\n  user_data: |\n    #!/bin/sh\n    exec server --port 8000\n"
        )
        .unwrap();
    }
    text
}

/// A plan that makes them all.
fn planned(size: usize, providers: &ProviderRegistry) -> Plan {
    let sources = Sources::from_texts("bench", [("main.gabion.yml", text(size).as_str())]);
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
    let (plan, problems) = planner::plan(&PlanInput {
        configuration: &configuration,
        state: &State::default(),
        world: &World::unread(Timestamp::UNIX_EPOCH),
        providers,
        options: &PlanOptions {
            sources,
            ..PlanOptions::default()
        },
    });
    assert!(!problems.has_errors(), "{problems}");
    plan.unwrap()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // The cloud takes its time from the runtime, and is not asked for anything.
    let _entered = runtime.enter();
    let mut providers = ProviderRegistry::default();
    providers.register(Arc::new(FakeCloud::new(1).provider()));
    for size in SIZES {
        let plan = planned(size, &providers);
        for (name, form) in FORMS {
            let mut group = criterion.benchmark_group(name);
            group.sample_size(10);
            group.throughput(Throughput::Elements(size as u64));
            group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
                bencher.iter_with_large_drop(|| rendering::plan(&plan, &providers, form));
            });
            group.finish();
        }
    }
    criterion.final_summary();
}
