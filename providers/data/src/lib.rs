//! `gabion_data`: a resource that lives in no cloud at all. It stores `input` and gives it as `output`.
//!
//! Its record is the object: what the log says is what there is. So it is never drifted and never vanishes, and a call
//! whose result was not recorded did not happen. Use it to carry a value between resources, to replace something when
//! a value changes (`triggers_replace`), and to try gabion out.

mod provider;

pub use provider::DataProvider;
