//! `gabion validate`: every problem of the configuration at once.

use gabion_engine::config::{NothingRecorded, Purpose, no_secrets};

use crate::args::{Format, Validate};
use crate::checking;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::{LoadedProject, print_warnings};
use crate::render::words::count;
use crate::render::{diagnostic, sarif};

/// Checks the configuration; reads no state and no infrastructure.
pub(crate) fn run(args: &Validate, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let (configuration, mut problems) =
        project.lower_with_problems(options, Purpose::Validate, &NothingRecorded, &no_secrets);
    problems.extend(checking::problems_of_inputs(
        options,
        &project.project.sources,
        &configuration,
        problems.has_errors(),
    )?);
    let for_programs = match &options.sarif {
        Some(repository) => {
            let settings = project.project.settings.file.path();
            Some(serde_json::to_string_pretty(&sarif::sarif(
                &problems, repository, settings,
            )))
        }
        None if options.format == Format::Json => {
            Some(serde_json::to_string_pretty(&diagnostic::to_wire(&problems)))
        }
        None => None,
    };
    if let Some(text) = for_programs {
        let text = text.map_err(|error| Failure::bug(error.to_string()))?;
        printer.data(&format!("{text}\n"));
        return Ok(if problems.has_errors() {
            Exit::Error
        } else {
            Exit::Done
        });
    }
    if problems.has_errors() {
        return Err(problems.into());
    }
    print_warnings(printer, &problems);
    if let Some(file) = &args.explain {
        printer.data(&project.explain(options, file)?);
        return Ok(Exit::Done);
    }
    let documents = project.project.document_count();
    let resources = configuration.resources.len();
    let good = printer.data_theme().good;
    let makes = match (resources, documents) {
        (0, _) => String::new(),
        (_, 1) => format!(" makes {}", count(resources, "resource")),
        _ => format!(" make {}", count(resources, "resource")),
    };
    printer.data(&format!(
        "{good}The configuration is valid:{good:#} {} in {}{makes}.\n",
        count(documents, "document"),
        count(project.project.sources.files().count(), "file"),
    ));
    Ok(Exit::Done)
}
