//! Where tests keep states: a schema of its own each, on the server that the test command started, or on one started
//! here.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use gabion_engine::state::StateStore;
use gabion_engine::state::envelope::Envelope;
use gabion_stores::postgres::{OpenOptions, PostgresSettings, PostgresStore};
use gabion_testing::postgres::{Server, find_binaries};
use gabion_testing::store_conformance::StorePlace;

/// An empty place for a state.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) schema: String,
    pub(crate) project: String,
    pub(crate) envelope: Envelope,
    /// Kept running as long as anybody uses it.
    server: Option<Arc<Server>>,
}

impl Place {
    /// Makes a place on the shared server.
    pub(crate) fn new() -> Self {
        let (url, server) = shared();
        Self {
            server,
            ..Self::at(url)
        }
    }

    /// Makes a place on a server.
    pub(crate) fn at(url: impl Into<String>) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nanoseconds = jiff::Timestamp::now().as_nanosecond();
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self {
            url: url.into(),
            schema: format!("t{nanoseconds}_{}_{count}", std::process::id()),
            project: "tests".to_owned(),
            envelope: Envelope::plain(),
            server: None,
        }
    }

    /// Makes a place for another project in the same tables.
    pub(crate) fn beside(&self) -> Self {
        let other = Self::at(&self.url);
        Self {
            project: other.schema,
            schema: self.schema.clone(),
            envelope: self.envelope.clone(),
            server: self.server.clone(),
            ..other
        }
    }

    pub(crate) fn store(&self) -> PostgresStore {
        self.store_at(&self.url)
    }

    /// Opens the place through another URL.
    pub(crate) fn store_at(&self, url: &str) -> PostgresStore {
        let settings = settings(url, &self.schema);
        let options = OpenOptions {
            environment: &|_| None,
            directory: Path::new("/"),
            project: &self.project,
            stack: "",
            envelope: self.envelope.clone(),
        };
        PostgresStore::open(&settings, options).expect("the URL names a user")
    }

    /// Returns the server's port.
    pub(crate) fn port(&self) -> u16 {
        let (_, rest) = self.url.rsplit_once(':').expect("test URLs have a port");
        let port = rest.split(['/', '?']).next().and_then(|port| port.parse().ok());
        port.expect("test URLs have a port")
    }

    /// Runs statements as an administrator; `{s}` is the schema.
    pub(crate) async fn execute(&self, statements: &str) {
        let (client, connection) = tokio_postgres::connect(&self.url, tokio_postgres::NoTls)
            .await
            .expect("the server runs");
        let driver = tokio::spawn(connection);
        client
            .batch_execute(&statements.replace("{s}", &self.schema))
            .await
            .expect("the statements are right");
        drop(client);
        driver.await.expect("no panic").expect("no error");
    }
}

impl StorePlace for Place {
    fn open(&self) -> Arc<dyn StateStore> {
        Arc::new(self.store())
    }
}

pub(crate) fn settings(url: &str, schema: &str) -> PostgresSettings {
    PostgresSettings::from_url(url)
        .and_then(|settings| settings.with_schema(schema).map_err(str::to_owned))
        .expect("tests use well-formed settings")
}

/// Returns the server's programs.
pub(crate) fn binaries() -> PathBuf {
    let given = std::env::var_os("GABION_TEST_POSTGRES_BIN").map(PathBuf::from);
    find_binaries(given.as_deref(), std::env::var("PATH").ok().as_deref())
        .expect("no PostgreSQL server was found; run the tests with: cargo xtask test")
}

/// Starts a server that a test has for itself.
pub(crate) fn own_server(settings: &[(&str, &str)]) -> Server {
    let below = Path::new(env!("CARGO_TARGET_TMPDIR"));
    Server::start(&binaries(), below, settings).unwrap_or_else(|error| panic!("{error}"))
}

fn shared() -> (String, Option<Arc<Server>>) {
    static SHARED: Mutex<Weak<Server>> = Mutex::new(Weak::new());
    if let Ok(url) = std::env::var("GABION_TEST_POSTGRES") {
        return (url, None);
    }
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    let server = shared.upgrade().unwrap_or_else(|| Arc::new(own_server(&[])));
    *shared = Arc::downgrade(&server);
    (server.url("postgres"), Some(server))
}
