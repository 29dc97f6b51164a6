//! How a person stops a run that is under way.

use tokio_util::sync::CancellationToken;

/// Stops a run. Clones stop the same run.
///
/// First [`stop`](Self::stop): no more steps are started, and the calls that run are awaited. Then
/// [`cancel`](Self::cancel): those calls are told to return soon and given up on a little later; what may have become of
/// them the next run finds out from their intents.
#[derive(Debug, Clone, Default)]
pub struct ApplyControl {
    pub(super) stop: CancellationToken,
    pub(super) cancel: CancellationToken,
}

impl ApplyControl {
    /// Makes a handle for one run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts no more steps.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Starts no more steps and cancels the calls that run.
    pub fn cancel(&self) {
        self.stop.cancel();
        self.cancel.cancel();
    }

    /// Returns whether the run was told to stop.
    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }
}
