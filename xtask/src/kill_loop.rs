//! `cargo xtask kill-loop`: real processes of gabion, killed and set against each other; see `xtask/kill-loop`.

use std::process::Command;

use crate::{Failure, process};

/// Builds an unoptimised driver: a build that is there sooner, for a few rounds.
const DEV: &str = "--dev";

/// Builds the programs and runs the driver with the arguments.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    let dev = arguments.iter().any(|argument| argument == DEV);
    let mut build = process::cargo();
    build.args(["build", "--quiet", "--package", "gabion-kill-loop", "--bins"]);
    if !dev {
        build.arg("--release");
    }
    process::run(&mut build)?;
    let profile = if dev { "debug" } else { "release" };
    let driver = crate::target().join(profile).join("gabion-kill-loop");
    process::run(Command::new(driver).args(arguments.iter().filter(|argument| *argument != DEV)))
}
