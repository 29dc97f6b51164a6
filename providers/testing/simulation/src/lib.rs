//! A deterministic simulation of executor and stores: random projects, edits and faults, and processes that crash or are
//! paused at every boundary between them and the world, in virtual time.
//!
//! | module | what it owns |
//! | --- | --- |
//! | `life` | one life: a project from its first apply to its destruction |
//! | `process` | one process: open, gather, plan, apply |
//! | `gate`, `store_gate`, `wire` | what leaves a process or reaches it, and where it is struck |
//! | `aim` | where a process is to be struck |
//! | `ledger`, `order`, `invariants` | what must hold |
//! | `project`, `configuration` | made-up projects |
//! | [`cell`] | what a strike hits: the cells of the table |
//! | [`expected`], [`table`] | which cells a run must hit, and what it hit |
//! | [`run`] | many lives on several threads |
//! | [`mutation`] | deliberate mistakes that it must catch |

mod aim;
pub mod cell;
mod configuration;
pub mod expected;
mod gate;
mod invariants;
mod ledger;
mod life;
pub mod mutation;
mod objects;
mod order;
mod process;
mod processes;
mod project;
pub mod run;
mod store_gate;
mod stores;
mod story;
pub mod table;
mod wire;

pub use life::LifeReport;
pub use stores::StoreKind;
