//! The ACME authority that tests get certificates from, and its DNS server: the system's own, installed if that is allowed.

use std::path::Path;

use crate::system;

const PROGRAMS: [&str; 2] = ["/usr/bin/pebble", "/usr/bin/pebble-challtestsrv"];

/// Installs the authority where there is none; else says that its tests are skipped.
pub(crate) fn ensure() {
    let there = || PROGRAMS.iter().all(|program| Path::new(program).is_file());
    if !there() {
        system::install(&["pebble"], "the tests of certificates");
    }
    if !there() {
        eprintln!("there is no pebble: tests of certificates are skipped; install pebble to run them");
    }
}
