//! `gabion state history`: what was done, from the log itself.

use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::state::history::{HistoryEntry, history};
use serde_json::json;

use crate::args::Format;
use crate::commands::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::words::plain;
use crate::state_access::{StateAccess, store_failure};

/// Prints the last entries, newest last.
pub(crate) async fn run(about: Option<&ResourceAddress>, entries: usize, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let all = history(&*access.store, about)
        .await
        .map_err(|error| store_failure(&error))?;
    let shown = &all[all.len().saturating_sub(entries)..];
    let mut text = String::new();
    match options.format {
        Format::Json => {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:#}", json!({ "history": shown }));
        }
        Format::Markdown => {
            let _ = writeln!(
                text,
                "| serial | when | who | resource | what |\n| --- | --- | --- | --- | --- |"
            );
            for entry in shown {
                let address = entry
                    .address
                    .as_ref()
                    .map(|address| cell_code(&address.to_string()));
                let _ = writeln!(
                    text,
                    "| {} | {:.0} | {} | {} | {} |",
                    entry.serial,
                    entry.at,
                    prose(&entry.who),
                    address.unwrap_or_default(),
                    prose(&entry.what)
                );
            }
        }
        Format::Text => write_text(&mut text, shown, context),
    }
    printer.data(&text);
    Ok(Exit::Done)
}

/// Writes the entries below a line for each run.
fn write_text(text: &mut String, entries: &[HistoryEntry], context: &Context) {
    let theme = context.printer.data_theme();
    let mut run = None;
    for entry in entries {
        if run != Some(entry.run) {
            run = Some(entry.run);
            let operation = if entry.operation.is_empty() {
                "a run"
            } else {
                &entry.operation
            };
            let who = if entry.who.is_empty() {
                String::new()
            } else {
                format!(" by {}", plain(&entry.who))
            };
            let commit = entry
                .commit
                .as_deref()
                .map(|commit| format!(", commit {}", plain(commit)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{strong}{}{strong:#}{who}{} {dim}{:.0}{dim:#}",
                plain(operation),
                commit.unwrap_or_default(),
                entry.at,
                strong = theme.strong,
                dim = theme.dim
            );
        }
        let address = entry
            .address
            .as_ref()
            .map(|address| format!("{address}: "))
            .unwrap_or_default();
        let _ = writeln!(text, "  {:>6}  {address}{}", entry.serial, plain(&entry.what));
    }
}
