//! What a unit should be.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::container::ContainerSpec;
use crate::systemd::ServiceSpec;

/// Everything it takes to run a program as a unit.
///
/// In memory only, since values may be secret; what goes to disk is a [`LaunchRecord`](super::LaunchRecord) and the secret file beside it.
///
/// `argv`, `working_dir` and the values of `env` that are not secret may hold `{ports.NAME}`, `{unit.dir}`, `{package.dir}` and `{gabion}` (the executable that runs the shim). They are filled in at each launch.
#[derive(Clone, Debug)]
pub struct UnitSpec {
    /// The project's lineage; `list` tells projects apart by it.
    pub project: String,
    /// The object's uid, which names the directory. Letters, digits, `.`, `_`, `-`.
    pub uid: String,
    /// The resource's address, for people.
    pub address: String,
    /// What it is for (`replica`, `router`, `agent`), for people.
    pub role: Option<String>,
    /// Program and arguments. Never secrets: every user of the machine can read them. With a container, none means the image's own.
    pub argv: Vec<String>,
    /// The program's environment.
    pub env: BTreeMap<String, EnvValue>,
    /// Variables below `env`, such as PATH and HOME. The program gets these and `env`, nothing of whoever starts it.
    pub base_env: BTreeMap<String, String>,
    /// Absolute working directory; `None` means the unit's `files/`.
    pub working_dir: Option<String>,
    /// Relative path to content; placed under `files/`.
    pub files: BTreeMap<String, String>,
    /// Leased ports by name.
    pub ports: BTreeMap<String, u16>,
    /// The environment of the package that the program comes from.
    pub package_dir: Option<PathBuf>,
    /// How much log to keep.
    pub log: LogSettings,
    /// How long the program may take to end after SIGTERM.
    pub stop_duration: Duration,
    /// How a process that stays beside the program looks after it; `None` means that there is none.
    pub supervision: Option<Supervision>,
    /// The container that the program runs in; `None` means that it is a process of the machine.
    pub container: Option<ContainerSpec>,
    /// The service of systemd that it is; `None` means that gabion starts it itself.
    pub service: Option<ServiceSpec>,
}

/// What the process that stays beside a program does for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Supervision {
    /// Whether the program is meant to end: exit code 0 is success then, and what it left running is ended with it. Any
    /// end is a failure otherwise.
    pub completes: bool,
    /// For how long after its first failure a program that goes on failing is started again, in milliseconds; `None`
    /// means that it never is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_milliseconds: Option<u64>,
    /// How long the program may run, all attempts together, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_milliseconds: Option<u64>,
    /// Which node of a run with several it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<RunNode>,
}

/// One of several units that make up a run: when one fails, the others are stopped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunNode {
    /// The run; the same for all its units, and unique in the project.
    pub run: String,
    /// Its number; 0 is the master.
    pub rank: u32,
    /// Whether it is stopped when the master is done.
    pub ends_with_master: bool,
}

/// One environment value.
#[derive(Clone, PartialEq, Eq)]
pub enum EnvValue {
    /// Shown and recorded; placeholders are filled in.
    Plain(String),
    /// Kept in the 0600 file alone; passed on exactly as it is.
    Secret(String),
}

impl EnvValue {
    /// Returns the value itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        match self {
            Self::Plain(value) | Self::Secret(value) => value,
        }
    }
}

impl fmt::Debug for EnvValue {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(value) => value.fmt(formatter),
            Self::Secret(_) => formatter.write_str("(secret)"),
        }
    }
}

/// How much of a unit's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Size at which the current log is rotated by whoever looks after the unit, in bytes.
    pub max_bytes: u64,
    /// Rotated logs to keep beside the current one.
    pub keep: u32,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            max_bytes: 64 << 20,
            keep: 5,
        }
    }
}
