//! When a run is killed, and how far it had come.

use std::time::Duration;

use gabion_testing::fake::fault::Random;
use serde::Serialize;

use crate::Failure;
use crate::project::Project;
use crate::run::{Run, Said};

/// How far a run had come when it was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The cloud had heard nothing of it: it started, took the lease, or loaded the state.
    Starting,
    /// It was reading the world and planning, recovery included.
    Planning,
    /// The plan was shown, and no step had begun.
    Opening,
    /// Steps ran.
    Applying,
    /// All steps had ended; it was writing the last events, or giving the lease back.
    Closing,
}

/// When a run is to be killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// So long after its start.
    After(Duration),
    /// Once it told of so many events, and so long after that.
    Events(u64, Duration),
    /// Once all steps had ended, and so long after that.
    Finished(Duration),
}

impl Moment {
    /// Picks one for a run that takes about so long and has about so many events.
    fn pick(random: &mut Random, usual: Duration, events: u64) -> Self {
        match random.below(20) {
            0..=1 => Self::After(random.duration(usual / 8)),
            2..=11 => Self::After(random.duration(usual.mul_f64(1.05))),
            12..=17 => Self::Events(
                1 + random.below(events),
                random.duration(Duration::from_millis(8)),
            ),
            _ => Self::Finished(random.duration(Duration::from_millis(15))),
        }
    }
}

/// What runs usually take, learned from those that end.
#[derive(Debug, Clone, Copy)]
pub struct Usual {
    /// How long.
    pub duration: Duration,
    /// How many events they tell of.
    pub events: u64,
}

impl Usual {
    /// Learns from a run.
    pub fn learn(&mut self, duration: Duration, events: u64) {
        self.duration = (self.duration * 3 + duration) / 4;
        self.events = (self.events * 3 + events) / 4;
    }
}

/// A run that was to be killed.
pub struct Killed {
    /// How far it had come; `None` when it was quicker and ended by itself.
    pub phase: Option<Phase>,
    /// What it said.
    pub said: Said,
}

/// Runs a command and kills it at a random moment.
///
/// # Errors
/// When it cannot be started or awaited.
pub fn kill_once(
    project: &Project,
    arguments: &[&str],
    random: &mut Random,
    usual: Usual,
) -> Result<Killed, Failure> {
    let moment = Moment::pick(random, usual.duration, usual.events);
    let heard = total_calls(project)?;
    let mut run = project.start(arguments)?;
    // The moment is what is tested; nothing is waited for but that.
    match moment {
        Moment::After(time) => wait(&mut run, |run| run.age() >= time),
        Moment::Events(count, time) => {
            wait(&mut run, |run| run.event_count() >= count);
            linger(&mut run, time);
        }
        Moment::Finished(time) => {
            wait(&mut run, |run| run.has_event("run_finished"));
            linger(&mut run, time);
        }
    }
    let events = run.files.events.clone();
    let (killed, said) = run.kill()?;
    let events = crate::run::events(&events);
    let has = |kind: &str| events.iter().any(|event| event["type"] == kind);
    let phase = if has("run_finished") {
        Phase::Closing
    } else if has("run_started") {
        Phase::Applying
    } else if !said.out.is_empty() {
        Phase::Opening
    } else if total_calls(project)? > heard {
        Phase::Planning
    } else {
        Phase::Starting
    };
    Ok(Killed {
        phase: killed.then_some(phase),
        said,
    })
}

fn wait(run: &mut Run, holds: impl Fn(&Run) -> bool) {
    while run.is_running() && !holds(run) {
        std::thread::sleep(Duration::from_micros(500));
    }
}

fn linger(run: &mut Run, time: Duration) {
    let until = run.age() + time;
    wait(run, |run| run.age() >= until);
}

fn total_calls(project: &Project) -> Result<u64, Failure> {
    Ok(project.cloud.dump()?.calls.values().sum())
}
