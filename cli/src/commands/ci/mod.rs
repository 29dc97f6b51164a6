//! `gabion ci`: what jobs of continuous integration do, so that it runs on a laptop and in tests as it does there.

mod apply;
mod comment;
mod drift;
mod plan;
mod run;
mod target;

use crate::args::Ci;
use crate::context::Context;
use crate::failure::Outcome;

/// Runs one of them.
pub(crate) async fn run(command: &Ci, context: &Context) -> Outcome {
    match command {
        Ci::Plan(args) => plan::run(args, context).await,
        Ci::Apply(args) => apply::run(args, context).await,
        Ci::Drift(args) => drift::run(args, context).await,
        Ci::Comment(args) => comment::run(args, context).await,
        Ci::Run(args) => run::run(args, context).await,
    }
}
