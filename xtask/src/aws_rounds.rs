//! `cargo xtask aws-rounds`: rounds of random faults and kills over projects on AWS, as many as asked for.

use crate::moto::Moto;
use crate::{Failure, process, test};

/// Runs the rounds. Their own words are `--rounds N` and `--seed S`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (mut rounds, mut seed) = (100, 1);
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let number = match word.as_str() {
            "--rounds" => &mut rounds,
            "--seed" => &mut seed,
            other => return Err(format!("`{other}` is neither `--rounds` nor `--seed`")),
        };
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        *number = value.ok_or_else(|| format!("`{word}` takes a number"))?;
    }
    let packages = test::packages();
    // The server ends when this function does.
    let moto = Moto::start(&packages)?;
    let mut rounds_of_faults = process::cargo();
    rounds_of_faults
        .args(["test", "--package", "gabion", "--test", "it", "--"])
        .args(["aws_rounds", "--nocapture"])
        .env(test::AWS, moto.endpoint())
        .env("GABION_TEST_AWS_ROUNDS", rounds.to_string())
        .env("GABION_TEST_AWS_SEED", seed.to_string());
    process::run(&mut rounds_of_faults)
}
