//! `gabion ci drift`: a look at the world on a schedule, and one issue about what it found.

use super::target::{hand_on, show, tell};
use crate::args::CiDrift;
use crate::ci::{Thread, message, run_self};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::interrupt::Interrupts;
use crate::project::LoadedProject;

/// Looks, opens or updates the issue when something drifted, and closes it when nothing did.
pub(super) async fn run(args: &CiDrift, context: &Context) -> Outcome {
    let interrupts = Interrupts::listen(&context.printer)?;
    let mut words = vec!["drift".to_owned(), "--format".into(), "markdown".into()];
    if let Some(path) = &args.junit {
        words.extend(["--junit".to_owned(), path.to_string_lossy().into_owned()]);
    }
    let child = run_self(context, &interrupts, &words, true).await?;
    let project = LoadedProject::read(&context.options);
    let name = &project.project.settings.project.value;
    let stack = context.options.stack.as_deref();
    let looked = matches!(child.exit(), Exit::Done | Exit::Changes);
    let body = match looked {
        true => child.out.clone(),
        false => message::failed(&message::mark("drift", name, stack), "drift", &child, None),
    };
    show(context, &body);
    hand_on(context, &[("exit", child.exit().code().to_string())]);
    context.printer.data(&body);
    // That nobody could look says nothing about what is there.
    if looked && !args.no_issue {
        let title = message::title("gabion drift", name, stack);
        let is_gone = child.exit() == Exit::Done;
        tell(context, &args.service, Ok(Thread::Issue(title)), &body, is_gone).await;
    }
    Ok(child.exit())
}
