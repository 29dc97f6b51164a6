//! What the tests stand on: projects, HTTP, load, processes, and waiting for events.

mod chat;
mod command;
pub(crate) mod containers;
mod files;
mod http;
pub(crate) mod lan;
mod load;
pub(crate) mod machines;
mod plan;
mod process;
mod project;
mod wait;

pub(crate) use chat::Endpoint;
pub(crate) use command::Running;
pub(crate) use files::{listing, occurrences};
pub(crate) use http::{Connection, Request, authority, get, send};
pub(crate) use load::Load;
pub(crate) use plan::PlanView;
pub(crate) use process::{Unit, alive, kill_process};
pub(crate) use project::{Project, example, workers_of};
pub(crate) use wait::{eventually, within};
