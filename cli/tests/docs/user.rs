//! A user of their own, with one project; it ends with nothing running.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// Directories of a new user.
pub(crate) struct User {
    home: TempDir,
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

impl User {
    pub(crate) fn new() -> Self {
        let home = tempfile::Builder::new().prefix("gabion-docs-").tempdir().unwrap();
        std::fs::create_dir(home.path().join("project")).unwrap();
        Self { home }
    }

    pub(crate) fn home(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn project(&self) -> PathBuf {
        self.home.path().join("project")
    }

    /// Writes the project's files.
    pub(crate) fn write(&self, files: &[(String, String)]) {
        for (name, text) in files {
            let path = self.project().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }

    /// Makes an example the project. The quickstart, whose engine others use, is beside it as it is in the repository.
    pub(crate) fn copy(&self, example: &Path) {
        copy_files(example, &self.project());
        let beside = self.home.path().join("quickstart");
        std::fs::create_dir(&beside).unwrap();
        copy_files(&example.parent().unwrap().join("quickstart"), &beside);
    }

    /// Runs a line in a shell, in the project; returns its exit code and all that it prints.
    pub(crate) fn run(&self, line: &str) -> (Option<i32>, String) {
        let gabion = Path::new(env!("CARGO_BIN_EXE_gabion")).parent().unwrap();
        let output = Command::new("bash")
            // A page shows what a terminal does: both streams, in the order in which they were written.
            .args(["-c", &format!("exec 2>&1; {line}")])
            .current_dir(self.project())
            .env_clear()
            .env("PATH", search_path(gabion))
            .env("HOME", self.home())
            .env("XDG_CACHE_HOME", packages())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }
}

impl Drop for User {
    fn drop(&mut self) {
        if !self.project().join(".gabion").exists() {
            return;
        }
        let (code, printed) = self.run("gabion destroy -y");
        if code != Some(0) {
            #[expect(clippy::print_stderr, reason = "what stays behind is for people to look at")]
            {
                eprintln!("{} could not be destroyed:\n{printed}", self.project().display());
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "what pages show runs with the programs of this machine"
)]
fn search_path(first: &Path) -> std::ffi::OsString {
    let rest = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(first.to_owned()).chain(std::env::split_paths(&rest));
    std::env::join_paths(all).unwrap()
}

/// Returns the directory that router packages are kept in, shared with the other tests.
#[expect(
    clippy::disallowed_methods,
    reason = "the test command says where packages are"
)]
fn packages() -> PathBuf {
    match std::env::var_os("GABION_TEST_PACKAGES") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .unwrap()
            .join("test-packages"),
    }
}
