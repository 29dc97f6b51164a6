//! The value grammars of dstack's language.

pub mod cpu;
pub mod cron;
pub mod duration;
pub mod env;
pub mod file;
pub mod gpu;
pub mod gpu_names;
pub mod host_name;
pub mod memory;
pub mod mount;
pub mod name;
pub mod port;
pub mod python;
pub mod range;
pub mod reference;
pub mod repo;
pub mod shell;
pub mod tags;
pub mod user;

mod path;
mod shorthand;
mod tokens;

#[cfg(test)]
mod properties;
