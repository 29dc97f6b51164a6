//! The command line of the simulation: `cargo xtask simulate`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line talks to the person who started it"
)]

use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};

use gabion_simulation::cell::Cell;
use gabion_simulation::run::{self, Outcome, Request};
use gabion_simulation::table::table;
use gabion_simulation::{StoreKind, expected, mutation};

const USAGE: &str = "\
Usage: cargo xtask simulate [OPTION…]

  --crash-points N   reach at least N crash points (default: 20000)
  --seed N           with --store: lead this one life and tell its story; else: start with this seed (default: 0)
  --store STORE      only on this store: memory, sqlite, object (or racy, which is broken)
  --least N          fail unless each cell that can be aimed at was hit at least N times
  --mutations        make deliberate mistakes in a copy of the sources, and show the seed that catches each
  --violations N     stop after this many violations (default: 1)
  --threads N        how many lives to lead at a time (default: as many as there are processors)
";

struct Options {
    points: u64,
    seed: Option<u64>,
    store: Option<StoreKind>,
    threads: usize,
    violations: u64,
    least: u64,
    mutations: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(problem) => {
            eprint!("error: {problem}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match (options.seed, options.store) {
        _ if options.mutations => mutate(&options),
        (Some(seed), Some(store)) => tell(seed, store),
        _ => many(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options {
        points: 20_000,
        seed: None,
        store: None,
        threads: std::thread::available_parallelism().map_or(2, usize::from),
        violations: 1,
        least: 0,
        mutations: false,
    };
    while let Some(argument) = arguments.next() {
        let (name, value) = match argument.split_once('=') {
            Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
            None => (argument, None),
        };
        let mut value = || {
            value
                .clone()
                .or_else(|| arguments.next())
                .ok_or_else(|| format!("`{name}` needs a value"))
        };
        let number = |text: String| text.parse::<u64>().map_err(|_| format!("`{text}` is no number"));
        match name.as_str() {
            "--crash-points" => options.points = number(value()?)?,
            "--seed" => options.seed = Some(number(value()?)?),
            "--least" => options.least = number(value()?)?,
            "--mutations" => options.mutations = true,
            "--violations" => options.violations = number(value()?)?.max(1),
            "--threads" => options.threads = number(value()?)?.clamp(1, 256) as usize,
            "--store" => {
                let wanted = value()?;
                let store = StoreKind::named(&wanted);
                options.store = Some(store.ok_or_else(|| format!("there is no store `{wanted}`"))?);
            }
            other => return Err(format!("there is no option `{other}`")),
        }
    }
    Ok(options)
}

/// Leads one life and tells its story. Returns whether everything holds.
fn tell(seed: u64, store: StoreKind) -> std::io::Result<bool> {
    let report = run::tell(seed, store)?;
    for line in &report.story {
        println!("{line}");
    }
    println!(
        "{} crash points, {} processes: {}",
        report.points,
        report.processes,
        report.violation.as_deref().unwrap_or("everything holds")
    );
    Ok(report.violation.is_none())
}

fn many(options: &Options) -> std::io::Result<bool> {
    let request = Request {
        seed: options.seed.unwrap_or(0),
        stores: options
            .store
            .map_or_else(|| StoreKind::SPREAD.to_vec(), |store| vec![store]),
        points: options.points,
        violations: options.violations,
        threads: options.threads,
    };
    let told = AtomicU64::new(0);
    let began = std::time::Instant::now();
    let step = (options.points / 20).max(1000);
    let outcome = run::run(&request, &|points| {
        if points / step > told.load(Ordering::Relaxed) {
            told.store(points / step, Ordering::Relaxed);
            eprintln!("{points} crash points, {:.0} s", began.elapsed().as_secs_f64());
        }
    })?;
    println!("{}", table(&outcome.cells));
    for (seed, store, violation) in &outcome.violations {
        println!("violation: {violation}");
        println!("    cargo xtask simulate --seed {seed} --store {}", store.name());
    }
    if let Some((seed, store, _)) = outcome.violations.first() {
        println!();
        tell(*seed, *store)?;
        println!();
    }
    let rare: Vec<Cell> = expected::often()
        .into_iter()
        .filter(|cell| outcome.cells.get(cell).copied().unwrap_or_default() < options.least)
        .collect();
    for cell in &rare {
        println!("hit less than {} times: {cell}", options.least);
    }
    println!("{}", summary(&outcome));
    Ok(outcome.violations.is_empty() && rare.is_empty())
}

/// Makes deliberate mistakes. Returns whether each was caught.
fn mutate(options: &Options) -> std::io::Result<bool> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../..");
    mutation::run(
        &workspace.canonicalize()?,
        "cargo",
        options.points,
        &mut |mutation, caught| match caught.seed {
            Some(seed) => println!("{}: seed {seed}: {}", mutation.name, caught.found),
            None => println!("{}: NOT CAUGHT: {}", mutation.name, caught.found),
        },
    )
}

/// Returns the figures as one line of JSON.
fn summary(outcome: &Outcome) -> String {
    let by_store: serde_json::Map<String, serde_json::Value> = outcome
        .points
        .iter()
        .map(|(store, points)| (store.name().to_owned(), (*points).into()))
        .collect();
    let often = expected::often();
    let hits = often
        .iter()
        .map(|cell| outcome.cells.get(cell).copied().unwrap_or_default());
    let least = hits.min().unwrap_or_default();
    serde_json::json!({
        "crash_points": outcome.all_points(),
        "by_store": by_store,
        "lives": outcome.lives,
        "processes": outcome.processes,
        "cells": often.len(),
        "least_hit_cell": least,
        "violations": outcome.violations.len(),
        "seconds": (outcome.elapsed.as_secs_f64() * 10.0).round() / 10.0,
    })
    .to_string()
}
