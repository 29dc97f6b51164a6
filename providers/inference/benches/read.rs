//! What reading configurations costs: prints one line of JSON for each.
//!
//! `cargo bench -p gabion-inference --bench read`, with `GABION_BENCH_ROUNDS=5` by default; the best round counts.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(
    clippy::disallowed_methods,
    reason = "how often to measure is for whoever runs it to say"
)]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_inference::Inference;

/// Low-level resources, every one of which refers to the one before.
fn resources(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let input = match number.checked_sub(1) {
            Some(before) => format!("\"${{{{ gabion_data.r{before}.output }}}}\""),
            None => "first".to_owned(),
        };
        let _ = write!(
            text,
            "---\ntype: resource\nkind: gabion_data\nname: r{number}\nproperties:\n  input: {input}\ntimeouts:\n  create: 5m\n  \
             delete: 5m\nlifecycle:\n  prevent_destroy: true\n  ignore_changes: [input]\n"
        );
    }
    text
}

/// Services of dstack with what such files usually have.
fn services(count: usize) -> String {
    let mut text =
        String::from("type: gateway\nname: front\nbackend: local\ndefault: true\ndomain: example.org\n");
    for number in 0..count {
        let _ = write!(
            text,
            "---\ntype: service\nname: s{number}\nport: 8000\nauth: false\nenv:\n  - HF_TOKEN=x\n  - MODEL=m{number}\ncommands:\n  - pip \
             install server\n  - server --model $MODEL --port $PORT\nmodel: m{number}\nreplicas: 1..4\nscaling:\n  metric: rps\n  \
             target: 10\nresources:\n  cpu: 4..\n  memory: 16GB..\n  gpu: 0\n  disk: 50GB..\n"
        );
    }
    text
}

/// Parses, checks and lowers a file; returns how long each of the two steps took and how many resources there are.
fn read(text: &str) -> (Duration, Duration, usize) {
    let registry = DocumentRegistry::new().with(Inference);
    let begun = Instant::now();
    let (project, mut problems) = Project::parse(Sources::from_texts("bench", [("a.gabion.yml", text)]));
    let parsed = begun.elapsed();
    let inputs = LowerInputs {
        purpose: Purpose::Plan,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &|_| Some("value".to_owned()),
        secret: &no_secrets,
        version: "0.1.0",
    };
    let (configuration, found) = project.lower(inputs, &problems);
    let lowered = begun.elapsed() - parsed;
    problems.extend(found);
    assert!(!problems.has_errors(), "{problems}");
    (parsed, lowered, configuration.resources.len())
}

fn measure(what: &str, documents: usize, text: &str, rounds: u32) {
    let runs = (0..rounds.max(1)).map(|_| read(text));
    let Some((parsed, lowered, resources)) = runs.min_by_key(|(parsed, lowered, _)| *parsed + *lowered)
    else {
        return;
    };
    println!(
        "{{\"what\": \"{what}\", \"documents\": {documents}, \"megabytes\": {:.2}, \"resources\": {resources}, \"parse_ms\": {:.0}, \
         \"lower_ms\": {:.0}}}",
        text.len() as f64 / 1e6,
        parsed.as_secs_f64() * 1000.0,
        lowered.as_secs_f64() * 1000.0,
    );
}

fn main() {
    let rounds = std::env::var("GABION_BENCH_ROUNDS")
        .ok()
        .and_then(|text| text.parse().ok());
    let rounds = rounds.unwrap_or(5);
    measure("resources", 10_000, &resources(10_000), rounds);
    measure("services", 3_000, &services(3_000), rounds);
}
