//! Where a project's state is kept.

use std::fmt;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::str::FromStr;
use std::time::Duration;

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
        let server = |variable: &str| {
            environment(variable).ok_or_else(|| {
                format!(
                    "{variable} is not set; `cargo xtask kill-loop` and `cargo xtask test` start a server"
                )
            })
        };
        let (settings, variables) = match kind {
            StoreKind::Sqlite => (Vec::new(), Vec::new()),
            StoreKind::S3 => {
                let endpoint = server(S3)?;
                make_bucket(&endpoint, name)?;
                (
                    vec![
                        ("bucket", name.to_owned()),
                        ("prefix", "team/state".to_owned()),
                        ("endpoint", endpoint),
                    ],
                    vec![("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")],
                )
            }
            StoreKind::Postgres => {
                let url = server(POSTGRES)?;
                let joint = if url.contains('?') { '&' } else { '?' };
                // It is on loopback, and has no certificate.
                let url = match url.contains("sslmode") {
                    true => url,
                    false => format!("{url}{joint}sslmode=disable"),
                };
                (vec![("url", url), ("schema", name.replace('-', "_"))], Vec::new())
            }
        };
        Ok(Self {
            kind,
            settings,
            variables: variables
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
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

/// Makes a bucket on a server for tests, which asks for no signature.
fn make_bucket(endpoint: &str, bucket: &str) -> Result<(), Failure> {
    let failed = |why: String| format!("no bucket can be made at {endpoint}: {why}");
    let host = endpoint.trim_start_matches("http://").trim_end_matches('/');
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(host)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(
            stream,
            "PUT /{bucket} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    match ask() {
        Ok(answer) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(answer) => Err(failed(answer)),
        Err(error) => Err(failed(error.to_string())),
    }
}
