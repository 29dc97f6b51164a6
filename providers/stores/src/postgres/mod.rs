//! State in a PostgreSQL database.

mod connect;
mod error;
mod layout;
mod lease;
mod log;
mod password;
mod reseal;
mod rows;
mod session;
mod settings;
mod store;
mod tls;
mod url;

pub use settings::{DEFAULT_SCHEMA, PostgresSettings};
pub use store::{OpenOptions, PostgresStore};
