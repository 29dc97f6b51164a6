//! Programs on machines: how gabion reaches a machine, runs a program there and keeps hold of it.
//!
//! * [`transport`]: the way to a machine (connections, commands, files); [`http`] and [`unix_path`] build on it.

pub mod durable;
pub mod http;
pub mod process;
pub mod transport;
pub mod unix_path;
