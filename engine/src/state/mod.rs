//! State: an append-only log of events, and the records that folding it gives.

pub mod chain;
pub mod clock;
pub mod copy;
mod durable;
pub mod envelope;
pub mod event;
pub mod fingerprint;
pub mod fold;
pub mod folded;
pub mod head;
pub mod history;
pub mod journal;
pub mod lease;
pub mod log_file;
pub mod map;
pub mod memory;
pub mod migrate;
pub mod private_file;
pub mod process;
pub mod rebuild;
pub mod record;
pub mod snapshot;
pub mod sqlite;
pub mod store;
pub mod surgery;
pub mod transfer;
pub mod unfinished;
pub mod verify;

pub use clock::{Clock, SystemClock};
pub use fold::{FORMAT_VERSION, FoldError};
pub use journal::{Journal, JournalError, JournalOptions, OpenError, load_for_reading};
pub use memory::MemoryStore;
pub use snapshot::{Head, State};
pub use sqlite::SqliteStore;
pub use store::{StateStore, StoreError};
