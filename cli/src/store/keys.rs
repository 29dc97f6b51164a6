//! Getting the keys that a store's content is encrypted with. They are never printed.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use gabion_engine::config::Spanned;
use gabion_engine::diagnostic::Diagnostic;
use gabion_engine::state::envelope::{Envelope, StoreKey};
use zeroize::Zeroizing;

use super::encryption::{Encryption, KeySource};
use crate::failure::Failure;
use crate::options::Environment;
use crate::render::words::plain;

/// How long a program may take to print a key.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// How long what it printed is waited for once it ended.
const STREAM_TIME: Duration = Duration::from_secs(2);
/// How much of what a program or file holds is read: a key has 64 digits.
const LONGEST: u64 = 4096;
/// How to make a key, for hints.
const MAKE_ONE: &str = "openssl rand -hex 32";

/// Returns what puts a store's content into envelopes, with the keys of the settings; without settings it stays plain.
///
/// # Errors
/// When a key cannot be had or is none, with the place in the settings.
pub(crate) fn envelope(
    encryption: Option<&Encryption>,
    directory: &Path,
    environment: &Environment,
) -> Result<Envelope, Failure> {
    let Some(encryption) = encryption else {
        return Ok(Envelope::plain());
    };
    let key = |source: &Spanned<KeySource>| -> Result<StoreKey, Failure> {
        read(&source.value, directory, environment)
            .and_then(|text| {
                StoreKey::parse(&text).map_err(|_| Trouble {
                    detail: format!(
                        "{} holds no key: a key has 64 hexadecimal digits.",
                        named(&source.value)
                    ),
                    hint: format!("make one with:\n    {MAKE_ONE}"),
                })
            })
            .map_err(|trouble| {
                Diagnostic::error("no-key", "the state's encryption key cannot be used")
                    .detail(trouble.detail)
                    .at(source.span.clone())
                    .hint(trouble.hint)
                    .into()
            })
    };
    let previous = encryption
        .previous
        .iter()
        .map(key)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Envelope::new(key(&encryption.key)?, previous))
}

struct Trouble {
    detail: String,
    hint: String,
}

/// Returns a source as messages call it.
fn named(source: &KeySource) -> String {
    match source {
        KeySource::Environment(name) => format!("The variable {name}"),
        KeySource::File(path) => format!("The file {path}"),
        KeySource::Command(words) => format!("What `{}` prints", plain(&words.join(" "))),
    }
}

fn read(
    source: &KeySource,
    directory: &Path,
    environment: &Environment,
) -> Result<Zeroizing<String>, Trouble> {
    match source {
        KeySource::Environment(name) => match environment.set(name) {
            Some(value) => Ok(Zeroizing::new(value.to_owned())),
            None => Err(Trouble {
                detail: format!("The variable {name} is not set."),
                hint: format!(
                    "set it to the key that the state is encrypted with; a new state's is made with:\n    {MAKE_ONE}"
                ),
            }),
        },
        KeySource::File(path) => read_file(&directory.join(path)),
        KeySource::Command(words) => run(words, directory),
    }
}

/// Reads a file that is its user's alone; asked of the open file, so that what is checked is what is read.
fn read_file(path: &Path) -> Result<Zeroizing<String>, Trouble> {
    let shown = path.display();
    let io = |error: std::io::Error| Trouble {
        detail: format!("Reading {shown} failed: {error}."),
        hint: format!(
            "put the key there; a new state's is made with:\n    (umask 077 && {MAKE_ONE} > {shown})"
        ),
    };
    let mut file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        return Err(Trouble {
            detail: format!("{shown} is not a file."),
            hint: "name the file that holds the key".to_owned(),
        });
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(Trouble {
            detail: format!("{shown} belongs to another user, who could exchange the key."),
            hint: "use a file of your own".to_owned(),
        });
    }
    let mode = metadata.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(Trouble {
            detail: format!("{shown} can be read or written by others (mode {mode:03o})."),
            hint: format!("chmod 600 {shown}"),
        });
    }
    let mut text = Zeroizing::new(String::new());
    file.by_ref()
        .take(LONGEST)
        .read_to_string(&mut text)
        .map_err(io)?;
    Ok(text)
}

/// Runs a program and returns what it prints.
fn run(words: &[String], directory: &Path) -> Result<Zeroizing<String>, Trouble> {
    let shown = plain(&words.join(" "));
    let hint = "run it by hand in the project's directory, and see what it says".to_owned();
    let failed = |detail: String| Trouble {
        detail,
        hint: hint.clone(),
    };
    let (program, arguments) = words
        .split_first()
        .ok_or_else(|| failed("There is no command.".to_owned()))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("`{shown}` cannot be run: {error}.")))?;
    // Read beside waiting: a program that prints much would never end otherwise.
    let out = child.stdout.take().map(beside);
    let err = child.stderr.take().map(beside);
    let ended = wait(&mut child);
    let status = match ended {
        Ok(Some(status)) => status,
        other => {
            // Whether it can be stopped changes nothing about the answer.
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(match other {
                Err(error) => format!("Waiting for `{shown}` failed: {error}."),
                _ => format!("`{shown}` did not end within {} seconds.", COMMAND_TIME.as_secs()),
            }));
        }
    };
    let text = |read: Option<Receiver<Zeroizing<Vec<u8>>>>| {
        // What it started may go on and keep the stream open.
        let bytes = read.and_then(|read| read.recv_timeout(STREAM_TIME).ok());
        Zeroizing::new(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    };
    if status.success() {
        return Ok(text(out));
    }
    let said = text(err);
    let said = match said.trim() {
        "" => "It said nothing.".to_owned(),
        said => format!(
            "It said:\n{}",
            said.lines().map(plain).collect::<Vec<_>>().join("\n")
        ),
    };
    Err(failed(format!("`{shown}` failed ({status}). {said}")))
}

fn wait(child: &mut std::process::Child) -> std::io::Result<Option<ExitStatus>> {
    let give_up = Instant::now() + COMMAND_TIME;
    loop {
        match child.try_wait()? {
            Some(status) => return Ok(Some(status)),
            None if Instant::now() >= give_up => return Ok(None),
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Reads a stream on a thread of its own.
fn beside(stream: impl Read + Send + 'static) -> Receiver<Zeroizing<Vec<u8>>> {
    let (read, result) = channel();
    std::thread::spawn(move || {
        // Whoever asked may have given up.
        let _ = read.send(first(stream));
    });
    result
}

/// Reads a stream to its end and keeps its first bytes.
fn first(mut stream: impl Read) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::new());
    // What was read before a failure is all there is.
    let _ = stream.by_ref().take(LONGEST).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    kept
}
