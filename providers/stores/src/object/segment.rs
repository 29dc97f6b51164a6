//! What is in a segment: a line about it, and a line for each event with its hash.
//!
//! The bytes of an event are kept exactly as they were hashed.

use std::sync::Arc;

use gabion_engine::address::Lineage;
use gabion_engine::state::chain::{self, ChainedEvent};
use serde::{Deserialize, Serialize};

const BEFORE: &[u8] = b"{\"hash\":\"";
const BETWEEN: &[u8] = b"\",\"event\":";
const AFTER: &[u8] = b"}";

/// The first line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Heading {
    layout: u32,
    lineage: Lineage,
    first: u64,
    last: u64,
    /// The hash of the event before the first one.
    previous: Arc<str>,
}

/// Events in a row, and the hash that they chain to.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Segment {
    /// The state that they belong to.
    pub(crate) lineage: Lineage,
    /// The hash of the event before the first one.
    pub(crate) previous: Arc<str>,
    /// The events; never none.
    pub(crate) events: Vec<ChainedEvent>,
}

impl Segment {
    /// Returns the sequence numbers of the first and the last event.
    pub(crate) fn range(&self) -> (u64, u64) {
        let sequence = |event: Option<&ChainedEvent>| event.map_or(0, |event| event.event.sequence);
        (sequence(self.events.first()), sequence(self.events.last()))
    }

    /// Returns the hash of the last event.
    pub(crate) fn chain(&self) -> Arc<str> {
        self.events
            .last()
            .map_or_else(|| self.previous.clone(), |event| event.hash.clone())
    }

    /// Returns the segment as bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (first, last) = self.range();
        let heading = Heading {
            layout: super::manifest::LAYOUT,
            lineage: self.lineage,
            first,
            last,
            previous: self.previous.clone(),
        };
        let mut bytes = serde_json::to_vec(&heading).expect("a heading has only text and whole numbers");
        bytes.push(b'\n');
        for event in &self.events {
            for part in [
                BEFORE,
                event.hash.as_bytes(),
                BETWEEN,
                &event.encoded,
                AFTER,
                b"\n",
            ] {
                bytes.extend_from_slice(part);
            }
        }
        bytes
    }

    /// Reads a segment and checks its chain, with why it cannot be read as the error, without a full stop.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, String> {
        let Some(text) = bytes.strip_suffix(b"\n") else {
            return Err("it was cut off".to_owned());
        };
        let mut lines = text.split(|byte| *byte == b'\n');
        let heading: Heading = serde_json::from_slice(lines.next().unwrap_or_default())
            .map_err(|error| format!("its heading: {error}"))?;
        let mut events = Vec::new();
        for (sequence, line) in (heading.first..).zip(lines) {
            let event = line
                .strip_prefix(BEFORE)
                .and_then(|rest| rest.strip_suffix(AFTER))
                .and_then(|rest| rest.split_at_checked(64))
                .and_then(|(hash, rest)| {
                    Some((std::str::from_utf8(hash).ok()?, rest.strip_prefix(BETWEEN)?))
                });
            let Some((hash, encoded)) = event else {
                return Err(format!("the line of event {sequence} is none"));
            };
            events.push(
                ChainedEvent::read(encoded, hash).map_err(|error| format!("event {sequence}: {error}"))?,
            );
        }
        let segment = Self {
            lineage: heading.lineage,
            previous: heading.previous,
            events,
        };
        if segment.events.is_empty() || segment.range() != (heading.first, heading.last) {
            let (first, last) = segment.range();
            return Err(format!(
                "it holds events {first} to {last}, and its heading says {} to {}",
                heading.first, heading.last
            ));
        }
        chain::verify(
            heading.first.saturating_sub(1),
            &segment.previous,
            &segment.events,
        )
        .map_err(|error| error.to_string())?;
        Ok(segment)
    }
}
