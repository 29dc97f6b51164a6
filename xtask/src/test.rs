//! `cargo xtask test`: installs what the tests need, then runs all of them; last, simulated lives.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::docker::Docker;
use crate::failures::{self, Failures};
use crate::moto::{self, Moto};
use crate::postgres::Postgres;
use crate::{Failure, browser, json_schema, pebble, plan_readers, process, python, simulate, sshd, systemd};

/// Longer than the slowest machine should need, builds included.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Where the tests find and keep the router packages, apart from the user's own cache.
const PACKAGES: &str = "GABION_TEST_PACKAGES";

/// The URL of an S3 server that tests may make buckets in; one is started when it is not set.
pub(crate) const S3: &str = "GABION_TEST_S3";

/// The URL of a server that stands for EC2 and Route 53; one is started when it is not set.
pub(crate) const AWS: &str = "GABION_TEST_AWS";

/// Returns the directory that packages for tests are installed in.
pub(crate) fn packages() -> PathBuf {
    std::env::var_os(PACKAGES).map_or_else(|| crate::target().join("test-packages"), PathBuf::from)
}

/// Runs the tests; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    python::ensure()?;
    sshd::ensure();
    browser::ensure();
    systemd::ensure();
    pebble::ensure();
    let docker = Docker::start()?;
    // Tests of the command line put it on machines; cargo builds a package's programs for its own tests only.
    process::run(process::cargo().args(["build", "-p", "gabion-machines", "--bin", "gabion-agent"]))?;
    let mut tests = process::cargo();
    tests.arg("test");
    tests.env(PACKAGES, packages());
    tests.env(json_schema::PYTHON, json_schema::python(&packages())?);
    tests.env(moto::BOTO3, Moto::python(&packages())?);
    if plan_readers::are_wanted(arguments) {
        tests.env(plan_readers::PYTHON, plan_readers::python(&packages())?);
    }
    // All servers end when this function does.
    let postgres = Postgres::start(&packages())?;
    postgres.export(&mut tests);
    let missing: Vec<&str> = [S3, AWS]
        .into_iter()
        .filter(|name| std::env::var_os(name).is_none())
        .collect();
    let moto = match missing.as_slice() {
        [] => None,
        _ => Some(Moto::start(&packages())?),
    };
    if let Some(docker) = &docker {
        docker.export(&mut tests);
    }
    if let Some(moto) = &moto {
        tests.envs(missing.iter().map(|name| (*name, moto.endpoint())));
    }
    if arguments.is_empty() {
        run_all(&tests)?;
        simulate::test()
    } else {
        process::run_bounded(tests.args(arguments), LIMIT)
    }
}

/// Runs every test of the workspace, and a few that failed once more.
fn run_all(tests: &Command) -> Result<(), Failure> {
    let mut all = again(tests);
    all.args(["--workspace", "--no-fail-fast"]);
    let (result, printed) = process::run_shown(&mut all, LIMIT)?;
    let Err(failure) = result else {
        return Ok(());
    };
    let failed = Failures::read(&printed.stdout, &printed.stderr);
    if !failed.are_few() {
        return Err(failure);
    }
    let named = failed
        .names
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    eprintln!("\nfailed, and run once more alone: {named}\n");
    let mut missing = failed.names.clone();
    for target in &failed.targets {
        let mut one = again(tests);
        one.args(target.split(' '))
            .args(["--", "--exact"])
            .args(&failed.names);
        let (result, printed) = process::run_shown(&mut one, LIMIT)?;
        result?;
        for name in failures::passed(&printed.stdout) {
            missing.remove(&name);
        }
    }
    if missing.is_empty() {
        eprintln!("\nUNSTEADY: failed at first and passed when run alone: {named}\n");
        return Ok(());
    }
    Err(failure)
}

/// Returns the same command again: what it is called with and its environment.
fn again(command: &Command) -> Command {
    let mut copy = Command::new(command.get_program());
    copy.args(command.get_args());
    if let Some(directory) = command.get_current_dir() {
        copy.current_dir(directory);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => copy.env(name, value),
            None => copy.env_remove(name),
        };
    }
    copy
}
