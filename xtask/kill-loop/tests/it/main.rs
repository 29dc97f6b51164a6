//! Real processes of gabion, killed, stopped, interrupted and set against each other.

#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod cuts;
mod harness;
mod interrupt;
mod lease;
mod loops;
