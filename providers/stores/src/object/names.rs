//! The names of the objects of a state, below its prefix.
//!
//! What is written once has a name that is never used again: who wrote it, and the how-manieth of theirs it is. The
//! lease epoch in it says from when on its writer can do nothing more with it.

use std::fmt::Write;

/// The object that says what the state consists of.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The object that says who may write.
pub(crate) const LEASE: &str = "lease.json";

/// What an object that is written once holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Events.
    Segment,
    /// A whole state.
    Snapshot,
    /// A page of the list of older segments.
    Page,
    /// Nothing: it only shows what the service does.
    Probe,
}

impl Kind {
    const ALL: [Self; 4] = [Self::Segment, Self::Snapshot, Self::Page, Self::Probe];

    fn directory(self) -> &'static str {
        match self {
            Self::Segment => "segments",
            Self::Snapshot => "snapshots",
            Self::Page => "index",
            Self::Probe => "probes",
        }
    }

    fn extension(self) -> &'static str {
        match self {
            Self::Segment => "jsonl",
            _ => "json",
        }
    }
}

/// The parts of the name of an object that is written once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Name {
    /// What it holds.
    pub(crate) kind: Kind,
    /// The sequence number of its first event; of a snapshot, of its last.
    pub(crate) first: u64,
    /// The sequence number of its last event.
    pub(crate) last: u64,
    /// The lease epoch that its writer had.
    pub(crate) epoch: u64,
    /// Who wrote it.
    pub(crate) writer: String,
    /// How many its writer had written by then.
    pub(crate) number: u64,
}

impl Name {
    /// Returns the name as text.
    pub(crate) fn text(&self) -> String {
        let Self {
            kind,
            first,
            last,
            epoch,
            writer,
            number,
        } = self;
        let mut text = format!("{}/{first:012}", kind.directory());
        if *kind != Kind::Snapshot {
            write!(text, "-{last:012}").expect("text can always be written to");
        }
        write!(text, ".{epoch}.{writer}.{number}.{}", kind.extension())
            .expect("text can always be written to");
        text
    }

    /// Reads a name; `None` is somebody else's object, or no object that is written once.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let (directory, file) = text.split_once('/')?;
        let kind = Kind::ALL.into_iter().find(|kind| kind.directory() == directory)?;
        let mut parts = file.split('.');
        let range = parts.next()?;
        let (first, last) = match kind {
            Kind::Snapshot => (range, range),
            _ => range.split_once('-')?,
        };
        let name = Self {
            kind,
            first: first.parse().ok()?,
            last: last.parse().ok()?,
            epoch: parts.next()?.parse().ok()?,
            writer: parts.next()?.to_owned(),
            number: parts.next()?.parse().ok()?,
        };
        (name.text() == text).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_they_were_written() {
        for (kind, text) in [
            (Kind::Segment, "segments/000000000003-000000000007.2.ab12.9.jsonl"),
            (Kind::Snapshot, "snapshots/000000000007.2.ab12.9.json"),
            (Kind::Page, "index/000000000003-000000000007.2.ab12.9.json"),
            (Kind::Probe, "probes/000000000003-000000000007.2.ab12.9.json"),
        ] {
            let first = if kind == Kind::Snapshot { 7 } else { 3 };
            let name = Name {
                kind,
                first,
                last: 7,
                epoch: 2,
                writer: "ab12".to_owned(),
                number: 9,
            };
            assert_eq!(name.text(), text);
            assert_eq!(Name::read(text), Some(name));
        }
        for foreign in [
            "manifest.json",
            "segments/x.1.a.1.jsonl",
            "segments/1-2.1.a.1.jsonl",
            "other/1-2.1.a.1.json",
        ] {
            assert_eq!(Name::read(foreign), None, "{foreign}");
        }
    }
}
