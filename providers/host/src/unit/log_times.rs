//! When a log's lines were written, to within a second: programs write them without a time.
//!
//! The process beside a program notes how long the log is whenever that changed. A program with no process beside it has
//! no times.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::directory::UnitDirectory;
use crate::durable;

/// How often the log's length is looked at.
const TICK: Duration = Duration::from_secs(1);

/// How long the file of times may become; every second note goes then.
const MOST_BYTES: usize = 256 << 10;

fn file(directory: &UnitDirectory) -> PathBuf {
    directory.logs().join("times")
}

/// Notes the times of a new log for ever.
pub(crate) async fn keep(directory: UnitDirectory) {
    let mut notes = Notes::default();
    loop {
        // What cannot be noted now is noted at the next tick.
        let _ = notes.look(&directory, Timestamp::now());
        tokio::time::sleep(TICK).await;
    }
}

#[derive(Default)]
struct Notes {
    length: Option<u64>,
    written: usize,
}

impl Notes {
    fn look(&mut self, directory: &UnitDirectory, now: Timestamp) -> io::Result<()> {
        let length = fs::metadata(directory.current_log()).map_or(0, |metadata| metadata.len());
        if self.length == Some(length) {
            return Ok(());
        }
        // A new log, or one that was cut.
        let anew = self.length.is_none_or(|before| before > length);
        let path = file(directory);
        let mut notes = OpenOptions::new()
            .create(true)
            .write(true)
            .append(!anew)
            .truncate(anew)
            .mode(0o600)
            .open(&path)?;
        let line = format!("{} {length}\n", now.as_millisecond());
        notes.write_all(line.as_bytes())?;
        self.written = if anew {
            line.len()
        } else {
            self.written + line.len()
        };
        self.length = Some(length);
        if self.written > MOST_BYTES {
            let text = fs::read_to_string(&path)?;
            let fewer: String = text.split_inclusive('\n').step_by(2).collect();
            durable::write_atomic(&path, fewer.as_bytes(), 0o600)?;
            self.written = fewer.len();
        }
        Ok(())
    }
}

/// Returns how long the log was at a time, or a little before; `None` for a log without times.
pub(super) fn length_at(directory: &UnitDirectory, at: Timestamp) -> io::Result<Option<u64>> {
    let Some(bytes) = durable::read_optional(&file(directory))? else {
        return Ok(None);
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut notes = text.lines().filter_map(|line| {
        let (time, length) = line.split_once(' ')?;
        Some((time.parse::<i64>().ok()?, length.parse::<u64>().ok()?))
    });
    let Some((_, first)) = notes.next() else {
        return Ok(None);
    };
    let before = notes
        .take_while(|(time, _)| *time <= at.as_millisecond())
        .last()
        .map(|(_, length)| length);
    Ok(Some(before.unwrap_or(first)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_found_in_what_was_noted_and_a_cut_log_begins_anew() {
        let root = tempfile::tempdir().unwrap();
        let directory = UnitDirectory::at(root.path());
        fs::create_dir(directory.logs()).unwrap();
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(length_at(&directory, at(0)).unwrap(), None);
        let mut notes = Notes::default();
        for (second, text) in [(10, ""), (11, "one\n"), (12, "one\n"), (20, "one\ntwo\n")] {
            fs::write(directory.current_log(), text).unwrap();
            notes.look(&directory, at(second)).unwrap();
        }
        for (second, length) in [(0, 0), (10, 0), (11, 4), (19, 4), (20, 8), (99, 8)] {
            assert_eq!(
                length_at(&directory, at(second)).unwrap(),
                Some(length),
                "{second}"
            );
        }
        fs::write(directory.current_log(), "x").unwrap();
        notes.look(&directory, at(30)).unwrap();
        assert_eq!(length_at(&directory, at(99)).unwrap(), Some(1));
    }
}
