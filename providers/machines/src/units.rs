//! How the programs of a machine are, seen from the machine itself.

use std::time::Duration;

use gabion_host::unit::{self, UnitDirectory, UnitStatus};

use crate::protocol::UnitView;

/// Returns how a program is.
#[must_use]
pub fn view(directory: &UnitDirectory) -> UnitView {
    let (status, pid, uptime) = match unit::inspect(directory) {
        _ if !directory.exists() => ("gone".to_owned(), None, None),
        Err(error) => (format!("unreadable: {error}"), None, None),
        Ok(UnitStatus::NeverStarted) => ("never started".to_owned(), None, None),
        Ok(UnitStatus::Running { mark }) => {
            let uptime = uptime(mark.process.start_time);
            ("running".to_owned(), Some(mark.process.pid), uptime)
        }
        Ok(UnitStatus::Exited { exit, .. }) => {
            let how = exit.map(|exit| format!(" ({exit})")).unwrap_or_default();
            (format!("exited{how}"), None, None)
        }
        Ok(UnitStatus::Rebooted { .. }) => ("ended with a reboot".to_owned(), None, None),
    };
    UnitView {
        running: pid.is_some(),
        status,
        pid,
        uptime_seconds: uptime.map(|uptime| uptime.as_secs()),
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
