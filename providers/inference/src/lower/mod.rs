//! Lowering: what a project's gateways, services, tasks and development environments are made of.
//!
//! Of a fleet reached over SSH: its machines. On AWS: a machine for each gateway and each replica, with its network. Of a
//! machine that serves: the agent. Of a gateway: its listener on the agent, and the certificates of its host names. Of a
//! service: per replica a unit, with a router one `router_worker` each and the router's unit, and one route. Of a task or a
//! development environment: per node a unit that is meant to end. The order
//! of applying falls out of the references between them.

mod acme;
mod aws;
mod backend;
mod builder;
mod check;
mod container;
mod count;
mod development;
mod files;
mod gateway;
mod local;
mod machines;
mod names;
mod nodes;
mod peers;
mod placement;
mod placing;
mod program;
mod project;
mod role;
mod routing;
mod run_keys;
mod runtime;
mod separation;
mod service;
mod slots;
mod task;
mod unread;
pub(crate) mod unsupported;

pub use aws::AWS_REGION;
pub use local::LocalRuntime;
pub(crate) use nodes::slot_of;
pub use project::{Context, Placed, RecordedSlot, Serving, lower};

pub(crate) use acme::AcmeSettings;
pub(crate) use names::gateway_among;

pub(crate) use aws::{AWS, AwsSettings, survey as aws_survey, surveys as aws_surveys};

pub(crate) use backend::{LOCAL, SSH};
pub(crate) use development::{as_task, check as check_environment};
pub(crate) use local::{facts as local_facts, runtime as local_runtime, survey as local_survey};
pub(crate) use machines::surveys;
pub(crate) use runtime::{Services, choose as choose_runtimes};
pub(crate) use unread::Unread;
