//! What developers and CI run: `cargo quickstart`, `cargo xtask test`, `cargo xtask ci`.
//!
//! Each task is a module with a `run`. Tasks print what they do to standard error and leave standard output to the
//! programs they run, so that a task can be piped.
#![expect(
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tasks talk to the person who started them"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "tasks are command lines: they read the environment"
)]

mod agent;
mod aws_rounds;
mod bench;
mod browser;
mod ci;
mod docker;
#[cfg(test)]
mod engine_tests;
mod failures;
mod fuzz;
mod http;
mod json_schema;
mod kill_loop;
mod lean;
mod moto;
mod packages;
mod pebble;
mod plan_readers;
mod postgres;
mod process;
mod python;
mod quickstart;
mod simulate;
mod sshd;
mod system;
mod systemd;
mod test;
mod tools;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask TASK [ARGUMENT…]

  quickstart [--dir DIR]   build gabion, apply examples/quickstart (or DIR) and stream one completion through it
  agent                    build the static program that gabion puts on machines behind SSH: target/agent/gabion-agent
  test [ARGUMENT…]         run every test; ARGUMENT… go to `cargo test` (default: --workspace)
  ci [STEP…]               what CI runs: all steps, or only those named
  kill-loop [ARGUMENT…]    kill gabion again and again over a cloud that survives it; the last lines are figures in JSON
                           [--rounds N] [--contention N] [--store sqlite|s3|postgres|all] [--seed N] [--dev]
  cut-loop [ARGUMENT…]     cut hosts behind SSH off while gabion changes them, and kill it; the last line is figures in JSON
                           [--rounds N] [--from N] [--seed N] [--hosts N] [--units N] [--dev]
  aws-rounds [ARGUMENT…]   kill gabion and have AWS fail while it changes things there, again and again
                           [--rounds N] [--seed N]
  bench-hosts [ARGUMENT…]  measure what a project on many hosts behind SSH costs; the last line is figures in JSON
                           [--hosts N] [--dev]
  simulate [ARGUMENT…]     lead simulated lives with crashes at every boundary; the last line is figures in JSON
                           [--crash-points N] [--seed N] [--store memory|sqlite|object] [--mutations]
  bench [ARGUMENT…]        measure the release binary on projects of several shapes and sizes, beside Terraform's if it is in PATH
                           [--shapes NAME,…] [--sizes N,…] [--runs N] [--no-terraform] [--binary FILE] [--write]
  fuzz [ARGUMENT…]         read documents damaged at random; the figures are a line of JSON
                           [--mutations N] [--seeds DIR: damage its *.yml files too]
";

/// Why a task failed, as a sentence for people.
type Failure = String;

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let task = arguments.next().unwrap_or_default();
    let arguments: Vec<String> = arguments.collect();
    let result = match task.as_str() {
        "quickstart" => quickstart::run(&arguments),
        "agent" => agent::run(&arguments),
        "test" => test::run(&arguments),
        "ci" => ci::run(&arguments),
        "kill-loop" => kill_loop::run(&arguments),
        "aws-rounds" => aws_rounds::run(&arguments),
        "cut-loop" => kill_loop::on_hosts("cuts", &arguments),
        "bench-hosts" => kill_loop::on_hosts("hosts", &arguments),
        "simulate" => simulate::run(&arguments),
        "bench" => bench::run(&arguments),
        "fuzz" => fuzz::run(&arguments),
        "" | "help" | "-h" | "--help" => {
            eprint!("{USAGE}");
            Ok(())
        }
        other => Err(format!("there is no task `{other}`\n\n{USAGE}")),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Returns the top of the repository.
fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_owned()
}

/// Returns the directory that build results and what the tests install go to.
fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(directory) => root().join(directory),
        None => root().join("target"),
    }
}
