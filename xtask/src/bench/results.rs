//! What was measured.

use std::collections::BTreeMap;

use super::cloud::Calls;
use super::measure::{Growth, Usage};
use super::shape::Shape;

/// One command in the life of a project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    FirstPlan,
    /// The same again, with what the first one cached.
    FirstPlanWarm,
    Apply,
    EmptyPlan,
    EmptyPlanWarm,
    Drift,
    List,
    Graph,
    OnePlan,
    OneApply,
    PercentPlan,
    Destroy,
}

impl Phase {
    pub(super) const ALL: [Self; 12] = [
        Self::FirstPlan,
        Self::FirstPlanWarm,
        Self::Apply,
        Self::EmptyPlan,
        Self::EmptyPlanWarm,
        Self::Drift,
        Self::List,
        Self::Graph,
        Self::OnePlan,
        Self::OneApply,
        Self::PercentPlan,
        Self::Destroy,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FirstPlan => "plan, nothing there yet",
            Self::FirstPlanWarm => "plan, nothing there yet, again",
            Self::Apply => "apply",
            Self::EmptyPlan => "plan, nothing to do",
            Self::EmptyPlanWarm => "plan, nothing to do, again",
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

/// Whose measurement it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Gabion,
    Terraform,
}

/// A shape and a size.
pub(super) type Cell = (Shape, usize);

/// All measurements of one command on projects of one shape and size, in the order of the runs.
#[derive(Debug, Default)]
pub(super) struct Runs {
    pub(super) gabion: Vec<Usage>,
    pub(super) terraform: Vec<Usage>,
}

/// The medians of one command's measurements.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figures {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    pub(super) peak: f64,
    pub(super) cut: bool,
}

/// What waiting for durability came to in an apply whose resources wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Durability {
    pub(super) commits: u64,
    pub(super) commits_a_level: f64,
    /// The wall's time over that of as many calls of `fsync` as there were commits.
    pub(super) over_fsync: f64,
    pub(super) over_fdatasync: f64,
    /// Bytes of each write that was made durable to compare with.
    pub(super) bytes: u64,
    pub(super) fsync: f64,
    pub(super) fdatasync: f64,
}

/// The least, the median and the most of ratios.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ratios {
    pub(super) least: f64,
    pub(super) median: f64,
    pub(super) most: f64,
    pub(super) pairs: usize,
}

/// All measurements.
#[derive(Debug, Default)]
pub(super) struct Results {
    measured: BTreeMap<(Cell, Phase), Runs>,
    /// How many files were cached at the end of a project.
    cached: BTreeMap<Cell, usize>,
    /// What failed, with what it was about.
    failures: Vec<(Cell, String)>,
    /// What was asked for and not measured, and why.
    skipped: Vec<String>,
}

impl Results {
    pub(super) fn add(&mut self, cell: Cell, engine: Engine, phase: Phase, usage: Usage) {
        let runs = self.measured.entry((cell, phase)).or_default();
        match engine {
            Engine::Gabion => runs.gabion.push(usage),
            Engine::Terraform => runs.terraform.push(usage),
        }
    }

    pub(super) fn add_cached(&mut self, cell: Cell, files: usize) {
        let most = self.cached.entry(cell).or_default();
        *most = files.max(*most);
    }

    pub(super) fn fail(&mut self, cell: Cell, failure: String) {
        self.failures.push((cell, failure));
    }

    pub(super) fn skip(&mut self, why: String) {
        if !self.skipped.contains(&why) {
            self.skipped.push(why);
        }
    }

    pub(super) fn failures(&self) -> &[(Cell, String)] {
        &self.failures
    }

    pub(super) fn skipped(&self) -> &[String] {
        &self.skipped
    }

    /// Returns what was measured of something, in order.
    pub(super) fn cells(&self) -> Vec<Cell> {
        let mut cells: Vec<Cell> = self.measured.keys().map(|(cell, _)| *cell).collect();
        cells.dedup();
        cells
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (Cell, Phase, &Runs)> {
        self.measured
            .iter()
            .map(|((cell, phase), runs)| (*cell, *phase, runs))
    }

    pub(super) fn runs(&self, cell: Cell, phase: Phase) -> Option<&Runs> {
        self.measured.get(&(cell, phase))
    }

    pub(super) fn gabion(&self, cell: Cell, phase: Phase) -> Option<Figures> {
        figures(&self.runs(cell, phase)?.gabion)
    }

    pub(super) fn terraform(&self, cell: Cell, phase: Phase) -> Option<Figures> {
        figures(&self.runs(cell, phase)?.terraform)
    }

    /// Returns how much more of something Terraform used, pair by pair of runs that followed each other.
    pub(super) fn less(&self, cell: Cell, phase: Phase, of: fn(&Usage) -> f64) -> Option<Ratios> {
        let runs = self.runs(cell, phase)?;
        let pairs = runs.gabion.iter().zip(&runs.terraform);
        // What rounds to nothing is as good as a millisecond, or a tenth of a MiB.
        ratios(pairs.map(|(ours, theirs)| of(theirs) / of(ours).max(0.001)))
    }

    /// Returns what a command added to the log; of runs that differ, what the last one did.
    pub(super) fn growth(&self, cell: Cell, phase: Phase) -> Option<Growth> {
        self.runs(cell, phase)?.gabion.last()?.log
    }

    /// Returns the calls of a command; of runs that differ, those of the one with the most.
    pub(super) fn calls(&self, cell: Cell, phase: Phase) -> Option<&Calls> {
        let runs = self.runs(cell, phase)?.gabion.iter();
        runs.filter_map(|usage| usage.calls.as_ref())
            .max_by_key(|calls| calls.values().sum::<u64>())
    }

    pub(super) fn cached(&self, cell: Cell) -> Option<usize> {
        self.cached.get(&cell).copied()
    }

    /// Returns the processor time of a command per resource, in microseconds.
    pub(super) fn per_resource(&self, cell: Cell, phase: Phase) -> Option<f64> {
        Some(self.gabion(cell, phase)?.cpu / cell.1 as f64 * 1e6)
    }

    /// Returns what waiting for durability came to in an apply, medians of the runs.
    pub(super) fn durability(&self, cell: Cell) -> Option<Durability> {
        let levels = cell.0.levels(cell.1)? as f64;
        let runs: Vec<Durability> = self
            .runs(cell, Phase::Apply)?
            .gabion
            .iter()
            .filter_map(|usage| {
                let (commits, sync) = (usage.log?.commits, usage.sync?);
                let over = |each: f64| usage.wall / (commits.max(1) as f64 * each.max(1e-9));
                Some(Durability {
                    commits,
                    commits_a_level: commits as f64 / levels,
                    over_fsync: over(sync.fsync),
                    over_fdatasync: over(sync.fdatasync),
                    bytes: sync.bytes,
                    fsync: sync.fsync,
                    fdatasync: sync.fdatasync,
                })
            })
            .collect();
        let of = |figure: fn(&Durability) -> f64| median(runs.iter().map(figure));
        let last = runs.last()?;
        Some(Durability {
            commits: last.commits,
            commits_a_level: of(|run| run.commits_a_level)?,
            over_fsync: of(|run| run.over_fsync)?,
            over_fdatasync: of(|run| run.over_fdatasync)?,
            bytes: last.bytes,
            fsync: of(|run| run.fsync)?,
            fdatasync: of(|run| run.fdatasync)?,
        })
    }
}

fn figures(runs: &[Usage]) -> Option<Figures> {
    Some(Figures {
        wall: median(runs.iter().map(|usage| usage.wall))?,
        cpu: median(runs.iter().map(|usage| usage.cpu))?,
        peak: median(runs.iter().map(|usage| usage.peak))?,
        cut: runs.iter().any(|usage| usage.cut),
    })
}

fn ratios(ratios: impl Iterator<Item = f64>) -> Option<Ratios> {
    let mut sorted: Vec<f64> = ratios.collect();
    sorted.sort_by(f64::total_cmp);
    Some(Ratios {
        least: *sorted.first()?,
        median: sorted[sorted.len() / 2],
        most: *sorted.last()?,
        pairs: sorted.len(),
    })
}

fn median(figures: impl Iterator<Item = f64>) -> Option<f64> {
    Some(ratios(figures)?.median)
}
