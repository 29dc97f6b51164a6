//! `gabion scale`: how many replicas a group has, within its range.
//!
//! It is an apply like any other, of the configuration with another count: shown, asked about, and recorded in the log as
//! the count's own change. No file changes, and the next plan keeps the count.

use gabion_engine::world::Refresh;

use super::apply::{Doing, fresh};
use crate::args::{Scale, Selection};
use crate::context::Context;
use crate::failure::Outcome;
use crate::scaling::Wanted;

/// Sets the number of replicas of a group.
pub(crate) async fn run(args: &Scale, context: &Context) -> Outcome {
    let wanted = Wanted::new(&args.group, args.count, args.only_count)?;
    let selection = Selection {
        target: wanted.targets(),
        ..Selection::default()
    };
    let what = Doing {
        mode: gabion_engine::plan::Mode::Apply,
        operation: "scale",
        arguments: wanted.arguments(),
        selection: &selection,
        refresh: Refresh::Full,
        execution: &args.execution,
        scale: Some(&wanted),
    };
    fresh(&what, context).await
}
