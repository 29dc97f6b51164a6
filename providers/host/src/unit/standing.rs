//! How a unit stands: its mark and its supervisor's words put together, in the words that people are shown.

use std::fmt;

use jiff::Timestamp;

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::run::EndCause;
use super::status::{Exit, UnitStatus, inspect};

/// How a unit is, with what its supervisor knows if it has one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// No launch ever got as far as the program.
    NeverStarted,
    /// It runs.
    Running {
        /// How often it failed and was started again.
        retries: u32,
    },
    /// It failed and will be started again.
    Retrying {
        /// How often it has been started.
        attempt: u32,
        /// How it failed.
        failure: Exit,
    },
    /// It was meant to end and did.
    Done {
        /// When.
        at: Timestamp,
    },
    /// It was meant to end well, and did not.
    Failed {
        /// How; `None` when it could not be started.
        exit: Option<Exit>,
        /// When.
        at: Timestamp,
    },
    /// It was stopped before it ended by itself.
    Stopped {
        /// Why.
        cause: EndCause,
        /// How it ended then.
        exit: Exit,
        /// When.
        at: Timestamp,
    },
    /// Its supervisor is gone without a word, so nobody knows how it ended, or whether it will.
    Lost {
        /// Processes of the unit that still run, by pid.
        left: Vec<i32>,
    },
    /// It runs no more, and was meant to.
    Exited {
        /// How it ended; `None` when nobody was there to see.
        exit: Option<Exit>,
    },
    /// The machine was restarted since it was launched.
    Rebooted,
}

/// Says how a unit is.
///
/// # Errors
/// [`UnitError::NotFound`] when there is no such unit.
pub fn standing(directory: &UnitDirectory) -> Result<Standing, UnitError> {
    let status = inspect(directory)?;
    let run = status
        .mark()
        .map(|mark| directory.run(mark))
        .transpose()?
        .flatten();
    Ok(Standing::of(&status, run.as_ref()))
}

impl Standing {
    /// Puts together what a unit's mark and its supervisor say.
    #[must_use]
    pub fn of(status: &UnitStatus, run: Option<&super::run::RunRecord>) -> Self {
        let ended = run.and_then(|run| Some((run, run.ended.as_ref()?)));
        match (status, run, ended) {
            (UnitStatus::NeverStarted, ..) => Self::NeverStarted,
            (UnitStatus::Running { .. }, Some(run), _) => match run.failure {
                Some(failure) if run.program.is_none() => Self::Retrying {
                    attempt: run.attempt,
                    failure,
                },
                _ => Self::Running {
                    retries: run.attempt.saturating_sub(1),
                },
            },
            (UnitStatus::Running { .. }, None, _) => Self::Running { retries: 0 },
            (_, _, Some((run, end))) => match end.cause {
                EndCause::Itself if run.is_done() => Self::Done { at: end.at },
                EndCause::Itself if run.completes => Self::Failed {
                    exit: Some(end.exit),
                    at: end.at,
                },
                EndCause::NotStarted => Self::Failed {
                    exit: None,
                    at: end.at,
                },
                EndCause::Itself => Self::Exited { exit: Some(end.exit) },
                cause => Self::Stopped {
                    cause,
                    exit: end.exit,
                    at: end.at,
                },
            },
            (UnitStatus::Rebooted { .. }, ..) => Self::Rebooted,
            (UnitStatus::Exited { left, .. }, Some(_), None) => Self::Lost { left: left.clone() },
            (UnitStatus::Exited { exit, .. }, None, _) => Self::Exited { exit: *exit },
        }
    }

    /// Returns it in one word, for programs.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::NeverStarted => "never_started",
            Self::Running { .. } => "running",
            Self::Retrying { .. } => "retrying",
            Self::Done { .. } => "done",
            Self::Failed { .. } => "failed",
            Self::Stopped { .. } => "stopped",
            Self::Lost { .. } => "lost",
            Self::Exited { .. } => "exited",
            Self::Rebooted => "rebooted",
        }
    }

    /// Whether nobody needs to look: it runs, or it was meant to end and did.
    #[must_use]
    pub fn is_good(&self) -> bool {
        match self {
            Self::Running { .. } | Self::Retrying { .. } | Self::Done { .. } => true,
            Self::Stopped { cause, .. } => *cause == EndCause::MasterDone,
            _ => false,
        }
    }

    /// Returns how the program ended, if it did and that is known.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        match self {
            Self::Done { .. } => Some(Exit {
                code: Some(0),
                signal: None,
            }),
            Self::Failed { exit, .. } | Self::Exited { exit } => *exit,
            Self::Stopped { exit, .. } => Some(*exit),
            _ => None,
        }
    }

    /// Returns when the program ended, if it did and that is known.
    #[must_use]
    pub fn ended_at(&self) -> Option<Timestamp> {
        match self {
            Self::Done { at } | Self::Failed { at, .. } | Self::Stopped { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// Returns why a program that is meant to end did not end well, as the end of a sentence; `None` while it may.
    #[must_use]
    pub fn trouble(&self) -> Option<String> {
        Some(match self {
            Self::NeverStarted | Self::Running { .. } | Self::Retrying { .. } | Self::Done { .. } => {
                return None;
            }
            // As the run's own rule has it.
            Self::Stopped {
                cause: EndCause::MasterDone,
                ..
            } => return None,
            Self::Failed { exit: Some(exit), .. } => format!("failed with {exit}"),
            Self::Failed { exit: None, .. } => "could not be started".to_owned(),
            Self::Stopped { cause, .. } => format!("was stopped: {}", why(*cause)),
            Self::Lost { left } if left.is_empty() => {
                "lost its supervisor, so how it ended is not known".to_owned()
            }
            Self::Lost { .. } => {
                "lost its supervisor and still runs, so how it ends will not be known".to_owned()
            }
            Self::Exited { exit: Some(exit) } => format!("ended with {exit}"),
            Self::Exited { exit: None } => "ended, and nobody saw how".to_owned(),
            Self::Rebooted => "was interrupted: the machine was restarted".to_owned(),
        })
    }
}

fn why(cause: EndCause) -> &'static str {
    match cause {
        EndCause::Itself => "it ended by itself",
        EndCause::Asked => "it was asked to end",
        EndCause::MaxDuration => "it had run for its `max_duration`",
        EndCause::MasterDone => "the master was done",
        EndCause::NodeFailed => "another node failed",
        EndCause::NotStarted => "it could not be started",
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |exit: &Exit| match exit.code {
            Some(code) => code.to_string(),
            None => exit.to_string(),
        };
        match self {
            Self::NeverStarted => formatter.write_str("never started"),
            Self::Running { retries: 0 } => formatter.write_str("running"),
            Self::Running { retries: 1 } => formatter.write_str("running (1 retry)"),
            Self::Running { retries } => write!(formatter, "running ({retries} retries)"),
            Self::Retrying { attempt, failure } => {
                write!(formatter, "retrying (attempt {attempt}: {failure})")
            }
            Self::Done { .. } => formatter.write_str("done (0)"),
            Self::Failed { exit: Some(exit), .. } => write!(formatter, "failed ({})", short(exit)),
            Self::Failed { exit: None, .. } => formatter.write_str("failed (could not be started)"),
            Self::Stopped { cause, .. } => write!(formatter, "stopped ({})", why(*cause)),
            Self::Lost { left } if left.is_empty() => formatter.write_str("lost (its supervisor is gone)"),
            Self::Lost { left } => write!(
                formatter,
                "lost (its supervisor is gone; still runs: {})",
                left.iter().map(i32::to_string).collect::<Vec<_>>().join(", ")
            ),
            Self::Exited { exit: Some(exit) } => write!(formatter, "exited ({exit})"),
            Self::Exited { exit: None } => formatter.write_str("exited"),
            Self::Rebooted => formatter.write_str("ended with a reboot"),
        }
    }
}
