//! `cargo xtask agent`: builds `gabion-agent`, the static program that gabion puts on machines behind SSH.

use std::path::{Path, PathBuf};

use crate::{Failure, process};

/// The one target that needs nothing besides Rust: glibc, linked statically.
const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds the program and puts it where its path is easy to write: `target/agent/gabion-agent`.
pub(crate) fn run(arguments: &[String]) -> Result<(), Failure> {
    if let Some(unknown) = arguments.first() {
        return Err(format!("`agent` takes no `{unknown}`"));
    }
    let program = build()?;
    println!("{}", program.display());
    Ok(())
}

/// Builds the program and returns where it is.
pub(crate) fn build() -> Result<PathBuf, Failure> {
    let directory = crate::target().join("agent");
    // Flags of its own would build everything else anew, so its parts are kept apart.
    let parts = directory.join("build");
    let mut cargo = process::cargo();
    cargo
        .args([
            "build",
            "--profile",
            "agent",
            "-p",
            "gabion-machines",
            "--bin",
            "gabion-agent",
        ])
        .args(["--target", TARGET, "--target-dir"])
        .arg(&parts)
        .env("RUSTFLAGS", "-C target-feature=+crt-static");
    process::run(&mut cargo)?;
    let built = parts.join(TARGET).join("agent").join("gabion-agent");
    let program = directory.join("gabion-agent");
    install(&built, &program)?;
    Ok(program)
}

/// Replaces the program at once: machines may be about to get it.
fn install(built: &Path, program: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| format!("{}: {error}", program.display());
    let part = program.with_extension("part");
    std::fs::copy(built, &part).map_err(failed)?;
    std::fs::rename(&part, program).map_err(failed)
}
