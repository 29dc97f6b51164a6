//! What tests need of the Python package index: pinned, below one directory.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, process};

/// Returns a Python environment with what a lock names, each file by its hash, making it first when it is not there
/// whole.
pub(crate) fn ensure(packages: &Path, name: &str, lock: &str) -> Result<PathBuf, Failure> {
    let path = packages.join(name);
    if is_complete(&path, lock) {
        return Ok(path);
    }
    eprintln!("installing {name}");
    std::fs::create_dir_all(packages).map_err(|error| at(packages, &error))?;
    let attempt = packages.join(format!("{name}.{}", std::process::id()));
    let made = install(&attempt, lock).and_then(|()| {
        if path.exists() && !is_complete(&path, lock) {
            std::fs::remove_dir_all(&path).map_err(|error| at(&path, &error))?;
        }
        std::fs::rename(&attempt, &path)
            .or_else(|error| match is_complete(&path, lock) {
                // Somebody else was first.
                true => Ok(()),
                false => Err(error),
            })
            .map_err(|error| at(&path, &error))
    });
    if attempt.exists() {
        std::fs::remove_dir_all(&attempt).map_err(|error| at(&attempt, &error))?;
    }
    made.map(|()| path)
}

fn install(path: &Path, lock: &str) -> Result<(), Failure> {
    process::run(Command::new("python3").args(["-I", "-m", "venv"]).arg(path))?;
    let requirements = path.join("wanted.txt");
    std::fs::write(&requirements, lock).map_err(|error| at(&requirements, &error))?;
    let mut pip = Command::new(path.join("bin").join("python"));
    pip.args(["-I", "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]);
    pip.args([
        "--require-hashes",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "-r",
    ]);
    process::run(pip.arg(&requirements))?;
    // It comes last: an environment that has it is whole.
    let installed = path.join("requirements.txt");
    std::fs::rename(&requirements, &installed).map_err(|error| at(&installed, &error))
}

fn is_complete(path: &Path, lock: &str) -> bool {
    std::fs::read_to_string(path.join("requirements.txt")).is_ok_and(|installed| installed == lock)
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    format!("{}: {error}", path.display())
}
