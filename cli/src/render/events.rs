//! The event stream: each event of planning or of an apply as a line of JSON, written by a thread of its own.
//!
//! A slow disk or a pipe that nobody reads never holds up a run: what does not fit into the buffer is dropped, and the
//! gap shows in the sequence numbers.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};

use super::event_json_types::{EventJson, EventLineJson};
use crate::failure::Failure;
use crate::output::Printer;

/// How many lines wait for the file at most.
const BUFFER: usize = 4096;
/// How long the end of a command waits for the last lines to be written.
const PATIENCE: Duration = Duration::from_secs(2);

/// Writes the event stream.
struct EventFile {
    path: PathBuf,
    lines: SyncSender<String>,
    done: Receiver<std::io::Result<()>>,
    writer: JoinHandle<()>,
    sequence: u64,
    dropped: u64,
}

impl EventFile {
    /// Starts to write to a file, which is emptied first.
    ///
    /// The file is opened by the thread that writes it, because opening a pipe waits for its reader.
    fn create(path: &Path) -> std::io::Result<Self> {
        let is_pipe = std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        let file = if is_pipe {
            None
        } else {
            Some(std::fs::File::create(path)?)
        };
        let (lines, receiver) = sync_channel::<String>(BUFFER);
        let (ended, done) = sync_channel(1);
        let target = path.to_owned();
        let writer = std::thread::Builder::new().name("events".into()).spawn(move || {
            let written = write_lines(&target, file, &receiver);
            // Nobody waits for it when the command gave up on the file.
            let _ = ended.send(written);
        })?;
        Ok(Self {
            path: path.to_owned(),
            lines,
            done,
            writer,
            sequence: 0,
            dropped: 0,
        })
    }

    /// Waits a moment for the last lines; returns what people should know if not all were written.
    fn finish(self) -> Option<String> {
        drop(self.lines);
        let path = self.path.display();
        match self.done.recv_timeout(PATIENCE) {
            Ok(Ok(())) if self.dropped == 0 => {
                // It has sent its result and returns at once.
                let _ = self.writer.join();
                None
            }
            Ok(Ok(())) => Some(format!(
                "{path} was slow: {} events are missing in it",
                self.dropped
            )),
            Ok(Err(error)) => Some(format!("events could not be written to {path}: {error}")),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => Some(format!(
                "{path} does not take events; the last ones are missing in it"
            )),
        }
    }
}

fn write_lines(path: &Path, file: Option<std::fs::File>, lines: &Receiver<String>) -> std::io::Result<()> {
    let mut file = match file {
        Some(file) => file,
        None => std::fs::OpenOptions::new().write(true).open(path)?,
    };
    while let Ok(line) = lines.recv() {
        file.write_all(line.as_bytes())?;
    }
    file.flush()
}

/// The event stream of a command. Every copy writes to the same file, or to none where nobody asked for it.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Option<EventFile>>>);

impl Events {
    /// Starts the stream.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let file = match path {
            None => None,
            Some(path) => Some(EventFile::create(path).map_err(|error| {
                Failure::new("events cannot be written").detail(format!("{}: {error}.", path.display()))
            })?),
        };
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// Returns whether anybody asked for it.
    pub(crate) fn is_wanted(&self) -> bool {
        self.file().is_some()
    }

    /// Writes an event.
    pub(crate) fn write(&self, event: EventJson) {
        if let Some(file) = self.file().as_mut() {
            file.write(event);
        }
    }

    /// Ends the stream, and tells people if not all of it was written.
    pub(crate) fn finish(&self, printer: &Printer) {
        let file = self.file().take();
        if let Some(file) = file
            && let Some(problem) = tokio::task::block_in_place(|| file.finish())
        {
            printer.error(&format!("warning: {problem}"));
        }
    }

    fn file(&self) -> MutexGuard<'_, Option<EventFile>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ApplyObserver for Events {
    fn observe(&mut self, event: &ApplyEvent) {
        self.write(event.into());
    }
}

impl EventFile {
    fn write(&mut self, event: EventJson) {
        self.sequence += 1;
        let line = EventLineJson {
            format_version: "1.0".into(),
            sequence: self.sequence,
            at: jiff::Timestamp::now().to_string(),
            event,
        };
        let Ok(mut text) = serde_json::to_string(&line) else {
            self.dropped += 1;
            return;
        };
        text.push('\n');
        match self.lines.try_send(text) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => {}
            Err(TrySendError::Full(_)) => self.dropped += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(serial: u64) -> ApplyEvent {
        ApplyEvent::RunFinished {
            done: 1,
            failed: 0,
            skipped: 0,
            uncertain: 0,
            serial,
        }
    }

    #[test]
    fn each_event_is_a_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.ndjson");
        let mut file = EventFile::create(&path).unwrap();
        file.write((&ApplyEvent::RunStarted { steps: 1, resumed: 0 }).into());
        file.write((&event(7)).into());
        assert_eq!(file.finish(), None);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<EventLineJson> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[1].sequence, 2);
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nothing_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let mut file = EventFile::create(&path).unwrap();
        for serial in 0..(BUFFER as u64 + 10) {
            file.write((&event(serial)).into());
        }
        assert!(file.finish().unwrap().contains("does not take events"));
    }
}
