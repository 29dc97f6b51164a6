//! What the measurements were made with and on.

use std::path::Path;
use std::process::Command;

use crate::{Failure, process};

/// The machine and the programs, as they were at the start.
#[derive(Debug)]
pub(super) struct About {
    pub(super) machine: String,
    /// The load averages of the last 1, 5 and 15 minutes.
    pub(super) load: String,
    /// The commit of the work tree, and whether it was changed.
    pub(super) commit: String,
    pub(super) programs: Vec<String>,
}

impl About {
    /// Looks at the machine and asks the programs for their versions.
    pub(super) fn find(gabion: &Path, built: bool, terraform: Option<&Path>) -> Result<Self, Failure> {
        let mut programs = Vec::new();
        for program in std::iter::once(gabion).chain(terraform) {
            let said = process::output(
                Command::new(program)
                    .arg("--version")
                    .env("CHECKPOINT_DISABLE", "1"),
            )?;
            programs.push(said.lines().next().unwrap_or_default().to_owned());
        }
        if let Some(gabion) = programs.first_mut() {
            *gabion += match built {
                true => ", a release build of this commit",
                false => ", a program that was given and need not be of this commit",
            };
        }
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load: Vec<&str> = load.split(' ').take(3).collect();
        Ok(Self {
            machine: machine(),
            load: load.join(", "),
            commit: commit(),
            programs,
        })
    }

    /// Returns a list of it all.
    pub(super) fn markdown(&self) -> String {
        let programs: String = self
            .programs
            .iter()
            .map(|program| format!("* {program}\n"))
            .collect();
        format!(
            "* {}\n* Load average at the start: {} (1, 5 and 15 minutes)\n* Commit {}\n{programs}",
            self.machine, self.load, self.commit
        )
    }
}

fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(arguments)
            .current_dir(crate::root())
            .output()
            .ok()
            .filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return "not known".to_owned();
    };
    // What this task itself writes is no change of what it measures.
    let changed = git(&["status", "--porcelain", "--", ".", ":!BENCHMARKS.md"]);
    match changed {
        Some(changed) if changed.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}

/// Says what the figures were measured on.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name));
        let value = line.and_then(|line| line.split_once(':'));
        value
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let model = field(&read("/proc/cpuinfo"), "model name");
    let memory = field(&read("/proc/meminfo"), "MemTotal");
    let kilobytes: f64 = memory
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or_default();
    format!(
        "{cores} cores ({model}), {:.0} GiB of memory, Linux {}",
        kilobytes / 1024.0 / 1024.0,
        read("/proc/sys/kernel/osrelease").trim()
    )
}
