//! Upkeep that failed: noted by whoever tried it, kept in the manifest, told to whoever asks.
//!
//! A note costs no request of its own: it goes into the manifest with the next change of it, at the latest when the lease
//! is given back. It stays until the same chore was done, by whomever.

use std::collections::BTreeMap;

use gabion_engine::state::StoreError;
use gabion_engine::state::store::StoreWarning;
use serde::{Deserialize, Serialize};

use super::core::Core;
use super::manifest::Manifest;
use super::reading::Fault;

/// How many bytes of an error are kept.
const LONGEST: usize = 600;

/// What keeps a state small.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Chore {
    /// Making one segment of several.
    Merge,
    /// Moving the list of older segments out of the manifest.
    List,
    /// Writing a state from which loading starts.
    Snapshot,
    /// Deleting what nothing refers to any more.
    Sweep,
}

/// A chore that could not be done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Undone {
    /// Which one.
    pub(crate) chore: Chore,
    /// The serial of the state when it first failed.
    pub(crate) since: u64,
    /// Why it failed the last time.
    pub(crate) why: String,
}

/// What became of chores under one lease, as far as this handle tried them.
#[derive(Debug, Default)]
pub(super) struct Noted {
    epoch: u64,
    chores: BTreeMap<Chore, Option<Undone>>,
}

impl Noted {
    /// Returns whether a chore was tried under a lease.
    pub(super) fn tried(&self, chore: Chore, epoch: u64) -> bool {
        self.epoch == epoch && self.chores.contains_key(&chore)
    }

    fn note(&mut self, epoch: u64, chore: Chore, undone: Option<Undone>) {
        if self.epoch != epoch {
            *self = Self {
                epoch,
                chores: BTreeMap::new(),
            };
        }
        self.chores.insert(chore, undone);
    }

    /// Brings what a manifest says up to date. What was noted under another lease is older than what it says.
    pub(super) fn write_into(&self, manifest: &mut Manifest) {
        if self.epoch != manifest.fence.epoch {
            return;
        }
        for (chore, undone) in &self.chores {
            let before = manifest.undone.iter().position(|undone| undone.chore == *chore);
            match (before, undone) {
                // It is the first failure that says since when.
                (Some(at), Some(now)) => manifest.undone[at].why.clone_from(&now.why),
                (Some(at), None) => drop(manifest.undone.remove(at)),
                (None, Some(now)) => manifest.undone.push(now.clone()),
                (None, None) => {}
            }
        }
    }
}

impl Core {
    /// Does a chore and notes what became of it.
    pub(super) async fn chore<T>(
        &self,
        chore: Chore,
        manifest: &Manifest,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let done = work.await;
        let undone = match &done {
            Ok(_) => None,
            // Somebody else replaced what it needs: it is another's by now.
            Err(Fault::Vanished(_)) => return done,
            Err(Fault::Store(error)) => Some(Undone {
                chore,
                since: manifest.head.sequence,
                why: shortened(&error.to_string()),
            }),
        };
        self.noted().note(manifest.fence.epoch, chore, undone);
        done
    }

    /// Deletes what nothing refers to any more, and notes if it cannot.
    pub(super) async fn tidy_up(&self, manifest: &Manifest) -> Result<(), Fault> {
        self.chore(Chore::Sweep, manifest, self.sweep(manifest)).await
    }

    /// Returns what could not be done, for people.
    pub(super) async fn warnings(&self) -> Result<Vec<StoreWarning>, StoreError> {
        let known = self.refreshed().await?;
        let mut warnings = Vec::new();
        for undone in &known.manifest.undone {
            // Of events that were dropped nobody knows the time any more.
            let event = self
                .events(undone.since.saturating_sub(1), 1)
                .await?
                .into_iter()
                .next();
            let event = event.filter(|event| event.event.sequence == undone.since);
            let (what, cost, right) = undone.chore.words();
            warnings.push(StoreWarning {
                what: format!("{what}: {}.", undone.why.trim_end_matches('.')),
                serial: undone.since,
                since: event.map(|event| event.event.at),
                cost: cost.to_owned(),
                hint: format!(
                    "look at what failed; if it was refused, let those who apply {right}. The next apply tries it again"
                ),
            });
        }
        Ok(warnings)
    }
}

impl Chore {
    /// What could not be done, what that costs, and what one must be allowed for it.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        const WRITE: &str = "read and write objects below the prefix (s3:GetObject, s3:PutObject)";
        match self {
            Self::Merge => (
                "Small segments of the log could not be merged",
                "Nothing is lost; loading the state reads more and more objects.",
                WRITE,
            ),
            Self::List => (
                "The list of older segments could not be moved out of the manifest",
                "Nothing is lost; the manifest, which every change writes again, grows longer and longer.",
                WRITE,
            ),
            Self::Snapshot => (
                "No new snapshot could be written",
                "Nothing is lost; loading the state replays more and more events.",
                WRITE,
            ),
            Self::Sweep => (
                "Objects that nothing refers to any more could not be deleted",
                "Nothing is lost; they stay and take up room, and so does what was sealed anew or dropped.",
                "list the bucket and delete objects below the prefix (s3:ListBucket, s3:DeleteObject)",
            ),
        }
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().find(|(at, _)| *at >= LONGEST) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text.to_owned(),
    }
}
