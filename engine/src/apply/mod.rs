//! Applying a plan: the calls that its steps name, in the order that they give, each with its intent in the log.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`executor`] | the run: one task that starts steps, writes the log and tells the observer |
//! | `offer` | the next of the plan's offers, once there is no capacity for one |
//! | `results`, `commit` | what calls say, made durable before anything follows from it |
//! | [`scheduler`] | which steps may start (pure) |
//! | `prepare` | from a step to a call, with everything known by now |
//! | `call`, `first_poll` | one call: lease, deadline, retries, cancellation, panics |
//! | `view` | the present: the recorded state and what this run's calls gave |
//! | `verify` | what a call gave, against what was planned |
//! | `preamble`, `resume` | what is recorded before the first step and after the last; going on with the same plan |

mod call;
mod commit;
mod control;
pub mod event;
pub mod executor;
mod first_poll;
mod offer;
mod preamble;
mod prepare;
mod report;
mod results;
mod resume;
pub mod scheduler;
mod verify;
mod view;
mod withdrawn;

pub use control::ApplyControl;
pub use executor::apply;
pub use report::{ApplyError, ApplyOptions, ApplyReport, ApplyRequest, NoSecrets, SecretLookup, StepReport};
