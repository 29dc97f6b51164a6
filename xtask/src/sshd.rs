//! The SSH server that tests of machines start: the system's own, installed if that is allowed.

use std::path::Path;
use std::process::{Command, Stdio};

/// Where systems have it.
const PLACES: [&str; 3] = ["/usr/sbin/sshd", "/usr/local/sbin/sshd", "/usr/bin/sshd"];

/// Installs the server where there is none and this is root on a Debian system; else says that its tests are skipped.
pub(crate) fn ensure() {
    let there = || PLACES.iter().any(|place| Path::new(place).is_file());
    if there() {
        return;
    }
    let root = Command::new("id").arg("-u").output();
    let is_root = root.is_ok_and(|output| output.stdout.trim_ascii() == b"0");
    if is_root && Path::new("/usr/bin/apt-get").is_file() {
        eprintln!("installing openssh-server for the tests of machines behind SSH");
        for arguments in [
            &["update"][..],
            &["install", "-y", "--no-install-recommends", "openssh-server"],
        ] {
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
            "there is no sshd: tests of machines behind SSH are skipped; install openssh-server to run them"
        );
    }
}
