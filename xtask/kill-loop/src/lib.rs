//! Real gabion processes over a cloud that survives them: killed, stopped, interrupted and set against each other.
//!
//! With real hosts behind SSH it also cuts those off, and measures what many of them cost.
//!
//! Two programs: `gabion-over-fake-cloud` is the command line of gabion with the fake cloud's provider in it, and
//! `gabion-kill-loop` drives it. The fake cloud is a process of its own.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`cloud`] | the fake cloud's process |
//! | [`gate`] | stopping gabion between its checks and a call |
//! | [`run`] | one run of gabion, bounded in time: awaited, killed, stopped, interrupted |
//! | [`project`] | a project of a user of its own, and an end that leaves nothing running |
//! | [`store`] | where a project's state is kept, as `gabion.yml` says it |
//! | [`world`] | a configuration of many objects, and random edits of it |
//! | [`check`] | what the cloud has and what runs, against what the log says |
//! | [`kill`] | when a run is killed, and how far it had come |
//! | [`rounds`] | the kill loop |
//! | [`fleet`] | hosts behind SSH, each behind a network of its own |
//! | [`cuts`] | the cut loop |
//! | [`many`] | what many hosts cost |
//! | [`contention`] | several runs at once on one project |
//! | [`figures`] | what is counted |

pub mod check;
pub mod cloud;
pub mod contention;
pub mod cuts;
pub mod figures;
pub mod fleet;
pub mod gate;
pub mod kill;
pub mod many;
pub mod project;
pub mod rounds;
pub mod run;
pub mod store;
pub mod world;

/// What went wrong, for people.
pub type Failure = String;

/// Returns a variable of this process's environment.
#[expect(
    clippy::disallowed_methods,
    reason = "the driver is a command line, and so are the tests"
)]
fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
