//! `gabion ci apply`: the plan that was reviewed, carried out, and what became of it where people look.

use std::path::{Path, PathBuf};

use gabion_engine::plan::Plan;

use super::target::{hand_on, number, show, tell};
use crate::args::CiApply;
use crate::ci::{Child, Review, Thread, message, run_self};
use crate::commands::show::read_plan;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::interrupt::Interrupts;
use crate::shell::shell_word;

/// Carries out the plan in a directory that `gabion ci plan` wrote.
///
/// The file is believed when its digest, the run that made it and the commit that it was made of are those that the job
/// knows from elsewhere. Otherwise it is planned again, and that plan is applied only if it does the same.
pub(super) async fn run(args: &CiApply, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let reviewed = args.dir.join("plan.gabion");
    let plan = read_plan(&reviewed)?;
    let doubt = doubt(args, &plan);
    let (child, applied) = match doubt {
        None => carry_out(args, context, &interrupts, &reviewed, &plan).await?,
        Some(why) => {
            printer.status(&format!(
                "{why} It is planned again, and applied if the plan does the same."
            ));
            let again = args.dir.join("again.gabion");
            let words = ["plan", "--same-as", &text(&reviewed), "--out", &text(&again)].map(str::to_owned);
            let child = run_self(context, &interrupts, &words, true).await?;
            match child.exit() {
                Exit::Done => {
                    let plan = read_plan(&again)?;
                    carry_out(args, context, &interrupts, &again, &plan).await?
                }
                _ => (child, again),
            }
        }
    };
    let resume = format!("{} apply {}", options.program, shell_word(&text(&applied)));
    let stack = plan.basis.stack.as_deref();
    let outcome = message::applied(&child, &resume);
    let shown = show_plan(context, &interrupts, &reviewed).await?;
    let comment = message::with_plan(&message::mark("plan", &plan.project, stack), &outcome, &shown);
    show(context, &comment);
    hand_on(context, &[("exit", child.exit().code().to_string())]);
    if !args.no_comment {
        let thread = number(args.number, options).map(Thread::Request);
        tell(context, &args.service, thread, &comment, false).await;
        let title = message::title("gabion apply failed", &plan.project, stack);
        let body = format!("{}\n{outcome}", message::mark("apply", &plan.project, stack));
        let is_done = child.exit() == Exit::Done;
        tell(context, &args.service, Ok(Thread::Issue(title)), &body, is_done).await;
    }
    Ok(child.exit())
}

/// Returns why the file cannot be believed by itself, as a sentence.
fn doubt(args: &CiApply, plan: &Plan) -> Option<String> {
    let digest = plan.digest();
    if args.digest.as_deref().is_some_and(|wanted| wanted != &*digest) {
        return Some("The plan has another digest than the one that was asked for.".to_owned());
    }
    let review = match Review::read(&args.dir.join("review.json")) {
        Ok(review) => review,
        Err(why) => return Some(why),
    };
    let (Some(commit), Some(run)) = (&args.commit, &args.run) else {
        return Some("Which run made the plan, and of which commit, was not said.".to_owned());
    };
    let same = |what: &str, found: Option<&str>, wanted: &str| {
        (found != Some(wanted)).then(|| {
            format!(
                "The plan was not made {what} `{}`.",
                crate::render::words::plain(wanted)
            )
        })
    };
    if review.digest != *digest {
        return Some("The plan is not the one that was written down with it.".to_owned());
    }
    same("of the commit", review.commit.as_deref(), commit)
        .or_else(|| same("by the run", review.run.as_deref(), run))
}

async fn carry_out(
    args: &CiApply,
    context: &Context,
    interrupts: &Interrupts,
    path: &Path,
    plan: &Plan,
) -> Result<(Child, PathBuf), crate::failure::Failure> {
    let mut words = vec![
        "apply".to_owned(),
        text(path),
        "--digest".into(),
        plan.digest().to_string(),
        "--format".into(),
        "json".into(),
    ];
    words.extend(["--events".to_owned(), text(&args.dir.join("events.ndjson"))]);
    words.extend([
        "--lock-timeout".to_owned(),
        format!("{}s", args.locking.lock_timeout.as_secs()),
    ]);
    let child = run_self(context, interrupts, &words, true).await?;
    Ok((child, path.to_owned()))
}

async fn show_plan(
    context: &Context,
    interrupts: &Interrupts,
    path: &Path,
) -> Result<String, crate::failure::Failure> {
    let words = [
        "show",
        &text(path),
        "--format",
        "markdown",
        "--max-bytes",
        "40000",
    ]
    .map(str::to_owned);
    Ok(run_self(context, interrupts, &words, true).await?.out)
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
