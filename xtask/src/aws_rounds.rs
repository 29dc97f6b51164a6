//! `cargo xtask aws-rounds`: rounds of random faults and kills over projects on AWS, as many as asked for.

use crate::moto::Moto;
use crate::{Failure, process, test};

/// Runs the rounds. Their own words are `--rounds N`, `--seed S`, `--beside N` (how many go on at a time) and `--moto` (on
/// moto in place of a cloud of our own).
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let (mut rounds, mut seed, mut beside) = (100, 1, 12);
    let mut on_moto = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        let number = match word.as_str() {
            "--rounds" => &mut rounds,
            "--seed" => &mut seed,
            "--beside" => &mut beside,
            "--moto" => {
                on_moto = true;
                continue;
            }
            other => {
                return Err(format!(
                    "`{other}` is none of `--rounds`, `--seed`, `--beside` and `--moto`"
                ));
            }
        };
        let value = words.next().and_then(|value| value.parse::<u64>().ok());
        *number = value.ok_or_else(|| format!("`{word}` takes a number"))?;
    }
    let mut rounds_of_faults = process::cargo();
    let name = if on_moto {
        "rounds_on_moto"
    } else {
        "rounds_on_a_cloud_of_our_own"
    };
    rounds_of_faults
        .args(["test", "--package", "gabion", "--test", "it", "--"])
        .args([name, "--nocapture"])
        .env("GABION_TEST_AWS_ROUNDS", rounds.to_string())
        .env("GABION_TEST_AWS_SEED", seed.to_string())
        .env("GABION_TEST_AWS_BESIDE", beside.to_string());
    // The server ends when this function does.
    let moto = match on_moto {
        true => Some(Moto::start(&test::packages())?),
        false => None,
    };
    if let Some(moto) = &moto {
        rounds_of_faults.env(test::AWS, moto.endpoint());
    }
    process::run(&mut rounds_of_faults)
}
