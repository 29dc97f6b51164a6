//! Where a project's state is kept.

use std::fmt;
use std::str::FromStr;

use crate::Failure;

/// The variable with the endpoint of a server that speaks S3.
pub const S3: &str = "GABION_TEST_S3";

/// The variable with the URL of a PostgreSQL server.
pub const POSTGRES: &str = "GABION_TEST_POSTGRES";

/// A kind of store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoreKind {
    /// A database in the project directory.
    Sqlite,
    /// Object storage.
    S3,
    /// A PostgreSQL server.
    Postgres,
}

impl StoreKind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Sqlite, Self::S3, Self::Postgres];

    /// Returns the name that people write.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::S3 => "s3",
            Self::Postgres => "postgres",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for StoreKind {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no store; there are sqlite, s3 and postgres"))
    }
}

/// A store of one project.
#[derive(Debug, Clone)]
pub struct Store {
    kind: StoreKind,
    settings: Vec<(&'static str, String)>,
    variables: Vec<(String, String)>,
}

impl Store {
    /// Returns a store of a kind for a project whose name nobody else has; servers are named by the environment.
    ///
    /// # Errors
    /// When the environment names no server.
    pub fn new(
        kind: StoreKind,
        name: &str,
        environment: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, Failure> {
        let _ = (name, environment);
        match kind {
            StoreKind::Sqlite => Ok(Self {
                kind,
                settings: Vec::new(),
                variables: Vec::new(),
            }),
            StoreKind::S3 | StoreKind::Postgres => Err(format!("no {kind} yet")),
        }
    }

    /// Returns its kind.
    pub fn kind(&self) -> StoreKind {
        self.kind
    }

    /// Returns `gabion.yml` of a project with this store and `more` settings of the state, each on a line of its own.
    pub fn settings_file(&self, project: &str, more: &str) -> String {
        let mut text = format!("project: {project}\nstate:\n  type: {}\n", self.kind);
        for (name, value) in &self.settings {
            text.push_str(&format!("  {name}: {value}\n"));
        }
        for line in more.lines() {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }

    /// Returns what gabion's environment needs.
    pub fn variables(&self) -> &[(String, String)] {
        &self.variables
    }
}
