//! The provider `gateway`: where gateways listen and which service answers where.
//!
//! Both live in the agent of their machine, which is asked through its admin socket. The agent holds them durably and
//! checks the lease epoch of every change; this crate only translates.

mod certificate;
mod listener;
mod place;
mod provider;
mod rates;
mod replica;
mod route;
pub mod schema;
mod urls;
mod values;

pub use provider::{GatewayConfig, GatewayProvider};
pub use schema::{GATEWAY_CERTIFICATE, GATEWAY_ROUTE};
