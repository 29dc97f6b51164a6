//! State stores for teams: object storage (S3 and compatible) and PostgreSQL.
//!
//! Both keep what the engine's SQLite store keeps, and the engine's conformance suite holds for all of them. Neither
//! keeps credentials: those come from whoever runs gabion.

pub mod object;
pub mod postgres;
mod tls;

pub use tls::install as install_tls;
