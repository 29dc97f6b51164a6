//! Sessions: a connection each, made when it is needed and made again when it broke, and the transactions on it.
//!
//! A session lives on a thread of its own and does one thing after the other. So work that a caller stopped waiting for
//! still comes to its end, a busy program does not keep a heartbeat from being sent, and no connection belongs to a
//! runtime that may be gone when it is used next.

use std::cell::Cell;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::LocalBoxFuture;
use gabion_engine::state::StoreError;
use gabion_engine::state::envelope::Envelope;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Row};

use crate::postgres::change::Known;
use crate::postgres::connect::{Connection, Limits, Target};
use crate::postgres::error::{Place, Trouble};
use crate::postgres::layout::{self, Layout};

/// How often something is tried whose connection broke before its outcome could be in doubt.
const ATTEMPTS: u32 = 3;
/// For each this many bytes that are sent, an answer may take a second longer.
const BYTES_A_SECOND: usize = 256 * 1024;

/// One log of one database, as all sessions know it.
pub(super) struct Log {
    pub(super) target: Target,
    pub(super) envelope: Envelope,
    pub(super) project: String,
    pub(super) stack: String,
}

/// A queue of work for one session.
pub(super) struct Lane {
    log: Arc<Log>,
    limits: Limits,
    jobs: Mutex<Option<mpsc::UnboundedSender<Job>>>,
}

type Job = Box<dyn for<'a> FnOnce(&'a mut Session) -> LocalBoxFuture<'a, ()> + Send>;

impl Lane {
    pub(super) fn new(log: Arc<Log>, limits: Limits) -> Self {
        Self {
            log,
            limits,
            jobs: Mutex::default(),
        }
    }

    /// Does some work on the session, after what came before. Work that was not begun when nobody waits for it any more
    /// is left undone.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl for<'a> FnOnce(&'a mut Session) -> LocalBoxFuture<'a, Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let waiting = Arc::new(());
        let asked = Arc::downgrade(&waiting);
        let job: Job = Box::new(move |session| {
            Box::pin(async move {
                if !answer.is_closed() {
                    session.asked = asked;
                    let done = work(session).await;
                    // Whoever asked may have gone meanwhile.
                    answer.send(done).ok();
                }
            })
        });
        let place = &self.log.target.place;
        let ended = || place.failed("working on the database", "the thread that does it has ended");
        self.jobs()?.send(job).map_err(|_| ended())?;
        let done = answered.await.unwrap_or_else(|_| Err(ended()));
        drop(waiting);
        done
    }

    fn jobs(&self) -> Result<mpsc::UnboundedSender<Job>, StoreError> {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(jobs) = jobs.as_ref().filter(|jobs| !jobs.is_closed()) {
            return Ok(jobs.clone());
        }
        let place = &self.log.target.place;
        let (sender, mut receiver) = mpsc::unbounded_channel::<Job>();
        let mut session = Session {
            log: self.log.clone(),
            limits: self.limits,
            connection: None,
            reached: false,
            asked: Weak::new(),
            known: None,
        };
        std::thread::Builder::new()
            .name("gabion-postgres".to_owned())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                // Without one the queue closes, which whoever waits is told.
                let Ok(runtime) = runtime else { return };
                runtime.block_on(async move {
                    while let Some(job) = receiver.recv().await {
                        job(&mut session).await;
                    }
                    if let Some(connection) = session.connection.take() {
                        connection.close().await;
                    }
                });
            })
            .map_err(|error| place.failed("starting a thread", error.to_string()))?;
        *jobs = Some(sender.clone());
        Ok(sender)
    }
}

/// A connection, made when it is first needed, and the log as it was when it was last seen through it.
pub(super) struct Session {
    pub(super) log: Arc<Log>,
    pub(super) limits: Limits,
    connection: Option<Connection>,
    /// Whether the server was ever reached: then it is the right one, and may be restarting when it is gone.
    reached: bool,
    /// Goes when nobody waits any more for what is being done.
    asked: Weak<()>,
    pub(super) known: Option<Known>,
}

/// Why a transaction failed.
pub(super) enum Failed {
    /// It did nothing.
    Surely(StoreError),
    /// The answer to its commit was lost.
    Perhaps(StoreError),
}

impl From<Failed> for StoreError {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Surely(error) | Failed::Perhaps(error) => error,
        }
    }
}

/// Whether a transaction works on tables that must be there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tables {
    /// It does.
    Needed,
    /// It makes them.
    Made,
}

impl Session {
    /// Runs work on the connection: a transaction, from beginning to commit. `what` says what it does, for messages.
    ///
    /// When the connection breaks before a commit was sent, the server rolls back, and the work is done again.
    pub(super) async fn transact<T>(
        &mut self,
        what: &'static str,
        tables: Tables,
        mut work: impl AsyncFnMut(&Turn<'_>) -> Result<T, Trouble>,
    ) -> Result<T, Failed> {
        let log = self.log.clone();
        let place = &log.target.place;
        let mut attempt = 1;
        loop {
            let layout = self.connect().await.map_err(Failed::Surely)?;
            if layout == Layout::Absent && tables == Tables::Needed {
                return Err(Failed::Surely(StoreError::NotFound {
                    location: place.location.clone(),
                }));
            }
            let Some(client) = self.connection.as_ref().and_then(Connection::client) else {
                // It broke in this very moment.
                attempt += 1;
                if attempt > ATTEMPTS {
                    return Err(Failed::Surely(place.failed(what, "the connection broke")));
                }
                continue;
            };
            let turn = Turn {
                client,
                log: &log,
                limits: &self.limits,
                committing: Cell::new(false),
            };
            let trouble = match work(&turn).await {
                Ok(value) => return Ok(value),
                Err(trouble) => trouble,
            };
            if !trouble.broke_connection() {
                // The server said no and lives: all of it is rolled back, a commit that was sent along included.
                let rollback = within(self.limits.silence, client.batch_execute("ROLLBACK")).await;
                if rollback.is_err() {
                    self.connection = None;
                }
                return Err(Failed::Surely(place.error(what, trouble)));
            }
            let doubtful = turn.committing.get();
            self.connection = None;
            if doubtful {
                return Err(Failed::Perhaps(place.error(what, trouble)));
            }
            let again = matches!(trouble, Trouble::Database(_)) && attempt < ATTEMPTS;
            if !again {
                return Err(Failed::Surely(place.error(what, trouble)));
            }
            attempt += 1;
        }
    }

    /// Makes sure that there is a connection, and says whether the tables are there.
    async fn connect(&mut self) -> Result<Layout, StoreError> {
        let log = self.log.clone();
        let place = &log.target.place;
        if let Some(connection) = &mut self.connection
            && let Some(client) = connection.client()
        {
            if connection.layout == Layout::Present {
                return Ok(Layout::Present);
            }
            // Somebody may have made them since.
            if let Ok(layout) = within(self.limits.silence, layout::look(client, place)).await {
                connection.layout = layout;
                return Ok(layout);
            }
        }
        self.connection = None;
        let begun = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            let limit = self.limits.connect;
            let trouble = match within(limit, Connection::open(&log.target, &self.limits)).await {
                Ok(connection) => {
                    self.reached = true;
                    let layout = connection.layout;
                    self.connection = Some(connection);
                    return Ok(layout);
                }
                Err(trouble) => trouble,
            };
            // It is there, and starting or stopping.
            let starting = matches!(&trouble, Trouble::Database(error)
                if error.code().is_some_and(|code| code.code().starts_with("57P")));
            let passing = starting || self.reached && may_pass(&trouble);
            let given_up = self.asked.strong_count() == 0;
            if !passing || given_up || begun.elapsed() + pause > self.limits.patience {
                return Err(place.error("connecting", trouble));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// Returns whether a server that was reached before may be back soon.
fn may_pass(trouble: &Trouble) -> bool {
    match trouble {
        Trouble::Store(_) | Trouble::Silent(_) => false,
        Trouble::Database(error) => match error.code() {
            Some(code) => code == &SqlState::TOO_MANY_CONNECTIONS || code.code().starts_with("57P"),
            None => true,
        },
    }
}

/// Waits for an answer, for as long as none may come.
async fn within<T, E>(limit: Duration, answer: impl Future<Output = Result<T, E>>) -> Result<T, Trouble>
where
    Trouble: From<E>,
{
    match tokio::time::timeout(limit, answer).await {
        Ok(answered) => answered.map_err(Trouble::from),
        Err(_) => Err(Trouble::Silent(limit)),
    }
}

/// A statement's parameter and its type.
pub(super) type Parameter<'a> = (&'a (dyn ToSql + Sync), Type);

/// One transaction. Statements that are awaited together are sent together; the server runs them in the order in which
/// they are first polled, and refuses all that follow one that failed, the commit included.
pub(super) struct Turn<'a> {
    client: &'a Client,
    pub(super) log: &'a Log,
    limits: &'a Limits,
    committing: Cell<bool>,
}

impl Turn<'_> {
    pub(super) fn place(&self) -> &Place {
        &self.log.target.place
    }

    pub(super) fn client(&self) -> &Client {
        self.client
    }

    /// Puts the schema and the log into a statement: `{s}` is the schema, `{log}` the log's id by the parameters $1 and
    /// $2.
    fn sql(&self, text: &str) -> String {
        text.replace(
            "{log}",
            "(SELECT id FROM {s}.logs WHERE project = $1 AND stack = $2)",
        )
        .replace("{s}", &layout::quoted(&self.place().schema))
    }

    /// Begins to write.
    ///
    /// What a session may have been given as defaults, or by a pooler, does not matter: limits and durability are set
    /// for the transaction. Only `off` acknowledges a commit before it is on the server's disk.
    pub(super) async fn begin(&self) -> Result<(), Trouble> {
        let Limits { lock, statement, .. } = self.limits;
        let begin = format!(
            "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
             SET LOCAL lock_timeout = {};
             SET LOCAL statement_timeout = {};
             SET LOCAL idle_in_transaction_session_timeout = 60000;
             SELECT set_config('synchronous_commit', 'on', true) WHERE current_setting('synchronous_commit') = 'off'",
            lock.as_millis(),
            statement.as_millis(),
        );
        within(self.limits.silence, self.client.batch_execute(&begin)).await
    }

    /// Begins to read: all statements see the same moment.
    pub(super) async fn begin_reading(&self) -> Result<(), Trouble> {
        let begin = format!(
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
             SET LOCAL lock_timeout = {};
             SET LOCAL statement_timeout = 600000;
             SET LOCAL idle_in_transaction_session_timeout = 60000",
            self.limits.lock.as_millis(),
        );
        within(self.limits.silence, self.client.batch_execute(&begin)).await
    }

    /// Commits. From here on the outcome is in doubt when the connection breaks.
    pub(super) async fn commit(&self) -> Result<(), Trouble> {
        self.committing.set(true);
        within(self.limits.silence, self.client.batch_execute("COMMIT")).await
    }

    /// Ends a transaction that wrote nothing: how is all the same.
    pub(super) async fn end(&self) -> Result<(), Trouble> {
        within(self.limits.silence, self.client.batch_execute("COMMIT")).await
    }

    /// Runs a statement and returns its rows. They may take any time as long as they keep coming.
    pub(super) async fn rows(&self, text: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Trouble> {
        let text = self.sql(text);
        let parameters = parameters.iter().map(|(value, of)| (*value, of.clone()));
        let silence = self.limits.silence;
        let mut found = pin!(within(silence, self.client.query_typed_raw(&text, parameters)).await?);
        let mut rows = Vec::new();
        while let Some(row) = within(silence, found.try_next()).await? {
            rows.push(row);
        }
        Ok(rows)
    }

    /// Runs a statement that sends `size` bytes, and returns how many rows it changed.
    pub(super) async fn execute(
        &self,
        text: &str,
        parameters: &[Parameter<'_>],
        size: usize,
    ) -> Result<u64, Trouble> {
        let text = self.sql(text);
        let limit = self.limits.silence + Duration::from_secs((size / BYTES_A_SECOND) as u64);
        within(limit, self.client.execute_typed(&text, parameters)).await
    }
}
