//! Packages of the system that tests need: installed where that is allowed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Returns whether this runs as root.
pub(crate) fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Installs packages where this is root on a Debian system; elsewhere, and without the network, nothing is installed, and
/// whoever needs them sees that they are missing.
pub(crate) fn install(packages: &[&str], purpose: &str) {
    if !is_root() || !Path::new("/usr/bin/apt-get").is_file() {
        return;
    }
    eprintln!("installing {} for {purpose}", packages.join(", "));
    let install = ["install", "-y", "--no-install-recommends"];
    for arguments in [&["update"][..], &[install.as_slice(), packages].concat()] {
        quietly(
            Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        );
    }
}

/// Finds a program where it usually is, or on the search path.
pub(crate) fn which(usual: &str) -> Option<PathBuf> {
    let usual = Path::new(usual);
    let name = usual.file_name()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::iter::once(usual.to_owned())
        .chain(std::env::split_paths(&path).map(|directory| directory.join(name)))
        .find(|program| program.is_file())
}

/// Runs a command without a word, and returns whether it succeeded.
pub(crate) fn quietly(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
