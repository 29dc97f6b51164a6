//! Secret texts: from the environment, from a file that its user alone can read, or from a program. They are never
//! printed.
//!
//! The one reader of them: the keys of stores, the key of fingerprints and the project's `secrets` come by here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gabion_engine::apply::SecretLookup;
use gabion_engine::config::{MissingSecret, SecretSource, Target};
use gabion_engine::state::private_file::read_private_file;
use gabion_engine::value::Value;
use gabion_engine::words::sentence;
use zeroize::Zeroizing;

use crate::options::Environment;
use crate::render::words::plain;

/// How long a program may take to print a secret.
const COMMAND_TIME: Duration = Duration::from_secs(30);
/// How long what it printed is waited for once it ended.
const STREAM_TIME: Duration = Duration::from_secs(2);
/// How many bytes a secret may have.
const LONGEST: u64 = 64 << 10;
/// How much of what a program says about its failure is shown: its last lines, of at most so many bytes.
const SAID_LINES: usize = 10;
const SAID_BYTES: usize = 4 << 10;

/// A secret text; copies share it.
pub(crate) type SecretText = Arc<Zeroizing<String>>;

/// Why there is no text.
#[derive(Debug, Clone)]
pub(crate) struct NoText {
    /// What is wrong, as sentences.
    pub(crate) why: String,
    /// What to do about it.
    pub(crate) hint: String,
    /// Whether nothing is there yet, rather than something that does not do.
    pub(crate) absent: bool,
}

impl From<NoText> for MissingSecret {
    fn from(missing: NoText) -> Self {
        Self {
            why: missing.why,
            hint: missing.hint,
        }
    }
}

/// Reads secret texts, each source once.
pub(crate) struct SecretTexts {
    /// What files are relative to, and where programs run.
    directory: PathBuf,
    environment: Environment,
    read: Mutex<BTreeMap<SecretSource, Result<SecretText, NoText>>>,
}

impl SecretTexts {
    pub(crate) fn new(directory: &Path, environment: &Environment) -> Self {
        Self {
            directory: directory.to_owned(),
            environment: environment.clone(),
            read: Mutex::default(),
        }
    }

    /// Returns the text that a source holds, without the line end at its end.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn text(&self, source: &SecretSource) -> Result<SecretText, NoText> {
        // Held while a program runs: whoever asks for the same text meanwhile waits for it.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = read.get(source) {
            return known.clone();
        }
        let text = self.look(source).and_then(|text| finished(source, text));
        read.insert(source.clone(), text.clone());
        text
    }

    /// Returns the text that a source held, if it was read.
    fn known(&self, source: &SecretSource) -> Option<SecretText> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.get(source)?.clone().ok()
    }

    fn look(&self, source: &SecretSource) -> Result<Zeroizing<String>, NoText> {
        match source {
            SecretSource::Environment(name) => match self.environment.set(name) {
                Some(value) => Ok(Zeroizing::new(value.to_owned())),
                None => Err(NoText {
                    why: format!("The variable {name} is not set."),
                    hint: format!("set it: export {name}=…"),
                    absent: true,
                }),
            },
            SecretSource::File(path) => read_file(&self.directory.join(path)),
            SecretSource::Command(words) => run(words, &self.directory),
            SecretSource::Invalid => Err(NoText {
                why: "It does not say where it comes from.".to_owned(),
                hint: "gabion validate".to_owned(),
                absent: true,
            }),
        }
    }
}

/// Returns a source as messages call it, at the start of a sentence.
pub(crate) fn named(source: &SecretSource) -> String {
    match source {
        SecretSource::Environment(name) => format!("The variable {name}"),
        SecretSource::File(path) => format!("The file {}", plain(path)),
        SecretSource::Command(words) => format!("What `{}` prints", plain(&words.join(" "))),
        SecretSource::Invalid => "The secret".to_owned(),
    }
}

/// Takes the line end off that editors and programs put at the end of a text.
fn finished(source: &SecretSource, mut text: Zeroizing<String>) -> Result<SecretText, NoText> {
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    if text.is_empty() {
        return Err(NoText {
            why: format!("{} is empty.", named(source)),
            hint: "see why nothing is there".to_owned(),
            absent: true,
        });
    }
    Ok(Arc::new(text))
}

fn read_file(path: &Path) -> Result<Zeroizing<String>, NoText> {
    let shown = path.display();
    let absent = || NoText {
        why: format!("There is no file {shown}."),
        hint: format!("put it there, readable by you alone:\n    (umask 077 && cat > {shown})"),
        absent: true,
    };
    match read_private_file(path, LONGEST) {
        Ok(Some(text)) => Ok(text),
        Ok(None) => Err(absent()),
        Err(error) => Err(NoText {
            why: sentence(&error.to_string()),
            hint: error
                .hint()
                .unwrap_or_else(|| "name a file of text that you can read".to_owned()),
            absent: false,
        }),
    }
}

/// Runs a program and returns what it prints. What it printed is in no message, only what it said about its failure.
fn run(words: &[String], directory: &Path) -> Result<Zeroizing<String>, NoText> {
    let shown = plain(&words.join(" "));
    let failed = |why: String| NoText {
        why,
        hint: "run it by hand in the project's directory, and see what it says".to_owned(),
        absent: false,
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
    let out = child.stdout.take().map(|stream| beside(stream, first));
    let err = child.stderr.take().map(|stream| beside(stream, last));
    let status = match wait(&mut child) {
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
    // What it started may go on and keep the streams open.
    let bytes = |stream: Option<Receiver<Zeroizing<Vec<u8>>>>| stream?.recv_timeout(STREAM_TIME).ok();
    if !status.success() {
        return Err(failed(format!(
            "`{shown}` failed ({status}). {}",
            said(&bytes(err).unwrap_or_default())
        )));
    }
    let Some(printed) = bytes(out) else {
        return Err(failed(format!(
            "`{shown}` ended, and something that it started keeps its output open."
        )));
    };
    if printed.len() as u64 > LONGEST {
        return Err(failed(format!("`{shown}` prints more than {LONGEST} bytes.")));
    }
    match std::str::from_utf8(&printed) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(failed(format!("What `{shown}` prints is no text (UTF-8)."))),
    }
}

/// Returns the last lines of what a program said.
fn said(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines: Vec<String> = text.trim().lines().map(plain).collect();
    match lines.as_slice() {
        [] => "It said nothing.".to_owned(),
        lines => format!(
            "It said:\n{}",
            lines[lines.len().saturating_sub(SAID_LINES)..].join("\n")
        ),
    }
}

fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
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
fn beside<S: Read + Send + 'static>(
    stream: S,
    read: fn(S) -> Zeroizing<Vec<u8>>,
) -> Receiver<Zeroizing<Vec<u8>>> {
    let (done, result) = channel();
    std::thread::spawn(move || {
        // Whoever asked may have given up.
        let _ = done.send(read(stream));
    });
    result
}

/// Reads a stream to its end and keeps its first bytes, one more than a secret may have.
fn first(mut stream: impl Read) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::new());
    // What was read before a failure is all there is.
    let _ = stream.by_ref().take(LONGEST + 1).read_to_end(&mut kept);
    let _ = std::io::copy(&mut stream, &mut std::io::sink());
    kept
}

/// Reads a stream to its end and keeps its last bytes.
fn last(mut stream: impl Read) -> Zeroizing<Vec<u8>> {
    let mut kept = Zeroizing::new(Vec::new());
    let mut piece = [0; SAID_BYTES];
    // What was read before a failure is all there is.
    while let Ok(read @ 1..) = stream.read(&mut piece) {
        kept.extend_from_slice(&piece[..read]);
        let excess = kept.len().saturating_sub(SAID_BYTES);
        kept.drain(..excess);
    }
    kept
}

/// What `env.NAME` and `secrets.NAME` stand for. What comes from a file or a program is read when it is asked for.
#[derive(Clone)]
pub(crate) struct ProjectSecrets {
    sources: BTreeMap<String, SecretSource>,
    texts: Arc<SecretTexts>,
}

impl ProjectSecrets {
    pub(crate) fn new(sources: BTreeMap<String, SecretSource>, texts: Arc<SecretTexts>) -> Self {
        Self { sources, texts }
    }

    /// Returns the value of an expression's target.
    pub(crate) fn value(&self, target: &Target) -> Option<Value> {
        match target {
            Target::Environment(name) => self.environment(name),
            Target::Secret(name) => self.secret(name),
            Target::Resource(_) | Target::Data(_) | Target::Scope(_) => None,
        }
    }

    /// Returns all values that are at hand, by how expressions name them; nothing is read for it.
    pub(crate) fn at_hand(&self) -> impl Iterator<Item = (String, Value)> {
        let variables = self.texts.environment.variables().iter();
        let variables = variables.map(|(name, value)| (format!("env.{name}"), Value::string(value)));
        let secrets = self.sources.iter().filter_map(|(name, source)| {
            let value = match source {
                SecretSource::Environment(variable) => Value::string(self.texts.environment.get(variable)?),
                source => Value::string(self.texts.known(source)?.as_str()),
            };
            Some((format!("secrets.{name}"), value))
        });
        variables.chain(secrets)
    }
}

impl SecretLookup for ProjectSecrets {
    fn environment(&self, name: &str) -> Option<Value> {
        self.texts.environment.get(name).map(Value::string)
    }

    fn secret(&self, name: &str) -> Option<Value> {
        match self.sources.get(name)? {
            SecretSource::Environment(variable) => self.environment(variable),
            source => self
                .texts
                .text(source)
                .ok()
                .map(|text| Value::string(text.as_str())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> SecretTexts {
        SecretTexts::new(Path::new("/"), &Environment::default())
    }

    fn shell(script: &str) -> SecretSource {
        SecretSource::Command(vec!["sh".to_owned(), "-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn one_line_end_is_no_part_of_a_secret() {
        for (script, text) in [
            ("printf 'a b'", "a b"),
            ("printf 'a\\n'", "a"),
            ("printf 'a\\r\\n'", "a"),
            ("printf ' a\\n\\n'", " a\n"),
        ] {
            assert_eq!(texts().text(&shell(script)).unwrap().as_str(), text, "{script}");
        }
    }

    #[test]
    fn what_a_program_prints_is_in_no_message() {
        for script in [
            "echo hunter2; exit 3",
            "head -c 70000 /dev/zero | tr '\\0' h",
            "printf 'hunter2\\377'",
            "true",
        ] {
            let missing = texts().text(&shell(script)).unwrap_err();
            let message = missing.why.replace(script, "");
            assert!(!message.contains("hunter2"), "{message}");
        }
    }

    #[test]
    fn the_last_lines_of_a_failure_are_shown() {
        let missing = texts()
            .text(&shell("for i in $(seq 5000); do echo line $i >&2; done; exit 1"))
            .unwrap_err();
        let lines: Vec<&str> = missing.why.lines().skip(1).collect();
        assert_eq!((lines.len(), lines[0], lines[9]), (10, "line 4991", "line 5000"));
    }

    #[test]
    fn a_program_runs_once() {
        let directory = tempfile::tempdir().unwrap();
        let texts = SecretTexts::new(directory.path(), &Environment::default());
        let source = shell("echo x >> runs; wc -l < runs");
        assert_eq!(texts.text(&source).unwrap().trim(), "1");
        assert_eq!(texts.text(&source).unwrap().trim(), "1");
    }
}
