//! The commands: each takes its arguments and says how it ended.

mod agent;
mod apply;
mod attach;
mod beside;
mod ci;
mod completion;
mod doctor;
mod drift;
mod find;
mod forward;
mod graph;
mod heal;
mod ide;
mod import;
mod init;
mod init_store;
mod log_lines;
mod logs;
mod offer;
mod output;
mod plan;
mod ps;
mod reconcile;
mod reflex;
mod scale;
mod schema;
mod show;
mod state;
mod validate;

use crate::args::Command;
use crate::context::Context;
use crate::failure::Outcome;

pub(crate) use agent::serve as serve_agent;
pub use drift::{DriftReportJson, NotAskedJson, UnmanagedJson};

/// Runs a command.
pub(crate) async fn run(command: Command, context: &Context) -> Outcome {
    match command {
        Command::Init(args) => init::run(&args, context).await,
        Command::Validate(args) => validate::run(&args, context),
        Command::Ci(command) => ci::run(&command, context).await,
        Command::Completion(args) => Ok(completion::run(&args, context)),
        Command::Plan(args) => plan::run(&args, context).await,
        Command::Show(args) => show::run(&args, context),
        Command::Apply(args) => apply::run(&args, context).await,
        Command::Scale(args) => scale::run(&args, context).await,
        Command::Heal(args) => heal::run(&args, context).await,
        Command::Reconcile(args) => reconcile::run(&args, context).await,
        Command::Destroy(args) => apply::destroy(&args, context).await,
        Command::Drift(args) => drift::run(&args, context).await,
        Command::Import(args) => import::run(&args, context).await,
        Command::Graph(args) => graph::run(&args, context).await,
        Command::Schema(args) => schema::run(&args, context),
        Command::Agent(command) => agent::run(command, context).await,
        Command::Output(args) => output::run(&args, context).await,
        Command::Offer(args) => offer::run(&args, context).await,
        Command::Ps(args) => ps::run(&args, context).await,
        Command::Logs(args) => logs::run(&args, context).await,
        Command::Attach(args) => attach::run(&args, context).await,
        Command::State(command) => state::run(&command, context).await,
        Command::Doctor => doctor::run(context).await,
        Command::Refresh(_) => reflex::refresh(),
        Command::Taint(args) => reflex::moved_to("taint", "gabion state taint", &args),
        Command::Untaint(args) => reflex::moved_to("untaint", "gabion state untaint", &args),
        Command::Workspace(_) => reflex::workspace(),
        Command::ForceUnlock(_) => reflex::force_unlock(),
        Command::Delete(_) => reflex::delete(),
        Command::Stop(_) => reflex::stop(),
    }
}
