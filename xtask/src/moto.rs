//! The server that stands for AWS in tests: moto, pinned, on loopback, in memory. The object store's tests use its S3, the
//! AWS provider's its EC2 and Route 53, each in an account of its own.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::{Failure, packages, process};

/// What is installed: moto and what its server needs, each file by its hash.
const LOCK: &str = include_str!("packages/moto-5.2.5.txt");

const NAME: &str = "moto-5.2.5";

/// The Python interpreter that has boto3, which moto needs itself: another client than gabion, for its tests.
pub(crate) const BOTO3: &str = "GABION_TEST_BOTO3";

/// Makes EC2 refuse types, key pairs and images that there are not, as the real one does.
const STRICT: [&str; 3] = [
    "MOTO_EC2_ENABLE_INSTANCE_TYPE_VALIDATION",
    "MOTO_ENABLE_KEYPAIR_VALIDATION",
    "MOTO_ENABLE_AMI_VALIDATION",
];

/// How long the server may take until it answers.
const START: Duration = Duration::from_secs(60);

/// Serves on a free port until its standard input ends: also when whoever started it is killed.
///
/// Requests are carried out one at a time: between the check of a condition and the write moto's threads let others in,
/// and two writers then replace the same version. No service that keeps its promises does that. A request is read whole
/// before its turn, so that a client that was stopped in the middle of one holds nobody up.
const SERVE: &str = "\
import io, os, sys, threading
def watch():
    sys.stdin.buffer.read()
    os._exit(0)
threading.Thread(target=watch, daemon=True).start()
from moto import server
run_simple, turn = server.run_simple, threading.Lock()
def run_in_turns(host, port, app, **options):
    def in_turns(environ, start_response):
        length = environ.get('CONTENT_LENGTH')
        if length or environ.get('wsgi.input_terminated'):
            whole = environ['wsgi.input'].read(int(length) if length else -1)
            environ['wsgi.input'] = io.BytesIO(whole)
        with turn:
            answer = app(environ, start_response)
            try:
                return [b''.join(answer)]
            finally:
                getattr(answer, 'close', lambda: None)()
    run_simple(host, port, in_turns, **options)
server.run_simple = run_in_turns
server.main(['-H', '127.0.0.1', '-p', '0'])
";

/// A running server, which ends when this is dropped.
pub(crate) struct Moto {
    child: Child,
    _lifeline: Option<ChildStdin>,
    directory: PathBuf,
    endpoint: String,
}

impl Moto {
    /// Installs the server below `packages` when it is not there, and returns its Python interpreter.
    pub(crate) fn python(packages: &Path) -> Result<PathBuf, Failure> {
        Ok(packages::ensure(packages, NAME, LOCK)?.join("bin").join("python"))
    }

    /// Starts a server, installing it below `packages` first when it is not there.
    pub(crate) fn start(packages: &Path) -> Result<Self, Failure> {
        let python = Self::python(packages)?;
        let directory = crate::target()
            .join("tmp")
            .join(format!("moto-{}", std::process::id()));
        std::fs::create_dir_all(&directory).map_err(|error| at(&directory, &error))?;
        let log = directory.join("log");
        let output = File::create(&log).map_err(|error| at(&log, &error))?;
        let errors = output.try_clone().map_err(|error| at(&log, &error))?;
        let mut command = Command::new(python);
        command
            .args(["-I", "-u", "-c", SERVE])
            .current_dir(&directory)
            .envs(STRICT.map(|name| (name, "1")))
            .stdin(Stdio::piped())
            .stdout(output)
            .stderr(errors);
        let mut child = command
            .spawn()
            .map_err(|error| format!("cannot start `{}`: {error}", process::shown(&command)))?;
        let mut moto = Self {
            _lifeline: child.stdin.take(),
            child,
            directory,
            endpoint: String::new(),
        };
        moto.endpoint = moto.wait_for_endpoint(&log)?;
        Ok(moto)
    }

    /// Returns the server's URL.
    pub(crate) fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn wait_for_endpoint(&mut self, log: &Path) -> Result<String, Failure> {
        let deadline = Instant::now() + START;
        loop {
            let said = std::fs::read_to_string(log).map_err(|error| at(log, &error))?;
            if let Some(endpoint) = endpoint(&said) {
                return Ok(endpoint);
            }
            let ended = self
                .child
                .try_wait()
                .map_err(|error| format!("waiting failed: {error}"))?;
            if ended.is_some() || Instant::now() >= deadline {
                return Err(format!("the AWS server for tests did not start:\n{said}"));
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may be gone already, which is what is wanted.
        self.child.kill().ok();
        self.child.wait().ok();
        std::fs::remove_dir_all(&self.directory).ok();
    }
}

/// Finds where the server says that it listens.
fn endpoint(said: &str) -> Option<String> {
    let (_, rest) = said.split_once("Running on http://127.0.0.1:")?;
    let (port, _) = rest.split_once(|next: char| !next.is_ascii_digit())?;
    Some(format!("http://127.0.0.1:{port}"))
}

fn at(path: &Path, error: &std::io::Error) -> Failure {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lock_pins_the_server_and_hashes_every_file() {
        assert!(LOCK.contains(&NAME.replace('-', "==")));
        let requirements = LOCK.lines().filter(|line| line.contains("==")).count();
        assert!(LOCK.matches("--hash=sha256:").count() >= requirements);
    }

    #[test]
    fn endpoint_is_read_off_what_the_server_says() {
        let said = "WARNING: …\n * Running on http://127.0.0.1:36613\nPress CTRL+C to quit";
        assert_eq!(endpoint(said).as_deref(), Some("http://127.0.0.1:36613"));
        assert_eq!(endpoint(" * Running on http://127.0.0.1:36"), None);
    }
}
