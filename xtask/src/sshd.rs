//! The SSH server that tests of machines start: the system's own, installed if that is allowed.

use std::path::Path;

use crate::system;

/// Where systems have it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Installs the server where there is none and this is root on a Debian system; else says that its tests are skipped.
pub(crate) fn ensure() {
    let there = || PLACES.iter().any(|place| Path::new(place).is_file());
    if there() {
        return;
    }
    system::install(&["openssh-server"], "the tests of machines behind SSH");
    if !there() {
        eprintln!(
            "there is no sshd: tests of machines behind SSH are skipped; install openssh-server to run them"
        );
    }
}
