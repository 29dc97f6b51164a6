//! State: an append-only log of events, and the records that folding it gives.

pub mod event;
pub mod record;
pub mod snapshot;

pub use snapshot::State;
