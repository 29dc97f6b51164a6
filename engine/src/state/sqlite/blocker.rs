//! Who keeps a database busy: the process that holds SQLite's locks, as the kernel lists them.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The byte of the shared memory's file that a writer locks.
const WRITE_LOCK: u64 = 120;

/// A process that keeps a database busy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocker {
    pub(super) pid: u32,
    /// Its program's name; empty when it cannot be seen.
    program: String,
    /// Whether it is stopped, by a signal or a debugger.
    stopped: bool,
}

impl Blocker {
    /// Returns the process that another than this one has to wait for before it can write.
    ///
    /// `memory` is the file that SQLite shares between the users of a database.
    pub(super) fn of(memory: &Path) -> Option<Self> {
        let inode = std::fs::metadata(memory).ok()?.ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        let pid = holder(&locks, inode, std::process::id())?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let program = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        let state = stat.rsplit_once(") ").map(|(_, rest)| &rest[..1]);
        Some(Self {
            pid,
            program: program.trim().to_owned(),
            stopped: matches!(state, Some("T" | "t")),
        })
    }

    /// Says who it is.
    pub(super) fn describe(&self) -> String {
        let program = match self.program.as_str() {
            "" => String::new(),
            program => format!(" (`{program}`)"),
        };
        let stopped = match self.stopped {
            true => ", which is stopped",
            false => "",
        };
        format!("process {}{program}{stopped}", self.pid)
    }
}

/// Returns the process, other than `own`, that holds the write lock of the file with this inode; `locks` is what
/// `/proc/locks` says.
fn holder(locks: &str, inode: u64, own: u32) -> Option<u32> {
    locks.lines().find_map(|line| {
        // `3: POSIX  ADVISORY  WRITE 4711 fe:00:6250615 120 120`; who waits for a lock has `->` after the number.
        let fields: Vec<&str> = line.split_whitespace().collect();
        let &[_, "POSIX" | "OFDLCK", _, "WRITE", pid, file, from, to] = fields.as_slice() else {
            return None;
        };
        if file.rsplit(':').next()? != inode.to_string() {
            return None;
        }
        let to = match to {
            "EOF" => u64::MAX,
            to => to.parse().ok()?,
        };
        if !(from.parse::<u64>().ok()?..=to).contains(&WRITE_LOCK) {
            return None;
        }
        // A process that cannot be seen from here has none.
        let pid = pid.parse::<u32>().ok()?;
        (pid != 0 && pid != own).then_some(pid)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_writer_is_found_among_all_locks() {
        let locks = "\
1: FLOCK  ADVISORY  WRITE 6797 fe:00:77 0 EOF
2: POSIX  ADVISORY  READ 12 fe:00:77 123 123
2: -> POSIX  ADVISORY  WRITE 13 fe:00:77 120 120
3: POSIX  ADVISORY  WRITE 14 fe:00:78 120 120
4: POSIX  ADVISORY  WRITE 15 fe:00:77 121 122
5: POSIX  ADVISORY  WRITE 4711 fe:00:77 120 120
";
        assert_eq!(holder(locks, 77, 1), Some(4711));
        assert_eq!(holder(locks, 77, 4711), None);
        assert_eq!(holder(locks, 78, 1), Some(14));
        assert_eq!(holder(locks, 79, 1), None);
        assert_eq!(holder("1: POSIX ADVISORY WRITE 5 fe:00:77 0 EOF", 77, 1), Some(5));
        assert_eq!(holder("nonsense\n\n", 77, 1), None);
    }
}
