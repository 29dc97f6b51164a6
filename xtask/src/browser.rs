//! The browser that tests open pages in: the system's own Chromium, installed if that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

/// What tests need of it: the browser, and the program that tells it what to do.
const PROGRAMS: [&str; 2] = ["/usr/bin/chromium", "/usr/bin/chromedriver"];

/// The packages that have it on a Debian system.
const PACKAGES: [&str; 2] = ["chromium", "chromium-driver"];

/// Installs the browser where there is none and this is root on a Debian system; else says that its tests are skipped.
pub(crate) fn ensure() {
    let there = || PROGRAMS.iter().all(|program| Path::new(program).is_file());
    if there() {
        return;
    }
    let root = Command::new("id").arg("-u").output();
    let is_root = root.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if is_root && Path::new("/usr/bin/apt-get").is_file() {
        eprintln!("installing {} for the tests of pages", PACKAGES.join(" and "));
        let install = ["install", "-y", "--no-install-recommends"];
        for arguments in [&["update"][..], &[install.as_slice(), &PACKAGES].concat()] {
            // Without the network there is none; what needs it says so.
            let _ = Command::new("apt-get")
                .args(arguments)
                .env("DEBIAN_FRONTEND", "noninteractive")
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .status();
        }
    }
    if !there() {
        eprintln!(
            "there is no Chromium: tests of pages in a browser are skipped; install {} to run them",
            PACKAGES.join(" and ")
        );
    }
}
