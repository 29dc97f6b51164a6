//! Running other programs, bounded and with errors that say which command failed.

use std::io::{BufRead, BufReader, IsTerminal, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::Failure;

/// Returns a `cargo` command that runs at the top of the repository, with the cargo that started this task.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(crate::root());
    command
}

/// Shows a command as a person would type it.
pub(crate) fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<String> = words.map(|word| quoted(&word.to_string_lossy())).collect();
    words.join(" ")
}

/// Quotes a word for a shell if it needs that.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// Runs a command to its end; anything but success is a failure that shows the command.
pub(crate) fn run(command: &mut Command) -> Result<(), Failure> {
    let status = command.status().map_err(|error| cannot_start(command, &error))?;
    check(command, status)
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String, Failure> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| cannot_start(command, &error))?;
    check(command, output.status)?;
    String::from_utf8(output.stdout).map_err(|_| format!("`{}` did not print UTF-8", shown(command)))
}

/// Runs a command for at most `limit`, then ends it together with everything it started.
///
/// From a terminal it stays in the terminal's own process group, so that Ctrl-C reaches it.
pub(crate) fn run_bounded(command: &mut Command, limit: Duration) -> Result<(), Failure> {
    let grouped = group(command);
    let mut child = command.spawn().map_err(|error| cannot_start(command, &error))?;
    wait_bounded(command, &mut child, grouped, limit)
}

/// What a program printed while it was shown.
pub(crate) struct Printed {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command as [`run_bounded`] does and returns, beside whether it succeeded, what it printed.
pub(crate) fn run_shown(
    command: &mut Command,
    limit: Duration,
) -> Result<(Result<(), Failure>, Printed), Failure> {
    let grouped = group(command);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| cannot_start(command, &error))?;
    let stdout = Copying::start(child.stdout.take(), std::io::stdout());
    let stderr = Copying::start(child.stderr.take(), std::io::stderr());
    let result = wait_bounded(command, &mut child, grouped, limit);
    let printed = Printed {
        stdout: stdout.end(),
        stderr: stderr.end(),
    };
    Ok((result, printed))
}

/// A stream that is copied, line by line, and kept.
struct Copying {
    thread: thread::JoinHandle<()>,
    kept: Arc<Mutex<Vec<u8>>>,
}

impl Copying {
    /// What a program leaves running may hold its streams; they are not waited for longer.
    const REST: Duration = Duration::from_secs(10);

    fn start(from: Option<impl Read + Send + 'static>, mut to: impl Write + Send + 'static) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&kept);
        let thread = thread::spawn(move || {
            let Some(from) = from else { return };
            let mut from = BufReader::new(from);
            let mut line = Vec::new();
            // What cannot be shown, to a reader that left, is still read, so that the program goes on.
            while from.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                to.write_all(&line).and_then(|()| to.flush()).ok();
                keep.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .append(&mut line);
            }
        });
        Self { thread, kept }
    }

    fn end(self) -> String {
        let deadline = Instant::now() + Self::REST;
        while !self.thread.is_finished() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(20));
        }
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&kept).into_owned()
    }
}

/// Puts a command into a process group of its own, unless somebody at a terminal may want to interrupt it.
fn group(command: &mut Command) -> bool {
    let grouped = !std::io::stdin().is_terminal();
    if grouped {
        command.process_group(0);
    }
    grouped
}

fn wait_bounded(command: &Command, child: &mut Child, grouped: bool, limit: Duration) -> Result<(), Failure> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child
            .try_wait()
            .map_err(|error| format!("waiting failed: {error}"))?
        {
            return check(command, status);
        }
        if Instant::now() >= deadline {
            end(child, grouped);
            return Err(format!(
                "`{}` did not end within {} s",
                shown(command),
                limit.as_secs()
            ));
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn end(child: &mut Child, grouped: bool) {
    if grouped {
        let group = format!("-{}", child.id());
        // The standard library sends signals to single processes only.
        let asked = Command::new("kill").args(["-KILL", "--", &group]).status();
        if !asked.is_ok_and(|status| status.success()) {
            eprintln!("warning: process group {} could not be ended", child.id());
        }
    }
    // It may be gone already, which is what is wanted.
    child.kill().ok();
    child.wait().ok();
}

fn check(command: &Command, status: ExitStatus) -> Result<(), Failure> {
    if status.success() {
        return Ok(());
    }
    Err(format!("`{}` failed ({status})", shown(command)))
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Failure {
    format!("cannot start `{}`: {error}", shown(command))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_shown_so_that_they_can_be_pasted() {
        let mut command = Command::new("curl");
        command.args(["-d", "it's {}", "http://127.0.0.1:80/v1"]);
        assert_eq!(shown(&command), r"curl -d 'it'\''s {}' http://127.0.0.1:80/v1");
    }

    #[test]
    fn failure_names_the_command() {
        let failure = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert!(
            failure.contains("sh -c 'exit 3'") && failure.contains('3'),
            "{failure}"
        );
        let failure = run(&mut Command::new("no-such-program-anywhere")).unwrap_err();
        assert!(failure.starts_with("cannot start"), "{failure}");
    }

    #[test]
    fn what_a_command_printed_is_kept_of_a_failed_one_too() {
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two >&2; exit 3"]);
        let (result, printed) = run_shown(&mut command, Duration::from_secs(60)).unwrap();
        result.unwrap_err();
        assert_eq!(
            (printed.stdout.as_str(), printed.stderr.as_str()),
            ("one\n", "two\n")
        );
    }

    #[test]
    fn command_that_does_not_end_is_ended() {
        let failure = run_bounded(Command::new("sleep").arg("600"), Duration::from_millis(200)).unwrap_err();
        assert!(failure.contains("did not end"), "{failure}");
    }
}
