//! One build of the agent makes way for another while requests run.
//!
//! ```text
//! predecessor                                         successor
//!   freezes its files; nobody changes anything now
//!   starts it, with a channel as its standard input ──▶ takes what it is sent
//!   Offer, the lock, the admin socket, listeners ─────▶ reads the same files
//!   compares the counts ◀──────────────────────── Ready
//!   writes the unit's mark for it
//!   Commit ───────────────────────────────────────────▶ accepts
//!   stops accepting, tells systemd ◀────────── Accepting
//!   finishes what it had begun, and ends
//! ```
//!
//! Listening sockets are one and the same in both, so a connection that nobody has accepted yet is accepted by whoever is
//! left; between `Commit` and `Accepting` both may. The lock on the directory is shared too, so that there is no moment at
//! which a third could take it.
//!
//! **Killed on the way.** The successor before it accepts: the predecessor sees the channel end, writes its own mark again,
//! and goes on. The predecessor before `Commit`: the successor sees the channel end and ends too; nothing runs, the mark says
//! so, and the next apply starts the unit (under systemd, systemd does). The predecessor after `Commit`: the successor
//! serves, and the mark names it. The successor after it accepts: a program that has ended, as at any other time; what the
//! predecessor still has it finishes. Whoever asked for the handover: it goes on without them.

mod channel;
mod message;
mod predecessor;
mod start;
mod successor;
mod systemd;

pub(crate) use predecessor::{Order, Shared, hand_over};
pub(crate) use successor::{Inheritance, receive};
