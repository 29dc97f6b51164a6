//! State in a PostgreSQL database.

mod change;
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
mod writes;

pub use settings::{DEFAULT_SCHEMA, PostgresSettings};
pub use store::{OpenOptions, PostgresStore};
