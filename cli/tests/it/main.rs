//! The commands, through the binary: flags, streams, exit codes and words.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

mod harness;
#[path = "../json_schema/mod.rs"]
mod json_schema;
mod said;

mod apply;
#[cfg(feature = "aws")]
mod aws;
mod aws_account;
mod aws_data;
mod aws_delegation;
mod aws_drift;
mod aws_refusals;
mod aws_resources;
mod aws_rounds;
mod bad_input;
mod browser;
mod ci_comment;
mod ci_kit;
mod completion;
mod data;
mod deep_problems;
mod destroy;
mod doctor;
mod drift;
mod forge;
mod graph;
mod heal;
mod help;
mod import;
mod init;
mod interrupt;
mod lock;
mod plan;
mod plan_readers;
mod policy;
mod problem_forms;
mod programs;
mod reflex;
mod revert;
mod review;
mod run_fields;
mod sarif;
mod saved_plan;
mod schema;
mod secrets;
mod state;
mod state_history;
mod state_stores;
mod streams;
mod tasks;
mod untrusted;
mod validate;
mod variables;
