//! The process beside a container.

use std::io::{self, Write};
use std::time::Duration;

use bollard::models::ContainerState;
use futures_util::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;

use super::daemon::{self, Daemon, Owner, Places, container_name};
use super::error::ContainerError;
use super::layout::{self, Layout};
use super::relay::Port;
use super::spec::{ContainerSpec, Network};
use crate::durable;
use crate::unit::{LaunchRecord, UnitDirectory, keep_log_times};

/// How long a container may take to run again that somebody restarts.
const RESTART: Duration = Duration::from_secs(3);

/// How long the last output may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// What a keeper ends with that could not do its work.
const FAILED: u8 = 1;

/// `container.json`: the container that the unit's keeper made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ContainerRecord {
    /// Format of this file.
    pub(super) format: u32,
    /// The container.
    pub(super) id: String,
    /// The operation that launched it.
    pub(super) operation: String,
    /// When it was started, in the daemon's words.
    pub(super) started_at: String,
}

impl ContainerRecord {
    const FORMAT: u32 = 1;

    pub(super) fn read(layout: &Layout) -> io::Result<Option<Self>> {
        // One that cannot be understood is as good as none: the container's labels say whose it is.
        Ok(durable::read_optional(&layout.record())?
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|record| record.format <= Self::FORMAT))
    }

    pub(super) fn write(&self, layout: &Layout) -> io::Result<()> {
        durable::write_atomic(&layout.record(), &serde_json::to_vec(self)?, 0o600)
    }
}

/// Runs a unit's container to its end, and returns the exit code to end with: the program's own.
///
/// Must be the whole work of the unit's process; what it says goes to the unit's log.
#[must_use]
pub fn keep(directory: &UnitDirectory) -> u8 {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(run(directory)),
        Err(error) => Err(error.into()),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say(&error.to_string());
            FAILED
        }
    }
}

/// Says something in the unit's log.
fn say(words: &str) {
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "gabion: {words}");
}

/// What asks the keeper to end.
struct Ends {
    terminate: Signal,
    interrupt: Signal,
}

impl Ends {
    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

async fn run(directory: &UnitDirectory) -> Result<u8, ContainerError> {
    // Before anything is there that would be left behind.
    let mut ends = Ends {
        terminate: signal(SignalKind::terminate())?,
        interrupt: signal(SignalKind::interrupt())?,
    };
    let launch = directory.launch().map_err(io::Error::other)?;
    let spec = launch
        .container
        .clone()
        .ok_or_else(|| io::Error::other("the unit has no container"))?;
    let mark = directory.mark().map_err(io::Error::other)?;
    let owner = Owner {
        lineage: launch.project.clone(),
        uid: launch.uid.clone(),
        address: launch.address.clone(),
        operation: mark
            .as_ref()
            .map(|mark| mark.operation.clone())
            .unwrap_or_default(),
        epoch: mark.map_or(0, |mark| mark.epoch),
    };
    let daemon = Daemon::connect(&spec.socket).await?;
    remove_own(&daemon, &owner.uid).await?;
    let (image, _) = daemon.image_program(&spec.image).await?;
    layout::write(directory, &launch, &spec, &image)?;
    if launch.supervision.is_none() {
        // Otherwise the supervisor does.
        tokio::spawn(keep_log_times(directory.clone()));
    }
    let layout = Layout::of(directory);
    let mut relays = relays(&launch, &spec, &layout)?;
    let working_dir = launch
        .working_dir
        .as_deref()
        .map(|text| layout::substitution(spec.settings.inner_ports(&launch.ports)).apply(text))
        .transpose()
        .map_err(io::Error::other)?;
    let files = (!launch.files.is_empty()).then(|| directory.files());
    let places = Places {
        root: layout.root(),
        run: &layout.run(),
        files: files.as_deref(),
    };
    let id = daemon.create(&owner, &spec, working_dir, places).await?;
    let outcome = attend(&daemon, &id, &owner, &launch, &layout, &mut ends, &mut relays).await;
    // What it has said is in the unit's log; nothing else of it is of use.
    let removed = daemon.remove(&id).await;
    let code = outcome?;
    removed?;
    Ok(code)
}

/// Takes the unit's ports, unless the program takes them itself. They open when the program listens.
fn relays(
    launch: &LaunchRecord,
    spec: &ContainerSpec,
    layout: &Layout,
) -> Result<JoinSet<io::Result<()>>, ContainerError> {
    let mut relays = JoinSet::new();
    if spec.settings.network == Network::Host {
        return Ok(relays);
    }
    for (name, port) in &launch.ports {
        let inside = spec.settings.ports.get(name).copied().unwrap_or(*port);
        let port = Port::take(*port, inside)?;
        let run = layout.run();
        relays.spawn(async move { port.relay(&run).await });
    }
    Ok(relays)
}

/// Starts the container, and stays with it until it has ended.
async fn attend(
    daemon: &Daemon,
    id: &str,
    owner: &Owner,
    launch: &LaunchRecord,
    layout: &Layout,
    ends: &mut Ends,
    relays: &mut JoinSet<io::Result<()>>,
) -> Result<u8, ContainerError> {
    daemon.start(id).await?;
    let state = state(daemon, id).await?;
    let record = ContainerRecord {
        format: ContainerRecord::FORMAT,
        id: id.to_owned(),
        operation: owner.operation.clone(),
        started_at: state.and_then(|state| state.started_at).unwrap_or_default(),
    };
    record.write(layout)?;
    let mut log = tokio::spawn(copy_output(daemon.clone(), id.to_owned()));
    let code = loop {
        tokio::select! {
            () = daemon.ended(id) => match settled(daemon, id).await? {
                Some(code) => break code,
                None => say("the container was started again"),
            },
            () = ends.asked() => {
                break stop(daemon, id, launch.stop_duration()).await?;
            }
            Some(relay) = relays.join_next() => {
                // It ends only when it fails.
                relay.map_err(io::Error::other)??;
            }
        }
    };
    if tokio::time::timeout(LAST_WORDS, &mut log).await.is_err() {
        log.abort();
    }
    Ok(code)
}

async fn state(daemon: &Daemon, id: &str) -> Result<Option<ContainerState>, ContainerError> {
    Ok(daemon.find(id).await?.and_then(|found| found.state))
}

/// Returns the exit code of a container that has ended; `None` when somebody has started it again.
async fn settled(daemon: &Daemon, id: &str) -> Result<Option<u8>, ContainerError> {
    let deadline = tokio::time::Instant::now() + RESTART;
    loop {
        let Some(found) = daemon.find(id).await? else {
            say("the container was removed by somebody else");
            return Ok(Some(128 + 9));
        };
        let state = found.state;
        if daemon::is_up(state.as_ref()) {
            return Ok(None);
        }
        let code = exit_code(state.as_ref());
        // A restart begins by ending the program with a signal.
        if code < 128 || tokio::time::Instant::now() >= deadline {
            if state.is_some_and(|state| state.oom_killed == Some(true)) {
                say("the container used more memory than it may, and was killed");
            }
            return Ok(Some(code));
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn exit_code(state: Option<&ContainerState>) -> u8 {
    let code = state.and_then(|state| state.exit_code);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}

/// Ends a container: asks it, and kills it when it takes too long. Returns its exit code.
async fn stop(daemon: &Daemon, id: &str, patience: Duration) -> Result<u8, ContainerError> {
    daemon.resume(id).await;
    daemon.kill(id, "SIGTERM").await?;
    if tokio::time::timeout(patience, daemon.ended(id)).await.is_err() {
        daemon.kill(id, "SIGKILL").await?;
        daemon.ended(id).await;
    }
    Ok(exit_code(state(daemon, id).await?.as_ref()))
}

/// Copies what a container says into the unit's log, across restarts, until it is gone or does not run.
async fn copy_output(daemon: Daemon, id: String) {
    let mut last = String::new();
    let mut since = 0;
    loop {
        let mut output = Box::pin(daemon.output(&id, since));
        while let Some(Ok(piece)) = output.next().await {
            let bytes = piece.into_bytes();
            let Some((time, said)) = timed(&bytes) else {
                continue;
            };
            // What was said in the second from which it is asked again has been heard.
            if *time <= *last {
                continue;
            }
            last = time.to_owned();
            // Standard output is the unit's log.
            let mut log = io::stdout().lock();
            let _ = log.write_all(said).and_then(|()| log.flush());
        }
        match state(&daemon, &id).await {
            Ok(state) if daemon::is_up(state.as_ref()) => {}
            Ok(Some(_)) if settled_soon(&daemon, &id).await => {}
            _ => return,
        }
        since = seconds(&last);
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns whether a container that has ended runs again in a moment.
async fn settled_soon(daemon: &Daemon, id: &str) -> bool {
    tokio::time::sleep(LOOK * 2).await;
    matches!(state(daemon, id).await, Ok(state) if daemon::is_up(state.as_ref()))
}

/// Splits a piece of output into its time and what was said.
fn timed(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let end = bytes.iter().position(|byte| *byte == b' ')?;
    Some((std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]))
}

/// Returns a time in whole seconds, as the daemon takes it.
fn seconds(time: &str) -> i32 {
    let time: Result<jiff::Timestamp, _> = time.parse();
    time.ok()
        .and_then(|time| i32::try_from(time.as_second()).ok())
        .unwrap_or(0)
}

/// Removes the container of a unit, if there is one and it is the unit's.
///
/// # Errors
/// [`ContainerError::Foreign`] when the name belongs to something else.
async fn remove_own(daemon: &Daemon, uid: &str) -> Result<(), ContainerError> {
    let name = container_name(uid);
    let Some(found) = daemon.find(&name).await? else {
        return Ok(());
    };
    let labels = found.config.and_then(|config| config.labels).unwrap_or_default();
    if labels.get(daemon::UID).map(String::as_str) != Some(uid) {
        return Err(ContainerError::Foreign { name });
    }
    daemon.remove(&found.id.unwrap_or(name)).await
}

/// Returns whether the last launch of a unit has got as far as a container that runs.
pub(crate) fn is_started(directory: &UnitDirectory) -> bool {
    let record = ContainerRecord::read(&Layout::of(directory)).ok().flatten();
    let mark = directory.mark().ok().flatten();
    matches!((record, mark), (Some(record), Some(mark)) if record.operation == mark.operation)
}

/// Removes what a keeper left that was killed; a unit without a container is fine.
pub(crate) async fn discard(directory: &UnitDirectory) -> Result<(), ContainerError> {
    let Ok(launch) = directory.launch() else {
        return Ok(());
    };
    let Some(spec) = launch.container else {
        return Ok(());
    };
    let daemon = Daemon::connect(&spec.socket).await?;
    remove_own(&daemon, &launch.uid).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_split_from_its_time() {
        let piece = b"2026-11-29T17:29:10.123456789Z a line\n";
        let (time, said) = timed(piece).unwrap();
        assert_eq!(said, b"a line\n");
        assert_eq!(seconds(time), 1_795_973_350);
        assert!(timed(b"nothing").is_none());
    }
}
