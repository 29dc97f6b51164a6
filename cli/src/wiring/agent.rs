//! What gabion runs on machines: the agent, and the start of units.

use std::path::PathBuf;
use std::time::Duration;

use gabion_agent::{ServeOptions, serve};
use gabion_host::container;
use gabion_host::unit::{self, ShimRequest, StartRequest, UnitDirectory};
use tokio::signal::unix::{SignalKind, signal};

use super::machines::{data_root, shim, unit_by_uid};
use crate::failure::Failure;
use crate::options::Options;

/// Becomes the program of a unit, or its supervisor: returns when that failed, which it has said where its starter reads
/// it, or when a program with a supervisor has ended for good.
pub(crate) fn unit_exec(directory: PathBuf, operation: String, epoch: u64) -> u8 {
    let request = ShimRequest {
        directory,
        operation,
        epoch,
    };
    match unit::unit_exec(&request) {
        Ok(()) => 0,
        Err(_) => 1,
    }
}

/// Runs the container of a unit to its end, and returns the exit code to end with.
pub(crate) fn keep_container(directory: PathBuf) -> u8 {
    container::keep(&UnitDirectory::at(directory))
}

/// Starts a unit again from its recorded launch.
pub(crate) async fn start_unit(options: &Options, uid: &str) -> Result<(), Failure> {
    let request = StartRequest {
        directory: unit_by_uid(&data_root(options), uid)?,
        shim: shim()?,
        fence: None,
    };
    let launched = unit::start(&request)
        .await
        .map_err(|error| Failure::new("the unit does not start").because(&error))?;
    drop(launched);
    Ok(())
}

/// How an agent is to run.
pub(crate) struct ServeAgent {
    /// Its own directory.
    pub(crate) directory: PathBuf,
    /// The directory below which the machine has its units.
    pub(crate) data_root: Option<PathBuf>,
    /// The lineage that it belongs to.
    pub(crate) lineage: Option<String>,
    /// How long running requests may finish when it stops, in seconds.
    pub(crate) grace: Option<u64>,
    /// Whether it succeeds an agent that runs.
    pub(crate) take_over: bool,
    /// Where systemd hears which process is that of a service.
    pub(crate) notify_socket: Option<PathBuf>,
}

/// Serves gateways and keeps routers filled until the process is told to end.
pub(crate) async fn serve_agent(serve_agent: ServeAgent) -> Result<(), Failure> {
    let ServeAgent {
        directory,
        data_root,
        lineage,
        grace,
        take_over,
        notify_socket,
    } = serve_agent;
    let ended = |error: std::io::Error| Failure::new("the agent ended").because(&error);
    // A unit's directory is `units/UID` below the machine's data root.
    let above = directory
        .parent()
        .and_then(|units| units.parent())
        .map(PathBuf::from);
    let mut options = ServeOptions::new(directory);
    options.data_root = data_root.or(above);
    options.lineage = lineage;
    options.grace = grace.map_or(options.grace, Duration::from_secs);
    options.takes_over = take_over;
    options.notify_socket = notify_socket;
    let mut terminate = signal(SignalKind::terminate()).map_err(ended)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(ended)?;
    let shutdown = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    serve(options, shutdown).await.map_err(ended)
}
