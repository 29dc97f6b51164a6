//! The head mark: how far a log was known to go, kept outside its store.
//!
//! A store that lost its tail, was replaced by an older copy or is gone looks fine to itself. The mark, in the user's
//! state directory, shows it.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::state::durable::{make_directory, sync_directory};
use crate::state::snapshot::{Head, State};
use crate::state::store::{StateStore, StoreError};

/// The version of a mark's written form.
const MARK_FORMAT_VERSION: u32 = 1;

/// The place of one project's head mark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeadMark {
    path: PathBuf,
    project: PathBuf,
    stack: String,
}

#[derive(Serialize, Deserialize)]
struct WrittenMark {
    format_version: u32,
    /// For people who find the file; the key is in its name.
    project: String,
    stack: String,
    #[serde(flatten)]
    head: Head,
}

/// What a store and its mark say together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// There is neither store nor mark, or the store is gone and recorded no object any more: a new project.
    New,
    /// The store is where the mark says, or ahead of it.
    Continued,
    /// There is a store and no mark, or one of another store that recorded no object any more: nobody used it from here
    /// before.
    Unmarked,
}

/// Why a store and its mark do not fit.
#[derive(Debug, thiserror::Error)]
pub enum HeadError {
    /// There is a mark and no store.
    #[error(
        "the state at {location} is missing: it had {} when it was last written (lineage {})",
        recorded(mark), mark.lineage
    )]
    Missing {
        /// Where the state should be.
        location: String,
        /// How far it went.
        mark: Head,
        /// The mark's file.
        path: PathBuf,
    },
    /// The store ends before its mark.
    #[error(
        "the state at {location} lost its end: events {} to {} are missing",
        found + 1, mark.sequence
    )]
    Behind {
        /// Where the state is.
        location: String,
        /// How far it went.
        mark: Head,
        /// Where it ends now.
        found: u64,
        /// The mark's file.
        path: PathBuf,
    },
    /// The store holds another log.
    #[error(
        "the state at {location} is another one: its lineage is {}, and the one used here before is {}",
        found.lineage, mark.lineage
    )]
    OtherLineage {
        /// Where the state is.
        location: String,
        /// What was used before.
        mark: Head,
        /// What is there now.
        found: Head,
        /// The mark's file.
        path: PathBuf,
    },
    /// The store holds another event where the mark points to.
    #[error("the state at {location} has another history: its event {} is not the one that was written", mark.sequence)]
    OtherHistory {
        /// Where the state is.
        location: String,
        /// What was written.
        mark: Head,
        /// The mark's file.
        path: PathBuf,
    },
    /// The mark cannot be read.
    #[error("the head mark {} cannot be read: {why}", path.display())]
    Unreadable {
        /// The mark's file.
        path: PathBuf,
        /// Why, without a full stop.
        why: String,
    },
    /// The mark cannot be written.
    #[error("the head mark {} cannot be written: {source}", path.display())]
    Write {
        /// The mark's file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The store could not be asked.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Says how much a state held.
fn recorded(mark: &Head) -> String {
    match mark.objects {
        None => format!("{} events", mark.sequence),
        Some(1) => format!("1 object and {} events", mark.sequence),
        Some(objects) => format!("{objects} objects and {} events", mark.sequence),
    }
}

impl HeadError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        let path = match self {
            Self::Missing { path, .. }
            | Self::Behind { path, .. }
            | Self::OtherLineage { path, .. }
            | Self::OtherHistory { path, .. } => path,
            Self::Store(error) => return error.hint(),
            Self::Write { path, .. } => {
                return Some(format!(
                    "make {} writable, or set XDG_STATE_HOME to a directory that is",
                    path.parent().unwrap_or(path).display()
                ));
            }
            Self::Unreadable { .. } => return None,
        };
        Some(format!(
            "restore the state from a copy; without one, find its objects again by their tags:\n    gabion state rebuild\nonly if what is lost does not matter, remove {}",
            path.display()
        ))
    }
}

impl HeadMark {
    /// Returns the place of a project's mark below the user's state directory.
    ///
    /// `project` is the canonical path of the project's directory.
    pub fn new(state_directory: &Path, project: &Path, stack: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(project.as_os_str().as_bytes());
        hash.update([0]);
        hash.update(stack.as_bytes());
        let key = hex::encode(&hash.finalize()[..16]);
        Self {
            path: state_directory.join("heads").join(format!("{key}.json")),
            project: project.to_owned(),
            stack: stack.to_owned(),
        }
    }

    /// Returns the mark's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns how far the log was known to go; `None` when it was never written from here.
    ///
    /// # Errors
    /// When the mark is there and cannot be read.
    pub fn read(&self) -> Result<Option<Head>, HeadError> {
        let unreadable = |why: String| HeadError::Unreadable {
            path: self.path.clone(),
            why,
        };
        let text = match std::fs::read(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unreadable(error.to_string())),
        };
        let mark: WrittenMark =
            serde_json::from_slice(&text).map_err(|error| unreadable(error.to_string()))?;
        if mark.format_version > MARK_FORMAT_VERSION {
            return Err(unreadable(format!(
                "it has format {}, and this gabion knows formats up to {MARK_FORMAT_VERSION}",
                mark.format_version
            )));
        }
        Ok(Some(mark.head))
    }

    /// Makes sure that the mark can be written, before anything is done whose loss it would show.
    ///
    /// # Errors
    /// When its directory cannot be made or written.
    pub fn prepare(&self) -> Result<(), HeadError> {
        let probe = || {
            make_directory(self.directory(), 0o755)?;
            let unfinished = self.unfinished();
            File::create(&unfinished)?;
            std::fs::remove_file(unfinished)
        };
        probe().map_err(|source| self.unwritable(source))
    }

    /// Writes how far the log goes, all or nothing. When it returns, it is on stable storage.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, head: &Head) -> Result<(), HeadError> {
        let written = self.replace(head).and_then(|()| self.sync());
        written.map_err(|source| self.unwritable(source))
    }

    /// Writes how far the log went while it goes on, all or nothing: never back, in case another holder of the lease has
    /// written since. It is on stable storage once it is [`settle`](Self::settle)d.
    pub(crate) fn note(&self, head: &Head) -> Result<(), HeadError> {
        if let Ok(Some(there)) = self.read()
            && there.lineage == head.lineage
            && there.sequence >= head.sequence
        {
            return Ok(());
        }
        self.replace(head).map_err(|source| self.unwritable(source))
    }

    /// Puts what was noted last on stable storage.
    pub(crate) fn settle(&self) -> Result<(), HeadError> {
        self.sync().map_err(|source| self.unwritable(source))
    }

    fn replace(&self, head: &Head) -> std::io::Result<()> {
        let written = WrittenMark {
            format_version: MARK_FORMAT_VERSION,
            project: self.project.display().to_string(),
            stack: self.stack.clone(),
            head: head.clone(),
        };
        let mut text = serde_json::to_vec(&written).expect("a mark has only text keys and whole numbers");
        text.push(b'\n');
        make_directory(self.directory(), 0o755)?;
        let unfinished = self.unfinished();
        let mut file = File::create(&unfinished)?;
        file.write_all(&text)?;
        // Or a crash could leave an empty file under the mark's name.
        file.sync_data()?;
        std::fs::rename(&unfinished, &self.path)
    }

    fn sync(&self) -> std::io::Result<()> {
        sync_directory(self.directory())
    }

    fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new("."))
    }

    /// Returns the name of a mark that is being written: of one's own, because a holder that lost its lease may still be
    /// writing its last one.
    fn unfinished(&self) -> PathBuf {
        self.path.with_extension(format!("{}.new", std::process::id()))
    }

    fn unwritable(&self, source: std::io::Error) -> HeadError {
        HeadError::Write {
            path: self.path.clone(),
            source,
        }
    }

    /// Compares a loaded state (`None`: there is no store) with a mark that was read before it was loaded: one that is
    /// read afterwards may be ahead of it.
    ///
    /// # Errors
    /// When the store is not the one that was used here before, or lost something.
    pub async fn check(
        &self,
        mark: Option<Head>,
        store: &dyn StateStore,
        loaded: Option<&State>,
    ) -> Result<Continuity, HeadError> {
        let location = store.location();
        let path = self.path.clone();
        let (mark, found) = match (mark, loaded.and_then(State::head)) {
            (None, None) => return Ok(Continuity::New),
            (None, Some(_)) => return Ok(Continuity::Unmarked),
            // Who destroyed everything and removed the directory has lost nothing.
            (Some(mark), None) if mark.objects == Some(0) => return Ok(Continuity::New),
            (Some(mark), Some(found)) if mark.objects == Some(0) && mark.lineage != found.lineage => {
                return Ok(Continuity::Unmarked);
            }
            (Some(mark), None) => {
                return Err(HeadError::Missing { location, mark, path });
            }
            (Some(mark), Some(found)) => (mark, found),
        };
        if mark.lineage != found.lineage {
            return Err(HeadError::OtherLineage {
                location,
                mark,
                found,
                path,
            });
        }
        if found.sequence < mark.sequence {
            return Err(HeadError::Behind {
                location,
                mark,
                found: found.sequence,
                path,
            });
        }
        let there = if found.sequence == mark.sequence {
            Some(found.chain)
        } else {
            let events = store.events(mark.sequence.saturating_sub(1), 1).await?;
            // Compaction may have dropped the event that the mark points to.
            let mut events = events.into_iter();
            events
                .find(|event| event.event.sequence == mark.sequence)
                .map(|event| event.hash)
        };
        match there {
            Some(chain) if chain != mark.chain => Err(HeadError::OtherHistory { location, mark, path }),
            _ => Ok(Continuity::Continued),
        }
    }
}
