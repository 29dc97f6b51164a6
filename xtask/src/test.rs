//! `cargo xtask test`: installs what the tests need, then runs all of them; last, simulated lives.

use std::path::PathBuf;
use std::time::Duration;

use crate::docker::Docker;
use crate::moto::Moto;
use crate::postgres::Postgres;
use crate::{Failure, json_schema, process, python, simulate, sshd};

/// Longer than the slowest machine should need, builds included.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Where the tests find and keep the router packages, apart from the user's own cache.
const PACKAGES: &str = "GABION_TEST_PACKAGES";

/// The URL of an S3 server that tests may make buckets in; one is started when it is not set.
pub(crate) const S3: &str = "GABION_TEST_S3";

/// The URL of a server that stands for EC2 and Route 53; one is started when it is not set.
const AWS: &str = "GABION_TEST_AWS";

/// Returns the directory that packages for tests are installed in.
pub(crate) fn packages() -> PathBuf {
    std::env::var_os(PACKAGES).map_or_else(|| crate::target().join("test-packages"), PathBuf::from)
}

/// Runs the tests; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    python::ensure()?;
    sshd::ensure();
    let docker = Docker::start()?;
    // Tests of the command line put it on machines; cargo builds a package's programs for its own tests only.
    process::run(process::cargo().args(["build", "-p", "gabion-machines", "--bin", "gabion-agent"]))?;
    let mut tests = process::cargo();
    tests.arg("test");
    if arguments.is_empty() {
        tests.arg("--workspace");
    }
    tests.args(arguments);
    tests.env(PACKAGES, packages());
    tests.env(json_schema::PYTHON, json_schema::python(&packages())?);
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
    process::run_bounded(&mut tests, LIMIT)?;
    if arguments.is_empty() {
        simulate::test()?;
    }
    Ok(())
}
