//! What scenarios are made of.

mod apply;
mod provider;
mod render;
mod scenario;

pub(crate) use provider::Toy;
pub(crate) use render::render;
pub(crate) use scenario::{Scenario, address, uid_of};
