//! What a service of systemd should be.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::container::Restart;

/// Everything about a unit's service that its record does not say already; part of that record, and free of secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceSpec {
    /// Which manager runs it, chosen once.
    pub scope: Scope,
    /// When systemd starts it again.
    pub restart: Restart,
    /// Who runs it, `USER` or `USER:GROUP`; `None` means whoever owns the unit's directory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// Which of a machine's managers runs a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// The machine's own; root alone may change what it runs.
    System,
    /// The user's, which runs without a login when the user lingers.
    User,
}

impl Scope {
    /// Every scope with its name.
    pub const ALL: [(&'static str, Self); 2] = [("system", Self::System), ("user", Self::User)];

    /// Returns its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// How gabion may become root on a machine: only where its configuration says so.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sudo {
    /// What `sudo` asks for; it is handed over on standard input and written nowhere. `None` where it asks for nothing.
    pub password: Option<String>,
}

impl fmt::Debug for Sudo {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Sudo")
            .field("asks", &self.password.is_some())
            .finish()
    }
}

/// Returns the name of a unit's service.
#[must_use]
pub fn service_name(uid: &str) -> String {
    format!("gabion-{uid}.service")
}

/// Returns the name under which the journal has what a unit's program says. It stays when systemd does not know any more
/// which service a line came from, because its writer has ended.
pub(crate) fn identifier(uid: &str) -> String {
    format!("gabion-{uid}")
}
