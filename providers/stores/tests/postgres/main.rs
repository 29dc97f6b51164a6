//! The PostgreSQL store, on a real server.
#![expect(
    clippy::disallowed_methods,
    reason = "tests find their server through the environment"
)]

mod conformance;
mod damage;
mod place;
