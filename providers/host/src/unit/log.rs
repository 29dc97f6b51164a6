//! A unit's log: reading its end, following it, rotating it. That of a service is the journal, which rotates itself.
//!
//! The program holds the file open for appending, so a log is rotated under it by copying and cutting; at a start, when nobody writes, by renaming.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;

use super::directory::UnitDirectory;
use super::log_times;
use super::spec::LogSettings;
use crate::durable::at;
use crate::systemd::{Journal, JournalFollower};

/// How often a followed log is looked at.
const LOOK: Duration = Duration::from_millis(150);

/// What is wanted of a log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// The last so many lines; `None` means all.
    pub lines: Option<usize>,
    /// What was written so long ago or later; `None` means at any time.
    pub since: Option<Duration>,
}

/// What was found of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogText {
    /// The lines.
    pub text: String,
    /// Whether it was known when they were written, where that was asked; lines from before may be among them otherwise.
    pub is_timed: bool,
    /// How long the log was then, to follow it from there; `None` where the journal has it.
    pub end: Option<u64>,
}

/// Returns what is wanted of the current log, `max_bytes` at most.
///
/// # Errors
/// When it cannot be read.
pub fn read(directory: &UnitDirectory, query: LogQuery, max_bytes: u64) -> io::Result<LogText> {
    let lines = query.lines.unwrap_or(usize::MAX);
    let at = query
        .since
        .map(|since| Timestamp::now().checked_sub(since).unwrap_or(Timestamp::MIN));
    if let Some(journal) = Journal::of(directory) {
        return Ok(LogText {
            text: journal.read(query.lines, at, max_bytes)?,
            is_timed: true,
            end: None,
        });
    }
    let end = match fs::metadata(directory.current_log()) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
        Err(error) => return Err(at_path(directory, error)),
    };
    let from = match at {
        None => Some(0),
        Some(at) => log_times::length_at(directory, at)?,
    };
    // A log that was cut since is all new.
    let from_byte = from.filter(|from| *from <= end).unwrap_or(0);
    let text = tail_of_file(directory, lines, (end - from_byte).min(max_bytes), end)?;
    Ok(LogText {
        text,
        is_timed: from.is_some(),
        end: Some(end),
    })
}

fn at_path(directory: &UnitDirectory, error: io::Error) -> io::Error {
    at(&directory.current_log(), error)
}

/// Returns the last `lines` lines of the current log, `max_bytes` at most; empty when there is none.
///
/// A first line that does not fit is left out unless it is the only one, which is cut at its front.
pub fn tail(directory: &UnitDirectory, lines: usize, max_bytes: u64) -> io::Result<String> {
    if let Some(journal) = Journal::of(directory) {
        return journal.read(Some(lines), None, max_bytes);
    }
    tail_of_file(directory, lines, max_bytes, u64::MAX)
}

/// The same of the file, up to its byte `end`.
fn tail_of_file(directory: &UnitDirectory, lines: usize, max_bytes: u64, end: u64) -> io::Result<String> {
    let path = directory.current_log();
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        Err(error) => return Err(at(&path, error)),
    };
    let length = file.metadata()?.len().min(end);
    // One byte more than asked for tells whether the first line is whole.
    let from = length.saturating_sub(max_bytes.saturating_add(1));
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(length - from).read_to_end(&mut bytes)?;
    let mut text = bytes.as_slice();
    if length > max_bytes {
        text = match text.iter().position(|byte| *byte == b'\n') {
            Some(end) if end + 1 < text.len() => &text[end + 1..],
            _ => &text[1.min(text.len())..],
        };
    }
    Ok(last_lines(&String::from_utf8_lossy(text), lines).to_owned())
}

fn last_lines(text: &str, lines: usize) -> &str {
    if lines == 0 {
        return "";
    }
    let body = text.strip_suffix('\n').unwrap_or(text);
    match body.rmatch_indices('\n').nth(lines - 1) {
        Some((index, _)) => &text[index + 1..],
        None => text,
    }
}

/// Follows a log from its present end, or from `from`; see [`LogFollower::next`].
#[must_use]
pub fn follow(directory: &UnitDirectory, from: LogPosition) -> LogFollower {
    let position = match from {
        LogPosition::Start => 0,
        LogPosition::At(byte) => byte,
        LogPosition::End => fs::metadata(directory.current_log()).map_or(0, |metadata| metadata.len()),
    };
    LogFollower {
        path: directory.current_log(),
        file: None,
        position,
        journal: Journal::of(directory).map(|journal| journal.follow()),
    }
}

/// Where following begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogPosition {
    /// At the first byte of the current log.
    Start,
    /// After so many bytes.
    At(u64),
    /// After its last byte.
    End,
}

/// A log that is being followed across restarts and rotations.
#[derive(Debug)]
pub struct LogFollower {
    path: PathBuf,
    file: Option<(u64, File)>,
    position: u64,
    /// Where the unit is a service.
    journal: Option<JournalFollower>,
}

impl LogFollower {
    /// Waits for the next bytes; never empty. Ends with an error only when the log cannot be read; a unit that is gone just says nothing more.
    ///
    /// # Cancellation
    /// Safe: bytes are returned or still to come.
    pub async fn next(&mut self) -> io::Result<Bytes> {
        if let Some(journal) = &mut self.journal {
            return journal.next().await;
        }
        loop {
            let bytes = self.read()?;
            if !bytes.is_empty() {
                return Ok(bytes);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Returns what is there now in the log's file, possibly nothing.
    pub fn read(&mut self) -> io::Result<Bytes> {
        let current = match fs::metadata(&self.path) {
            Ok(metadata) => Some(metadata.ino()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(at(&self.path, error)),
        };
        if self.file.is_none() {
            match File::open(&self.path) {
                Ok(file) => self.file = Some((file.metadata()?.ino(), file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Bytes::new()),
                Err(error) => return Err(at(&self.path, error)),
            }
        }
        let Some((inode, file)) = &mut self.file else {
            return Ok(Bytes::new());
        };
        if file.metadata()?.len() < self.position {
            // Cut under us.
            self.position = 0;
        }
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.take(64 << 10).read_to_end(&mut bytes)?;
        self.position += bytes.len() as u64;
        if bytes.is_empty() && current.is_some_and(|current| current != *inode) {
            // Renamed away and read to its end: on to the new one.
            self.file = None;
            self.position = 0;
        }
        Ok(Bytes::from(bytes))
    }
}

/// Rotates the current log if it is larger than the settings allow, while the program goes on writing; says whether it did.
///
/// Lines written between the copy and the cut are lost, a matter of microseconds.
pub fn rotate_if_larger(directory: &UnitDirectory, settings: LogSettings) -> io::Result<bool> {
    let current = directory.current_log();
    let large = match fs::metadata(&current) {
        Ok(metadata) => metadata.len() > settings.max_bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(at(&current, error)),
    };
    if !large {
        return Ok(false);
    }
    let _guard = rotation_lock(directory)?;
    let mut log = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&current)
        .map_err(|error| at(&current, error))?;
    if log.metadata()?.len() <= settings.max_bytes {
        // Somebody else was quicker.
        return Ok(false);
    }
    shift(directory, settings)?;
    if settings.keep > 0 {
        let path = numbered(directory, 1);
        let mut copy = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| at(&path, error))?;
        io::copy(&mut log, &mut copy)?;
    }
    log.set_len(0)?;
    Ok(true)
}

/// Gives a new run a log of its own. The caller holds the unit's lock, so nobody writes.
pub(crate) fn rotate_at_start(directory: &UnitDirectory, settings: LogSettings) -> io::Result<()> {
    crate::durable::create_private_directory(&directory.logs())?;
    let current = directory.current_log();
    match fs::metadata(&current) {
        Ok(metadata) if metadata.len() > 0 => {}
        Ok(_) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(&current, error)),
    }
    let _guard = rotation_lock(directory)?;
    shift(directory, settings)?;
    if settings.keep > 0 {
        fs::rename(&current, numbered(directory, 1))
    } else {
        fs::remove_file(&current)
    }
    .map_err(|error| at(&current, error))
}

/// Makes room for a new `1.log`; those beyond the number to keep go.
fn shift(directory: &UnitDirectory, settings: LogSettings) -> io::Result<()> {
    let mut numbers: Vec<u32> = fs::read_dir(directory.logs())?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log")?.parse().ok())
        .collect();
    numbers.sort_unstable_by(|left, right| right.cmp(left));
    for number in numbers {
        let path = numbered(directory, number);
        if number >= settings.keep {
            fs::remove_file(&path)
        } else {
            fs::rename(&path, numbered(directory, number + 1))
        }
        .map_err(|error| at(&path, error))?;
    }
    Ok(())
}

fn numbered(directory: &UnitDirectory, number: u32) -> PathBuf {
    directory.logs().join(format!("{number}.log"))
}

fn rotation_lock(directory: &UnitDirectory) -> io::Result<File> {
    let path = directory.logs().join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(|error| at(&path, error))?;
    file.lock()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn unit() -> (tempfile::TempDir, UnitDirectory) {
        let root = tempfile::tempdir().unwrap();
        let directory = UnitDirectory::at(root.path());
        fs::create_dir(directory.logs()).unwrap();
        (root, directory)
    }

    fn append(directory: &UnitDirectory) -> File {
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(directory.current_log())
            .unwrap()
    }

    #[test]
    fn tail_counts_lines_and_bytes() {
        let (_root, directory) = unit();
        assert_eq!(tail(&directory, 5, 100).unwrap(), "");
        append(&directory).write_all(b"one\ntwo\nthree\n").unwrap();
        let cases = [
            (0, 100, ""),
            (1, 100, "three\n"),
            (2, 100, "two\nthree\n"),
            (9, 100, "one\ntwo\nthree\n"),
            (9, 14, "one\ntwo\nthree\n"),
            (9, 13, "two\nthree\n"),
            (9, 10, "two\nthree\n"),
            (9, 9, "three\n"),
            (9, 3, "ee\n"),
        ];
        for (lines, bytes, expected) in cases {
            assert_eq!(
                tail(&directory, lines, bytes).unwrap(),
                expected,
                "{lines} lines, {bytes} bytes"
            );
        }
    }

    #[test]
    fn a_log_is_rotated_under_its_writer() {
        let (_root, directory) = unit();
        let settings = LogSettings {
            max_bytes: 5,
            keep: 2,
        };
        let mut writer = append(&directory);
        for round in ["first.", "second", "third."] {
            writer.write_all(round.as_bytes()).unwrap();
            assert!(rotate_if_larger(&directory, settings).unwrap());
            assert!(!rotate_if_larger(&directory, settings).unwrap());
        }
        writer.write_all(b"now").unwrap();
        let read = |name: &str| fs::read_to_string(directory.logs().join(name)).unwrap_or_default();
        assert_eq!(
            [read("current.log"), read("1.log"), read("2.log"), read("3.log")],
            ["now", "third.", "second", ""]
        );
    }

    #[test]
    fn a_follower_sees_everything_across_a_cut_and_a_restart() {
        let (_root, directory) = unit();
        let settings = LogSettings {
            max_bytes: 1,
            keep: 2,
        };
        append(&directory).write_all(b"old").unwrap();
        let mut follower = follow(&directory, LogPosition::End);
        assert!(follower.read().unwrap().is_empty());
        append(&directory).write_all(b"a").unwrap();
        assert_eq!(follower.read().unwrap(), "a");
        assert!(rotate_if_larger(&directory, settings).unwrap());
        append(&directory).write_all(b"b").unwrap();
        assert_eq!(follower.read().unwrap(), "b");
        append(&directory).write_all(b"c").unwrap();
        rotate_at_start(&directory, settings).unwrap();
        append(&directory).write_all(b"d").unwrap();
        assert_eq!(follower.read().unwrap(), "c");
        assert!(follower.read().unwrap().is_empty());
        assert_eq!(follower.read().unwrap(), "d");
    }
}
