//! Applying a plan: the calls that its steps name, in the order that they give, each with its intent in the log.

pub mod event;
