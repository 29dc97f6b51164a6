//! The record from which a unit is started again.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::UnitError;
use super::spec::{EnvValue, LogSettings, Supervision, UnitSpec};
use crate::container::ContainerSpec;
use crate::durable;
use crate::systemd::ServiceSpec;

/// `launch.json`: everything of a [`UnitSpec`] except secret values and the content of files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaunchRecord {
    /// Format of this file.
    pub format: u32,
    /// The project's lineage.
    pub project: String,
    /// The object's uid.
    pub uid: String,
    /// The resource's address.
    pub address: String,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Program and arguments, placeholders and all.
    pub argv: Vec<String>,
    /// Environment values that are not secret, placeholders and all.
    pub env: BTreeMap<String, String>,
    /// Names of the variables whose values are in the file `env`.
    pub secret_env: Vec<String>,
    /// Variables below the environment.
    pub base_env: BTreeMap<String, String>,
    /// Working directory; `None` means the unit's `files/`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_dir: Option<String>,
    /// Digest of each file by relative path.
    pub files: BTreeMap<String, String>,
    /// Leased ports by name.
    pub ports: BTreeMap<String, u16>,
    /// The package's environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub package_dir: Option<PathBuf>,
    /// How much log to keep.
    pub log: LogSettings,
    /// How long the program may take to end after SIGTERM, in milliseconds.
    pub stop_milliseconds: u64,
    /// How a process that stays beside the program looks after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub supervision: Option<Supervision>,
    /// The container that the program runs in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerSpec>,
    /// The service of systemd that it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<ServiceSpec>,
}

impl LaunchRecord {
    /// The format this build writes; newer ones are refused.
    pub const FORMAT: u32 = 1;

    /// Returns the record of a specification.
    #[must_use]
    pub fn of(spec: &UnitSpec) -> Self {
        let mut env = BTreeMap::new();
        let mut secret_env = Vec::new();
        for (name, value) in &spec.env {
            match value {
                EnvValue::Plain(value) => {
                    env.insert(name.clone(), value.clone());
                }
                EnvValue::Secret(_) => secret_env.push(name.clone()),
            }
        }
        Self {
            format: Self::FORMAT,
            project: spec.project.clone(),
            uid: spec.uid.clone(),
            address: spec.address.clone(),
            role: spec.role.clone(),
            argv: spec.argv.clone(),
            env,
            secret_env,
            base_env: spec.base_env.clone(),
            working_dir: spec.working_dir.clone(),
            files: spec
                .files
                .iter()
                .map(|(path, content)| (path.clone(), digest(content.as_bytes())))
                .collect(),
            ports: spec.ports.clone(),
            package_dir: spec.package_dir.clone(),
            log: spec.log,
            stop_milliseconds: u64::try_from(spec.stop_duration.as_millis()).unwrap_or(u64::MAX),
            supervision: spec.supervision.clone(),
            container: spec.container.clone(),
            service: spec.service.clone(),
        }
    }

    /// Whether the program is meant to end.
    #[must_use]
    pub fn completes(&self) -> bool {
        self.supervision
            .as_ref()
            .is_some_and(|supervision| supervision.completes)
    }

    /// Whether the program is gabion's own agent, which another build can succeed while it runs.
    #[must_use]
    pub fn is_agent(&self) -> bool {
        let beside = self.supervision.is_some() || self.container.is_some();
        !beside && is_agent(self.argv.iter().map(String::as_str))
    }

    /// How long the program may take to end after SIGTERM.
    #[must_use]
    pub fn stop_duration(&self) -> Duration {
        Duration::from_millis(self.stop_milliseconds)
    }

    /// Reads a record.
    ///
    /// # Errors
    /// [`UnitError::NotFound`] when there is none, [`UnitError::Damaged`] when it cannot be understood.
    pub(crate) fn read(path: &Path) -> Result<Self, UnitError> {
        let bytes = durable::read_optional(path)?.ok_or_else(|| UnitError::NotFound {
            path: path.to_owned(),
        })?;
        parse(path, &bytes, Self::FORMAT)
    }

    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, UnitError> {
        to_bytes(self)
    }
}

/// Whether arguments, as they are written down, start gabion's own agent.
pub(crate) fn is_agent<'a>(argv: impl IntoIterator<Item = &'a str>) -> bool {
    argv.into_iter().take(3).eq(["{gabion}", "agent", "serve"])
}

/// Returns the SHA-256 of a program's file, in hexadecimal digits.
///
/// # Errors
/// When it cannot be read.
pub fn program_digest(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path).map_err(|error| durable::at(path, error))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; 256 << 10];
    loop {
        match file.read(&mut piece).map_err(|error| durable::at(path, error))? {
            0 => return Ok(hex::encode(hash.finalize())),
            count => hash.update(&piece[..count]),
        }
    }
}

/// Returns the digest by which a file's content is recorded.
#[must_use]
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

/// Parses one of the unit's JSON files; a format newer than this build's is refused as such.
pub(crate) fn parse<T: serde::de::DeserializeOwned>(
    path: &Path,
    bytes: &[u8],
    newest: u32,
) -> Result<T, UnitError> {
    #[derive(Deserialize)]
    struct Header {
        format: u32,
    }
    let header: Header = serde_json::from_slice(bytes).map_err(|error| UnitError::damaged(path, error))?;
    if header.format > newest {
        return Err(UnitError::damaged(
            path,
            format!(
                "written by a newer gabion (format {}; this one knows {newest})",
                header.format
            ),
        ));
    }
    serde_json::from_slice(bytes).map_err(|error| UnitError::damaged(path, error))
}

/// Serialises one of the unit's JSON files.
pub(crate) fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>, UnitError> {
    let mut bytes =
        serde_json::to_vec_pretty(value).map_err(|error| UnitError::Io { source: error.into() })?;
    bytes.push(b'\n');
    Ok(bytes)
}
