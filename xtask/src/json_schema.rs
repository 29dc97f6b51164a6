//! The validator that tests check JSON Schemas with, and the official schema of SARIF: pinned, and not ours.

use std::path::{Path, PathBuf};

use crate::{Failure, packages};

/// What is installed, each file by its hash.
const LOCK: &str = include_str!("packages/json-schema-1.txt");

const NAME: &str = "json-schema-1";

/// Where tests find the Python that has it.
pub(crate) const PYTHON: &str = "GABION_TEST_JSON_SCHEMA";

/// Returns a Python that has the validator, installing it first when it is not there.
pub(crate) fn python(packages: &Path) -> Result<PathBuf, Failure> {
    let environment = packages::ensure(packages, NAME, LOCK)?;
    Ok(environment.join("bin").join("python"))
}
