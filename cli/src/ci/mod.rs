//! What jobs of continuous integration do: commands of gabion run as processes of their own, and comments and issues of the
//! services that hold repositories.
//!
//! gabion writes one comment a project and stack, and goes on writing that one: it knows it by the hidden mark in its
//! first line and by who wrote it, as anybody could write a comment with such a mark. Tokens come from the environment,
//! go nowhere but to the API, and are never printed.

mod answer;
mod body;
mod child;
mod forge;
#[cfg_attr(not(feature = "forge"), path = "no_http.rs")]
mod http;
pub(crate) mod message;
mod review;
mod runs;

pub(crate) use child::{Child, run_self};
pub(crate) use forge::{Forge, Request, Thread, post};
pub(crate) use http::Api;
pub(crate) use review::Review;
pub(crate) use runs::find_run;
