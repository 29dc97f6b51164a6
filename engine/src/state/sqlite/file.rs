//! The database file: making it, opening it, and refusing what is not one.

use std::ffi::OsString;
use std::fs::{File, TryLockError};
use std::io::{ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ffi};

use crate::state::durable::{make_directory, sync_directory};
use crate::state::envelope::Envelope;
use crate::state::sqlite::blocker::Blocker;
use crate::state::sqlite::filesystem::network_file_system;
use crate::state::sqlite::layout;
use crate::state::store::StoreError;

/// Marks the database as gabion's, in its header: `gabn`.
const APPLICATION_ID: i32 = 0x6761_626e;

/// How long a commit waits for another process's, unless it is told otherwise.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// Where a database is.
#[derive(Debug, Clone)]
pub(super) struct DatabaseFile {
    pub(super) path: PathBuf,
    /// What its content is encrypted with.
    pub(super) envelope: Envelope,
    /// How long a commit waits for another process's.
    pub(super) patience: Duration,
}

/// Which file a connection has open: its device and inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct FileIdentity(u64, u64);

/// Returns whether a failure comes from what is in the file, and not from how it is reached.
fn is_damage(failure: &ffi::Error) -> bool {
    match failure.code {
        ErrorCode::DatabaseCorrupt
        | ErrorCode::NotADatabase
        | ErrorCode::ConstraintViolation
        | ErrorCode::TypeMismatch
        | ErrorCode::TooBig
        // A table or a column is missing.
        | ErrorCode::Unknown => true,
        ErrorCode::SystemIoFailure => failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ,
        _ => false,
    }
}

impl DatabaseFile {
    pub(super) fn location(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn unreadable(&self, what: impl Into<String>, why: impl Into<String>) -> StoreError {
        StoreError::Unreadable {
            location: self.location(),
            what: what.into(),
            why: why.into(),
        }
    }

    /// Words what SQLite says.
    pub(super) fn error(&self, what: &str, error: rusqlite::Error) -> StoreError {
        match &error {
            Error::SqliteFailure(failure, _) => match failure.code {
                ErrorCode::DatabaseBusy
                | ErrorCode::DatabaseLocked
                | ErrorCode::FileLockingProtocolFailed => StoreError::Busy {
                    location: self.location(),
                    what: self.waited(what),
                },
                _ if is_damage(failure) => self.damaged(&error),
                _ => StoreError::Io {
                    location: self.location(),
                    what: what.to_owned(),
                    source: error.into(),
                },
            },
            // What is there is not what its column holds.
            _ => self.damaged(&error),
        }
    }

    /// Says what was waited for in vain.
    fn waited(&self, what: &str) -> String {
        let who = match self.blocker() {
            Some(blocker) => format!("{} is in the middle of a write", blocker.describe()),
            None => "another process is in the middle of a write".to_owned(),
        };
        format!("{what} waited {:?}, and {who}", self.patience)
    }

    /// Returns the process that keeps others from writing.
    pub(super) fn blocker(&self) -> Option<Blocker> {
        Blocker::of(&self.beside("-shm"))
    }

    fn damaged(&self, error: &Error) -> StoreError {
        self.unreadable(
            "the database file",
            format!("{error}; it is damaged, and what it holds cannot be trusted"),
        )
    }

    fn io(&self, what: &str) -> impl FnOnce(std::io::Error) -> StoreError {
        let (path, what) = (self.path.clone(), what.to_owned());
        move |source| StoreError::io(path, what, source)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = OsString::from(self.path.file_name().unwrap_or_default());
        name.push(suffix);
        self.path.with_file_name(name)
    }

    fn directory(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    /// Returns which file is there now.
    pub(super) fn identity(&self) -> Result<FileIdentity, StoreError> {
        match std::fs::metadata(&self.path) {
            Ok(metadata) => Ok(FileIdentity(metadata.dev(), metadata.ino())),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(self.missing()),
            Err(error) => Err(self.io("looking at the file")(error)),
        }
    }

    /// Words that there is no database: never created, or half of it left.
    fn missing(&self) -> StoreError {
        let log = self.beside("-wal");
        if std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 0) {
            return self.unreadable(
                "the database file",
                format!(
                    "it is missing, and its write-ahead log {} is still there",
                    log.display()
                ),
            );
        }
        if let Ok(target) = std::fs::read_link(&self.path) {
            return self.unreadable(
                "the database file",
                format!("it is a symbolic link to {}, where nothing is", target.display()),
            );
        }
        StoreError::NotFound {
            location: self.location(),
        }
    }

    /// Opens a database that exists, after checking that it is one of ours.
    pub(super) fn open(&self) -> Result<(Connection, FileIdentity), StoreError> {
        self.check_header()?;
        self.refuse_network_file_system()?;
        let identity = self.identity()?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection =
            Connection::open_with_flags(&self.path, flags).map_err(|error| self.error("opening", error))?;
        self.configure(&connection)?;
        let number = |name: &str| -> Result<i64, StoreError> {
            connection
                .pragma_query_value(None, name, |row| row.get(0))
                .map_err(|error| self.error("opening", error))
        };
        if number("application_id")? != i64::from(APPLICATION_ID) {
            return Err(self.unreadable(
                "the database file",
                "it is an SQLite database, and not one of gabion's",
            ));
        }
        layout::version(&connection, self)?;
        Ok((connection, identity))
    }

    fn configure(&self, connection: &Connection) -> Result<(), StoreError> {
        let configured = connection
            .busy_timeout(self.patience)
            .and_then(|()| connection.pragma_update(None, "synchronous", "FULL"));
        configured.map_err(|error| self.error("opening", error))
    }

    /// Refuses what SQLite would take for an empty database, or fail on with less to say.
    fn check_header(&self) -> Result<(), StoreError> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(self.missing()),
            Err(error) => return Err(self.io("opening")(error)),
        };
        let metadata = file.metadata().map_err(self.io("opening"))?;
        if !metadata.is_file() {
            return Err(self.unreadable("the database file", "it is not a file"));
        }
        let mut header = Vec::new();
        let read = file.by_ref().take(100).read_to_end(&mut header);
        read.map_err(self.io("reading"))?;
        if header.is_empty() {
            return Err(self.unreadable("the database file", "it is empty; a state is never empty"));
        }
        if !header.starts_with(b"SQLite format 3\0") {
            return Err(self.unreadable("the database file", "it is not an SQLite database"));
        }
        if header.len() < 100 {
            return Err(self.unreadable(
                "the database file",
                format!("it ends after {} bytes, within its header", header.len()),
            ));
        }
        // Bytes 16 and 17: the page size, where 1 stands for 65536.
        let page = match u64::from(u16::from_be_bytes([header[16], header[17]])) {
            1 => 65536,
            page => page.max(1),
        };
        // SQLite reads what is missing of the last page as zeros. While there is a log to recover from, that is mended.
        if metadata.len() % page != 0 && !self.has_log() {
            return Err(self.unreadable(
                "the database file",
                format!("it ends after {} bytes, within a page", metadata.len()),
            ));
        }
        Ok(())
    }

    fn has_log(&self) -> bool {
        std::fs::metadata(self.beside("-wal")).is_ok_and(|metadata| metadata.len() > 0)
    }

    /// Makes the database with what `fill` puts into it. It appears under its name complete, or not at all.
    pub(super) fn create(
        &self,
        fill: impl FnOnce(&mut Connection) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let directory = self.directory();
        // What a state records is its user's own: values of the environment are in it.
        make_directory(directory, 0o700).map_err(self.io("making the directory"))?;
        self.refuse_network_file_system()?;
        let _lock = self.lock()?;
        if std::fs::symlink_metadata(&self.path).is_ok() {
            return Err(StoreError::Exists {
                location: self.location(),
            });
        }
        if let error @ StoreError::Unreadable { .. } = self.missing() {
            return Err(error);
        }
        let unfinished = DatabaseFile {
            path: self.beside(".new"),
            envelope: self.envelope.clone(),
            patience: self.patience,
        };
        for suffix in ["", "-wal", "-shm", "-journal"] {
            match std::fs::remove_file(unfinished.beside(suffix)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(self.io("removing what an earlier creation left")(error));
                }
                _ => {}
            }
        }
        // SQLite gives its log the mode of the database.
        File::options()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&unfinished.path)
            .map_err(self.io("creating"))?;
        let mut connection =
            Connection::open(&unfinished.path).map_err(|error| self.error("creating", error))?;
        self.configure(&connection)?;
        let prepared = connection
            .pragma_update(None, "application_id", APPLICATION_ID)
            .and_then(|()| layout::make(&connection));
        prepared.map_err(|error| self.error("creating", error))?;
        fill(&mut connection)?;
        // Only now, and before anybody else can open it: switching with others there fails at once.
        let mode: String = connection
            .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
            .map_err(|error| self.error("creating", error))?;
        if mode != "wal" {
            return Err(self.unreadable("the database file", "its file system allows no write-ahead log"));
        }
        connection
            .close()
            .map_err(|(_, error)| self.error("creating", error))?;
        let publish = || {
            File::open(&unfinished.path)?.sync_all()?;
            std::fs::rename(&unfinished.path, &self.path)?;
            sync_directory(directory)
        };
        publish().map_err(self.io("creating"))
    }

    /// Locks creation against other processes; the kernel frees it with the file.
    fn lock(&self) -> Result<File, StoreError> {
        let path = self.beside(".lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(self.io("opening the lock file"))?;
        let give_up = Instant::now() + self.patience;
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(lock),
                Err(TryLockError::WouldBlock) if Instant::now() < give_up => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::Busy {
                        location: self.location(),
                        what: "another process is creating it".to_owned(),
                    });
                }
                Err(TryLockError::Error(error)) => return Err(self.io("locking")(error)),
            }
        }
    }

    fn refuse_network_file_system(&self) -> Result<(), StoreError> {
        match network_file_system(self.directory()) {
            Some(kind) => Err(StoreError::NetworkFileSystem {
                location: self.location(),
                kind,
            }),
            None => Ok(()),
        }
    }
}
