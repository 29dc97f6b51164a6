//! The time that events are stamped with, as a seam: no order of events is decided by it.

use jiff::Timestamp;

/// Where timestamps come from.
pub trait Clock: Send + Sync {
    /// Returns the time now.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

/// A clock that stands still, for tests: the same run writes the same bytes.
#[derive(Debug, Clone, Copy)]
pub struct StoppedClock(pub Timestamp);

impl Default for StoppedClock {
    fn default() -> Self {
        Self(Timestamp::UNIX_EPOCH)
    }
}

impl Clock for StoppedClock {
    fn now(&self) -> Timestamp {
        self.0
    }
}
