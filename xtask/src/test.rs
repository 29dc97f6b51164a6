//! `cargo xtask test`: installs what the tests need, then runs all of them.

use std::time::Duration;

use crate::{Failure, process, python};

/// Longer than the slowest machine should need, builds included.
const LIMIT: Duration = Duration::from_secs(60 * 60);

/// Where the tests find and keep the router packages, apart from the user's own cache.
const PACKAGES: &str = "GABION_TEST_PACKAGES";

/// Runs the tests; `arguments` go to `cargo test`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    python::ensure()?;
    let mut tests = process::cargo();
    tests.arg("test");
    if arguments.is_empty() {
        tests.arg("--workspace");
    }
    tests.args(arguments);
    if std::env::var_os(PACKAGES).is_none() {
        tests.env(PACKAGES, crate::target().join("test-packages"));
    }
    process::run_bounded(&mut tests, LIMIT)
}
