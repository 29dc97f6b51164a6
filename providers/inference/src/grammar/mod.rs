//! The value grammars of dstack's language.

pub mod env;
pub mod gpu;
pub mod memory;
pub mod range;
