//! Damage to an SQLite store: whatever happened to its files, loading gives a state that some commit left behind, or
//! an error that names the file and what cannot be read. It never gives altered records, and never an empty project.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod bits;
mod crash;
mod files;
mod full;
mod support;
mod truncated;
