//! The systemd that tests of services boot in namespaces: the system's own programs, installed if that is allowed.

use std::path::Path;

use crate::system;

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
    system::install(&PACKAGES, "the tests of services");
    if let Some(missing) = missing() {
        eprintln!("there is no {missing}: tests of services of systemd that need it are skipped");
    }
}
