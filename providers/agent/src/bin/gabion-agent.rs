//! The agent as a small program of its own, for machines that have no gabion.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gabion_agent::{ServeOptions, serve};
use gabion_host::unit::{ShimRequest, StartRequest, UnitDirectory, start, unit_exec};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
gabion-agent serve --dir DIR [--data-root DIR] [--lineage ID] [--grace SECONDS]
gabion-agent unit-exec DIR --operation ID --epoch N
gabion-agent start-unit DIR";

#[expect(clippy::print_stderr, reason = "a program says why it ends")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Reason(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Usage,
    Reason(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Reason(error.to_string())
    }
}

fn run(arguments: &[String]) -> Result<(), Failure> {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["serve", options @ ..] => run_agent(options),
        ["unit-exec", directory, "--operation", operation, "--epoch", epoch] => {
            let request = ShimRequest {
                directory: PathBuf::from(directory),
                operation: (*operation).to_owned(),
                epoch: epoch.parse().map_err(|_| Failure::Usage)?,
            };
            match unit_exec(&request)? {}
        }
        ["start-unit", directory] => {
            let shim = vec![
                std::env::current_exe()?.to_string_lossy().into_owned(),
                "unit-exec".to_owned(),
            ];
            let directory = UnitDirectory::at(*directory);
            let request = StartRequest {
                directory,
                shim,
                fence: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(start(&request))?;
            Ok(())
        }
        _ => Err(Failure::Usage),
    }
}

fn run_agent(options: &[&str]) -> Result<(), Failure> {
    let mut directory = None;
    let mut data_root = None;
    let mut lineage = None;
    let mut grace = None;
    for pair in options.chunks(2) {
        match pair {
            ["--dir", value] => directory = Some(PathBuf::from(value)),
            ["--data-root", value] => data_root = Some(PathBuf::from(value)),
            ["--lineage", value] => lineage = Some((*value).to_owned()),
            ["--grace", value] => {
                grace = Some(Duration::from_secs(value.parse().map_err(|_| Failure::Usage)?));
            }
            _ => return Err(Failure::Usage),
        }
    }
    let mut options = ServeOptions::new(directory.ok_or(Failure::Usage)?);
    options.data_root = data_root.or(options.data_root);
    options.lineage = lineage;
    options.grace = grace.unwrap_or(options.grace);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let shutdown = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        serve(options, shutdown).await
    })?;
    Ok(())
}
