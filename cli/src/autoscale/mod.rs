//! Autoscaling: how many replicas a group should have, from what its gateway counts.
//!
//! The rule is the one that was released, as the group's count is recorded with it, not the one in the files. What is
//! decided here is pure: a rule, what was measured over its window, and the time since the number last changed. The number
//! itself is changed as a person changes it, by `gabion scale`.

mod decide;
mod history;
mod rule;
mod standing;

pub(crate) use decide::{Decision, Moment, decide};
pub(crate) use history::History;
pub(crate) use rule::Rule;
pub(crate) use standing::Standing;
