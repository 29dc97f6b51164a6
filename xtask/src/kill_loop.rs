//! `cargo xtask kill-loop`, `cut-loop` and `bench-hosts`: real processes of gabion, killed, cut off from hosts and set
//! against each other; see `xtask/kill-loop`.

use std::process::Command;

use crate::moto::Moto;
use crate::postgres::Postgres;
use crate::{Failure, agent, process, sshd, test};

/// Builds an unoptimised driver: a build that is there sooner, for a few rounds.
const DEV: &str = "--dev";

/// Builds the driver and what it drives, and returns the driver.
fn build(arguments: &[String]) -> Result<Command, Failure> {
    let dev = arguments.iter().any(|argument| argument == DEV);
    let mut build = process::cargo();
    build.args(["build", "--quiet", "--package", "gabion-kill-loop", "--bins"]);
    if !dev {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let profile = if dev { "debug" } else { "release" };
    let mut driver = Command::new(crate::target().join(profile).join("gabion-kill-loop"));
    driver.args(arguments.iter().filter(|argument| *argument != DEV));
    Ok(driver)
}

/// Runs what needs hosts behind SSH, and the agent's program for them.
pub(crate) fn on_hosts(what: &str, arguments: &[String]) -> Result<(), Failure> {
    sshd::ensure();
    let mut words = vec![what.to_owned()];
    words.extend_from_slice(arguments);
    if !arguments.iter().any(|argument| argument == "--agent") {
        let agent = agent::build()?;
        words.extend(["--agent".to_owned(), agent.display().to_string()]);
    }
    process::run(&mut build(&words)?)
}

/// Builds the programs and runs the driver with the arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let mut driver = build(arguments)?;
    let wants = |store: &str| {
        arguments
            .iter()
            .any(|argument| argument == store || argument == "all")
    };
    // The servers end when this function does.
    let postgres = match wants("postgres") {
        true => Some(Postgres::start(&test::packages())?),
        false => None,
    };
    if let Some(postgres) = &postgres {
        postgres.export(&mut driver);
    }
    let s3 = match wants("s3") && std::env::var_os(test::S3).is_none() {
        true => Some(Moto::start(&test::packages())?),
        false => None,
    };
    if let Some(s3) = &s3 {
        driver.env(test::S3, s3.endpoint());
    }
    process::run(&mut driver)
}
