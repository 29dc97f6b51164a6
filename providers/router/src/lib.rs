//! SGLang-family routers: how they are launched, the packages they come from, and the membership of their workers.

pub mod launch;
pub mod packages;
pub mod schema;
