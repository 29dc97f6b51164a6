//! `gabion show`: a saved plan, read again.

use std::path::Path;

use gabion_engine::plan::Plan;
use gabion_engine::state::State;
use gabion_engine::words::sentence;

use crate::args::{Format, Show};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::render::plan_text;
use crate::shell::shell_word;
use crate::show::print_plan;
use crate::wiring;

/// Prints a saved plan, or what it does to one resource.
pub(crate) fn run(args: &Show, context: &Context) -> Outcome {
    let options = &context.options;
    let mut plan = read_plan(&args.plan)?;
    let providers = wiring::providers(options, &plan.project, &State::default())?;
    let next = format!(
        "{} apply {}",
        options.program,
        shell_word(&args.plan.to_string_lossy())
    );
    let Some(address) = &args.address else {
        let applies = plan.has_changes() && plan.denials().next().is_none();
        print_plan(
            context,
            &plan,
            &providers,
            true,
            applies.then_some(&*next),
            args.size,
        );
        return Ok(Exit::Done);
    };
    let known: Vec<String> = plan
        .changes
        .iter()
        .map(|change| change.address.to_string())
        .collect();
    if !plan.changes.iter().any(|change| change.address == *address) {
        let near =
            gabion_engine::diagnostic::did_you_mean(&address.to_string(), known.iter().map(String::as_str));
        let failure =
            Failure::new("not in the plan").detail(format!("The plan says nothing about {address}."));
        return Err(match near {
            Some(near) => failure.hint(format!("did you mean `{near}`?")),
            None => failure,
        });
    }
    if options.format == Format::Text {
        let mut text = String::new();
        for change in plan.changes.iter().filter(|change| change.address == *address) {
            // Writing to a string cannot fail.
            let _ = plan_text::write_change(&mut text, &plan, change, &context.printer.data_theme());
        }
        context.printer.data(&text);
        return Ok(Exit::Done);
    }
    plan.changes.retain(|change| change.address == *address);
    plan.drift.retain(|drift| drift.address == *address);
    plan.steps.clear();
    plan.outputs.clear();
    print_plan(context, &plan, &providers, false, None, args.size);
    Ok(Exit::Done)
}

/// Reads a saved plan.
pub(crate) fn read_plan(path: &Path) -> Result<Plan, Failure> {
    let cannot = || Failure::new("the saved plan cannot be used");
    let bytes = std::fs::read(path).map_err(|error| {
        let failure = cannot().detail(format!("{}: {error}.", path.display()));
        if error.kind() == std::io::ErrorKind::NotFound {
            failure.hint("save a plan first:\n    gabion plan --out plan.gabion")
        } else {
            failure
        }
    })?;
    Plan::from_file(&bytes)
        .map_err(|error| cannot().detail(format!("{}: {}", path.display(), sentence(&error.to_string()))))
}
