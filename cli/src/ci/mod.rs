//! Comments and issues of the services that hold repositories.
//!
//! gabion writes one comment a project and stack, and goes on writing that one: it knows it by the hidden mark in its
//! first line and by who wrote it, as anybody could write a comment with such a mark. Tokens come from the environment,
//! go nowhere but to the API, and are never printed.

mod body;
mod forge;
mod http;

pub(crate) use forge::{Forge, Outcome, Request, Thread, post};
pub(crate) use http::Api;
