//! What a container should be.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything that a keeper has to know to make a unit's container; part of the unit's record, and free of secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerSpec {
    /// The daemon's socket.
    pub socket: PathBuf,
    /// The static program that becomes the container's first process.
    pub agent: PathBuf,
    /// The image, chosen once.
    pub image: Image,
    /// What else was asked for.
    pub settings: ContainerSettings,
}

/// An image that was chosen: what it was called then, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Image {
    /// As it was asked for.
    pub name: String,
    /// What it is on the machine: `sha256:…`, the digest of its configuration.
    pub id: String,
    /// Under which digest its registry has it, `NAME@sha256:…`; `None` for one that is only on the machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What a container should be, besides its image and what runs in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerSettings {
    /// The user that the program runs as, `USER` or `USER:GROUP`; `None` means the image's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether it may do what the machine may.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub privileged: bool,
    /// Accelerators that it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpus: Option<Gpus>,
    /// Shared memory, in MiB; `None` means Docker's own default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shm_mib: Option<u64>,
    /// The most memory, in MiB; `None` means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_mib: Option<u64>,
    /// The most processor time, in thousandths of a processor; `None` means no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_millis: Option<u64>,
    /// Directories and files of the machine that it sees.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mounts: Vec<ContainerMount>,
    /// Whose network it has.
    #[serde(skip_serializing_if = "Network::is_own")]
    pub network: Network,
    /// On which port of the container's loopback address each of the unit's ports ends, by name. On the machine's own
    /// network there are none: the unit's ports are the program's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub ports: BTreeMap<String, u16>,
    /// When the daemon starts it again.
    #[serde(skip_serializing_if = "Restart::is_never")]
    pub restart: Restart,
}

/// The network of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// One of its own, into which the unit's ports are relayed.
    #[default]
    Own,
    /// The machine's: what the program listens on, others reach at the machine's addresses.
    Host,
}

impl Network {
    fn is_own(&self) -> bool {
        *self == Self::Own
    }
}

impl ContainerSettings {
    /// Returns the ports that the program is told of, of a unit with these ports.
    pub(crate) fn inner_ports<'a>(&'a self, of_unit: &'a BTreeMap<String, u16>) -> &'a BTreeMap<String, u16> {
        match self.network {
            Network::Own => &self.ports,
            Network::Host => of_unit,
        }
    }
}

/// Accelerators of NVIDIA, by Docker's device requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gpus {
    /// All of the machine.
    All,
    /// The first so many.
    Count(u32),
}

/// A directory or file of the machine, as it is seen in the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ContainerMount {
    /// Where it is on the machine; absolute.
    pub source: String,
    /// Where it is in the container; absolute.
    pub target: String,
    /// Whether it can only be read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub read_only: bool,
}

/// When the daemon starts a container again whose program has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never; that is a supervisor's work, or apply's.
    #[default]
    No,
    /// When it failed.
    OnFailure,
    /// Always, unless it was stopped.
    Always,
}

impl Restart {
    /// Every policy with its name.
    pub const ALL: [(&'static str, Self); 3] = [
        ("no", Self::No),
        ("on-failure", Self::OnFailure),
        ("always", Self::Always),
    ];

    fn is_never(&self) -> bool {
        *self == Self::No
    }

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

impl Gpus {
    /// Reads `all`, or a number.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "all" => Some(Self::All),
            number => number.parse().ok().filter(|count| *count > 0).map(Self::Count),
        }
    }

    /// Returns it as it is written.
    #[must_use]
    pub fn to_text(self) -> String {
        match self {
            Self::All => "all".to_owned(),
            Self::Count(count) => count.to_string(),
        }
    }
}
