//! The layout of the database: its tables, the version that says which they are, and upgrades from earlier ones.

use rusqlite::Connection;

use crate::state::sqlite::file::DatabaseFile;
use crate::state::sqlite::rows::Rows;
use crate::state::store::StoreError;

/// The layout that this build writes, and the newest that it reads.
///
/// 1: content is text, and records have their address and status in columns of their own.
/// 2: content may be encrypted, and nothing of it stands beside it; the lease has a digest.
/// 3: the records may be behind the log, and say how far they go.
const VERSION: u32 = 3;

/// Content is text, or a blob when it is encrypted.
const TABLES: &str = "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value ANY NOT NULL, digest TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE events (sequence INTEGER PRIMARY KEY, hash TEXT NOT NULL, body ANY NOT NULL) STRICT;
    CREATE TABLE records (uid TEXT PRIMARY KEY, body ANY NOT NULL, digest BLOB NOT NULL) STRICT, WITHOUT ROWID;
";

const LEASE_TABLE: &str = "
    CREATE TABLE lease (
        one INTEGER PRIMARY KEY CHECK (one = 1), value TEXT NOT NULL, digest TEXT NOT NULL
    ) STRICT;
";

/// Makes the tables of a new database.
pub(super) fn make(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(TABLES)?;
    connection.execute_batch(LEASE_TABLE)?;
    connection.pragma_update(None, "user_version", VERSION)
}

/// Returns the version of a database's layout.
///
/// # Errors
/// [`StoreError::NewerFormat`] for one that this build does not know.
pub(super) fn version(connection: &Connection, file: &DatabaseFile) -> Result<u32, StoreError> {
    let found: i64 = connection
        .prepare_cached("PRAGMA user_version")
        .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
        .map_err(|error| file.error("reading", error))?;
    match u32::try_from(found) {
        Ok(version @ 1..=VERSION) => Ok(version),
        Ok(found) if found > VERSION => Err(StoreError::NewerFormat {
            location: file.location(),
            found,
        }),
        _ => Err(file.unreadable("the database file", format!("it says that its format is {found}"))),
    }
}

/// Returns whether the database has the layout that this build writes.
pub(super) fn is_current(rows: &Rows<'_>) -> Result<bool, StoreError> {
    Ok(version(rows.connection, rows.file)? == VERSION)
}

/// Returns whether the records of the database may be behind its log.
pub(super) fn may_be_behind(rows: &Rows<'_>) -> Result<bool, StoreError> {
    Ok(version(rows.connection, rows.file)? >= 3)
}

/// Removes the log that is there; the lease stays.
pub(super) fn remake(rows: &Rows<'_>) -> Result<(), StoreError> {
    rows.connection
        .execute_batch("DROP TABLE events; DROP TABLE records; DROP TABLE meta;")
        .and_then(|()| rows.connection.execute_batch(TABLES))
        .map_err(|error| rows.file.error("replacing the log", error))
}

/// Brings the database to the layout that this build writes, within the transaction that takes the lease: whoever writes
/// holds it, so that nobody else is at work.
pub(super) fn upgrade(rows: &Rows<'_>) -> Result<(), StoreError> {
    if is_current(rows)? {
        return Ok(());
    }
    // Nothing is carried over that cannot be trusted.
    let (state, lease) = (rows.state()?.state, rows.lease()?);
    if version(rows.connection, rows.file)? == 1 {
        rows.connection
            .execute_batch(&format!(
                "ALTER TABLE meta RENAME TO meta_1;
                 ALTER TABLE events RENAME TO events_1;
                 ALTER TABLE records RENAME TO records_1;
                 DROP TABLE lease;
                 {TABLES} {LEASE_TABLE}
                 INSERT INTO meta SELECT key, value, digest FROM meta_1;
                 INSERT INTO events SELECT sequence, hash, body FROM events_1 ORDER BY sequence;
                 INSERT INTO records SELECT uid, body, digest FROM records_1 ORDER BY uid;
                 DROP TABLE meta_1; DROP TABLE events_1; DROP TABLE records_1;"
            ))
            .map_err(|error| rows.file.error("upgrading the database", error))?;
        rows.put_lease(&lease)?;
    }
    rows.put_parts(&state)?;
    rows.put_events([], &state)?;
    rows.connection
        .pragma_update(None, "user_version", VERSION)
        .map_err(|error| rows.file.error("upgrading the database", error))
}
