//! How often a unit's program was started again, by whatever starts it again.

use crate::container;
use crate::systemd;
use crate::unit::UnitDirectory;

/// Returns how often a program was started again since its launch: by the supervisor beside it, by its container's daemon
/// or by systemd. `None` when it was never launched, or nobody can tell.
pub async fn restarts(directory: &UnitDirectory) -> Option<u32> {
    let launch = directory.launch().ok()?;
    let mark = directory.mark().ok()??;
    let supervised = match directory.run(&mark).ok()? {
        Some(run) => run.attempt.saturating_sub(1),
        None => 0,
    };
    let outside = match (&launch.service, &launch.container) {
        (Some(_), _) => systemd::restarts(directory).await?,
        (None, Some(spec)) => container::restarts(&launch.uid, spec).await?,
        (None, None) => 0,
    };
    Some(supervised.saturating_add(outside))
}
