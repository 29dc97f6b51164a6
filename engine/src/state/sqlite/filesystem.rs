//! The file system that a database is on: SQLite's write-ahead log needs memory that all its users share, which file
//! systems of the network do not give.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::sys::stat::{major, minor};

/// Types that keep files on other machines, as `/proc/self/mountinfo` names them.
const NETWORK: [&str; 12] = [
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "davfs",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
];

/// Those among programs that act as file systems.
const NETWORK_PROGRAMS: [&str; 10] = [
    "ceph",
    "davfs2",
    "gcsfuse",
    "glusterfs",
    "goofys",
    "mount-s3",
    "mountpoint-s3",
    "rclone",
    "s3fs",
    "sshfs",
];

/// Returns the type of the network file system that a directory is on; `None` when it is on none, or that cannot be told.
pub(super) fn network_file_system(directory: &Path) -> Option<String> {
    let device = std::fs::metadata(directory).ok()?.dev();
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind_of(&mounts, major(device), minor(device))?;
    is_network(kind).then(|| kind.to_owned())
}

/// Returns the type of the file system on a device.
fn kind_of(mounts: &str, major: u64, minor: u64) -> Option<&str> {
    let device = format!("{major}:{minor}");
    mounts.lines().find_map(|line| {
        if line.split(' ').nth(2) != Some(device.as_str()) {
            return None;
        }
        let (_, rest) = line.split_once(" - ")?;
        rest.split(' ').next()
    })
}

fn is_network(kind: &str) -> bool {
    match kind.strip_prefix("fuse.") {
        Some(program) => NETWORK_PROGRAMS.contains(&program),
        None => NETWORK.contains(&kind),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 28 0:20 / /sys rw,relatime shared:7 - sysfs sysfs rw
28 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw,discard
96 28 0:52 / /home/ada rw,relatime shared:50 - nfs4 server:/home rw,vers=4.2
97 28 0:53 / /mnt/site rw,nosuid - fuse.sshfs ada@site: rw,user_id=1000
98 28 0:54 / /mnt/usb rw,nosuid - fuseblk /dev/sdb1 rw
99 28 0:55 / /mnt/mixed rw - fuse.mergerfs a:b rw
";

    #[test]
    fn file_systems_of_the_network_are_known() {
        for (major, minor, kind, network) in [
            (254, 0, Some("ext4"), false),
            (0, 52, Some("nfs4"), true),
            (0, 53, Some("fuse.sshfs"), true),
            (0, 54, Some("fuseblk"), false),
            (0, 55, Some("fuse.mergerfs"), false),
            (7, 7, None, false),
        ] {
            let found = kind_of(MOUNTS, major, minor);
            assert_eq!(found, kind);
            assert_eq!(found.is_some_and(is_network), network, "{found:?}");
        }
    }

    #[test]
    fn this_machines_own_disk_is_no_network() {
        assert_eq!(network_file_system(Path::new("/proc")), None);
        assert_eq!(network_file_system(Path::new("/nowhere")), None);
    }
}
