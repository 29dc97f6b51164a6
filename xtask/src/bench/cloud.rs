//! The fake cloud, as a process of its own that counts the requests it gets.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Failure;

/// How often each verb was asked of each type, such as `describe fake_machine`.
pub(super) type Calls = BTreeMap<String, u64>;

/// How long each request takes: enough that it is not for nothing, and little beside what gabion does itself.
const LATENCY: Duration = Duration::from_millis(2);

/// How long a machine takes to become ready.
const BOOT: Duration = Duration::from_millis(100);

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The programs of the shape on the fake cloud.
#[derive(Clone, Debug)]
pub(super) struct Programs {
    /// The command line of gabion with the fake cloud's provider.
    pub(super) gabion: PathBuf,
    /// The fake cloud.
    pub(super) cloud: PathBuf,
}

impl Programs {
    /// The names, as they are built.
    pub(super) const NAMES: [&str; 2] = ["gabion-over-fake-cloud", "gabion-fake-cloud"];

    /// Returns those beside another program, if they are there.
    pub(super) fn beside(program: &Path) -> Option<Self> {
        let [gabion, cloud] = Self::NAMES.map(|name| program.with_file_name(name));
        (gabion.is_file() && cloud.is_file()).then_some(Self { gabion, cloud })
    }
}

/// A fake cloud's process, ended with this.
pub(super) struct Cloud {
    process: Child,
    socket: PathBuf,
}

impl Cloud {
    /// Starts one that is quick and does nothing wrong.
    pub(super) fn start(program: &Path, socket: PathBuf) -> Result<Self, Failure> {
        let process = Command::new(program)
            .arg(&socket)
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut cloud = Self { process, socket };
        let end = Instant::now() + PATIENCE;
        while let Err(failure) = cloud.calls() {
            if let Ok(Some(status)) = cloud.process.try_wait() {
                return Err(format!("{} ended ({status})", program.display()));
            }
            if Instant::now() >= end {
                return Err(failure);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let settings = json!({"latency": duration(LATENCY), "boot": duration(BOOT)});
        let mut request = settings;
        request["admin"] = "settings".into();
        cloud.ask(&request)?;
        Ok(cloud)
    }

    /// Returns where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns what it was asked so far.
    pub(super) fn calls(&self) -> Result<Calls, Failure> {
        let dump = self.ask(&json!({"admin": "dump"}))?;
        let calls = dump["calls"].as_object().into_iter().flatten();
        Ok(calls
            .map(|(name, count)| (name.clone(), count.as_u64().unwrap_or_default()))
            .collect())
    }

    /// Sends what an administrator says: a line of JSON each way.
    fn ask(&self, request: &Value) -> Result<Value, Failure> {
        let failed = |error: &dyn std::fmt::Display| format!("the fake cloud does not answer: {error}");
        let mut stream = UnixStream::connect(&self.socket).map_err(|error| failed(&error))?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| failed(&error))?;
        writeln!(stream, "{}", json!({"admin": request})).map_err(|error| failed(&error))?;
        let mut line = String::new();
        BufReader::new(stream)
            .read_line(&mut line)
            .map_err(|error| failed(&error))?;
        let mut answer: Value = serde_json::from_str(&line).map_err(|error| failed(&error))?;
        match answer.get_mut("Ok") {
            Some(done) => Ok(done.take()),
            None => Err(format!("the fake cloud refused: {answer}")),
        }
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended by itself; it is gone either way.
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Returns what was asked between two counts.
pub(super) fn between(before: &Calls, after: &Calls) -> Calls {
    let new = after.iter().map(|(name, count)| {
        let earlier = before.get(name).copied().unwrap_or_default();
        (name.clone(), count.saturating_sub(earlier))
    });
    new.filter(|(_, count)| *count > 0).collect()
}

fn duration(duration: Duration) -> Value {
    json!({"secs": duration.as_secs(), "nanos": duration.subsec_nanos()})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_since_is_counted() {
        let calls = |counts: &[(&str, u64)]| -> Calls {
            counts
                .iter()
                .map(|(name, count)| ((*name).to_owned(), *count))
                .collect()
        };
        let before = calls(&[("find any", 2), ("describe fake_disk", 1)]);
        let after = calls(&[
            ("find any", 2),
            ("describe fake_disk", 4),
            ("create fake_disk", 3),
        ]);
        assert_eq!(
            between(&before, &after),
            calls(&[("describe fake_disk", 3), ("create fake_disk", 3)])
        );
    }
}
