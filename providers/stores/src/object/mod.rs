//! State in object storage: S3 and what is compatible with it.
//!
//! # What is there
//!
//! Below `PREFIX/PROJECT/STACK/` (the stack is `default` when none is named):
//!
//! | object | what it is | written |
//! | --- | --- | --- |
//! | `manifest.json` | what the state consists of: the head, who may append, and every other object by name, size and SHA-256 digest | by compare-and-set |
//! | `lease.json` | who holds the lease, and its heartbeat | by compare-and-set |
//! | `segments/FIRST-LAST.….jsonl` | events in a row, a line each, with their hashes | once |
//! | `snapshots/SERIAL.….json` | a whole state: where loading starts, or the base that compaction left | once |
//! | `index/FIRST-LAST.….json` | a page of the list of older segments | once |
//! | `probes/…` | what creating a state checks the service with; removed at once | once |
//!
//! The manifest alone decides: an object that it does not name is not part of the state, and every change of the state
//! is one change of the manifest. A name is never used twice: it has the writer's random identifier, a count, and the
//! lease epoch of its writer. With `encryption`, segments and snapshots are sealed, each under its own name; the manifest,
//! the pages and the lease stay readable, and hold sequence numbers, hashes and who holds the lease.
//!
//! # Who wins
//!
//! An append writes a segment that nothing refers to yet, then replaces the manifest if it is still the version that was
//! read, with the writer's epoch in its fence and the expected head. Taking the lease writes `lease.json`, then raises the
//! fence in the manifest, and only then is granted: no append under an earlier epoch can succeed any more, whatever its
//! writer believes, and however long it slept. Heartbeats change `lease.json` alone, over connections of their own, so
//! that they disturb no append.
//!
//! No answer is taken for more than it says. After a conflict, an error or silence the object is read again: if what was
//! written is there, it succeeded; if something else is, the log says who was first; if nothing changed, the same write is
//! tried again, which can succeed only once. What stays unclear is an error that says so.
//!
//! # The service must
//!
//! * do conditional writes: `If-None-Match: *` and `If-Match` on `PutObject`, without a gap between check and write.
//!   Creating a state checks that with an object of its own, and refuses a service that overwrites, or that lets two of
//!   several writers at once succeed;
//! * be consistent: what was written is what is read and listed afterwards. Amazon S3 is.
//!
//! Amazon S3 does. Services that ignore the conditions are refused with what they do wrong; one whose check and write lie
//! apart is, when the writers that race for the probe show it. moto is such a one: the tests have it answer one request at
//! a time.
//!
//! # Permissions
//!
//! ```json
//! {
//!   "Version": "2012-10-17",
//!   "Statement": [
//!     {
//!       "Effect": "Allow",
//!       "Action": ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"],
//!       "Resource": "arn:aws:s3:::BUCKET/PREFIX/*"
//!     },
//!     {
//!       "Effect": "Allow",
//!       "Action": "s3:ListBucket",
//!       "Resource": "arn:aws:s3:::BUCKET",
//!       "Condition": {"StringLike": {"s3:prefix": ["PREFIX/*"]}}
//!     }
//!   ]
//! }
//! ```
//!
//! Without `s3:ListBucket` Amazon answers "denied" for what is not there, so that a new state cannot be told from one that
//! must not be read. Whoever only plans needs `s3:GetObject` and `s3:ListBucket`.
//!
//! Credentials come from the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; else a web
//! identity (`AWS_WEB_IDENTITY_TOKEN_FILE`, `AWS_ROLE_ARN`), a container's role, an instance's role. Profiles in
//! `~/.aws` are not read: `eval "$(aws configure export-credentials --format env)"` sets the variables from one.
//!
//! The bucket must exist and is not changed. Versioning is a good idea: it keeps what a person overwrites or deletes by
//! mistake. No lifecycle rule may expire current versions below the prefix.
//!
//! # What it costs
//!
//! | what | requests |
//! | --- | --- |
//! | append | 2 puts; with the upkeep that it causes 2.13 puts, 0.06 gets and 0.005 lists on average |
//! | heartbeat | 1 put |
//! | taking the lease | 3 gets, 2 puts; giving it back 2 gets, 2 puts |
//! | load | 1 get of the manifest, 1 of the snapshot, and the segments after it; 1 get that says "not modified" when this process has the state |
//!
//! Measured over 10,000 appends of one event each (5,000 objects): 13.8 kB written an append (8.0 kB over the first
//! 1,000), which is the event, the manifest of 3 to 9 kB, and a share of merged segments and snapshots; a new process then
//! loads with 6 gets. The manifest stays below some 25 kB however long the log is.
//!
//! # Upkeep
//!
//! Of every 16 segments of a kind one larger one is made (up to 1 MiB); when the manifest lists more than 64, the older
//! half moves to a page; a snapshot is written when the events since the last one have as many bytes as it (at least
//! 256 KiB), so that snapshots cost as much as the events at most, and loading reads twice the state at most. All that is
//! done by the lease's holder after an append, and when it fails the append has succeeded all the same, and a later one
//! does it. The manifest says what failed and since when, until it was done: `gabion doctor` and `gabion state verify` show
//! it.
//!
//! Compaction writes the state that it keeps as a base and drops the segments before it; the one in which it falls stays
//! until it is wholly before a later base, and its dropped events are not read any more.
//!
//! What the manifest does not name any more is deleted an hour later at the earliest ([`Upkeep::grace`]): a reader that
//! read the manifest before still finds what it names. One that does not reads the manifest again. So long, too, does what
//! `gabion state` sealed anew stay under its old key. Hours are what the service says about its objects; no clock of this
//! machine is asked. An object of an epoch that is not over is deleted only by who wrote it: nobody deletes what somebody
//! else may still put into the manifest.
//!
//! # Damage
//!
//! Whatever is missing, cut off, altered, or in another's place is an error that names the object and what is wrong with
//! it. A missing manifest beside other objects is one too, never a new project. What lost its end as a whole, as when the
//! bucket is set back to an earlier day, is seen by the head mark on the machine and by the lineage in `gabion.yml`.
//! `lease.json` alone may be deleted: its holder finds that the lease is lost, and epochs go on from the manifest's.

mod adopting;
mod core;
mod history;
mod leasing;
mod manifest;
mod names;
mod place;
mod probe;
mod proof;
mod reading;
mod s3;
mod segment;
mod settings;
mod store;
mod undone;
mod upkeep;
mod writing;

pub use s3::{open, open_with};
pub use settings::ObjectSettings;
pub use store::{ObjectOptions, ObjectStateStore, Upkeep};
