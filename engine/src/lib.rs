//! The engine of gabion: infrastructure as code for LLM inference.
//!
//! The engine turns a project's files, the recorded state and a reading of the real world into a plan, and carries the
//! plan out so that a crash at any instant loses nothing. It knows no provider, no resource type and no document type
//! by name: those are registered by whoever builds a program with it.
//!
//! # The pipeline
//!
//! ```text
//! files ──parse──▶ documents ──lower──▶ resources ──▶ ResourceGraph ─┐
//!                  (typed, spans)        (desired)                   ├─ plan ─▶ Plan ──apply──▶ provider calls
//! store ──fold──▶ State (recorded) ──gather──▶ World (actual, facts) ┘           │           │ intent · checkpoint · result
//!                                                                                ▼           ▼
//!                                                                     text · markdown · json  event log (append-only)
//! ```
//!
//! * **Gather** reads: recorded objects in batches, facts, calls whose result was lost. It yields one serialisable
//!   [`World`](world::World).
//! * **Plan** is a synchronous pure function of configuration, [`State`](state::State) and world: same inputs, same
//!   bytes. The only clock time in a [`Plan`](plan::Plan) is when its world was gathered.
//! * **Apply** makes no choice. It starts the plan's [steps](plan::step) in the order that they give, each with an
//!   intent in the log before the call and a result after it. Where an object may be one of several offers, their order
//!   is the plan's, and the next one is asked for only when the one before is known to have made nothing.
//!
//! # Code map
//!
//! | Module | What it owns |
//! | --- | --- |
//! | [`address`] | names and identifiers |
//! | [`value`] | values: known, unknown until apply, or secret |
//! | [`diagnostic`] | problems of people's input, with places and ways out |
//! | [`schema`] | what a provider declares about a resource type |
//! | [`config`] | files → documents → resources; expressions; the registry of document families |
//! | [`resource`] | what lowering gives and planning takes |
//! | [`file_name`], [`seldom`] | what a hundred thousand resources say alike, kept once or not at all |
//! | [`provider`] | the contract between the engine and the code that knows one kind of infrastructure |
//! | [`state`] | event log, records, stores, lease, fingerprints |
//! | [`world`], [`gather`] | what the real world is like, and reading it |
//! | [`retry`], [`seal`], [`upgrade`] | when a call is made again; what may be written; records of older schema versions |
//! | [`graph`], [`diff`], [`drift`] | dependencies; differences; differences that nobody planned |
//! | [`price`] | dollars an hour |
//! | [`plan`] | the planner, the plan, its file and what it is bound to |
//! | [`revert`] | a state of the past as a configuration to plan |
//! | [`heal`] | what was applied as a configuration, and what of its plan brings back what is gone |
//! | [`apply`] | the executor, its events and its report |
//!
//! Later modules use earlier ones: values → schema → config → graph → diff → plan → apply. `provider` needs only
//! addresses, values and schemas; `state` is used by `drift`, `plan` and `apply`, and knows none of them.
//!
//! # Invariants
//!
//! Each of these is what some test holds on to.
//!
//! * The planner and everything it calls is synchronous, does no I/O, and reads neither clock, environment nor
//!   randomness. Only `gather`, `apply` and the stores await.
//! * No provider, resource type or document type beyond the generic ones is named in this crate.
//! * The engine prints nothing and reads no environment variable: it returns data, diagnostics and events.
//! * Every call that changes the world has its intent in the log, durable, before it is made, and its result after;
//!   a call whose result is not recorded is observed, never repeated.
//! * A failed write of the log stops new work. It is never ignored.
//! * A step starts only after the results of the steps before it are durable.
//! * Two writers can never both append: an append names the sequence and the lease epoch that it expects.
//! * A plan is bound to what it writes and what it read; if none of that moved, it can be applied, and resumed.
//! * Right after a successful apply the plan is empty.
//! * A secret's value is in memory only: what is written is its template and a keyed fingerprint.
//! * What gabion deletes, its own log has an intent or a record for.

pub mod address;
pub mod apply;
mod asking;
pub mod config;
pub mod data;
pub mod diagnostic;
pub mod diff;
pub mod drift;
pub mod file_name;
pub mod form;
pub mod gather;
pub mod graph;
pub mod heal;
mod intern;
mod panic;
pub mod plan;
pub mod price;
pub mod provider;
pub mod redact;
pub mod resource;
pub mod retry;
pub mod revert;
pub mod schema;
pub mod seal;
pub mod seldom;
pub mod state;
pub mod upgrade;
pub mod value;
pub mod words;
pub mod world;
