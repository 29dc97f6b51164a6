//! `gabion heal`: brings back what was applied and is gone or has ended, and changes nothing else.

use std::fmt::Write;
use std::sync::Arc;

use gabion_engine::heal::Need;
use gabion_engine::state::Journal;

use crate::applying::{Run, carry_out, close};
use crate::args::{Format, Heal, Size};
use crate::asking::{approve, nobody_to_ask};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::healing::{self, Healing, OPERATION};
use crate::interrupt::Interrupts;
use crate::lasting::lasting;
use crate::output::Verbosity;
use crate::policy;
use crate::project::LoadedProject;
use crate::render::healing_json::{HealReportJson, HealedObjectJson};
use crate::render::words::plain;
use crate::shell::shell_word;
use crate::show::print_plan;
use crate::state_access::{StateAccess, existing_key};

/// Looks, and brings back what needs it. The lease is taken only for that, and what is found then counts.
pub(crate) async fn run(args: &Heal, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    // What was applied is in the state; the files say where that is.
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let state = interrupts.unless(access.load_existing()).await??;
    let key = existing_key(options)?;
    let holder = access.live_holder().await?;
    if args.dry_run
        && let Some(holder) = &holder
    {
        return Err(Failure::new("the state is locked")
            .detail(format!(
                "`{}` is at work on {}: what is missing may be on its way.",
                plain(&holder.operation),
                plain(&holder.host)
            ))
            .hint("look again when it has ended")
            .exit(Exit::Locked));
    }
    // Whoever holds the lease is waited for first.
    if holder.is_none() {
        let looking = healing::make(context, &project, &access, &state, &args.names, key.clone());
        let found = interrupts.unless(looking).await??;
        if args.dry_run || found.needs.is_empty() {
            return Ok(report(args, context, &found));
        }
    }
    drop(state);
    let opening = access.journal(
        options,
        OPERATION,
        args.execution.locking.lock_timeout,
        key.clone(),
    );
    let journal = Arc::new(interrupts.unless(opening).await??);
    let outcome = async {
        let state = journal.state();
        let looking = healing::make(context, &project, &access, &state, &args.names, key.clone());
        let found = interrupts.unless(looking).await??;
        drop(state);
        bring_back(args, context, &interrupts, &project, &journal, found).await
    };
    let outcome = outcome.await;
    close(&journal, outcome, printer).await
}

async fn bring_back(
    args: &Heal,
    context: &Context,
    interrupts: &Interrupts,
    project: &LoadedProject,
    journal: &Arc<Journal>,
    found: Healing,
) -> Outcome {
    let Context { options, printer } = context;
    if found.needs.is_empty() {
        return Ok(report(args, context, &found));
    }
    let Healing {
        plan,
        world,
        providers,
        ..
    } = found;
    let plan = lasting(plan);
    let quiet = printer.verbosity() == Verbosity::Quiet && args.execution.yes;
    if !quiet && options.format != Format::Json {
        print_plan(context, plan, &providers, false, None, Size::default());
    }
    if let Some(denied) = policy::denied(plan) {
        return Err(denied);
    }
    let again = again(&args.names);
    if !args.execution.yes {
        if !printer.can_ask() {
            return Err(nobody_to_ask(format!(
                "approve it here:\n    {} {again} -y",
                options.program
            )));
        }
        approve("Bring this back?", printer, interrupts).await?;
    }
    let run = Run {
        plan,
        digest: plan.digest(),
        providers: &providers,
        facts: &world.facts,
        secrets: project.secrets(),
        key: existing_key(options)?,
        operation: OPERATION,
        again,
        execution: &args.execution,
    };
    carry_out(context, interrupts, journal, run).await
}

/// Returns the command, as a person types it.
fn again(names: &[String]) -> String {
    let mut command = OPERATION.to_owned();
    for name in names {
        command.push(' ');
        command.push_str(&shell_word(name));
    }
    command
}

/// Prints what needs to be brought back and what is left, and returns the exit.
fn report(args: &Heal, context: &Context, found: &Healing) -> Exit {
    let Context { options, printer } = context;
    let basis = &found.plan.basis;
    let object = |address: String, why: String| HealedObjectJson { address, why };
    if options.format == Format::Json {
        let needs = found.needs.iter();
        let left = found.left.iter();
        let report = HealReportJson {
            format_version: "1.0".into(),
            project: found.plan.project.to_string(),
            serial: basis.serial,
            timestamp: basis.gathered_at.to_string(),
            needs: needs
                .map(|need| object(need.address.to_string(), need.why()))
                .collect(),
            left: left
                .map(|(address, why)| object(address.to_string(), why.clone()))
                .collect(),
        };
        printer.data(&format!("{}\n", serde_json::json!(report)));
    } else {
        let mut text = String::new();
        // Writing to a string cannot fail.
        for need in &found.needs {
            let _ = writeln!(text, "{}", line(need));
        }
        for (address, why) in &found.left {
            let _ = writeln!(text, "{address} {}. It is left as it is.", plain(why));
        }
        if found.needs.is_empty() {
            let _ = writeln!(text, "Nothing is to be brought back.");
        } else {
            let _ = writeln!(text, "\nNext: {} {}", options.program, again(&args.names));
        }
        printer.data(&text);
    }
    match found.needs.is_empty() {
        true => Exit::Done,
        false => Exit::Changes,
    }
}

fn line(need: &Need) -> String {
    format!("{} {}.", need.address, plain(&need.why()))
}
