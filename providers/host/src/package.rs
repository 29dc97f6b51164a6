//! Shared environments that programs come from.
//!
//! An environment is named by what is in it, made once per machine under a lock, checked by hashes, and complete only when its marker says so.
//! Each attempt works in a directory of its own, `<environment>.<attempt>`, to which the environment's name becomes a link at the end: an installer that outlives an attempt that was killed writes where nobody looks.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::durable;
use crate::transport::{Command, CommandOutput, LocalTransport, Transport};

/// Where a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// A Python package, installed by pip into a virtual environment.
    Pypi,
}

/// A package, pinned with all it needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageSpec {
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// The lock: a pip requirements file that names every distribution with its hashes.
    pub requirements: String,
}

/// Where environments are made, and with what.
#[derive(Clone, Debug)]
pub struct PackageStore {
    /// The root of the cache; environments are below `packages/`.
    pub cache_root: PathBuf,
    /// The Python that environments are made with, a path or a name to look up.
    pub python: String,
    /// How long making one may take, waiting for another process included.
    pub timeout: Duration,
}

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// The package cannot be installed as written.
    #[error("{reason}")]
    Invalid {
        /// What is wrong.
        reason: String,
    },
    /// Python is not on the machine.
    #[error(
        "{python} is not on this machine ({reason}); the package {package} needs Python 3. Install it, for example with: apt-get install python3 python3-venv"
    )]
    PythonMissing {
        /// The Python that was looked for.
        python: String,
        /// The package.
        package: String,
        /// What the system said.
        reason: String,
    },
    /// Python is there, its venv module is not.
    #[error(
        "{python} cannot make virtual environments, which the package {package} needs. Install its venv module, for example with: apt-get install python3-venv\n{output}"
    )]
    VenvMissing {
        /// The Python that was used.
        python: String,
        /// The package.
        package: String,
        /// What it said.
        output: String,
    },
    /// A step of the installation failed.
    #[error("installing {package} into {} failed:\n{output}", path.display())]
    Install {
        /// The package.
        package: String,
        /// Where it was being made; the next try begins anew.
        path: PathBuf,
        /// The last lines of the installer.
        output: String,
    },
    /// It took too long.
    #[error("installing {package} took longer than {} s", timeout.as_secs())]
    Timeout {
        /// The package.
        package: String,
        /// The limit.
        timeout: Duration,
    },
    /// The operating system refused.
    #[error("{source}")]
    Io {
        /// Its words; they name the path.
        #[from]
        source: io::Error,
    },
}

const MARKER: &str = ".complete";

/// Returns the environment of a package, after making it if need be.
///
/// Concurrent callers, in other processes too, wait for the one that makes it; what an interrupted one left is made anew. `progress` gets a few words at the beginning of each phase.
///
/// # Cancellation
/// Safe; the installer is killed and its half-made environment is made anew next time.
pub async fn ensure(
    store: &PackageStore,
    package: &PackageSpec,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<PathBuf, PackageError> {
    let label = format!("{} {}", package.name, package.version);
    match tokio::time::timeout(store.timeout, make(store, package, &label, progress)).await {
        Ok(result) => result,
        Err(_) => Err(PackageError::Timeout {
            package: label,
            timeout: store.timeout,
        }),
    }
}

async fn make(
    store: &PackageStore,
    package: &PackageSpec,
    label: &str,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<PathBuf, PackageError> {
    validate(package)?;
    let platform = platform(store, label).await?;
    let packages = store.cache_root.join("packages");
    durable::create_private_directory(&packages)?;
    let name = environment_name(package, &platform);
    let path = packages.join(&name);
    if is_complete(&path) {
        return Ok(path);
    }
    let _guard = lock(&packages.join(format!("{name}.lock")), label, progress).await?;
    if is_complete(&path) {
        return Ok(path);
    }
    remove_attempts(&packages, &name)?;
    let attempt = packages.join(format!("{name}.{}", Uuid::now_v7().simple()));
    install(store, package, label, &attempt, progress).await?;
    link(&attempt, &path)?;
    Ok(path)
}

/// Makes a whole environment in a directory that nobody else uses; its marker comes last.
async fn install(
    store: &PackageStore,
    package: &PackageSpec,
    label: &str,
    path: &Path,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<(), PackageError> {
    progress(&format!("making a virtual environment for {label}"));
    let venv = run(&[&store.python, "-I", "-m", "venv", &path.to_string_lossy()]).await?;
    if venv.code != Some(0) {
        let output = last_lines(&venv);
        return Err(
            if output.contains("ensurepip") || output.contains("No module named venv") {
                PackageError::VenvMissing {
                    python: store.python.clone(),
                    package: label.to_owned(),
                    output,
                }
            } else {
                PackageError::Install {
                    package: label.to_owned(),
                    path: path.to_owned(),
                    output,
                }
            },
        );
    }
    let requirements = path.join("requirements.txt");
    durable::write_atomic(&requirements, package.requirements.as_bytes(), 0o600)?;
    progress(&format!("installing {label}"));
    let python = path.join("bin/python");
    let installed = run(&[
        &python.to_string_lossy(),
        "-I",
        "-m",
        "pip",
        "install",
        "--require-hashes",
        "--no-deps",
        "--no-input",
        "--disable-pip-version-check",
        "--progress-bar=off",
        "-r",
        &requirements.to_string_lossy(),
    ])
    .await?;
    if installed.code != Some(0) {
        return Err(PackageError::Install {
            package: label.to_owned(),
            path: path.to_owned(),
            output: last_lines(&installed),
        });
    }
    durable::write_atomic(&path.join(MARKER), format!("{label}\n").as_bytes(), 0o600)?;
    Ok(())
}

/// Makes the environment's name lead to a finished attempt, atomically.
fn link(attempt: &Path, path: &Path) -> io::Result<()> {
    let new = attempt.with_extension("link");
    std::os::unix::fs::symlink(attempt.file_name().unwrap_or_default(), &new)
        .map_err(|error| durable::at(&new, error))?;
    std::fs::rename(&new, path).map_err(|error| durable::at(path, error))?;
    path.parent().map_or(Ok(()), durable::sync_directory)
}

/// Removes what attempts left that nobody finished. The caller holds the lock, and the environment is not complete.
fn remove_attempts(packages: &Path, name: &str) -> io::Result<()> {
    let prefix = format!("{name}.");
    for entry in std::fs::read_dir(packages).map_err(|error| durable::at(packages, error))? {
        let entry = entry?;
        let file_name = entry.file_name();
        let Some(suffix) = file_name
            .to_str()
            .and_then(|file_name| file_name.strip_prefix(&prefix))
        else {
            continue;
        };
        if suffix == "lock" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            durable::remove_directory(&entry.path())?;
        } else {
            std::fs::remove_file(entry.path()).map_err(|error| durable::at(&entry.path(), error))?;
        }
    }
    Ok(())
}

fn validate(package: &PackageSpec) -> Result<(), PackageError> {
    for (what, text) in [("name", &package.name), ("version", &package.version)] {
        let fits = !text.is_empty()
            && !text.starts_with(['.', '-'])
            && text.chars().all(|character| {
                character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-' | '+' | '!')
            });
        if !fits {
            return Err(PackageError::Invalid {
                reason: format!("{text:?} cannot be a package's {what}"),
            });
        }
    }
    Ok(())
}

/// Asks Python what its environments fit: implementation, version and machine.
async fn platform(store: &PackageStore, label: &str) -> Result<String, PackageError> {
    let missing = |reason: String| PackageError::PythonMissing {
        python: store.python.clone(),
        package: label.to_owned(),
        reason,
    };
    let script = "import sys, sysconfig; assert sys.version_info[0] == 3; print(sys.implementation.cache_tag, sysconfig.get_platform())";
    let output = match run(&[&store.python, "-I", "-c", script]).await {
        Ok(output) => output,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing("not found".to_owned())),
        Err(error) => return Err(missing(error.to_string())),
    };
    if output.code != Some(0) {
        return Err(missing(last_lines(&output)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

fn environment_name(package: &PackageSpec, platform: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(package.requirements.as_bytes());
    hash.update(b"\0");
    hash.update(platform.as_bytes());
    let digest = hex::encode(hash.finalize());
    format!("{}-{}-{}", package.name, package.version, &digest[..12])
}

fn is_complete(path: &Path) -> bool {
    path.join(MARKER).is_file()
}

/// Waits for the right to make an environment; the kernel frees it when its holder dies.
async fn lock(
    path: &Path,
    label: &str,
    progress: &(dyn Fn(&str) + Send + Sync),
) -> Result<File, PackageError> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(path)
        .map_err(|error| durable::at(path, error))?;
    let mut waiting = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::Error(error)) => return Err(durable::at(path, error).into()),
            Err(std::fs::TryLockError::WouldBlock) => {
                if !waiting {
                    progress(&format!("waiting for another process that installs {label}"));
                    waiting = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn run(argv: &[&str]) -> io::Result<CommandOutput> {
    LocalTransport
        .run(&Command {
            argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
            ..Command::default()
        })
        .await
}

/// Returns the last lines of both streams, for an error's detail.
fn last_lines(output: &CommandOutput) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let from = lines.len().saturating_sub(15);
    lines[from..].join("\n")
}
