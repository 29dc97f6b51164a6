//! `gabion ci run`: which run made the plan of a commit.

use super::target::{Target, is_commit};
use crate::args::CiRun;
use crate::ci::find_run;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;

/// Prints the id of the newest run that succeeded for a commit.
pub(super) async fn run(args: &CiRun, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    if !is_commit(&args.commit) {
        return Err(Failure::new("not a commit")
            .detail("A commit is named by all of its 40 or 64 hexadecimal digits."));
    }
    let target = Target::of(&args.service, options)?;
    let finding = find_run(
        &target.api,
        target.forge,
        &target.repository,
        &args.commit,
        &args.workflow,
    );
    let found = interrupts.unless(finding).await??.ok_or_else(|| {
        Failure::new("no such run")
            .detail(format!(
                "No run of `{}` succeeded for a pull or merge request at {}.",
                args.workflow, args.commit
            ))
            .hint("let the plan of that commit finish, or run it again")
    })?;
    printer.data(&format!("{found}\n"));
    Ok(Exit::Done)
}
