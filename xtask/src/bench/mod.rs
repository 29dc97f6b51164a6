//! `cargo xtask bench`: what gabion costs at scale, as people run it: the release binary, a process for each command.
//!
//! Projects in several shapes; where a `terraform` is in `PATH`, the same shapes with its `terraform_data`, in the same
//! run. Each figure is the median of the runs. Nothing is asserted: a busy machine changes times, and processor time the
//! least.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`options`] | what to measure |
//! | [`shape`], [`mix`] | the projects |
//! | [`measure`] | what a command used |
//! | [`cloud`] | the fake cloud, which counts requests |
//! | [`terraform`] | the same with Terraform |
//! | [`results`], [`goals`] | what was measured, and what it was to be |
//! | [`about`], [`tables`], [`report`], [`words`] | how that is written down |

mod about;
mod cloud;
mod goals;
mod measure;
mod mix;
mod options;
mod report;
mod results;
mod shape;
mod tables;
mod terraform;
mod words;

use std::path::{Path, PathBuf};

use crate::{Failure, process};
use about::About;
use cloud::{Cloud, Programs};
use measure::{Gauge, Place, Usage};
use options::{LARGE, Options, USAGE};
use results::{Cell, Engine, Phase, Results};
use shape::{Change, Shape};

/// The page that `--write` writes, at the top of the repository.
const PAGE: &str = "BENCHMARKS.md";

/// How long a single command may take, in seconds.
const LIMIT: u64 = 900;

/// The same, of a large project.
const LARGE_LIMIT: u64 = 3600;

/// The variable that leads to the fake cloud.
const CLOUD: &str = "GABION_FAKE_CLOUD";

/// Measures; prints the report, and the figures as one line of JSON at the end.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = Options::parse(arguments)?;
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    let with_mix = options.cells.iter().any(|cell| cell.0 == Shape::Mix);
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build(with_mix)?,
    };
    let terraform = options.terraform.then(terraform::find).flatten();
    let about = About::find(&binary, options.binary.is_none(), terraform.as_deref())?;
    let bench = Bench {
        programs: Programs::beside(&binary),
        binary,
        terraform,
        gauge: Gauge::new()?,
    };
    let mut results = Results::default();
    for cell in &options.cells {
        for run in 1..=options.runs_of(cell.1) {
            eprintln!(
                "{}, run {run} of {}",
                words::name_of(*cell),
                options.runs_of(cell.1)
            );
            bench.pair(*cell, &mut results)?;
        }
    }
    print!("{}", report::body(&about, &results));
    println!("{}", report::json(&about, &results));
    if options.write {
        let page = crate::root().join(PAGE);
        std::fs::write(&page, report::page(&about, &results))
            .map_err(|error| format!("{}: {error}", page.display()))?;
    }
    match results.failures() {
        [] => Ok(()),
        failures => Err(format!(
            "{} projects could not be measured to their end",
            failures.len()
        )),
    }
}

/// Builds gabion as it is released, and what the fake cloud needs.
fn build(with_mix: bool) -> Result<PathBuf, Failure> {
    let mut cargo = process::cargo();
    cargo.args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "gabion",
        "--bin",
        "gabion",
    ]);
    if with_mix {
        cargo.args(["--package", "gabion-kill-loop", "--package", "gabion-testing"]);
        cargo.args(Programs::NAMES.iter().flat_map(|name| ["--bin", name]));
    }
    process::run(&mut cargo)?;
    Ok(crate::target().join("release/gabion"))
}

struct Bench {
    binary: PathBuf,
    /// What the mix runs with, if it is there.
    programs: Option<Programs>,
    terraform: Option<PathBuf>,
    gauge: Gauge,
}

impl Bench {
    /// Measures gabion, then Terraform. What fails of gabion's is noted, and the rest is measured.
    fn pair(&self, cell: Cell, results: &mut Results) -> Result<(), Failure> {
        let place = self.gauge.place("gabion")?;
        let project = match self.project(cell, &place) {
            Ok(Some(project)) => project,
            Ok(None) => {
                results.skip(format!(
                    "{}: {} are not beside {}",
                    words::name_of(cell),
                    Programs::NAMES.join(" and "),
                    self.binary.display()
                ));
                return Ok(());
            }
            Err(failure) => return Err(failure),
        };
        if let Err(failure) = project.lead(results) {
            eprintln!("{failure}");
            results.fail(cell, failure);
        }
        drop(project);
        drop(place);
        match &self.terraform {
            Some(terraform) => terraform::measure(&self.gauge, terraform, cell, LIMIT, results),
            None => Ok(()),
        }
    }

    fn project<'a>(&'a self, cell: Cell, place: &'a Place) -> Result<Option<Project<'a>>, Failure> {
        let (program, cloud) = match (cell.0, &self.programs) {
            (Shape::Mix, None) => return Ok(None),
            (Shape::Mix, Some(programs)) => {
                let socket = place.directory().join("cloud.socket");
                (
                    programs.gabion.as_path(),
                    Some(Cloud::start(&programs.cloud, socket)?),
                )
            }
            _ => (self.binary.as_path(), None),
        };
        Ok(Some(Project {
            cell,
            program,
            place,
            cloud,
        }))
    }
}

/// One project on its way from nothing to nothing.
struct Project<'a> {
    cell: Cell,
    program: &'a Path,
    place: &'a Place,
    cloud: Option<Cloud>,
}

impl Project<'_> {
    fn lead(&self, results: &mut Results) -> Result<(), Failure> {
        self.write(Change::None)?;
        self.measure(results, Phase::FirstPlan, &["plan"])?;
        self.measure(results, Phase::FirstPlanWarm, &["plan"])?;
        self.measure(results, Phase::Apply, &["apply", "-y"])?;
        self.place.forget_cached()?;
        self.measure(results, Phase::EmptyPlan, &["plan"])?;
        self.measure(results, Phase::EmptyPlanWarm, &["plan"])?;
        self.measure(results, Phase::Drift, &["drift"])?;
        self.measure(results, Phase::List, &["state", "list"])?;
        self.measure(results, Phase::Graph, &["graph"])?;
        self.write(Change::One)?;
        self.measure(results, Phase::OnePlan, &["plan"])?;
        self.measure(results, Phase::OneApply, &["apply", "-y"])?;
        self.write(Change::Percent)?;
        self.measure(results, Phase::PercentPlan, &["plan"])?;
        self.measure(results, Phase::Destroy, &["destroy", "-y"])?;
        results.add_cached(self.cell, self.place.cached());
        Ok(())
    }

    fn write(&self, change: Change) -> Result<(), Failure> {
        let (shape, size) = self.cell;
        shape.gabion(size, change, |name, text| self.place.write(name, text))
    }

    fn measure(&self, results: &mut Results, phase: Phase, arguments: &[&str]) -> Result<(), Failure> {
        let limit = if self.cell.1 >= LARGE { LARGE_LIMIT } else { LIMIT };
        let mut usage = self.used(arguments, limit)?;
        if phase == Phase::Apply && self.cell.0.levels(self.cell.1).is_some() {
            usage.sync = Some(self.place.sync(bytes_a_commit(&usage))?);
        }
        let cut = usage.cut;
        results.add(self.cell, Engine::Gabion, phase, usage);
        match cut {
            true => Err(format!(
                "`gabion {}` was ended after {limit} s",
                arguments.join(" ")
            )),
            false => Ok(()),
        }
    }

    fn used(&self, arguments: &[&str], limit: u64) -> Result<Usage, Failure> {
        let Some(cloud) = &self.cloud else {
            return self.place.run(self.program, arguments, &[], limit);
        };
        let before = cloud.calls()?;
        let mut usage = self
            .place
            .run(self.program, arguments, &[(CLOUD, cloud.socket())], limit)?;
        usage.calls = Some(cloud::between(&before, &cloud.calls()?));
        Ok(usage)
    }
}

/// Returns how much a commit wrote, or what it writes at least: a page and its header.
fn bytes_a_commit(usage: &Usage) -> u64 {
    const LEAST: u64 = 4096 + 24;
    usage
        .log
        .map_or(LEAST, |log| log.commit_bytes.clamp(LEAST, 1 << 20))
}
