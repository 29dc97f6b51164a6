//! The engine's specification: what planning and applying do to a cloud and a state, a file for each behaviour.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod breach;
mod cancel;
mod chain;
mod computed;
mod conditions;
mod crash;
mod create;
mod data;
mod destroy;
mod drift;
mod durable;
mod failure;
mod gather;
mod heal;
mod import;
mod incomplete;
mod late;
mod lease;
mod lost_answer;
mod moved;
mod offers;
mod properties;
mod rebuild;
mod replace;
mod resume;
mod retry;
mod revert;
mod roll;
mod scale;
mod secrets;
mod selection;
mod store;
mod support;
mod taint;
mod unasked;
mod unknown;
mod update;
mod upgrade;
