//! The default store: an SQLite database in the project's `.gabion` directory.
//!
//! Events and head are written in one transaction, and the records now and then in one of these: until then whoever reads
//! folds the events that came after. Every part carries a digest, because SQLite itself does not notice a flipped bit. Write-ahead logging lets readers go on while a writer commits; `synchronous = FULL` makes a
//! commit durable before it returns. The file appears only when it is complete: it is made under another name and then
//! renamed.
//!
//! With an [`Envelope`](crate::state::envelope::Envelope) that encrypts, every event, record and other part is sealed;
//! what stays readable are the sequence numbers and hashes of events, the uids of records, digests of what is sealed,
//! and the lease.

mod adopt;
mod blocker;
mod file;
mod filesystem;
mod layout;
mod lease;
mod reseal;
mod rows;
mod store;

pub use store::SqliteStore;
