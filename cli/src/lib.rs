//! The command line of gabion.
//!
//! [`run`] reads the arguments and the environment, runs one command and returns its exit code. Commands are thin: they
//! load a project, call the engine and hand what it gives to a renderer. Everything that is printed goes through one
//! printer, data to stdout and everything else to stderr.

mod applying;
mod args;
mod asking;
mod autoscale;
mod certificates;
mod checking;
mod ci;
mod commands;
mod context;
mod early_store;
mod exit;
mod failure;
mod healing;
mod interrupt;
#[cfg(test)]
#[expect(dead_code, reason = "no command is run here")]
#[expect(
    clippy::disallowed_methods,
    reason = "the test command says where the validator is"
)]
#[path = "../tests/json_schema/mod.rs"]
mod json_schema;
mod lasting;
mod options;
mod output;
mod own_program;
mod planning;
mod policy;
mod pricing;
mod project;
mod recorded;
mod render;
pub mod rendering;
mod review;
mod scaling;
mod secrets;
mod shell;
mod show;
mod state_access;
mod state_failure;
mod store;
mod wiring;

use std::ffi::OsString;

use clap::Parser;
use gabion_engine::provider::ProviderRegistry;

use crate::args::{Agent, Cli, Command, FormatArg};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::options::{Environment, ExtraProviders, Options};
use crate::output::Printer;

/// The forms of what gabion prints as JSON.
pub mod wire {
    pub use crate::commands::{DriftReportJson, NotAskedJson, UnmanagedJson};
    pub use crate::render::diagnostic::{DiagnosticsJson, PlaceJson, ProblemJson, RelatedJson};
    pub use crate::render::event_json_types::*;
    pub use crate::render::graph::json::{GraphEdgeJson, GraphJson, GraphNodeJson};
    pub use crate::render::healing_json::*;
    pub use crate::render::plan_json_types::*;
    pub use crate::render::ps_json::*;
    pub use crate::render::scaling_json::*;
}

/// Runs the command that the arguments ask for, and returns the exit code of the process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    run_with(arguments, |_| {})
}

/// Runs a command with more providers than this build has, which `extra` registers after them.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    extra: impl Fn(&mut ProviderRegistry) + Send + Sync + 'static,
) -> u8 {
    let extra = ExtraProviders::new(extra);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // The reader may have gone away; the code says what happened.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Error.code()
            } else {
                Exit::Done.code()
            };
        }
    };
    // Its code is that of the program in the container, and none of gabion's own.
    if let Command::Agent(Agent::ContainerKeep { directory }) = cli.command {
        return wiring::keep_container(directory);
    }
    let environment = Environment::of_process();
    let printer = Printer::of_process(
        Options::colour(&cli.common, &environment),
        Options::verbosity(&cli.common),
        Options::problem_form(&cli.common, &environment),
    );
    let outcome = start(cli, environment, extra, &printer);
    let exit = outcome.unwrap_or_else(|failure| {
        failure.print(&printer);
        failure.code()
    });
    let exit = match printer.take_failure() {
        None => exit,
        Some(error) => {
            Failure::new("cannot write the output")
                .detail(format!("{error}."))
                .print(&printer);
            exit.and(Exit::Error)
        }
    };
    exit.code()
}

/// Runs a command with what it needs, and no more: a unit's shim has neither a runtime nor the user's directories.
fn start(cli: Cli, environment: Environment, extra: ExtraProviders, printer: &Printer) -> Outcome {
    match cli.command {
        Command::Agent(Agent::UnitExec {
            directory,
            operation,
            epoch,
        }) => Ok(match wiring::unit_exec(directory, operation, epoch) {
            0 => Exit::Done,
            _ => Exit::Error,
        }),
        Command::Agent(Agent::Serve {
            directory,
            data_root,
            lineage,
            grace,
            take_over,
        }) => {
            let serve = wiring::ServeAgent {
                directory,
                data_root,
                lineage,
                grace,
                take_over,
                notify_socket: environment
                    .set(wiring::NOTIFY_VARIABLE)
                    .map(std::path::PathBuf::from),
            };
            with_runtime(commands::serve_agent(serve))
        }
        command => {
            if let Some(format) = cli.common.format {
                check_format(format, &command)?;
            }
            let context = Context {
                options: Options::resolve(&cli.common, environment, extra)?,
                printer: printer.clone(),
            };
            with_runtime(commands::run(command, &context))
        }
    }
}

/// Refuses a form that a command has nothing to print in.
fn check_format(format: FormatArg, command: &Command) -> Result<(), Failure> {
    let (detail, hint) = match format {
        FormatArg::Sarif if !matches!(command, Command::Validate(_) | Command::Drift(_)) => (
            "SARIF is a form of problems, and only `gabion validate` and `gabion drift` print problems and nothing else.",
            "run this before:\n    gabion validate --format sarif",
        ),
        FormatArg::Dot | FormatArg::Mermaid | FormatArg::Svg | FormatArg::Html
            if !matches!(command, Command::Graph(_)) =>
        {
            (
                "This is a form of graphs, and only `gabion graph` prints one.",
                "what a plan changes, as a page:\n    gabion graph --changed-only --format html",
            )
        }
        _ => return Ok(()),
    };
    Err(Failure::new("no such format here").detail(detail).hint(hint))
}

fn with_runtime(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        Failure::new("cannot start").detail(format!(
            "The operating system refused what gabion needs to run: {error}."
        ))
    })?;
    let outcome = runtime.block_on(command);
    // A call that was given up on may still wait for its answer; nobody needs it any more.
    runtime.shutdown_background();
    outcome
}
