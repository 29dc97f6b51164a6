//! What to measure, as the command line says it.

use std::path::PathBuf;

use super::shape::Shape;
use crate::Failure;

/// What `--help` says, and the head of the page.
pub(super) const USAGE: &str = "\
usage: cargo xtask bench [OPTION…]

  --shapes LIST    wide, two-level, chain, for-each, mix; those that are named, at each size, or at a size of their own:
                   wide:1_000_000 (default: all)
  --sizes LIST     how many resources, such as 1000,10000 or 1_000_000 (default: 1000,10000; chain also 2000)
  --full           also wide of 100,000 and 1,000,000 and chain of 100,000: an hour or more, and 10 GB in TMPDIR
  --runs N         how often each is measured, gabion and Terraform in turn (default: 3; from 100,000 up once)
  --no-terraform   without Terraform, which otherwise runs where `terraform` is in PATH
  --binary FILE    measures this program instead of building gabion; the shape mix needs `gabion-over-fake-cloud` and
                   `gabion-fake-cloud` beside it and is left out without them
  --write          writes BENCHMARKS.md
  --help           prints this

Projects and states are made in TMPDIR and removed at the end. The last line on standard output is all figures as JSON.
A command of gabion that fails ends its project, is named in the report, and makes the exit code 1.";

/// From this size up a project is measured once.
pub(super) const LARGE: usize = 100_000;

/// What to measure.
#[derive(Debug)]
pub(super) struct Options {
    /// Each shape with its size, in order.
    pub(super) cells: Vec<(Shape, usize)>,
    /// How often.
    pub(super) runs: usize,
    /// Whether with Terraform.
    pub(super) terraform: bool,
    /// The program, if it is not to be built.
    pub(super) binary: Option<PathBuf>,
    /// Whether the page is written.
    pub(super) write: bool,
    /// Whether to say only what can be said.
    pub(super) help: bool,
}

impl Options {
    /// Reads the arguments.
    pub(super) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut options = Self {
            cells: Vec::new(),
            runs: 3,
            terraform: true,
            binary: None,
            write: false,
            help: false,
        };
        let (mut shapes, mut sizes, mut full) = (None, None, false);
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("`{argument}` needs a value\n\n{USAGE}"))
            };
            match argument.as_str() {
                "--write" => options.write = true,
                "--no-terraform" => options.terraform = false,
                "--full" => full = true,
                "--help" | "-h" => options.help = true,
                "--shapes" => shapes = Some(list(value()?, shape)?),
                "--sizes" => sizes = Some(list(value()?, count)?),
                "--runs" => options.runs = count(value()?)?,
                "--binary" => {
                    let value = value()?;
                    let path = std::path::absolute(value).map_err(|error| format!("{value}: {error}"))?;
                    options.binary = Some(path);
                }
                other => return Err(format!("there is no argument `{other}`\n\n{USAGE}")),
            }
        }
        options.cells = cells(shapes, sizes, full);
        Ok(options)
    }

    /// Returns how often a project of a size is measured.
    pub(super) fn runs_of(&self, size: usize) -> usize {
        if size >= LARGE { 1 } else { self.runs }
    }
}

/// A shape, and the size that it alone is measured at.
type Wanted = (Shape, Option<usize>);

fn cells(shapes: Option<Vec<Wanted>>, sizes: Option<Vec<usize>>, full: bool) -> Vec<(Shape, usize)> {
    let mut cells: Vec<(Shape, usize)> = Vec::new();
    for (shape, own) in shapes.unwrap_or_else(|| Shape::ALL.map(|shape| (shape, None)).into()) {
        match (own, &sizes) {
            (Some(size), _) => cells.push((shape, size)),
            (None, Some(sizes)) => cells.extend(sizes.iter().map(|size| (shape, *size))),
            (None, None) => {
                cells.extend([(shape, 1_000), (shape, 10_000)]);
                // The length that the goals are about.
                cells.extend((shape == Shape::Chain).then_some((shape, 2_000)));
            }
        }
    }
    if full {
        let large = [100_000, 1_000_000].map(|size| (Shape::Wide, size));
        cells.extend(large.into_iter().chain([(Shape::Chain, 100_000)]));
    }
    cells.sort_unstable();
    cells.dedup();
    cells
}

fn list<T>(text: &str, item: fn(&str) -> Result<T, Failure>) -> Result<Vec<T>, Failure> {
    text.split(',').map(item).collect()
}

fn shape(text: &str) -> Result<Wanted, Failure> {
    let (name, size) = match text.split_once(':') {
        Some((name, size)) => (name, Some(count(size)?)),
        None => (text, None),
    };
    let shape = Shape::find(name).ok_or_else(|| format!("there is no shape `{name}`\n\n{USAGE}"))?;
    Ok((shape, size))
}

fn count(text: &str) -> Result<usize, Failure> {
    let count = text.replace('_', "").parse::<usize>().ok();
    count
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("`{text}` is not a number above 0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Options, Failure> {
        Options::parse(&arguments.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn what_the_goals_need_is_measured_without_arguments_or_with_full() {
        let usual = parse(&[]).unwrap().cells;
        for cell in [(Shape::Wide, 10_000), (Shape::Chain, 2_000), (Shape::Mix, 10_000)] {
            assert!(usual.contains(&cell), "{usual:?}");
        }
        let full = parse(&["--full"]).unwrap().cells;
        assert!(full.contains(&(Shape::Wide, 1_000_000)) && full.contains(&(Shape::Chain, 100_000)));
        assert_eq!(full.len(), usual.len() + 3);
    }

    #[test]
    fn sizes_are_for_the_shapes_that_are_named() {
        let options = parse(&["--shapes", "chain", "--sizes", "100_000,5", "--runs", "2"]).unwrap();
        assert_eq!(options.cells, [(Shape::Chain, 5), (Shape::Chain, 100_000)]);
        assert_eq!((options.runs_of(5), options.runs_of(100_000)), (2, 1));
        let options = parse(&["--shapes", "wide,chain:7", "--sizes", "5"]).unwrap();
        assert_eq!(options.cells, [(Shape::Wide, 5), (Shape::Chain, 7)]);
    }

    #[test]
    fn what_is_not_understood_is_refused_with_what_would_be() {
        for wrong in [&["--shapes", "round"][..], &["--sizes"], &["--fast"]] {
            assert!(parse(wrong).unwrap_err().contains("usage:"), "{wrong:?}");
        }
        assert!(parse(&["--sizes", "0"]).unwrap_err().contains("above 0"));
    }
}
