//! The systemd that tests of services boot in namespaces: the system's own programs, installed if that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

/// What it takes to boot one, and to try what a user may do who is not root.
const PROGRAMS: [&str; 5] = [
    "/lib/systemd/systemd",
    "/usr/bin/systemctl",
    "/usr/bin/journalctl",
    "/usr/bin/dbus-daemon",
    "/usr/bin/sudo",
];

/// The packages that have it on a Debian system. None of them starts anything here.
const PACKAGES: [&str; 3] = ["systemd", "dbus", "sudo"];

/// Installs what is missing where this is root on a Debian system; else says what is skipped.
pub(crate) fn ensure() {
    let missing = || PROGRAMS.into_iter().find(|program| !Path::new(program).is_file());
    if missing().is_none() {
        return;
    }
    let id = Command::new("id").arg("-u").output();
    let is_root = id.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if is_root && Path::new("/usr/bin/apt-get").is_file() {
        eprintln!("installing {} for the tests of services", PACKAGES.join(", "));
        let install = ["install", "-y", "--no-install-recommends"]
            .iter()
            .chain(&PACKAGES);
        for arguments in [vec!["update"], install.copied().collect()] {
            // Without the network there is none; what needs it says so.
            let _ = Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
        }
    }
    if let Some(missing) = missing() {
        eprintln!("there is no {missing}: tests of services of systemd that need it are skipped");
    }
}
