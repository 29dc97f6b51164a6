//! What goes wrong at a database, in words: what happened, and what to do. Nothing that was sent or asked for is in
//! them, and no password.

use std::error::Error;
use std::io;
use std::time::Duration;

use gabion_engine::state::StoreError;
use tokio_postgres::error::{Severity, SqlState};

use crate::postgres::layout;
use crate::postgres::tls;

/// Why a step did not succeed.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What the caller is to be told.
    Store(StoreError),
    /// The database said no, or the connection broke.
    Database(tokio_postgres::Error),
    /// No answer came in this time.
    Silent(Duration),
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<tokio_postgres::Error> for Trouble {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error)
    }
}

impl Trouble {
    /// Returns whether the connection is of no use any more.
    pub(super) fn broke_connection(&self) -> bool {
        match self {
            Self::Store(_) => false,
            Self::Silent(_) => true,
            // After what is fatal (shutting down, crashed, idle for too long) the server closes the connection.
            Self::Database(error) => error
                .as_db_error()
                .is_none_or(|said| matches!(said.parsed_severity(), Some(Severity::Fatal | Severity::Panic))),
        }
    }
}

/// Where a store is, as errors need it.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// See [`StateStore::location`](gabion_engine::state::StateStore::location).
    pub(super) location: String,
    /// The server, for people: `db.example:5432`.
    pub(super) server: String,
    pub(super) user: String,
    pub(super) database: String,
    pub(super) schema: String,
}

/// Words of an error.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Words(String);

impl Place {
    /// Makes an error of words: a sentence without a full stop.
    pub(super) fn failed(&self, what: &str, words: impl Into<String>) -> StoreError {
        StoreError::Io {
            location: self.location.clone(),
            what: what.to_owned(),
            source: Box::new(Words(words.into())),
        }
    }

    pub(super) fn unreadable(&self, what: impl Into<String>, why: impl Into<String>) -> StoreError {
        StoreError::Unreadable {
            location: self.location.clone(),
            what: what.into(),
            why: why.into(),
        }
    }

    fn busy(&self, what: impl Into<String>) -> StoreError {
        StoreError::Busy {
            location: self.location.clone(),
            what: what.into(),
        }
    }

    /// Makes an error of what happened while something was done: `what` is "appending", "connecting".
    pub(super) fn error(&self, what: &str, trouble: Trouble) -> StoreError {
        match trouble {
            Trouble::Store(error) => error,
            Trouble::Silent(limit) => self.failed(
                what,
                format!(
                    "the server {} sent no answer for {} s",
                    self.server,
                    limit.as_secs_f32().ceil()
                ),
            ),
            Trouble::Database(error) => match error.as_db_error() {
                Some(said) => self.said(what, said.code(), said.message()),
                None => self.failed(what, self.unsaid(&error)),
            },
        }
    }

    /// What the server said. Its details and hints are left out: they may quote rows.
    fn said(&self, what: &str, code: &SqlState, message: &str) -> StoreError {
        let Self {
            server,
            user,
            database,
            schema,
            ..
        } = self;
        let advice = match code {
            &SqlState::LOCK_NOT_AVAILABLE => {
                return self.busy("another transaction keeps the log to itself and does not end");
            }
            &SqlState::T_R_DEADLOCK_DETECTED | &SqlState::T_R_SERIALIZATION_FAILURE => {
                return self.busy(format!("the database put another transaction first: {message}"));
            }
            &SqlState::UNDEFINED_TABLE | &SqlState::UNDEFINED_COLUMN => {
                return self.unreadable(format!("the tables of schema {schema}"), message);
            }
            &SqlState::QUERY_CANCELED => {
                "a statement took too long, or an administrator cancelled it".to_owned()
            }
            &SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION => format!(
                "the server {server} does not let the user {user} in; check the URL's user, `PGPASSWORD` or the \
                 file that `PGPASSFILE` names, and what the server's pg_hba.conf allows"
            ),
            &SqlState::INVALID_CATALOG_NAME => format!(
                "make the database, or name another one in the URL:\n    CREATE DATABASE {};",
                layout::quoted(database)
            ),
            &SqlState::INSUFFICIENT_PRIVILEGE => format!(
                "the user {user} may not do this; an administrator of the database {database} can allow it:\n{}",
                layout::grants(schema, user)
            ),
            &SqlState::READ_ONLY_SQL_TRANSACTION | &SqlState::FEATURE_NOT_SUPPORTED => {
                format!("the server {server} takes no writes, as a standby does; name the primary in the URL")
            }
            &SqlState::TOO_MANY_CONNECTIONS => {
                format!("the server {server} has no connection left; gabion needs two")
            }
            &SqlState::CANNOT_CONNECT_NOW => {
                format!("the server {server} is starting or stopping; try again")
            }
            &SqlState::DISK_FULL => format!("the server {server} has no space left"),
            code if code.code().starts_with("57P") => format!("the server {server} ended the connection"),
            _ => {
                return self.failed(what, format!("{message} (SQLSTATE {})", code.code()));
            }
        };
        self.failed(what, format!("{message} (SQLSTATE {}): {advice}", code.code()))
    }

    /// What happened that no server said.
    fn unsaid(&self, error: &tokio_postgres::Error) -> String {
        let server = &self.server;
        let mut cause: Option<&(dyn Error + 'static)> = error.source();
        while let Some(found) = cause {
            if let Some(refused) = found.downcast_ref::<rustls::Error>() {
                return format!("TLS with {server} failed: {refused}: {}", tls::advice(refused));
            }
            if let Some(io) = found.downcast_ref::<io::Error>() {
                // What is within is told by what is within.
                if let Some(inner) = io.get_ref() {
                    cause = Some(inner);
                    continue;
                }
                return match io.kind() {
                    io::ErrorKind::ConnectionRefused => {
                        format!(
                            "nothing listens at {server} ({io}); is the server running, and is the port right?"
                        )
                    }
                    io::ErrorKind::NotFound => {
                        format!(
                            "there is no server at {server} ({io}); is it running, and is the directory right?"
                        )
                    }
                    io::ErrorKind::ConnectionReset
                    | io::ErrorKind::ConnectionAborted
                    | io::ErrorKind::BrokenPipe
                    | io::ErrorKind::UnexpectedEof => format!("the connection to {server} broke ({io})"),
                    _ => format!("the server {server} cannot be reached: {io}"),
                };
            }
            if found.source().is_none() {
                return match found.to_string().as_str() {
                    "password missing" => format!(
                        "the server {server} asks for a password of the user {}; set `PGPASSWORD`, or \
                         `PGPASSFILE` to a file with it",
                        self.user
                    ),
                    "server does not support TLS" => format!(
                        "the server {server} has no TLS, and the URL asks for it; have its administrator turn it on \
                         (`ssl = on`), or write `sslmode=disable` if the way to it is safe without"
                    ),
                    said => format!("{error} at {server}: {said}"),
                };
            }
            cause = found.source();
        }
        format!("{error} at {server}")
    }
}
