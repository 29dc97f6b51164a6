//! How the programs of a machine are, seen from the machine itself.

use std::time::Duration;

use futures_util::future::join_all;
use gabion_host::unit::{self, Standing, UnitDirectory, UnitError};

use crate::protocol::UnitView;

/// Returns how programs are, in the order of their units.
pub async fn views(directories: Vec<UnitDirectory>) -> Vec<UnitView> {
    let all = directories.into_iter().map(|directory| async move {
        let restarts = gabion_host::restarts(&directory).await;
        let looked = tokio::task::spawn_blocking(move || view(&directory)).await;
        UnitView {
            restarts,
            ..looked.unwrap_or_else(|error| UnitView::unknown(format!("unreadable: {error}"), "unreadable"))
        }
    });
    join_all(all).await
}

fn view(directory: &UnitDirectory) -> UnitView {
    let standing = match unit::standing(directory) {
        Ok(standing) => standing,
        Err(UnitError::NotFound { .. }) => return UnitView::gone(),
        Err(error) => return UnitView::unknown(format!("unreadable: {error}"), "unreadable"),
    };
    let running = matches!(standing, Standing::Running { .. } | Standing::Retrying { .. });
    let mark = directory.mark().ok().flatten().filter(|_| running);
    UnitView {
        status: standing.to_string(),
        state: standing.word().to_owned(),
        running,
        good: standing.is_good(),
        exit: standing.exit(),
        ended_at: standing.ended_at().map(|at| format!("{at:.0}")),
        pid: mark.as_ref().map(|mark| mark.process.pid),
        uptime_seconds: mark
            .and_then(|mark| uptime(mark.process.start_time))
            .map(|uptime| uptime.as_secs()),
        ..UnitView::default()
    }
}

/// Returns how long ago a process started, by the kernel's clocks.
fn uptime(start_ticks: u64) -> Option<Duration> {
    let ticks_per_second =
        u64::try_from(nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??).ok()?;
    let text = std::fs::read_to_string("/proc/uptime").ok()?;
    let up: f64 = text.split_whitespace().next()?.parse().ok()?;
    let started = start_ticks as f64 / ticks_per_second as f64;
    Duration::try_from_secs_f64((up - started).max(0.0)).ok()
}
