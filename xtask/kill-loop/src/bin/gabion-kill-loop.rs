//! The driver: `gabion-kill-loop [cuts|hosts] --rounds N …`; its last line is JSON.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line prints")]

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use gabion_kill_loop::project::Programs;
use gabion_kill_loop::rounds::{self, Plan};
use gabion_kill_loop::store::StoreKind;
use gabion_kill_loop::{Failure, cloud, contention, cuts, many};

const USAGE: &str = "\
usage: gabion-kill-loop [--rounds N] [--contention N] [--store sqlite|s3|postgres|all] [--seed N] [--objects N] [--units N]

  --rounds N      kill gabion in N rounds on each store (default 20)
  --contention N  set several applies against each other in N rounds on each store (default 0)
  --store KIND    the store (default sqlite); s3 and postgres need GABION_TEST_S3 and GABION_TEST_POSTGRES
  --seed N        what chance follows from (default: the time)";

const CUTS_USAGE: &str = "\
usage: gabion-kill-loop cuts [--rounds N] [--from N] [--seed N] [--hosts N] [--units N] [--agent FILE]

  --rounds N    the last round (default 100)
  --from N      the first one (default 1)
  --seed N      what chance follows from (default: the time)
  --hosts N     how many hosts (default 3)
  --units N     how many programs on each at most (default 4)
  --agent FILE  the agent's program (default: beside this one)";

const HOSTS_USAGE: &str = "\
usage: gabion-kill-loop hosts [--hosts N] [--agent FILE]

  --hosts N     how many hosts (default 200)
  --agent FILE  the agent's program (default: beside this one)";

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
        let mut arguments = Self {
            rounds: 20,
            contention: 0,
            stores: vec![StoreKind::Sqlite],
            seed: chance(),
            objects: 300,
            units: 6,
        };
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| USAGE.to_owned())?;
            let number = || number(&word, &value);
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

fn number(word: &str, value: &str) -> Result<u64, Failure> {
    value.parse().map_err(|_| format!("{word} {value}: no number"))
}

/// Returns a seed that was not there before.
fn chance() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs() % 1_000_000 * 1000)
}

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1).peekable();
    let role = words.peek().map(String::as_str);
    let done = match role {
        Some(role) if role == cloud::ROLE => return serve(words.skip(1)),
        Some("cuts") => drive_cuts(words.skip(1)),
        Some("hosts") => drive_hosts(words.skip(1)),
        _ => drive(words),
    };
    match done {
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

/// Returns the programs that were built with this one.
fn programs() -> Result<Programs, Failure> {
    let driver = std::env::current_exe().map_err(|error| error.to_string())?;
    Ok(Programs {
        gabion: driver.with_file_name("gabion-over-fake-cloud"),
        driver,
    })
}

fn drive_cuts(mut words: impl Iterator<Item = String>) -> Result<u64, Failure> {
    let programs = programs()?;
    let mut plan = cuts::Plan {
        agent: programs.driver.with_file_name("gabion-agent"),
        programs,
        hosts: 3,
        units: 4,
        rounds: 100,
        from: 1,
        seed: chance(),
    };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| CUTS_USAGE.to_owned())?;
        let number = || number(&word, &value);
        match word.as_str() {
            "--rounds" => plan.rounds = number()?,
            "--from" => plan.from = number()?.max(1),
            "--seed" => plan.seed = number()?,
            "--hosts" => plan.hosts = usize::try_from(number()?.clamp(1, 100)).unwrap_or(1),
            "--units" => plan.units = number()?.max(1),
            "--agent" => plan.agent = value.into(),
            _ => return Err(CUTS_USAGE.to_owned()),
        }
    }
    eprintln!("seed {}, rounds {} to {}", plan.seed, plan.from, plan.rounds);
    let figures = cuts::run(&plan, &|line| eprintln!("{line}"));
    println!(
        "{}",
        serde_json::to_string(&figures).map_err(|error| error.to_string())?
    );
    Ok(figures.violations())
}

fn drive_hosts(mut words: impl Iterator<Item = String>) -> Result<u64, Failure> {
    let programs = programs()?;
    let mut plan = many::Plan {
        agent: programs.driver.with_file_name("gabion-agent"),
        programs,
        hosts: 200,
    };
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| HOSTS_USAGE.to_owned())?;
        match word.as_str() {
            "--hosts" => plan.hosts = usize::try_from(number(&word, &value)?).unwrap_or(usize::MAX),
            "--agent" => plan.agent = value.into(),
            _ => return Err(HOSTS_USAGE.to_owned()),
        }
    }
    let figures = many::run(&plan, &|line| eprintln!("{line}"))?;
    println!(
        "{}",
        serde_json::to_string(&figures).map_err(|error| error.to_string())?
    );
    Ok(0)
}

fn drive(words: impl Iterator<Item = String>) -> Result<u64, Failure> {
    let arguments = Arguments::read(words)?;
    let programs = programs()?;
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
