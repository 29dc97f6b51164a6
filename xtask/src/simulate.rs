//! `cargo xtask simulate`: builds the simulation and leads its lives. Its own arguments are its own to explain.

use std::process::Command;
use std::time::Duration;

use crate::{Failure, process};

/// How many crash points the normal test run reaches.
const POINTS: &str = "20000";
/// How often that run hits each cell of the table at least.
const LEAST: &str = "50";
/// Longer than the slowest machine should need, the build included.
const LIMIT: Duration = Duration::from_secs(30 * 60);

/// What lives spend their time in: the rest may stay as other tests use it, and need not be built again.
const HOT: &[&str] = &[
    "gabion-engine",
    "gabion-data",
    "gabion-stores",
    "gabion-testing",
    "gabion-simulation",
];

/// From how many crash points on a release build is worth its time.
const MANY: u64 = 100_000;

/// Runs the simulation with arguments of its own.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let many = arguments
        .iter()
        .any(|argument| argument.parse::<u64>().is_ok_and(|number| number >= MANY));
    let options = if many { vec!["--release".to_owned()] } else { hot() };
    process::run(command(&options).args(arguments))
}

/// Runs as much of it as the normal test run does.
pub(crate) fn test() -> Result<(), Failure> {
    let mut simulation = command(&hot());
    simulation.args(["--crash-points", POINTS, "--least", LEAST]);
    process::run_bounded(&mut simulation, LIMIT)
}

fn command(options: &[String]) -> Command {
    let mut cargo = process::cargo();
    cargo.args(["run", "--quiet", "--package", "gabion-simulation"]);
    cargo.args(options).arg("--");
    cargo
}

fn hot() -> Vec<String> {
    HOT.iter()
        .map(|package| format!("--config=profile.dev.package.{package}.opt-level=2"))
        .collect()
}
