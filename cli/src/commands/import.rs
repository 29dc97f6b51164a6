//! `gabion import`: an existing object under management.

use std::sync::Arc;

use gabion_engine::plan::change::{Action, Change, Reason};
use gabion_engine::plan::{Bindings, Mode, Plan};
use gabion_engine::seldom::Seldom;
use gabion_engine::world::Refresh;

use crate::applying::{Run, carry_out, close};
use crate::args::{Execution, Format, Import, Selection};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::lasting::lasting;
use crate::planning::{self, PlanRequest, Planned};
use crate::project::LoadedProject;
use crate::render::words::path_list;
use crate::state_access::{StateAccess, key_for_writing};

/// Records an object that exists; changes nothing about it.
pub(crate) async fn run(args: &Import, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let project = LoadedProject::read(options);
    let access = StateAccess::of(&project, options)?;
    let state = access.load().await?;
    if let Some(record) = state.current(&args.address) {
        return Err(Failure::new("the address is taken").detail(format!(
            "An object is recorded at {} already{}.",
            args.address,
            record
                .id
                .as_ref()
                .map(|id| format!(" (id {id})"))
                .unwrap_or_default()
        )));
    }
    let look = async {
        let request = PlanRequest {
            mode: Mode::Apply,
            selection: &Selection::default(),
            refresh: Refresh::Minimal,
            unmanaged: false,
            import: Some((&args.address, &args.id)),
            in_flight: None,
            scale: None,
            events: None,
            key: None,
        };
        planning::make(context, &project, &state, request).await
    };
    let planned = interrupts.unless(look).await??;
    let (plan, differs) = only_import(planned.plan.clone(), &args.address)?;
    let plan = lasting(plan);
    let key = Some(key_for_writing(options)?);
    let opening = access.journal(options, "import", args.locking.lock_timeout, key.clone());
    let journal = Arc::new(interrupts.unless(opening).await??);
    let outcome = {
        let Planned { providers, world, .. } = &planned;
        let execution = Execution {
            yes: true,
            parallelism: 1,
            events: None,
            locking: args.locking,
        };
        let run = Run {
            plan,
            digest: plan.digest(),
            providers,
            facts: &world.facts,
            secrets: project.secrets(),
            key,
            operation: "import",
            again: "plan".to_owned(),
            execution: &execution,
        };
        carry_out(context, &interrupts, &journal, run).await
    };
    let outcome = close(&journal, outcome, printer).await?;
    if outcome == Exit::Done && options.format != Format::Json {
        printer.status(&format!("{} is now managed.", args.address));
        if let Some(differs) = differs {
            printer.status(&format!("It differs from the configuration in {differs}."));
        }
        printer.status(&format!("\nNext: {} plan", options.program));
    }
    Ok(outcome)
}

/// Returns a plan that only records the object, and what of it differs from the configuration.
fn only_import(
    plan: Plan,
    address: &gabion_engine::address::ResourceAddress,
) -> Result<(Plan, Option<String>), Failure> {
    let change = plan
        .changes
        .into_iter()
        .find(|change| change.address == *address && change.importing.is_some())
        .ok_or_else(|| Failure::bug(format!("the plan does not import {address}")))?;
    let paths: Vec<_> = change
        .attributes
        .iter()
        .filter(|attribute| attribute.before.is_some() || attribute.after.is_some())
        .map(|attribute| attribute.path.clone())
        .collect();
    let differs = (change.action != Action::NoOp && !paths.is_empty()).then(|| path_list(&paths));
    let change = Change {
        action: Action::NoOp,
        reasons: vec![Reason::Imported],
        attributes: Vec::new(),
        after: change.before.clone(),
        conditions: Seldom::default(),
        ..change
    };
    let plan = Plan {
        settlements: Vec::new(),
        upgrades: std::collections::BTreeMap::new(),
        vanished: Vec::new(),
        moves: Vec::new(),
        accepted: Default::default(),
        blocked: Vec::new(),
        steps: Vec::new(),
        drift: Vec::new(),
        outputs: Default::default(),
        endpoints: Default::default(),
        left_out: Vec::new(),
        bindings: Bindings {
            absent: vec![address.clone()],
            ..Bindings::default()
        },
        changes: vec![change],
        ..plan
    };
    Ok((plan, differs))
}
