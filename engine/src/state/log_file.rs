//! A whole log as one JSON file: what `gabion state pull` writes and `gabion state push` reads.
//!
//! ```json
//! {
//!   "format": "gabion-log", "format_version": 2,
//!   "lineage": "…", "project": "chat", "serial": 42, "chain": "…", "epoch": 7,
//!   "base": null,
//!   "events": [{"hash": "…", "event": {…}}, …]
//! }
//! ```
//!
//! `base` is the state that the first event follows, when history was compacted. An event's bytes are what writing it as
//! canonical JSON gives; where an earlier version of gabion wrote other bytes, they stand beside it as `encoded`.
//! Programs may format the file anew: what counts is what the hashes cover. Secrets are sealed as they are in the log;
//! the content of an encrypted store is not encrypted here.

use std::borrow::Cow;
use std::io;

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde::{Deserialize, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::address::Lineage;
use crate::form::in_first_form;
use crate::state::chain::{self, ChainedEvent};
use crate::state::copy::{CopyError, LogCopy};
use crate::state::event::Event;
use crate::state::snapshot::{State, WrittenState};

/// What names the format.
const FORMAT: &str = "gabion-log";
/// The version of the format that this build writes, and the newest that it reads: its events are those of the log's
/// formats.
const FORMAT_VERSION: u32 = 2;

/// A whole state with its history, as `gabion state pull` prints it and `gabion state push` reads it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "StateExport")]
struct Written {
    /// What names the format.
    #[schemars(example = FORMAT)]
    format: String,
    /// Its version; it is raised when a program that reads an older one would misread it.
    #[schemars(example = FORMAT_VERSION)]
    format_version: u32,
    /// The state's identifier for life.
    lineage: Lineage,
    /// The project's name when the state was created.
    project: String,
    /// The number of the last event.
    serial: u64,
    /// The hash of the last event, in hexadecimal.
    chain: String,
    /// The highest lease epoch that was granted.
    epoch: u64,
    /// The state that the first event follows; null unless history was compacted.
    #[schemars(with = "Option<WrittenState>")]
    base: Option<State>,
    /// The SHA-256 of the base, which no event's hash covers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    base_digest: Option<String>,
    /// Every event since.
    events: Vec<WrittenEvent>,
}

/// An event, and what chains it to those before.
#[derive(Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "ChainedEvent")]
struct WrittenEvent {
    /// The hash of its bytes and of the event before, in hexadecimal.
    hash: String,
    /// The event.
    event: Event,
    /// Its bytes, where they are not what writing it as canonical JSON gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    encoded: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    format: String,
    format_version: u32,
}

/// Why a file is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogFileError {
    /// It is no JSON, or another one.
    #[error("it is no file that `gabion state pull` wrote: {0}")]
    Foreign(String),
    /// It was written by a later version.
    #[error("it has format {found}, and this gabion knows formats up to {FORMAT_VERSION}")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It was changed, or is not whole.
    #[error("it was altered or is not whole: {0}")]
    Altered(#[from] CopyError),
    /// Its base is not the one that was written.
    #[error(
        "it was altered or is not whole: the state that its events follow is not the one that was written"
    )]
    Base,
    /// What it says of itself is not what its events give.
    #[error("it was altered or is not whole: it ends at serial {found}, and says that it ends at {said}")]
    End {
        /// Where its events end.
        found: u64,
        /// Where it says that they do.
        said: u64,
    },
}

fn digest(base: &State) -> String {
    let text = serde_json::to_vec(base).expect("a state has only text keys and finite numbers");
    hex::encode(Sha256::digest(text))
}

/// A [`Written`] whose events are made as they are written, with the same keys.
#[derive(Serialize)]
struct Writing<'a> {
    format: &'a str,
    format_version: u32,
    lineage: Lineage,
    project: &'a str,
    serial: u64,
    chain: &'a str,
    epoch: u64,
    base: Option<&'a State>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_digest: Option<String>,
    events: WritingEvents<'a>,
}

struct WritingEvents<'a>(&'a [ChainedEvent]);

impl Serialize for WritingEvents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|event| {
            WritingEvent {
                hash: &event.hash,
                event: &event.event,
                encoded: (chain::encode(&event.event) != *event.encoded)
                    .then(|| String::from_utf8_lossy(&event.encoded)),
            }
        }))
    }
}

/// A [`WrittenEvent`], with the same keys.
#[derive(Serialize)]
struct WritingEvent<'a> {
    hash: &'a str,
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoded: Option<Cow<'a, str>>,
}

/// Writes a log as a file, event by event.
///
/// # Errors
/// When it cannot be written there.
pub fn write_to(log: &LogCopy, mut out: impl io::Write) -> io::Result<()> {
    let base = (log.base().serial > 0).then(|| log.base());
    let writing = Writing {
        format: FORMAT,
        format_version: FORMAT_VERSION,
        lineage: log.head().lineage,
        project: &log.state().project,
        serial: log.head().sequence,
        chain: &log.head().chain,
        epoch: log.epoch(),
        base,
        base_digest: base.map(digest),
        events: WritingEvents(log.events()),
    };
    serde_json::to_writer_pretty(&mut out, &writing)?;
    out.write_all(b"\n")
}

/// Returns a log as a file.
pub fn write(log: &LogCopy) -> Vec<u8> {
    let mut text = Vec::new();
    write_to(log, &mut text).expect("a log has only text keys and finite numbers");
    text
}

/// Returns the JSON Schema of the file.
pub fn json_schema() -> serde_json::Value {
    let generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    generator.into_root_schema_for::<Written>().to_value()
}

/// Reads a log from a file, and checks that it is whole.
///
/// # Errors
/// When it is no such file, is newer, or is not whole.
pub fn read(text: &[u8]) -> Result<LogCopy, LogFileError> {
    let foreign = |error: serde_json::Error| LogFileError::Foreign(error.to_string());
    let header: Header = serde_json::from_slice(text).map_err(foreign)?;
    if header.format != FORMAT {
        return Err(LogFileError::Foreign(format!(
            "its format is `{}`",
            header.format
        )));
    }
    if header.format_version > FORMAT_VERSION {
        return Err(LogFileError::Newer {
            found: header.format_version,
        });
    }
    let written: Written = serde_json::from_slice(text).map_err(foreign)?;
    let base_digest = written.base.as_ref().map(digest);
    if base_digest != written.base_digest {
        let first = written.base.as_ref().map(|base| in_first_form(|| digest(base)));
        if first != written.base_digest {
            return Err(LogFileError::Base);
        }
    }
    let mut previous = match &written.base {
        Some(base) => base.chain.to_string(),
        None => String::new(),
    };
    let events = written.events.into_iter().map(|written| {
        let encoded = match written.encoded {
            Some(encoded) => encoded.into_bytes(),
            None => chain::encode_for(&previous, &written.event, &written.hash),
        };
        previous.clone_from(&written.hash);
        // What the hash covers is what counts.
        ChainedEvent::read(encoded, written.hash)
    });
    let events = events.collect::<Result<Vec<_>, _>>().map_err(foreign)?;
    let log = LogCopy::new(written.base.unwrap_or_default(), events, written.epoch)?;
    let head = log.head();
    if head.sequence != written.serial || *head.chain != *written.chain || head.lineage != written.lineage {
        return Err(LogFileError::End {
            found: head.sequence,
            said: written.serial,
        });
    }
    Ok(log)
}
