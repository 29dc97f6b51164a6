//! The browser that tests open pages in: the system's own Chromium, installed if that is allowed.

use std::path::Path;

use crate::system;

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
    system::install(&PACKAGES, "the tests of pages");
    if !there() {
        eprintln!(
            "there is no Chromium: tests of pages in a browser are skipped; install {} to run them",
            PACKAGES.join(" and ")
        );
    }
}
