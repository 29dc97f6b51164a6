//! `gabion apply` and `gabion destroy`.

use std::sync::Arc;

use gabion_engine::plan::{Mode, bindings};
use gabion_engine::state::Journal;

use super::show::read_plan;
use crate::applying::{Run, carry_out, close, print_endpoints};
use crate::args::{Apply, Destroy, Execution, Format, Selection, Size};
use crate::asking::{approve, nobody_to_ask};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::lasting::lasting;
use crate::output::Verbosity;
use crate::planning::{self, PlanRequest, Planned};
use crate::policy;
use crate::project::LoadedProject;
use crate::scaling::Wanted;
use crate::show::print_plan;
use crate::state_access::{StateAccess, existing_key, key_for_writing};
use crate::wiring;

/// Makes everything as the configuration says, or carries out a saved plan.
pub(crate) async fn run(args: &Apply, context: &Context) -> Outcome {
    match &args.plan {
        Some(_) => saved(args, context).await,
        None => {
            let what = Doing {
                mode: Mode::Apply,
                operation: "apply",
                arguments: args.selection.flags(),
                selection: &args.selection,
                refresh: planning::refresh(args.refresh),
                execution: &args.execution,
                scale: None,
            };
            fresh(&what, context).await
        }
    }
}

/// Deletes everything that is recorded, or a selection of it.
pub(crate) async fn destroy(args: &Destroy, context: &Context) -> Outcome {
    let what = Doing {
        mode: Mode::Destroy,
        operation: "destroy",
        arguments: args.selection.flags(),
        selection: &args.selection,
        refresh: gabion_engine::world::Refresh::Full,
        execution: &args.execution,
        scale: None,
    };
    fresh(&what, context).await
}

/// What is to be done without a saved plan.
pub(super) struct Doing<'a> {
    pub(super) mode: Mode,
    pub(super) operation: &'static str,
    /// The command's own arguments, each with a space before it.
    pub(super) arguments: String,
    pub(super) selection: &'a Selection,
    pub(super) refresh: gabion_engine::world::Refresh,
    pub(super) execution: &'a Execution,
    /// A number of replicas that was chosen.
    pub(super) scale: Option<&'a Wanted>,
}

/// Plans, asks, and carries the plan out, all under one lease.
pub(super) async fn fresh(what: &Doing<'_>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let mut project = LoadedProject::read_with_state(options);
    let access = StateAccess::of(&project, options)?;
    if what.mode == Mode::Destroy {
        // What it takes to delete an object is in its record.
        project.release_documents();
    }
    // A new project's state is made only once there is something to write.
    let mut journal = None;
    if access.is_there().await? {
        let key = existing_key(options)?;
        let opening = access.journal(options, what.operation, what.execution.locking.lock_timeout, key);
        journal = Some(Arc::new(interrupts.unless(opening).await??));
    }
    let outcome = under_lease(what, context, &interrupts, &mut project, &access, &mut journal).await;
    match journal {
        Some(journal) => {
            access.remind_to_pin(&journal.state(), printer);
            close(&journal, outcome, printer).await
        }
        None => outcome,
    }
}

async fn under_lease(
    what: &Doing<'_>,
    context: &Context,
    interrupts: &Interrupts,
    project: &mut LoadedProject,
    access: &StateAccess,
    journal: &mut Option<Arc<Journal>>,
) -> Outcome {
    let Context { options, printer } = context;
    let state = match journal {
        Some(journal) => journal.state(),
        None => Arc::default(),
    };
    let key = match what.mode {
        // Bad input changes nothing, so the key is made only for a configuration that is sound.
        Mode::Apply if project.problems.is_empty() => Some(key_for_writing(options)?),
        _ => existing_key(options)?,
    };
    let request = PlanRequest {
        mode: what.mode,
        selection: what.selection,
        refresh: what.refresh,
        unmanaged: false,
        import: None,
        in_flight: None,
        events: None,
        key: key.clone(),
        scale: what.scale,
    };
    let making = planning::make_once(context, project, &state, None, request);
    let planned = interrupts.unless(making).await??;
    // What the run deletes is not kept beyond that.
    drop(state);
    let plan = planned.plan;
    let quiet = printer.verbosity() == Verbosity::Quiet && what.execution.yes;
    if !quiet && options.format != Format::Json {
        print_plan(context, plan, &planned.providers, false, None, Size::default());
    }
    if let Some(blocked) = &planned.blocked {
        return Err(Failure::from(blocked.clone()).exit(Exit::Blocked));
    }
    if let Some(denied) = policy::denied(plan) {
        return Err(denied);
    }
    if let Some(wanted) = what.scale {
        wanted.check_plan(plan)?;
    }
    if plan.is_empty() {
        return Ok(nothing_to_do(context, &planned));
    }
    if plan.has_changes() {
        confirm(what, context, interrupts).await?;
    }
    let digest = plan.digest();
    let journal = match journal {
        Some(journal) => journal.clone(),
        None => {
            let opening = access.journal(
                options,
                what.operation,
                what.execution.locking.lock_timeout,
                key.clone(),
            );
            let opened = Arc::new(interrupts.unless(opening).await??);
            // Another first apply may have been quicker.
            let moved = bindings::moved(plan, &digest, &opened.state(), &Default::default());
            *journal = Some(opened.clone());
            if !moved.is_empty() {
                return Err(stale(&moved, options.program.as_str(), "apply"));
            }
            opened
        }
    };
    // A plan says all that it takes to carry it out, which may take long.
    let Planned {
        configuration,
        world,
        providers,
        ..
    } = planned;
    drop(configuration.give_up());
    project.release_texts();
    let facts = world.give_up().facts;
    let run = Run {
        plan,
        digest,
        providers: &providers,
        facts: &facts,
        secrets: project.secrets(),
        key,
        operation: what.operation,
        again: format!("{}{}", what.operation, what.arguments),
        execution: what.execution,
    };
    carry_out(context, interrupts, &journal, run).await
}

/// Carries out a saved plan: neither plans again nor asks.
async fn saved(args: &Apply, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let Some(path) = &args.plan else {
        return Err(Failure::bug("a saved plan was expected"));
    };
    let plan = lasting(read_plan(path)?);
    let digest = plan.digest();
    if let Some(wanted) = &args.digest
        && wanted.trim_start_matches("sha256:") != &*digest
    {
        return Err(Failure::new("this is another plan")
            .detail(format!(
                "The digest of {} is {digest}, and {wanted} was asked for.",
                path.display()
            ))
            .hint("use the plan that was reviewed, or review this one:\n    gabion show PLAN")
            .exit(Exit::Stale));
    }
    if !plan.blocked.is_empty() {
        let names: Vec<String> = plan.blocked.iter().map(ToString::to_string).collect();
        return Err(Failure::new("the plan is blocked")
            .detail(format!(
                "It would delete what is protected: {}.",
                names.join(", ")
            ))
            .exit(Exit::Blocked));
    }
    if let Some(denied) = policy::denied(plan) {
        return Err(denied);
    }
    let interrupts = Interrupts::listen(printer)?;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let missing = project.missing_secrets(plan);
    if missing.has_errors() {
        return Err(missing.into());
    }
    let secrets = project.secrets();
    let key = existing_key(options)?;
    let check = |state: &gabion_engine::state::State| {
        let prints = planning::secret_fingerprints(plan, &secrets, key.as_deref());
        let moved = bindings::moved(plan, &digest, state, &prints);
        if moved.is_empty() {
            Ok(())
        } else {
            Err(stale(&moved, &options.program, &path.to_string_lossy()))
        }
    };
    // A stale plan must not even make the state of a new project.
    check(&access.load().await?)?;
    if plan.is_empty() {
        printer.status("Nothing to do.");
        return Ok(Exit::Done);
    }
    let key = match key.clone() {
        Some(key) => key,
        None => key_for_writing(options)?,
    };
    let operation = match plan.mode {
        Mode::Apply => "apply",
        Mode::Destroy => "destroy",
    };
    let opening = access.journal(
        options,
        operation,
        args.execution.locking.lock_timeout,
        Some(key.clone()),
    );
    let journal = Arc::new(interrupts.unless(opening).await??);
    let outcome = match check(&journal.state()) {
        Err(failure) => Err(failure),
        Ok(()) => {
            let providers = wiring::providers(options, &plan.project, &journal.state());
            match providers {
                Err(failure) => Err(failure),
                Ok(providers) => {
                    let run = Run {
                        plan,
                        digest: digest.clone(),
                        providers: &providers,
                        facts: &Default::default(),
                        secrets: secrets.clone(),
                        key: Some(key),
                        operation,
                        again: format!("apply {}", crate::shell::shell_word(&path.to_string_lossy())),
                        execution: &args.execution,
                    };
                    carry_out(context, &interrupts, &journal, run).await
                }
            }
        }
    };
    close(&journal, outcome, printer).await
}

fn stale(moved: &[bindings::BindingMoved], program: &str, path: &str) -> Failure {
    const SHOWN: usize = 10;
    let mut lines: Vec<String> = moved
        .iter()
        .take(SHOWN)
        .map(|moved| moved.message.clone())
        .collect();
    if moved.len() > SHOWN {
        lines.push(format!("And {} more.", moved.len() - SHOWN));
    }
    let hint = match path {
        "apply" => format!("{program} apply"),
        path => format!(
            "make a new plan:\n    {program} plan --out {}",
            crate::shell::shell_word(path)
        ),
    };
    Failure::new("the plan is out of date")
        .detail(lines.join("\n"))
        .hint(hint)
        .exit(Exit::Stale)
}

fn nothing_to_do(context: &Context, planned: &Planned) -> Exit {
    if context.options.format == Format::Json {
        print_endpoints(context, planned.plan, None);
    }
    match planned.plan.is_open() {
        true => Exit::Incomplete,
        false => Exit::Done,
    }
}

/// Asks the person, unless the command line has answered already.
async fn confirm(what: &Doing<'_>, context: &Context, interrupts: &Interrupts) -> Result<(), Failure> {
    let Context { options, printer } = context;
    if what.execution.yes {
        return Ok(());
    }
    if !printer.can_ask() {
        let here = format!(
            "approve it here:\n    {} {} -y{}",
            options.program, what.operation, what.arguments
        );
        // A plan to save has no count of its own.
        if what.scale.is_some() {
            return Err(nobody_to_ask(here));
        }
        return Err(nobody_to_ask(format!(
            "{here}\nor save the plan, review it and apply exactly that:\n    {0} plan{1}{2} --out plan.gabion\n    {0} \
             apply plan.gabion",
            options.program,
            if what.mode == Mode::Destroy {
                " --destroy"
            } else {
                ""
            },
            what.arguments
        )));
    }
    let question = match what.mode {
        Mode::Apply => "Apply this?",
        Mode::Destroy => "Destroy this?",
    };
    approve(question, printer, interrupts).await
}
