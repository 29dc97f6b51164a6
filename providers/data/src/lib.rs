//! `gabion_data`: a resource that lives in no cloud at all. It stores `input` and gives it as `output`.
//!
//! Its record is the object: what the log says is what there is. So it is never drifted and never vanishes, and a call
//! whose result was not recorded did not happen. Use it to carry a value between resources, to replace something when
//! a value changes (`triggers_replace`), and to try gabion out.
//!
//! `replica_count` is like it: how many replicas a group has now, within the range that its service allows, and the rule
//! that changes the number. It is a choice that was made while things ran, so it lives in the state and not in a file.

mod provider;
mod replica_count;

pub use provider::DataProvider;
pub use replica_count::REPLICA_COUNT;
