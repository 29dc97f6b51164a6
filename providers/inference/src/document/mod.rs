//! dstack's documents, typed.

pub mod gateway;
pub mod probe;
pub mod router;
pub mod service;
