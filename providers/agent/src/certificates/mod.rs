//! Certificates of a gateway's host names: got from an ACME authority, kept here, renewed here.
//!
//! A certificate is asked for only while there is none that serves: first its name must lead to this gateway, then one
//! order is made, whose URL is durable before anything is done for it, so that a crash goes on with that order. Account and
//! certificate keys are made on this machine and never leave it. What was got is served until something newer was got,
//! whatever fails meanwhile.
//!
//! * [`types`]: what is said of certificates over the admin socket.
//! * [`files`]: what is on the disk; [`served`]: what the listeners see.
//! * [`dns`](crate::dns), [`acme`], [`client`]: the outside world.
//! * [`renewal`]: what is done when; [`operations`]: what can be asked for.

pub(crate) mod acme;
pub(crate) mod client;
pub(crate) mod files;
pub(crate) mod operations;
pub(crate) mod renewal;
pub(crate) mod served;
pub(crate) mod types;

pub use renewal::Clock;
