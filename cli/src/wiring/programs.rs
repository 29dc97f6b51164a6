//! What people do with programs that run: read their logs, reach their ports, run commands beside them.

use std::path::Path;

use gabion_engine::provider::ProviderError;
use gabion_engine::state::record::Record;
use gabion_engine::words::sentence;
use gabion_host::beside::{self, Beside};
use gabion_host::transport::{BoxedStream, Machines};
use gabion_host::unit::{self, LogFollower, LogPosition, LogQuery, LogText, UnitDirectory};
use gabion_machines::Hosts;
use gabion_machines::hosts::RemoteLog;

use super::machines::{machine_of, unit_directory, unit_name};

use crate::options::Options;

/// The most bytes of a log that are read at once.
const MOST_OF_LOG: u64 = 16 << 20;

/// A program where it runs.
#[derive(Clone)]
pub(crate) enum Program {
    /// On this machine.
    Here(UnitDirectory),
    /// On another one: its name, and the unit's.
    There(Hosts, String, String),
}

/// Why something cannot be done with a program: a sentence, and what to do about it.
#[derive(Debug, Clone)]
pub(crate) struct Trouble {
    /// Why.
    pub(crate) why: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl From<std::io::Error> for Trouble {
    fn from(error: std::io::Error) -> Self {
        Self {
            why: sentence(&error.to_string()),
            hint: None,
        }
    }
}

impl From<ProviderError> for Trouble {
    fn from(error: ProviderError) -> Self {
        Self {
            why: error.message,
            hint: error.hint,
        }
    }
}

/// A log as it grows.
pub(crate) enum LogLines {
    /// On this machine.
    Here(LogFollower),
    /// On another one.
    There(RemoteLog),
}

impl LogLines {
    /// Waits for what comes next; `None` when nothing can come any more.
    pub(crate) async fn next(&mut self) -> Option<Vec<u8>> {
        match self {
            Self::Here(follower) => follower.next().await.ok().map(|bytes| bytes.to_vec()),
            Self::There(log) => log.next().await.ok(),
        }
    }
}

impl Program {
    /// Returns the program of a record; `root` is where the units of this machine are.
    pub(crate) fn of(options: &Options, record: &Record, root: &Path) -> Result<Self, Trouble> {
        match machine_of(record) {
            Machines::LOCAL => unit_directory(record, root)
                .map(Self::Here)
                .ok_or_else(|| Trouble {
                    why: "Its unit has no directory.".to_owned(),
                    hint: None,
                }),
            machine => Ok(Self::There(
                options.machines.clone(),
                machine.to_owned(),
                unit_name(record),
            )),
        }
    }

    /// Returns whether it is on this machine.
    pub(crate) fn is_here(&self) -> bool {
        matches!(self, Self::Here(_))
    }

    /// Returns what is wanted of its log.
    pub(crate) async fn log(&self, query: LogQuery) -> Result<LogText, Trouble> {
        match self {
            Self::Here(directory) => {
                let directory = directory.clone();
                let read =
                    tokio::task::spawn_blocking(move || unit::read_log(&directory, query, MOST_OF_LOG));
                Ok(read.await.map_err(std::io::Error::other)??)
            }
            Self::There(hosts, machine, unit) => Ok(hosts.log(machine, unit.clone(), query).await?),
        }
    }

    /// Follows its log from a byte on, or from its present end.
    pub(crate) async fn follow(&self, from: Option<u64>) -> Result<LogLines, Trouble> {
        Ok(match self {
            Self::Here(directory) => {
                let from = from.map_or(LogPosition::End, LogPosition::At);
                LogLines::Here(unit::follow(directory, from))
            }
            Self::There(hosts, machine, unit) => {
                LogLines::There(hosts.follow(machine, unit.clone(), from).await?)
            }
        })
    }

    /// Connects to one of its ports.
    pub(crate) async fn dial(&self, port: u16) -> Result<BoxedStream, Trouble> {
        Ok(match self {
            Self::Here(directory) => beside::dial(directory, port).await?,
            Self::There(hosts, machine, unit) => hosts.dial(machine, unit.clone(), port).await?,
        })
    }

    /// Runs a command beside it.
    pub(crate) async fn run_beside(&self, argv: &[String]) -> Result<Beside, Trouble> {
        Ok(match self {
            Self::Here(directory) => beside::run_beside(directory, argv).await?,
            Self::There(hosts, machine, unit) => {
                hosts.run_beside(machine, unit.clone(), argv.to_vec()).await?
            }
        })
    }
}
