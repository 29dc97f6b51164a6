//! Programs that CI needs and that cargo can install, each pinned, under `target/tools`.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::process;

/// A program from crates.io at a fixed version.
pub(crate) struct Tool {
    /// The crate, which is also the program.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
}

/// Checks dependencies against deny.toml.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
};

impl Tool {
    /// Returns the program's path, installing it first when this version is not there.
    pub(crate) fn ensure(&self) -> Result<PathBuf, Failure> {
        let tools = crate::target().join("tools");
        let program = tools.join("bin").join(self.name);
        if self.is_installed(&program) {
            return Ok(program);
        }
        eprintln!("installing {} {}", self.name, self.version);
        let mut install = process::cargo();
        // An unoptimised build is there minutes earlier, and what it has to do takes a second either way.
        install
            .args(["install", "--quiet", "--locked", "--debug", "--force", "--root"])
            .arg(&tools);
        install.args(["--version", self.version, self.name]);
        // Built apart from the workspace, and what is left over goes: it is hundreds of megabytes.
        let build = tools.join("build");
        process::run(install.env("CARGO_TARGET_DIR", &build))?;
        std::fs::remove_dir_all(&build).map_err(|error| format!("{}: {error}", build.display()))?;
        Ok(program)
    }

    fn is_installed(&self, program: &PathBuf) -> bool {
        let output = Command::new(program)
            .arg("--version")
            .stderr(Stdio::null())
            .output();
        output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(self.version))
    }
}
