//! What tests need and no user sees: a strict fake cloud, in process and as a process of its own, and the conformance
//! suite that every provider runs.

pub mod acme;
pub mod aws;
pub mod booted;
pub mod conformance;
pub mod dns;
pub mod fake;
pub mod network;
pub mod objects;
pub mod postgres;
pub mod proxy;
pub mod sshd;
pub mod store_adopt;
pub mod store_conformance;
pub mod store_events;
pub mod store_random;
pub mod wait;
