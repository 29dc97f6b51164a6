//! gabion from end to end: the real binary, the real SGLang routers, real processes on this machine.
//!
//! Each test is a project of its own, with its own settings, state and units in a temporary directory; only the packages
//! that routers come from are shared, below `GABION_TEST_PACKAGES` (default: `target/test-packages`). A test ends with
//! `gabion destroy`, and whatever that leaves is ended by the pids in the units' own marks.
//!
//! A project is half a dozen processes. Tests run as many at a time as the machine has cores, as cargo does by itself;
//! on a slow machine `--test-threads=1` is the way.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![expect(clippy::print_stderr, reason = "what a failed test leaves for its reader")]
#![expect(
    clippy::disallowed_methods,
    reason = "the tests' own settings come from the environment"
)]

mod access;
mod autoscale;
mod aws_machines;
mod certificates;
mod containers;
mod crash;
mod drift;
mod elsewhere;
mod failing_probe;
mod harness;
mod heal;
#[path = "../json_schema/mod.rs"]
mod json_schema;
mod keeper;
mod machines;
mod neighbours;
mod nodes;
mod own_addresses;
mod policy;
mod policy_change;
mod prefill_decode;
mod quickstart;
mod rate_limits;
mod roll;
mod router_group;
mod runs;
#[path = "../it/said.rs"]
mod said;
mod saved_plan;
mod scale;
mod scale_range;
mod secrets;
mod seed_aws;
mod separate_machines;
mod upgrade;
mod vllm_router;
