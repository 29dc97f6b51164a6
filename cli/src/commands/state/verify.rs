//! `gabion state verify`.

use std::fmt::Write;

use gabion_engine::state::verify::verify;
use serde_json::json;

use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::words::{count, plain, store_warning};
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;

/// Checks that the log is whole and the records are what it says; exits with 1 when something is wrong.
pub(crate) async fn run(context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let found = verify(&*access.store)
        .await
        .map_err(|error| store_failure(&error))?;
    let whole = found.damage.is_empty();
    let mut text = String::new();
    // Writing to a string cannot fail.
    if options.format == Format::Json {
        let all = json!({
            "whole": whole,
            "serial": found.serial,
            "events": found.events,
            "records": found.records,
            "damage": found.damage,
            "notes": found.notes,
            "warnings": found.warnings,
        });
        let _ = writeln!(text, "{all:#}");
    } else {
        let theme = printer.data_theme();
        for damage in &found.damage {
            let _ = writeln!(text, "{0}damage{0:#}: {1}", theme.bad, plain(damage));
        }
        for note in &found.notes {
            let _ = writeln!(text, "note: {}", plain(note));
        }
        for warning in &found.warnings {
            let _ = writeln!(
                text,
                "{0}warning{0:#}: {1}\n  hint: {2}",
                theme.strong,
                store_warning(warning),
                plain(&warning.hint)
            );
        }
        let (style, word) = if whole {
            (theme.good, "whole")
        } else {
            (theme.bad, "damaged")
        };
        let _ = writeln!(
            text,
            "{style}The state is {word}:{style:#} serial {}, {} checked, {} compared.",
            found.serial,
            count(usize::try_from(found.events).unwrap_or(usize::MAX), "event"),
            count(found.records, "record")
        );
    }
    printer.data(&text);
    Ok(if whole { Exit::Done } else { Exit::Error })
}
