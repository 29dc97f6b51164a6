//! Making connections.

use std::path::PathBuf;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::config::{ChannelBinding, Config, SslMode};
use tokio_postgres::{Client, NoTls};

use crate::postgres::error::{Place, Trouble};
use crate::postgres::layout::{self, Layout};
use crate::postgres::password::{Login, PasswordSource};
use crate::postgres::tls;
use crate::postgres::url::{Binding, DatabaseUrl, Host, TlsMode};

/// How long the server may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// The database, and all that reaching it takes.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) url: DatabaseUrl,
    pub(super) user: String,
    pub(super) password: PasswordSource,
    /// The file with trusted certificates.
    pub(super) roots: Option<PathBuf>,
    pub(super) place: Place,
}

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Connecting, login included.
    pub(super) connect: Duration,
    /// Waiting for another transaction's lock.
    pub(super) lock: Duration,
    /// One statement, by the server's clock.
    pub(super) statement: Duration,
    /// How long no answer may come, by ours: a server that is stopped or cut off must not hold us up for ever.
    pub(super) silence: Duration,
    /// How long a server that was reached before may be gone, as while it restarts.
    pub(super) patience: Duration,
}

/// A connection, and the task that drives it.
pub(super) struct Connection {
    client: Option<Client>,
    driver: JoinHandle<()>,
    /// Whether the tables were there when they were last looked for.
    pub(super) layout: Layout,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // The socket closes now, whatever the server is doing. What was not committed it rolls back.
        self.driver.abort();
    }
}

impl Connection {
    /// Connects, logs in and looks for the tables.
    pub(super) async fn open(target: &Target, limits: &Limits) -> Result<Self, Trouble> {
        let config = target.config(limits)?;
        let tls = tls::connector(target.url.tls, target.roots.as_deref())
            .map_err(|why| target.place.failed("connecting", why))?;
        let (client, driver) = match tls {
            Some(tls) => {
                let (client, connection) = config.connect(tls).await?;
                (client, spawn(connection))
            }
            None => {
                let (client, connection) = config.connect(NoTls).await?;
                (client, spawn(connection))
            }
        };
        let mut connection = Self {
            client: None,
            driver,
            layout: Layout::Absent,
        };
        connection.layout = layout::look(&client, &target.place).await?;
        connection.client = Some(client);
        Ok(connection)
    }

    /// Returns what speaks to the server, unless it is gone.
    pub(super) fn client(&self) -> Option<&Client> {
        self.client.as_ref().filter(|client| !client.is_closed())
    }

    /// Ends the connection in the server's own way, for as long as that takes no time.
    pub(super) async fn close(mut self) {
        self.client = None;
        tokio::time::timeout(GOODBYE, &mut self.driver).await.ok();
    }
}

/// Drives a connection until it ends. Why it ends is told to whoever waits for an answer.
fn spawn<S, T>(connection: tokio_postgres::Connection<S, T>) -> JoinHandle<()>
where
    tokio_postgres::Connection<S, T>: Future + Send + 'static,
{
    tokio::spawn(async move {
        connection.await;
    })
}

impl Target {
    fn config(&self, limits: &Limits) -> Result<Config, Trouble> {
        let url = &self.url;
        let mut config = Config::new();
        config
            .user(&self.user)
            .dbname(&url.database)
            .application_name(&url.application_name)
            .port(url.port)
            .connect_timeout(limits.connect)
            // A peer that is gone without a word is noticed, also while we only wait.
            .keepalives(true)
            .keepalives_idle(Duration::from_secs(10))
            .keepalives_interval(Duration::from_secs(5))
            .keepalives_retries(3)
            .tcp_user_timeout(Duration::from_secs(30))
            .channel_binding(match url.binding {
                Binding::Disable => ChannelBinding::Disable,
                Binding::Prefer => ChannelBinding::Prefer,
                Binding::Require => ChannelBinding::Require,
            })
            .ssl_mode(match url.tls {
                TlsMode::Disable => SslMode::Disable,
                TlsMode::Prefer => SslMode::Prefer,
                TlsMode::Require | TlsMode::VerifyCa | TlsMode::VerifyFull => SslMode::Require,
            });
        let name = match &url.host {
            Host::Tcp(name) => {
                config.host(name);
                name
            }
            Host::Unix(directory) => {
                config.host_path(directory);
                "localhost"
            }
        };
        let password = self
            .password
            .find(&Login {
                host: name,
                port: url.port,
                database: &url.database,
                user: &self.user,
            })
            .map_err(|why| self.place.failed("connecting", why))?;
        if let Some(password) = password {
            config.password(password.as_bytes());
        }
        Ok(config)
    }
}
