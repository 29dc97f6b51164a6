//! The wire types of `gabion ps`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer of `gabion ps --format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PsJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// The programs, in the order of their addresses; what is about to go comes last.
    pub programs: Vec<ProgramJson>,
    /// Where services are reached.
    pub services: Vec<ServiceEndpointJson>,
    /// The certificates of gateways, in the order of their addresses.
    pub certificates: Vec<CertificateJson>,
    /// The machines that could not be asked: of their programs nothing is known now.
    pub unreachable: Vec<UnreachableMachineJson>,
}

/// A program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramJson {
    /// The address of its resource.
    pub address: String,
    /// The document that it belongs to: `service qwen`.
    pub document: Option<String>,
    /// What it is for: `replica`, `router`, `agent`, `task`, `dev-environment`.
    pub role: String,
    /// The machine: `local`, or `FLEET/HOST`.
    pub machine: String,
    /// What runs it: `process`, `docker` or `systemd`.
    pub runtime: String,
    /// How it is, for people: `running (1 retry)`, `failed (3)`.
    pub status: String,
    /// How it is, in one word: `running`, `retrying`, `done`, `failed`, `stopped`, `lost`, `exited`, `rebooted`,
    /// `never_started`, `gone`, `unreadable`, or `unreachable` where its machine could not be asked.
    pub state: String,
    /// Whether it runs.
    pub running: bool,
    /// How often it was started again since its launch; `null` when nobody can tell.
    pub restarts: Option<u32>,
    /// Its exit code, if it ended with one.
    pub exit_code: Option<i32>,
    /// The signal that ended it, if one did.
    pub signal: Option<i32>,
    /// When it ended, if it did and that is known.
    pub ended_at: Option<String>,
    /// Whether another one has taken its place, and it is about to go.
    pub deposed: bool,
    /// Its process on its machine; with a container or a supervisor, the process beside it.
    pub pid: Option<i32>,
    /// How long it has run, in seconds.
    pub uptime_seconds: Option<u64>,
    /// The accelerators that it can use, in words; `null` for none.
    pub gpu: Option<String>,
    /// Its ports on its machine.
    pub ports: Vec<i64>,
    /// Where it serves, seen from its machine.
    pub endpoint: Option<String>,
}

/// Where a service is reached.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceEndpointJson {
    /// The service.
    pub service: String,
    /// Its address at its gateway.
    pub endpoint: Option<String>,
    /// The address of its model's API, if it has a model.
    pub model_endpoint: Option<String>,
}

/// A certificate of a gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CertificateJson {
    /// The address of its resource.
    pub address: String,
    /// The host name that it is for.
    pub host: String,
    /// The gateway that serves it.
    pub gateway: Option<String>,
    /// Whose signature it has; `null` when its gateway cannot be asked or has none.
    pub issuer: Option<String>,
    /// When it runs out; `null` when its gateway cannot be asked or has none.
    pub not_after: Option<String>,
    /// What is wrong with it, or why it cannot be renewed; `null` when nothing is.
    pub problem: Option<String>,
}

/// A machine that could not be asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnreachableMachineJson {
    /// The machine.
    pub machine: String,
    /// Why, in a sentence.
    pub why: String,
}
