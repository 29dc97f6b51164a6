//! The driver: `gabion-kill-loop --rounds N [--store KIND] [--contention N] …`; its last line is JSON.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use gabion_kill_loop::project::Programs;
use gabion_kill_loop::rounds::{self, Plan};
use gabion_kill_loop::store::StoreKind;
use gabion_kill_loop::{Failure, cloud, contention};

const USAGE: &str = "\
usage: gabion-kill-loop [--rounds N] [--contention N] [--store sqlite|s3|postgres|all] [--seed N] [--objects N] [--units N]

  --rounds N      kill gabion in N rounds on each store (default 20)
  --contention N  set several applies against each other in N rounds on each store (default 0)
  --store KIND    the store (default sqlite); s3 and postgres need GABION_TEST_S3 and GABION_TEST_POSTGRES
  --seed N        what chance follows from (default: the time)";

struct Arguments {
    rounds: u64,
    contention: u64,
    stores: Vec<StoreKind>,
    seed: u64,
    objects: u64,
    units: u64,
}

impl Arguments {
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, Failure> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let mut arguments = Self {
            rounds: 20,
            contention: 0,
            stores: vec![StoreKind::Sqlite],
            seed: now.map_or(0, |now| now.as_secs() % 1_000_000 * 1000),
            objects: 300,
            units: 6,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| USAGE.to_owned())?;
            let number = || {
                value
                    .parse::<u64>()
                    .map_err(|_| format!("{word} {value}: no number"))
            };
            match word.as_str() {
                "--rounds" => arguments.rounds = number()?,
                "--contention" => arguments.contention = number()?,
                "--seed" => arguments.seed = number()?,
                "--objects" => arguments.objects = number()?,
                "--units" => arguments.units = number()?,
                "--store" if value == "all" => arguments.stores = StoreKind::ALL.to_vec(),
                "--store" => arguments.stores = vec![value.parse()?],
                _ => return Err(USAGE.to_owned()),
            }
        }
        Ok(arguments)
    }
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    if words.peek().is_some_and(|word| word == cloud::ROLE) {
        return serve(words.skip(1));
    }
    match drive(words) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(violations) => {
            eprintln!("error: {violations} violations");
            ExitCode::FAILURE
        }
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn serve(mut words: impl Iterator<Item = String>) -> ExitCode {
    let socket = words.next().unwrap_or_default();
    let seed = words
        .next()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_default();
    match cloud::serve(&socket, seed) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {socket}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn drive(words: impl Iterator<Item = String>) -> Result<u64, Failure> {
    let arguments = Arguments::read(words)?;
    let driver = std::env::current_exe().map_err(|error| error.to_string())?;
    let programs = Programs {
        gabion: driver.with_file_name("gabion-over-fake-cloud"),
        driver,
    };
    let mut violations = 0;
    for store in arguments.stores {
        let plan = Plan {
            programs: programs.clone(),
            store,
            rounds: arguments.rounds,
            seed: arguments.seed,
            objects: arguments.objects,
            units: arguments.units,
        };
        let tell = |line: &str| eprintln!("{line}");
        let mut figures = rounds::run(&plan, &tell);
        if arguments.contention > 0 {
            figures.contention = Some(contention::run(&plan, arguments.contention, &tell)?);
        }
        violations += figures.violations();
        let line = serde_json::to_string(&figures).map_err(|error| error.to_string())?;
        println!("{line}");
    }
    Ok(violations)
}
