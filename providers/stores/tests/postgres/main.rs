//! The PostgreSQL store, on a real server.
#![expect(
    clippy::disallowed_methods,
    reason = "tests find their server through the environment"
)]

mod conformance;
mod contention;
mod crash;
mod damage;
mod measure;
mod place;
mod proxy;
mod server;
mod tls;
