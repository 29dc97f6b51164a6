//! Folding: what each event does to the records. Pure, and the only code that changes a record.
//!
//! An event that contradicts the state is refused and changes nothing; a log therefore cannot hold one. What each
//! outcome of a call means:
//!
//! | call | no effect | partial | unknown | found present | found absent |
//! | --- | --- | --- | --- | --- | --- |
//! | create | removed, un-deposed | incomplete, or open | open | incomplete | removed, un-deposed, tombstone |
//! | update | as before | incomplete | open | incomplete | removed |
//! | delete | as before | deleting | open | incomplete | removed |
//!
//! What was found absent after a creation leaves a tombstone with its record: if the object turns up after all, it is
//! recorded again from that, as incomplete.
//!
//! A creation that was checkpointed is never removed by an error: it is *incomplete*. One that failed half-way without
//! an id stays open, because only an observation by its operation id can still find what it left.

mod attributes;
mod error;
mod folding;

pub use error::FoldError;

/// The version of the log's format that this build writes, and the newest that it reads.
///
/// 1: every intent names its plan, and a declaration says everything.
/// 2: what is as it is where nothing is said is left out, and so are the plan of an intent that is its run's, and the run
///    and the epoch of an event that are those of the one before. A run's start may take the lease, and nothing follows
///    its end.
pub const FORMAT_VERSION: u32 = 2;
