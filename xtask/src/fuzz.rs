//! `cargo xtask fuzz`: damages documents at random, far more of them than the test command does, in a release build.

use crate::{Failure, process};

/// How many are read when nobody says.
const MUTATIONS: &str = "1000000";

/// Reads damaged documents; the last line that it prints is figures in JSON.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut tests = process::cargo();
    tests.args(["test", "--quiet", "--release", "--package", "gabion-inference"]);
    tests.args(["--test", "mutations", "--", "--nocapture", "damaged_documents"]);
    let mut mutations = MUTATIONS.to_owned();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let value = arguments
            .next()
            .ok_or_else(|| format!("`{argument}` needs a value"))?;
        match argument.as_str() {
            "--mutations" => {
                let is_count = value.parse::<u64>().is_ok_and(|count| count > 0);
                mutations = Some(value.clone())
                    .filter(|_| is_count)
                    .ok_or_else(|| format!("`{value}` is not how many documents to damage"))?;
            }
            "--seeds" => {
                let directory = std::path::absolute(value).map_err(|error| format!("{value}: {error}"))?;
                tests.env("GABION_MUTATION_SEEDS", directory);
            }
            other => return Err(format!("there is no argument `{other}`")),
        }
    }
    process::run(tests.env("GABION_MUTATIONS", mutations))
}
