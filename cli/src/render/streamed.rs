//! JSON that is never in memory as a whole.

use std::fmt;
use std::io;

use serde::{Serialize, Serializer};

/// Writes a value as a document, indented, with the end of a line.
pub(crate) fn write_json(out: &mut dyn fmt::Write, value: &impl Serialize) -> fmt::Result {
    serde_json::to_writer_pretty(Utf8(out), value).map_err(|_| fmt::Error)?;
    writeln!(out)
}

/// Takes bytes for a text. JSON is written in whole strings, never in parts of a character.
pub(crate) struct Utf8<'a>(pub(crate) &'a mut dyn fmt::Write);

impl io::Write for Utf8<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.write_str(text).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Items that are made as they are asked for.
pub(crate) type Items<'a, T> = Box<dyn Iterator<Item = T> + 'a>;

/// A list whose items are made as they are written.
pub(crate) struct Made<'a, T>(Box<dyn Fn() -> Items<'a, T> + 'a>);

impl<'a, T> Made<'a, T> {
    /// Makes a list of what this gives, which is asked as often as it is looked at.
    pub(crate) fn by<I: Iterator<Item = T> + 'a>(make: impl Fn() -> I + 'a) -> Self {
        Self(Box::new(move || Box::new(make())))
    }

    /// Returns whether it has no items.
    pub(crate) fn is_empty(&self) -> bool {
        (self.0)().next().is_none()
    }
}

impl<T: Serialize> Serialize for Made<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}
