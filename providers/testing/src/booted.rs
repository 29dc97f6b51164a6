//! A machine that a real systemd runs, for tests: booted in namespaces of its own, from the programs that this machine has.
//!
//! There is one for each test program, and it ends with it, however that ends. A test that needs it runs a second time,
//! inside: `/proc`, signals and mounts are that machine's then. Where it cannot be booted, tests say that they were skipped.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// What has it booted.
const SCRIPT: &str = include_str!("booted.sh");

/// What machines of the tests have in common.
pub(crate) const OWN_ROOT: &str = include_str!("own_root.sh");

/// How long it may take to boot.
const BOOT: Duration = Duration::from_secs(60);

/// The variable that says that a test is inside.
const INSIDE: &str = "GABION_TEST_BOOTED";

/// What it takes.
const PROGRAMS: [&str; 4] = [
    "/lib/systemd/systemd",
    "/usr/bin/systemctl",
    "/usr/bin/nsenter",
    "/usr/bin/unshare",
];

/// A machine that runs.
#[derive(Debug)]
pub struct Booted {
    first: u32,
    /// Its input, which ends with this process.
    _child: Child,
}

/// Returns which user of such a machine the caller runs as, if it was told to be another than root.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test program's own environment")]
pub fn user_inside() -> Option<String> {
    std::env::var(INSIDE).ok().filter(|user| user != "1")
}

/// Runs a test of this program once more, inside, as another user of the machine.
///
/// # Errors
/// When it cannot be run, or failed, with what it said.
pub fn run_inside_as(user: &str, function: &str) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let output = Command::new("setpriv")
        .args([
            "--reuid",
            user,
            "--regid",
            user,
            "--init-groups",
            "--",
            "env",
            "-i",
        ])
        .args([
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
            format!("HOME=/home/{user}"),
            format!("{INSIDE}={user}"),
        ])
        .arg(program)
        .args(["--exact", test_name(function), "--nocapture", "--test-threads=1"])
        .stdin(Stdio::null())
        .output()?;
    passed(&output)
}

/// Makes a user of the machine that the caller is in, with a password for `sudo`.
///
/// # Errors
/// When a step fails.
pub fn add_user(user: &str, password: &str) -> io::Result<()> {
    let script = "useradd --create-home --shell /bin/sh \"$1\" && printf '%s:%s\\n' \"$1\" \"$2\" | chpasswd && \
        { [ ! -d /etc/sudoers.d ] || echo \"$1 ALL=(ALL) ALL\" > \"/etc/sudoers.d/$1\"; }";
    let output = Command::new("sh")
        .args(["-c", script, "sh", user, password])
        .output()?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

/// Returns a test's name by that of a function in it: `it::module::test::{{closure}}::here`.
fn test_name(function: &str) -> &str {
    let path = function
        .trim_end_matches("::here")
        .trim_end_matches("::{{closure}}");
    // The program's own name is no part of a test's.
    path.split_once("::").map_or(path, |(_, name)| name)
}

fn passed(output: &Output) -> io::Result<()> {
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    if output.status.success() && said.contains("1 passed") {
        return Ok(());
    }
    Err(io::Error::other(format!("inside: {}\n{said}", output.status)))
}

/// Returns whether the caller runs inside such a machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "a test program's own environment")]
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

impl Booted {
    /// Returns the machine of this test program, booted when it is first asked for.
    ///
    /// # Errors
    /// A sentence that says why there is none.
    pub fn shared() -> Result<&'static Self, String> {
        static MACHINE: OnceLock<Result<Booted, String>> = OnceLock::new();
        MACHINE.get_or_init(Self::boot).as_ref().map_err(Clone::clone)
    }

    fn boot() -> Result<Self, String> {
        if let Some(missing) = PROGRAMS.iter().find(|program| !Path::new(program).is_file()) {
            return Err(format!("there is no {missing}"));
        }
        let id = Command::new("id")
            .arg("-u")
            .output()
            .map_err(|error| error.to_string())?;
        if id.stdout.trim_ascii() != b"0" {
            return Err("only root boots a machine".to_owned());
        }
        Self::start().map_err(|error| error.to_string())
    }

    fn start() -> io::Result<Self> {
        let mounts = tempfile::Builder::new()
            .prefix("gabion-booted-")
            .tempdir()?
            .keep();
        let pid_file = mounts.with_extension("pid");
        let log_file = mounts.with_extension("log");
        let program = std::env::current_exe()?;
        // Test programs are in a directory below that of the programs which they run.
        let programs = program.parent().and_then(Path::parent).unwrap_or(&program);
        let log = std::fs::File::create(&log_file)?;
        let child = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .args([&mounts, programs, &pid_file])
            .arg(OWN_ROOT)
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A Ctrl-C ends the tests, and that ends it.
            .process_group(0)
            .spawn()?;
        let mut machine = Self {
            first: 0,
            _child: child,
        };
        let outcome = machine.wait(&pid_file);
        let said = std::fs::read_to_string(&log_file).unwrap_or_default();
        for file in [&pid_file, &log_file] {
            // Only litter otherwise.
            let _ = std::fs::remove_file(file);
        }
        match outcome {
            Ok(()) => Ok(machine),
            Err(error) => Err(io::Error::other(format!(
                "{error} ({})",
                said.lines().last().unwrap_or("nothing was said")
            ))),
        }
    }

    /// Waits until it is up.
    fn wait(&mut self, pid_file: &Path) -> io::Result<()> {
        let end = Instant::now() + BOOT;
        loop {
            if let Ok(text) = std::fs::read_to_string(pid_file)
                && let Ok(first) = text.trim().parse()
            {
                self.first = first;
            }
            if self.first != 0 {
                let state = self.enter("systemctl").arg("is-system-running").output()?;
                if matches!(state.stdout.trim_ascii(), b"running" | b"degraded") {
                    return Ok(());
                }
            }
            if let Some(status) = self._child.try_wait()? {
                return Err(io::Error::other(format!("it does not boot: {status}")));
            }
            if Instant::now() > end {
                return Err(io::Error::other("it does not boot in time"));
            }
            thread::sleep(Duration::from_millis(100));
        }
    }

    /// Returns a command that runs inside.
    #[must_use]
    pub fn enter(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.first.to_string()])
            .args(["--mount", "--pid", "--uts", "--ipc", "--cgroup", "--"])
            .args(["env", "--chdir=/"])
            .arg(program)
            .stdin(Stdio::null());
        command
    }

    /// Runs one test of this program again, inside.
    ///
    /// # Errors
    /// When it cannot be run, or failed, with what it said.
    pub fn run_test(&self, name: &str) -> io::Result<()> {
        let program: PathBuf = std::env::current_exe()?;
        let output: Output = self
            .enter("env")
            .arg(format!("{INSIDE}=1"))
            .arg(program)
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .output()?;
        passed(&output)
    }
}

/// Runs the test that it is in inside the machine of this test program, and evaluates to whether the caller is there.
///
/// Outside it evaluates to `false` when the test has passed inside, or was skipped, which is said; it panics when the test
/// has failed.
#[macro_export]
macro_rules! inside_booted {
    () => {{
        fn here() {}
        $crate::booted::run_inside(::std::any::type_name_of_val(&here))
    }};
}

/// What [`inside_booted`] does with the name of a function in a test.
#[must_use]
#[expect(clippy::print_stderr, reason = "what a skipped test leaves for its reader")]
pub fn run_inside(function: &str) -> bool {
    if is_inside() {
        return true;
    }
    // `it::module::test::{{closure}}::here`, of which the program's own name is no part of a test's.
    let path = function
        .trim_end_matches("::here")
        .trim_end_matches("::{{closure}}");
    let name = path.split_once("::").map_or(path, |(_, name)| name);
    match Booted::shared() {
        Ok(machine) => {
            if let Err(error) = machine.run_test(name) {
                panic!("{error}");
            }
        }
        Err(why) => eprintln!("skipped: no machine with a systemd of its own can be booted: {why}"),
    }
    false
}
