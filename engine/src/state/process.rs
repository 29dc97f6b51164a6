//! Which process holds a lease, and whether it still exists.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use crate::state::event::{Holder, ProcessIdentity};

/// What can be said about a process from here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It exists. It may be stopped.
    Alive,
    /// It is gone and sends nothing more.
    Gone,
    /// It cannot be seen from here.
    CannotTell,
}

/// The processes of this machine, as `/proc` shows them.
#[derive(Debug, Clone)]
pub struct Processes {
    proc: PathBuf,
}

impl Default for Processes {
    fn default() -> Self {
        Self::at("/proc")
    }
}

impl Processes {
    /// Looks at processes below another directory than `/proc`, for tests.
    pub fn at(proc: impl Into<PathBuf>) -> Self {
        Self { proc: proc.into() }
    }

    /// Returns the identity of this process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn own(&self) -> std::io::Result<ProcessIdentity> {
        self.identity(std::process::id())?
            .ok_or_else(|| Error::new(ErrorKind::NotFound, "this process is not in /proc"))
    }

    /// Returns the identity of a process; `None` when there is no such process.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn identity(&self, pid: u32) -> std::io::Result<Option<ProcessIdentity>> {
        let Some(stat) = self.stat(pid)? else {
            return Ok(None);
        };
        Ok(Some(ProcessIdentity {
            pid,
            start_time: stat.start_time,
            boot_id: self.boot_id()?,
            pid_namespace: self.pid_namespace(pid),
        }))
    }

    /// Returns what can be said about a process that once had this identity.
    ///
    /// `same_machine` says that it is known to have run on this machine, so that another boot means that it is gone.
    pub fn liveness(&self, process: &ProcessIdentity, same_machine: bool) -> Liveness {
        let Ok(boot_id) = self.boot_id() else {
            return Liveness::CannotTell;
        };
        if boot_id != process.boot_id {
            return if same_machine {
                Liveness::Gone
            } else {
                Liveness::CannotTell
            };
        }
        if self.pid_namespace(std::process::id()) != process.pid_namespace {
            return Liveness::CannotTell;
        }
        match self.stat(process.pid) {
            Ok(None) => Liveness::Gone,
            Ok(Some(stat)) if stat.start_time != process.start_time || stat.dead => Liveness::Gone,
            Ok(Some(_)) => Liveness::Alive,
            Err(_) => Liveness::CannotTell,
        }
    }

    /// Returns what can be said about a holder.
    pub fn holder_liveness(&self, holder: &Holder, same_machine: bool) -> Liveness {
        match &holder.process {
            Some(process) => self.liveness(process, same_machine),
            None => Liveness::CannotTell,
        }
    }

    /// Returns this process as a lease's holder.
    ///
    /// `who` is the user's name or the CI run's URL, `operation` the command.
    ///
    /// # Errors
    /// When `/proc` cannot be read.
    pub fn own_holder(
        &self,
        who: impl Into<String>,
        operation: impl Into<String>,
    ) -> std::io::Result<Holder> {
        let host = std::fs::read_to_string(self.proc.join("sys/kernel/hostname"))?;
        Ok(Holder {
            who: who.into(),
            host: host.trim().to_owned(),
            process: Some(self.own()?),
            operation: operation.into(),
        })
    }

    fn boot_id(&self) -> std::io::Result<String> {
        let text = std::fs::read_to_string(self.proc.join("sys/kernel/random/boot_id"))?;
        Ok(text.trim().to_owned())
    }

    fn pid_namespace(&self, pid: u32) -> Option<String> {
        let link = std::fs::read_link(self.proc.join(pid.to_string()).join("ns/pid")).ok()?;
        Some(link.to_string_lossy().into_owned())
    }

    fn stat(&self, pid: u32) -> std::io::Result<Option<Stat>> {
        let path = self.proc.join(pid.to_string()).join("stat");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            // A process that ends between opening and reading gives ESRCH.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ESRCH as i32) => return Ok(None),
            Err(error) => return Err(error),
        };
        parse_stat(&text).map(Some).ok_or_else(|| malformed(&path))
    }
}

fn malformed(path: &Path) -> Error {
    Error::new(
        ErrorKind::InvalidData,
        format!("{} is not what proc(5) says", path.display()),
    )
}

struct Stat {
    start_time: u64,
    /// Whether nothing of it runs any more: a zombie whose last thread ended. One with threads left may still be in a
    /// system call that the kernel finishes.
    dead: bool,
}

/// Reads `/proc/PID/stat`. The command's name may hold anything, so fields are counted from the last `)`.
fn parse_stat(text: &str) -> Option<Stat> {
    let fields: Vec<&str> = text[text.rfind(')')? + 1..].split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let threads: u64 = field(20)?.parse().ok()?;
    Some(Stat {
        start_time: field(22)?.parse().ok()?,
        dead: matches!(field(3)?, "Z" | "X" | "x") && threads <= 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, state: &str, threads: u32, start: u64) -> String {
        format!("42 ({name}) {state} 1 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 {threads} 0 {start} 9 9 9\n")
    }

    struct Fake(tempfile::TempDir);

    impl Fake {
        fn new(boot: &str) -> Self {
            let directory = tempfile::tempdir().unwrap();
            let random = directory.path().join("sys/kernel/random");
            std::fs::create_dir_all(&random).unwrap();
            std::fs::write(random.join("boot_id"), format!("{boot}\n")).unwrap();
            let own = directory.path().join(std::process::id().to_string());
            std::fs::create_dir_all(own.join("ns")).unwrap();
            std::os::unix::fs::symlink("pid:[1]", own.join("ns/pid")).unwrap();
            Self(directory)
        }

        fn process(self, text: &str) -> Self {
            let directory = self.0.path().join("42");
            std::fs::create_dir_all(directory.join("ns")).unwrap();
            std::fs::write(directory.join("stat"), text).unwrap();
            std::os::unix::fs::symlink("pid:[1]", directory.join("ns/pid")).unwrap();
            self
        }

        fn processes(&self) -> Processes {
            Processes::at(self.0.path())
        }
    }

    fn identity(start_time: u64, boot: &str, namespace: &str) -> ProcessIdentity {
        ProcessIdentity {
            pid: 42,
            start_time,
            boot_id: boot.to_owned(),
            pid_namespace: Some(namespace.to_owned()),
        }
    }

    #[test]
    fn a_process_is_the_same_one_only_with_its_start_time_boot_and_namespace() {
        let fake = Fake::new("boot-1").process(&stat("a) b (c", "S", 3, 777));
        let processes = fake.processes();
        let check = |start, boot, namespace, same_machine, expected| {
            assert_eq!(
                processes.liveness(&identity(start, boot, namespace), same_machine),
                expected,
                "{start} {boot} {namespace} {same_machine}"
            );
        };
        assert_eq!(
            processes.identity(42).unwrap(),
            Some(identity(777, "boot-1", "pid:[1]"))
        );
        check(777, "boot-1", "pid:[1]", true, Liveness::Alive);
        check(778, "boot-1", "pid:[1]", true, Liveness::Gone);
        check(777, "boot-0", "pid:[1]", true, Liveness::Gone);
        check(777, "boot-0", "pid:[1]", false, Liveness::CannotTell);
        check(778, "boot-1", "pid:[2]", true, Liveness::CannotTell);
    }

    #[test]
    fn a_missing_process_and_a_zombie_without_threads_are_gone() {
        let gone = Fake::new("b");
        assert_eq!(
            gone.processes().liveness(&identity(1, "b", "pid:[1]"), true),
            Liveness::Gone
        );
        let zombie = Fake::new("b").process(&stat("x", "Z", 1, 1));
        assert_eq!(
            zombie.processes().liveness(&identity(1, "b", "pid:[1]"), true),
            Liveness::Gone
        );
        let dying = Fake::new("b").process(&stat("x", "Z", 2, 1));
        assert_eq!(
            dying.processes().liveness(&identity(1, "b", "pid:[1]"), true),
            Liveness::Alive
        );
    }

    #[test]
    fn this_process_is_alive() {
        let processes = Processes::default();
        let own = processes.own_holder("ada", "apply").unwrap();
        assert!(!own.host.is_empty());
        assert_eq!(processes.holder_liveness(&own, true), Liveness::Alive);
    }
}
