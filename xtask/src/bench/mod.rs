//! `cargo xtask bench`: what gabion costs at scale, as people run it: the release binary, a process for each command.
//!
//! Projects of `gabion_data` in several shapes; where a `terraform` is in `PATH`, the same shapes with its
//! `terraform_data`, in the same run. Each figure is the median of the runs. Nothing is asserted: a busy machine changes
//! times, and processor time the least.

mod measure;
mod report;
mod shape;
mod terraform;

use std::path::{Path, PathBuf};

use crate::{Failure, process};
use measure::Gauge;
use report::{Phase, Results};
use shape::{Change, Shape};

/// The page that `--write` writes, at the top of the repository.
const PAGE: &str = "BENCHMARKS.md";

/// How long a single command may take, in seconds.
const LIMIT: u64 = 900;

struct Options {
    shapes: Vec<Shape>,
    sizes: Vec<usize>,
    runs: usize,
    terraform: bool,
    binary: Option<PathBuf>,
    write: bool,
}

/// Measures; prints a table for each shape, and the figures as one line of JSON at the end.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let options = parse(arguments)?;
    let binary = match &options.binary {
        Some(binary) => binary.clone(),
        None => build()?,
    };
    let gauge = Gauge::new()?;
    let terraform = options.terraform.then(terraform::find).flatten();
    let mut results = Results::new(&binary, terraform.as_deref())?;
    for shape in &options.shapes {
        for size in &options.sizes {
            for run in 1..=options.runs {
                eprintln!("{} of {size}, run {run} of {}", shape.name(), options.runs);
                gabion(&gauge, &binary, *shape, *size, &mut results)?;
                if let Some(terraform) = &terraform {
                    terraform::measure(&gauge, terraform, *shape, *size, LIMIT, &mut results)?;
                }
            }
        }
    }
    print!("{}", results.tables());
    println!("{}", results.json());
    if options.write {
        let page = crate::root().join(PAGE);
        std::fs::write(&page, results.page()).map_err(|error| format!("{}: {error}", page.display()))?;
    }
    Ok(())
}

fn parse(arguments: &[String]) -> Result<Options, Failure> {
    let mut options = Options {
        shapes: Shape::ALL.to_vec(),
        sizes: vec![1_000, 10_000],
        runs: 3,
        terraform: true,
        binary: None,
        write: false,
    };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--write" => options.write = true,
            "--no-terraform" => options.terraform = false,
            "--shapes" | "--sizes" | "--runs" | "--binary" => {
                let value = arguments
                    .next()
                    .ok_or_else(|| format!("`{argument}` needs a value"))?;
                set(&mut options, argument, value)?;
            }
            other => return Err(format!("there is no argument `{other}`")),
        }
    }
    Ok(options)
}

fn set(options: &mut Options, argument: &str, value: &str) -> Result<(), Failure> {
    let count = |text: &str| {
        let count = text.replace('_', "").parse::<usize>().ok();
        count
            .filter(|count| *count > 0)
            .ok_or_else(|| format!("`{text}` is not a number above 0"))
    };
    match argument {
        "--shapes" => {
            options.shapes = value
                .split(',')
                .map(|name| Shape::find(name).ok_or_else(|| format!("there is no shape `{name}`")))
                .collect::<Result<_, _>>()?;
        }
        "--sizes" => options.sizes = value.split(',').map(count).collect::<Result<_, _>>()?,
        "--runs" => options.runs = count(value)?,
        _ => options.binary = Some(std::path::absolute(value).map_err(|error| format!("{value}: {error}"))?),
    }
    Ok(())
}

/// Builds gabion as it is released.
fn build() -> Result<PathBuf, Failure> {
    process::run(process::cargo().args(["build", "--quiet", "--release", "--package", "gabion"]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| crate::root().join("target"), PathBuf::from);
    Ok(target.join("release/gabion"))
}

/// Leads one project from nothing to nothing.
fn gabion(
    gauge: &Gauge,
    binary: &Path,
    shape: Shape,
    size: usize,
    results: &mut Results,
) -> Result<(), Failure> {
    let directory = gauge.directory("gabion")?;
    let write = |change: Change| {
        let text = shape.gabion(size, change);
        let file = directory.join("main.gabion.yml");
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    };
    let settings = directory.join("gabion.yml");
    std::fs::write(&settings, "project: bench\n")
        .map_err(|error| format!("{}: {error}", settings.display()))?;
    let mut measure = |phase: Phase, arguments: &[&str]| -> Result<(), Failure> {
        let usage = gauge.run(binary, arguments, &directory, LIMIT)?;
        results.add(shape, size, "gabion", phase, usage);
        Ok(())
    };
    write(Change::None)?;
    measure(Phase::FirstPlan, &["plan"])?;
    measure(Phase::Apply, &["apply", "-y"])?;
    measure(Phase::EmptyPlan, &["plan"])?;
    measure(Phase::Drift, &["drift"])?;
    measure(Phase::List, &["state", "list"])?;
    measure(Phase::Graph, &["graph"])?;
    write(Change::One)?;
    measure(Phase::OnePlan, &["plan"])?;
    measure(Phase::OneApply, &["apply", "-y"])?;
    write(Change::Percent)?;
    measure(Phase::PercentPlan, &["plan"])?;
    measure(Phase::Destroy, &["destroy", "-y"])?;
    std::fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))
}
