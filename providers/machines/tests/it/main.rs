//! Machines behind a real SSH server on this machine's loopback address.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "what a skipped test leaves for its reader")]

mod agent_unit;
mod failures;
mod handover;
mod hostile;
mod makes_way;
mod moving_address;
mod reach;
mod scene;
mod services;
mod trouble;
mod trust;
mod units;
