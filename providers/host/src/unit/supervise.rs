//! The process that stays beside a program: it sees how the program ends, starts it again, stops it when its time is up.
//!
//! It leads the unit's session and holds the unit's lock, as an unsupervised program would; the program is its child.
//! What it knows it writes to `run.json` before anybody could miss it: first itself, then each start, then the end. An end
//! is recorded before what the program left running is ended, so a crash between the two loses processes, which the
//! session still finds, and no exit code.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use jiff::Timestamp;
use tokio::process::{Child, Command};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::directory::{UnitDirectory, list};
use super::log::rotate_if_larger;
use super::log_times;
use super::record::LaunchRecord;
use super::run::{EndCause, RunEnd, RunRecord};
use super::shim::{ShimError, program};
use super::spec::{RunNode, Supervision};
use super::status::Exit;
use super::stop::{self, Reach};
use crate::process::ProcessIdentity;

/// The pause before a program that failed is started again, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A program that has run for so long has recovered from the failures before.
const STEADY: Duration = Duration::from_secs(600);

/// How often the other nodes of a run are looked at.
const NODES_TICK: Duration = Duration::from_secs(1);

/// How often the log's size is looked at.
const ROTATION_TICK: Duration = Duration::from_secs(30);

/// A unit whose lock is held and whose program is about to be started.
pub(super) struct Supervisor<'a> {
    pub(super) directory: &'a UnitDirectory,
    pub(super) record: &'a LaunchRecord,
    pub(super) supervision: &'a Supervision,
    /// The lease epoch of the operation that launches it.
    pub(super) epoch: u64,
    pub(super) gabion: &'a Path,
    pub(super) log: &'a File,
}

/// What happens beside the program.
struct Outside {
    terminate: Signal,
    interrupt: Signal,
}

impl Outside {
    async fn asks_to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

impl Supervisor<'_> {
    /// Runs the program to its end for good. `mark` is called when whoever reads the mark can rely on this process, and
    /// `started` when the program runs for the first time.
    ///
    /// # Errors
    /// When the program could not be started at all.
    pub(super) fn run(
        &self,
        mark: impl FnOnce() -> Result<(), ShimError>,
        started: impl FnOnce() -> Result<(), ShimError>,
    ) -> Result<(), ShimError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(self.supervise(mark, started))
    }

    async fn supervise(
        &self,
        mark: impl FnOnce() -> Result<(), ShimError>,
        started: impl FnOnce() -> Result<(), ShimError>,
    ) -> Result<(), ShimError> {
        // Before anybody can read the mark and ask this process to end.
        let mut outside = Outside {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        };
        let mut run = RunRecord::new(ProcessIdentity::current()?, self.supervision.completes);
        let born = run.started_at;
        run.write(&self.directory.run_file())?;
        mark()?;
        let rotation = rotate(self.directory.clone(), self.record.clone());
        tokio::spawn(rotation);
        tokio::spawn(log_times::keep(self.directory.clone()));

        let mut started = Some(started);
        let mut patience = Patience::of(self.supervision);
        let mut ran = Duration::ZERO;
        loop {
            let began = Instant::now();
            run.attempt = run.attempt.saturating_add(1);
            run.started_at = Timestamp::now();
            let mut child = match self.spawn() {
                Ok(child) => child,
                Err(error) => {
                    self.say(&error.to_string());
                    let nothing = Exit {
                        code: None,
                        signal: None,
                    };
                    self.finish(&mut run, EndCause::NotStarted, nothing).await;
                    return match started {
                        Some(_) => Err(error),
                        None => Ok(()),
                    };
                }
            };
            run.program = child.id().and_then(|pid| i32::try_from(pid).ok());
            self.write(&run);
            if let Some(started) = started.take() {
                started()?;
            }

            let limit = self.supervision.max_milliseconds.map(Duration::from_millis);
            let cause = tokio::select! {
                status = child.wait() => {
                    let exit = Exit::from(status?);
                    ran += began.elapsed();
                    let success = self.supervision.completes && exit.is_success();
                    let pause = patience.after(Instant::now(), began.elapsed()).filter(|_| !success);
                    let Some(pause) = pause else {
                        self.finish(&mut run, EndCause::Itself, exit).await;
                        return Ok(());
                    };
                    run.failure = Some(exit);
                    run.program = None;
                    self.write(&run);
                    self.say(&format!("the program ended with {exit}; it is started again in {} s", pause.as_secs()));
                    self.end_the_rest().await;
                    tokio::select! {
                        () = tokio::time::sleep(pause) => continue,
                        () = outside.asks_to_end() => {}
                        cause = self.other_nodes(born) => {
                            self.finish(&mut run, cause, exit).await;
                            return Ok(());
                        }
                    }
                    self.finish(&mut run, EndCause::Asked, exit).await;
                    return Ok(());
                }
                () = outside.asks_to_end() => EndCause::Asked,
                () = after(limit.map(|limit| limit.saturating_sub(ran))) => EndCause::MaxDuration,
                cause = self.other_nodes(born) => cause,
            };
            self.say(match cause {
                EndCause::MaxDuration => "the program has run for its `max_duration` and is stopped",
                EndCause::MasterDone => "the master is done; this node is stopped",
                EndCause::NodeFailed => "another node of the run failed; this one is stopped",
                _ => "the program is asked to end",
            });
            self.end_the_rest().await;
            let exit = Exit::from(child.wait().await?);
            self.finish(&mut run, cause, exit).await;
            return Ok(());
        }
    }

    fn spawn(&self) -> Result<Child, ShimError> {
        let mut command = program(self.directory, self.record, self.gabion)?;
        command
            .stdin(Stdio::null())
            .stdout(self.log.try_clone()?)
            .stderr(self.log.try_clone()?);
        let mut command = Command::from(command);
        command
            .spawn()
            .map_err(|error| ShimError::of_exec(command.as_std().get_program(), &error))
    }

    /// Records the end for good, and ends what the program left running.
    async fn finish(&self, run: &mut RunRecord, cause: EndCause, exit: Exit) {
        run.program = None;
        run.ended = Some(RunEnd {
            at: Timestamp::now(),
            cause,
            exit,
        });
        self.write(run);
        self.end_the_rest().await;
    }

    /// Ends every process of the unit but this one.
    async fn end_the_rest(&self) {
        // A removal gives the directory another name when it has waited for long enough.
        let directory = self.directory.found();
        if let Err(error) = stop::end(&directory, stop::patience(&directory), Reach::Unit).await {
            self.say(&error.to_string());
        }
    }

    /// Writes the record. When that fails the program's run must not: what is not recorded counts as not known.
    fn write(&self, run: &RunRecord) {
        if let Err(error) = run.write(&self.directory.found().run_file()) {
            self.say(&format!("how the program runs cannot be recorded: {error}"));
        }
    }

    /// Says something in the unit's log, where people look first.
    fn say(&self, words: &str) {
        let mut log = self.log;
        // There is nowhere else to say it.
        let _ = writeln!(log, "gabion: {words}");
    }

    /// Waits until another node of the run ends in a way that ends this one.
    async fn other_nodes(&self, since: Timestamp) -> EndCause {
        let units = self.directory.path().parent();
        let (Some(node), Some(data_root)) = (&self.supervision.node, units.and_then(Path::parent)) else {
            return std::future::pending().await;
        };
        loop {
            tokio::time::sleep(NODES_TICK).await;
            if let Some(cause) = self.verdict(node, data_root, since) {
                return cause;
            }
        }
    }

    fn verdict(&self, node: &RunNode, data_root: &Path, since: Timestamp) -> Option<EndCause> {
        // What cannot be read now is read at the next tick.
        let units = list(data_root).ok()?;
        let mut verdict = None;
        for unit in units {
            let Ok(launch) = unit.launch else { continue };
            let other = launch.supervision.and_then(|supervision| supervision.node);
            let Some(other) = other.filter(|other| {
                launch.project == self.record.project
                    && launch.uid != self.record.uid
                    && other.run == node.run
            }) else {
                continue;
            };
            let Ok(Some(mark)) = unit.directory.mark() else {
                continue;
            };
            let Ok(Some(run)) = unit.directory.run(&mark) else {
                continue;
            };
            // What was launched by an earlier operation and ended before belongs to the run that this one replaces.
            let ended = run.ended.as_ref();
            let counts = ended.is_some_and(|end| end.at >= since || mark.epoch >= self.epoch);
            match Some(run).filter(|_| counts) {
                Some(run) if run.has_failed() => return Some(EndCause::NodeFailed),
                Some(run) if run.is_done() && other.rank == 0 && node.ends_with_master => {
                    verdict = Some(EndCause::MasterDone);
                }
                _ => {}
            }
        }
        verdict
    }
}

/// How long a program that goes on failing is started again.
struct Patience {
    window: Option<Duration>,
    failing_since: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn of(supervision: &Supervision) -> Self {
        Self {
            window: supervision.retry_milliseconds.map(Duration::from_millis),
            failing_since: None,
            pause: FIRST_PAUSE,
        }
    }

    /// Returns the pause before the next attempt, after one that failed `now` when it had run for `ran`; `None` when there is
    /// none.
    fn after(&mut self, now: Instant, ran: Duration) -> Option<Duration> {
        let window = self.window?;
        if ran >= STEADY.min(window) {
            self.failing_since = None;
            self.pause = FIRST_PAUSE;
        }
        let since = *self.failing_since.get_or_insert(now);
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST_PAUSE);
        (now.duration_since(since) + pause <= window).then_some(pause)
    }
}

async fn after(limit: Option<Duration>) {
    match limit {
        Some(limit) => tokio::time::sleep(limit).await,
        None => std::future::pending().await,
    }
}

async fn rotate(directory: UnitDirectory, record: LaunchRecord) {
    loop {
        tokio::time::sleep(ROTATION_TICK).await;
        // A log that cannot be rotated now is tried again at the next tick.
        drop(rotate_if_larger(&directory, record.log));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patience(window: u64) -> Patience {
        Patience::of(&Supervision {
            retry_milliseconds: Some(window * 1000),
            ..Supervision::default()
        })
    }

    #[test]
    fn pauses_grow_until_the_window_is_over() {
        let mut patience = patience(20);
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        while let Some(pause) = patience.after(now, Duration::ZERO) {
            now += pause;
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8]);
    }

    #[test]
    fn a_program_that_ran_steadily_has_a_new_window() {
        let mut patience = patience(3600);
        let now = Instant::now();
        assert_eq!(patience.after(now, Duration::ZERO), Some(Duration::from_secs(1)));
        assert_eq!(patience.after(now, Duration::ZERO), Some(Duration::from_secs(2)));
        let later = now + Duration::from_secs(4000);
        assert_eq!(patience.after(later, STEADY), Some(Duration::from_secs(1)));
    }

    #[test]
    fn a_unit_without_retries_is_not_started_again() {
        let mut patience = Patience::of(&Supervision::default());
        assert_eq!(patience.after(Instant::now(), STEADY), None);
    }
}
