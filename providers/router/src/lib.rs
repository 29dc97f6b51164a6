//! SGLang-family routers: how they are launched, the packages they come from, and the membership of their workers.

pub mod launch;
pub mod packages;
mod provider;
pub mod schema;
mod worker;

pub use provider::RouterProvider;
