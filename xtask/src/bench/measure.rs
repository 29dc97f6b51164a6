//! Runs a command and reads from the kernel what it used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::Failure;

/// Waits for a program and says what the kernel counted for it: Rust's standard library does not tell.
const WAIT: &str = "
import json, os, sqlite3, sys, time
limit, log, command = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
null = os.open(os.devnull, os.O_WRONLY)
out = os.open('out', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
started = time.monotonic()
pid = os.posix_spawn(command[0], command, os.environ,
    file_actions=[(os.POSIX_SPAWN_DUP2, out, 1), (os.POSIX_SPAWN_DUP2, out, 2)], setpgroup=0)
import signal
signal.signal(signal.SIGALRM, lambda *_: os.killpg(pid, signal.SIGKILL))
signal.alarm(limit)
_, status, used = os.wait4(pid, 0)
signal.alarm(0)
wall = time.monotonic() - started
events = None
if os.path.exists(log):
    state = sqlite3.connect('file:' + log + '?mode=ro', uri=True)
    events = state.execute('select count(*), coalesce(sum(length(body)), 0) from events').fetchone()
print(json.dumps({'code': os.waitstatus_to_exitcode(status), 'wall': wall, 'user': used.ru_utime,
    'system': used.ru_stime, 'peak': used.ru_maxrss, 'events': events}))
";

/// What a command used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// Seconds on the clock on the wall.
    pub(super) wall: f64,
    /// Seconds of processor time, of all its threads.
    pub(super) cpu: f64,
    /// The most memory that it held at once, in MiB.
    pub(super) peak: f64,
    /// Events in the project's log afterwards, and their bytes; of gabion only.
    pub(super) log: Option<(u64, u64)>,
    /// Whether it was ended at the limit.
    pub(super) cut: bool,
}

/// Where measuring happens: a directory of its own, with a home directory that holds nothing.
#[derive(Debug)]
pub(super) struct Gauge {
    root: PathBuf,
    count: AtomicUsize,
}

impl Gauge {
    pub(super) fn new() -> Result<Self, Failure> {
        let root = std::env::temp_dir().join(format!("gabion-bench-{}", std::process::id()));
        let home = root.join("home");
        std::fs::create_dir_all(&home).map_err(|error| format!("{}: {error}", home.display()))?;
        Ok(Self {
            root,
            count: AtomicUsize::new(0),
        })
    }

    /// Returns a new empty directory.
    pub(super) fn directory(&self, name: &str) -> Result<PathBuf, Failure> {
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let directory = self.root.join(format!("{name}-{number}"));
        std::fs::create_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        Ok(directory)
    }

    /// Runs a program to its end, or to the limit in seconds; any other failure of it is one.
    pub(super) fn run(
        &self,
        program: &Path,
        arguments: &[&str],
        directory: &Path,
        limit: u64,
    ) -> Result<Usage, Failure> {
        let mut command = Command::new("python3");
        command
            .args(["-c", WAIT, &limit.to_string(), ".gabion/state.db"])
            .arg(program)
            .args(arguments)
            .current_dir(directory)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.root.join("home"))
            .env("NO_COLOR", "1")
            .env("CHECKPOINT_DISABLE", "1")
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .stdin(Stdio::null());
        let answer = crate::process::output(&mut command)?;
        let answer: serde_json::Value =
            serde_json::from_str(&answer).map_err(|error| format!("python3 said `{answer}`: {error}"))?;
        let number = |name: &str| answer[name].as_f64().unwrap_or_default();
        let code = answer["code"].as_i64().unwrap_or(-1);
        let cut = code == -9;
        if code != 0 && !cut {
            let said = std::fs::read_to_string(directory.join("out")).unwrap_or_default();
            let end: Vec<&str> = said.lines().rev().take(12).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            return Err(format!(
                "`{} {}` ended with {code}:\n{}",
                program.display(),
                arguments.join(" "),
                end.join("\n")
            ));
        }
        Ok(Usage {
            wall: number("wall"),
            cpu: number("user") + number("system"),
            peak: number("peak") / 1024.0,
            log: answer["events"][0].as_u64().zip(answer["events"][1].as_u64()),
            cut,
        })
    }
}

impl Drop for Gauge {
    fn drop(&mut self) {
        // What is left is in a directory for temporary files.
        std::fs::remove_dir_all(&self.root).ok();
    }
}
