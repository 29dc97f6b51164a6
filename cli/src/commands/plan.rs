//! `gabion plan`: what apply would do, and why.

use std::io::Write;
use std::path::Path;

use gabion_engine::plan::{Mode, Plan, same};
use gabion_engine::state::{State, StateStore, history};

use super::show::read_plan;
use crate::args::Plan as PlanArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::options::{Options, Trust};
use crate::planning::{self, PlanRequest, Planned};
use crate::policy;
use crate::project::LoadedProject;
use crate::render::events::Events;
use crate::render::plan_events;
use crate::render::words::plain;
use crate::shell::shell_word;
use crate::show::print_plan;
use crate::state_access::{StateAccess, existing_key};
use crate::state_failure::store_failure;

/// Shows a plan, and saves it if asked to. Writes nothing else and takes no lease.
pub(crate) async fn run(args: &PlanArgs, context: &Context) -> Outcome {
    let mut context = context.clone();
    if args.untrusted {
        let base = args.base.clone();
        context.options.trust = Trust::Untrusted { base };
    }
    let Context { options, printer } = &context;
    let interrupts = Interrupts::listen(printer)?;
    let reviewed = args.same_as.as_deref().map(read_plan).transpose()?;
    let events = Events::open(args.events.as_deref())?;
    let made = make(args, &context, &interrupts, &events).await;
    match &made {
        Ok(planned) => plan_events::finished(&events, planned.plan),
        Err(failure) => plan_events::failed(&events, failure),
    }
    events.finish(printer);
    let planned = made?;
    let plan = planned.plan;
    if let Some(reviewed) = &reviewed {
        check_same(reviewed, plan)?;
    }
    if let (Some(path), None) = (&args.out, &planned.blocked) {
        save(plan, path)?;
    }
    let denied = policy::denied(plan);
    let next = next_command(args, options, plan).filter(|_| planned.blocked.is_none() && denied.is_none());
    let saved = args.out.is_some() && planned.blocked.is_none();
    print_plan(
        &context,
        plan,
        &planned.providers,
        saved,
        next.as_deref(),
        args.size,
    );
    if let Some(blocked) = planned.blocked {
        return Err(Failure::from(blocked).exit(Exit::Blocked));
    }
    if let Some(path) = &args.out {
        printer.status(&format!("Saved to {}.", path.display()));
    }
    if let Some(denied) = denied {
        return Err(denied);
    }
    let changes = args.detailed_exitcode && plan.is_open();
    Ok(if changes { Exit::Changes } else { Exit::Done })
}

/// Plans, and writes how it goes.
async fn make(
    args: &PlanArgs,
    context: &Context,
    interrupts: &Interrupts,
    events: &Events,
) -> Result<Planned, Failure> {
    let Context { options, printer } = context;
    let mut project = LoadedProject::read_with_state(options);
    let mode = if args.destroy { Mode::Destroy } else { Mode::Apply };
    plan_events::started(events, &project.project.settings.project.value, mode);
    let access = StateAccess::of(&project, options)?;
    if mode == Mode::Destroy {
        // What it takes to delete an object is in its record.
        project.release_documents();
    }
    interrupts
        .unless(async {
            let state = access.load().await?;
            access.remind_to_pin(&state, printer);
            let request = PlanRequest {
                mode,
                selection: &args.selection,
                refresh: planning::refresh(args.refresh),
                unmanaged: false,
                import: None,
                in_flight: access.live_holder().await?,
                scale: None,
                events: Some(events),
                // A secret that nobody reads has no fingerprint.
                key: match args.untrusted {
                    true => None,
                    false => existing_key(options)?,
                },
            };
            let past = match &args.revert {
                Some(run) => Some(before(run, &*access.store, options).await?),
                None => None,
            };
            planning::make_once(context, &mut project, &state, past.as_ref(), request).await
        })
        .await?
}

/// Refuses a plan that does not do what a reviewed one does.
fn check_same(reviewed: &Plan, plan: &Plan) -> Result<(), Failure> {
    const SHOWN: usize = 10;
    let found = same::differences(reviewed, plan);
    if found.is_empty() {
        return Ok(());
    }
    let mut lines: Vec<String> = found.iter().take(SHOWN).map(|line| plain(line)).collect();
    if found.len() > SHOWN {
        lines.push(format!("And {} more.", found.len() - SHOWN));
    }
    Err(Failure::new("the plan is not the reviewed one")
        .detail(lines.join("\n"))
        .hint("see why, and have the new plan reviewed:\n    gabion plan")
        .exit(Exit::Stale))
}

/// Returns the state as it was before a run, which is named by its id or by one of its serials.
async fn before(run: &str, store: &dyn StateStore, options: &Options) -> Result<State, Failure> {
    let runs = history::runs(store)
        .await
        .map_err(|error| store_failure(&error))?;
    let serial = run.parse::<u64>().ok();
    let wanted = runs.iter().find(|entry| match serial {
        Some(serial) => entry.before < serial && serial <= entry.after,
        None => entry.run.to_string() == run,
    });
    let hint = format!("see which there are:\n    {} state history", options.program);
    let Some(entry) = wanted else {
        return Err(Failure::new("no such run")
            .detail(format!(
                "The history that is kept has no run with the id or serial `{run}`."
            ))
            .hint(hint));
    };
    let past = history::state_at(store, entry.before)
        .await
        .map_err(|error| store_failure(&error))?;
    // Before the first event there was nothing.
    match past {
        Some(past) => Ok(past),
        None if entry.before == 0 => Ok(State::default()),
        None => Err(Failure::new("the history does not reach back so far")
            .detail(format!("What there was at serial {} is not kept.", entry.before))
            .hint(hint)),
    }
}

/// Returns the command that carries the plan out.
fn next_command(args: &PlanArgs, options: &Options, plan: &Plan) -> Option<String> {
    if !plan.has_changes() {
        return None;
    }
    Some(match &args.out {
        Some(path) => format!(
            "{} apply {}",
            options.program,
            shell_word(&path.to_string_lossy())
        ),
        None if args.revert.is_some() => format!(
            "{} plan --revert {}{} --out plan.gabion",
            options.program,
            shell_word(args.revert.as_deref().unwrap_or_default()),
            args.selection.flags()
        ),
        None => {
            let command = if args.destroy { "destroy" } else { "apply" };
            format!("{} {command}{}", options.program, args.selection.flags())
        }
    })
}

/// Writes a plan to a file, all or nothing.
fn save(plan: &Plan, path: &Path) -> Result<(), Failure> {
    let bytes = plan
        .to_file()
        .map_err(|error| Failure::new("the plan cannot be saved").because(&error))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let written = (|| {
        let mut file = tempfile::NamedTempFile::new_in(directory)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    })();
    written.map_err(|error: std::io::Error| {
        Failure::new("the plan cannot be saved").detail(format!("{}: {error}.", path.display()))
    })
}
