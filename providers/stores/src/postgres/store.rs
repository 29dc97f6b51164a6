//! The store over the database.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use gabion_engine::state::chain::ChainedEvent;
use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::store::{
    AdoptRequest, AppendRequest, CreateRequest, LeaseGrant, LeaseRequest, LeaseView, Loaded,
};
use gabion_engine::state::{Head, State, StateStore, StoreError};
use jiff::Timestamp;

use crate::postgres::connect::{Limits, Target};
use crate::postgres::error::Place;
use crate::postgres::password::PasswordSource;
use crate::postgres::session::{Lane, Log};
use crate::postgres::settings::PostgresSettings;
use crate::postgres::url::Host;

/// How long what is done with the log may take.
const LOG_LIMITS: Limits = Limits {
    connect: Duration::from_secs(10),
    lock: Duration::from_secs(20),
    statement: Duration::from_secs(60),
    silence: Duration::from_secs(75),
    patience: Duration::from_secs(30),
};

/// How long what is done with the lease may take: a heartbeat that hangs must be sent again before the lease runs out.
const LEASE_LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    lock: Duration::from_secs(4),
    statement: Duration::from_secs(6),
    silence: Duration::from_secs(8),
    patience: Duration::from_secs(5),
};

/// A state in a PostgreSQL database. Nothing is connected before it is needed.
///
/// Two connections at most: one for the log, and one for the lease, so that a heartbeat does not queue behind an append.
pub struct PostgresStore {
    place: Place,
    log: Lane,
    lease: Lane,
}

/// What a store is opened with, beside its settings.
pub struct OpenOptions<'a> {
    /// Looks up a variable of the environment: `PGPASSWORD`, `PGPASSFILE`, `PGUSER`, `HOME`.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// What relative paths in the settings are relative to: the project's directory.
    pub directory: &'a Path,
    /// The project's name: with the stack, what the log is found by.
    pub project: &'a str,
    /// The stack's name; empty for the default one.
    pub stack: &'a str,
    /// What content is put into.
    pub envelope: Envelope,
}

impl PostgresStore {
    /// Names the log of a project and stack in a database; nothing is connected yet.
    ///
    /// # Errors
    /// When it is not known who is to log in.
    pub fn open(settings: &PostgresSettings, options: OpenOptions<'_>) -> Result<Self, StoreError> {
        let OpenOptions {
            environment,
            directory,
            project,
            stack,
            envelope,
        } = options;
        let set = |name: &str| environment(name).filter(|value| !value.is_empty());
        let url = settings.url.clone();
        let user = url.user.clone().or_else(|| set("PGUSER"));
        let server = match &url.host {
            Host::Tcp(_) => format!("{}:{}", url.shown_host(), url.port),
            Host::Unix(directory) => format!("{}/.s.PGSQL.{}", directory.display(), url.port),
        };
        let log = match stack {
            "" => project.to_owned(),
            stack => format!("{project}, stack {stack}"),
        };
        let place = Place {
            location: format!(
                "postgres://{}{}/{}, schema {}, project {log}",
                user.as_ref().map(|user| format!("{user}@")).unwrap_or_default(),
                match &url.host {
                    Host::Tcp(_) => server.clone(),
                    Host::Unix(_) => format!("{}:{}", url.shown_host().replace('/', "%2F"), url.port),
                },
                url.database,
                settings.schema,
            ),
            server,
            user: user.clone().unwrap_or_default(),
            database: url.database.clone(),
            schema: settings.schema.clone(),
        };
        let Some(user) = user else {
            return Err(place.failed(
                "opening",
                "no user to log in as is named; write `postgres://USER@…`, or set `PGUSER`",
            ));
        };
        let roots = url
            .root_certificate
            .as_ref()
            .map(|path| match (path.strip_prefix("~/"), set("HOME")) {
                (Some(rest), Some(home)) => Path::new(&home).join(rest),
                _ => directory.join(path),
            });
        let connect = url
            .connect_timeout
            .map(|seconds| Duration::from_secs(seconds.into()));
        let log = Arc::new(Log {
            target: Target {
                url,
                user,
                password: PasswordSource::of(environment),
                roots,
                place: place.clone(),
            },
            envelope,
            project: project.to_owned(),
            stack: stack.to_owned(),
        });
        let lane = |limits: Limits| {
            let connect = connect.unwrap_or(limits.connect);
            Lane::new(log.clone(), Limits { connect, ..limits })
        };
        Ok(Self {
            place,
            log: lane(LOG_LIMITS),
            lease: lane(LEASE_LIMITS),
        })
    }
}

#[async_trait]
impl StateStore for PostgresStore {
    async fn create(&self, request: CreateRequest) -> Result<Head, StoreError> {
        self.log
            .run(|session| session.create(request).boxed_local())
            .await
    }

    async fn load(&self) -> Result<Loaded, StoreError> {
        self.log.run(|session| session.load().boxed_local()).await
    }

    async fn append(&self, request: AppendRequest) -> Result<Head, StoreError> {
        self.log
            .run(|session| session.append(request).boxed_local())
            .await
    }

    async fn events(&self, after: u64, limit: usize) -> Result<Vec<ChainedEvent>, StoreError> {
        self.log
            .run(move |session| session.events(after, limit).boxed_local())
            .await
    }

    async fn base(&self) -> Result<State, StoreError> {
        self.log.run(|session| session.base().boxed_local()).await
    }

    async fn compact(&self, epoch: u64, up_to: u64) -> Result<u64, StoreError> {
        self.log
            .run(move |session| session.compact(epoch, up_to).boxed_local())
            .await
    }

    async fn reseal(&self, epoch: u64) -> Result<u64, StoreError> {
        self.log
            .run(move |session| session.reseal(epoch).boxed_local())
            .await
    }

    async fn adopt(&self, request: AdoptRequest) -> Result<Head, StoreError> {
        self.log.run(|session| session.adopt(request).boxed_local()).await
    }

    async fn take_lease(&self, request: LeaseRequest) -> Result<LeaseGrant, StoreError> {
        self.lease
            .run(|session| session.take_lease(request).boxed_local())
            .await
    }

    async fn renew(&self, epoch: u64, length: Duration, at: Timestamp) -> Result<(), StoreError> {
        self.lease
            .run(move |session| session.renew(epoch, length, at).boxed_local())
            .await
    }

    async fn release(&self, epoch: u64) -> Result<(), StoreError> {
        self.lease
            .run(move |session| session.release(epoch).boxed_local())
            .await
    }

    async fn lease(&self) -> Result<Option<LeaseView>, StoreError> {
        self.lease.run(|session| session.lease().boxed_local()).await
    }

    fn location(&self) -> String {
        self.place.location.clone()
    }
}
