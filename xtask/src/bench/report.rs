//! What was measured, as tables for people and as JSON.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use super::measure::Usage;
use super::shape::Shape;
use crate::{Failure, process};

/// One command in the life of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    FirstPlan,
    Apply,
    EmptyPlan,
    Drift,
    List,
    Graph,
    OnePlan,
    OneApply,
    PercentPlan,
    Destroy,
}

impl Phase {
    fn name(self) -> &'static str {
        match self {
            Self::FirstPlan => "plan, nothing there yet",
            Self::Apply => "apply",
            Self::EmptyPlan => "plan, nothing to do",
            Self::Drift => "drift",
            Self::List => "state list",
            Self::Graph => "graph",
            Self::OnePlan => "plan, one changed",
            Self::OneApply => "apply, one changed",
            Self::PercentPlan => "plan, 1 % changed",
            Self::Destroy => "destroy",
        }
    }
}

type Key = (Shape, usize, Phase);

/// All measurements, and what they were made with.
pub(super) struct Results {
    versions: Vec<String>,
    machine: String,
    measured: BTreeMap<Key, BTreeMap<&'static str, Vec<Usage>>>,
}

impl Results {
    pub(super) fn new(gabion: &Path, terraform: Option<&Path>) -> Result<Self, Failure> {
        let mut versions = Vec::new();
        for program in std::iter::once(gabion).chain(terraform) {
            let said = process::output(
                Command::new(program)
                    .arg("--version")
                    .env("CHECKPOINT_DISABLE", "1"),
            )?;
            versions.push(said.lines().next().unwrap_or_default().to_owned());
        }
        Ok(Self {
            versions,
            machine: machine(),
            measured: BTreeMap::new(),
        })
    }

    pub(super) fn add(
        &mut self,
        shape: Shape,
        size: usize,
        engine: &'static str,
        phase: Phase,
        usage: Usage,
    ) {
        let of_phase = self.measured.entry((shape, size, phase)).or_default();
        of_phase.entry(engine).or_default().push(usage);
    }

    /// Returns a table for each shape and size.
    pub(super) fn tables(&self) -> String {
        let mut text = String::new();
        let mut last = None;
        for ((shape, size, phase), engines) in &self.measured {
            if last != Some((shape, size)) {
                last = Some((shape, size));
                let _ = write!(
                    text,
                    "\n### {}, {}\n\n\
                     | command | wall s | processor s | per resource µs | peak MiB | log bytes | Terraform: wall, processor, MiB | less processor | less memory |\n\
                     | --- | --: | --: | --: | --: | --: | --- | --: | --: |\n",
                    shape.name(),
                    grouped(*size as u64)
                );
            }
            let Some(ours) = engines.get("gabion").map(|runs| median(runs)) else {
                continue;
            };
            let theirs = engines.get("terraform").map(|runs| median(runs));
            let log = match (phase, self.log_growth(*shape, *size, *phase)) {
                (Phase::Apply | Phase::OneApply | Phase::Destroy, Some(bytes)) => grouped(bytes),
                _ => String::new(),
            };
            let other = theirs.map_or_else(String::new, |theirs| {
                let over = if theirs.cut { "over " } else { "" };
                format!("{over}{:.2}, {:.2}, {:.0}", theirs.wall, theirs.cpu, theirs.peak)
            });
            let ratio = |ours: f64, theirs: Option<f64>| {
                theirs.map_or_else(String::new, |theirs| format!("{:.0}×", theirs / ours.max(0.001)))
            };
            let _ = writeln!(
                text,
                "| {} | {:.2} | {:.2} | {:.1} | {:.0} | {log} | {other} | {} | {} |",
                phase.name(),
                ours.wall,
                ours.cpu,
                ours.cpu / *size as f64 * 1e6,
                ours.peak,
                ratio(ours.cpu, theirs.map(|theirs| theirs.cpu)),
                match theirs {
                    Some(theirs) => format!("{:.1}×", theirs.peak / ours.peak.max(0.1)),
                    None => String::new(),
                },
            );
        }
        text
    }

    /// Returns by how many bytes a command made the log longer.
    fn log_growth(&self, shape: Shape, size: usize, phase: Phase) -> Option<u64> {
        let log = |phase: Phase| {
            let runs = self.measured.get(&(shape, size, phase))?.get("gabion")?;
            runs.last()?.log
        };
        let before = match phase {
            Phase::Apply => 0,
            Phase::OneApply => log(Phase::OnePlan)?.1,
            Phase::Destroy => log(Phase::PercentPlan)?.1,
            _ => return None,
        };
        log(phase)?.1.checked_sub(before)
    }

    /// Returns the page for the repository.
    pub(super) fn page(&self) -> String {
        format!(
            "# Benchmarks\n\n\
             What gabion costs, as `cargo xtask bench --write` measured it on the machine below: the release binary, a \
             process for each command, medians. Where Terraform ran, it ran the same shapes with `terraform_data` in turn with \
             gabion. Processor time is of all threads; memory is the most that was resident at once. Terraform is not asked to \
             apply more than 1,000 resources, whose time grows with the square of their number, and plans without a change of \
             more start from a state that was written for them.\n\n\
             Repeat it with\n\n```text\n$ cargo xtask bench --write\n```\n\n\
             `--shapes wide,two-level,chain,for-each`, `--sizes 1000,10000`, `--runs 3`, `--no-terraform` and `--binary FILE` \
             choose what is measured.\n\n{}\n\n{}\n{}",
            self.machine,
            self.versions
                .iter()
                .map(|version| format!("* {version}\n"))
                .collect::<String>(),
            self.tables()
        )
    }

    /// Returns all measurements on one line.
    pub(super) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .measured
            .iter()
            .flat_map(|((shape, size, phase), engines)| {
                engines.iter().map(move |(engine, runs)| {
                    let median = median(runs);
                    json!({
                        "shape": shape.name(), "size": size, "command": phase.name(), "engine": engine,
                        "runs": runs.len(), "wall_seconds": median.wall, "processor_seconds": median.cpu,
                        "peak_mib": median.peak, "cut": median.cut,
                        "log_events": median.log.map(|log| log.0), "log_bytes": median.log.map(|log| log.1),
                    })
                })
            })
            .collect();
        json!({"versions": self.versions, "machine": self.machine, "measured": rows})
    }
}

/// Returns the median of each figure.
fn median(runs: &[Usage]) -> Usage {
    let of = |figure: fn(&Usage) -> f64| {
        let mut figures: Vec<f64> = runs.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        figures[figures.len() / 2]
    };
    Usage {
        wall: of(|usage| usage.wall),
        cpu: of(|usage| usage.cpu),
        peak: of(|usage| usage.peak),
        log: runs.last().and_then(|usage| usage.log),
        cut: runs.iter().any(|usage| usage.cut),
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
        "{cores} cores ({model}), {:.0} GiB of memory.",
        kilobytes / 1024.0 / 1024.0
    )
}

/// Returns a number with its thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
