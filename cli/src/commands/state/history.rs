//! `gabion state history`: what was done, from the log itself.

use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::state::history::{self, HistoryEntry, RunEntry, history};
use serde_json::json;

use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;

/// Prints the entries, or the last of them, newest last.
pub(crate) async fn run(
    about: Option<&ResourceAddress>,
    entries: Option<usize>,
    context: &Context,
) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let all = history(&*access.store, about)
        .await
        .map_err(|error| store_failure(&error))?;
    let shown = last(&all, entries);
    let mut text = String::new();
    match options.format {
        Format::Json => {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{:#}", json!({ "history": shown }));
        }
        Format::Markdown => {
            let _ = writeln!(
                text,
                "| serial | when | who | commit | resource | what |\n| --- | --- | --- | --- | --- | --- |"
            );
            for entry in shown {
                let address = entry
                    .address
                    .as_ref()
                    .map(|address| cell_code(&address.to_string()));
                let _ = writeln!(
                    text,
                    "| {} | {:.0} | {} | {} | {} | {} |",
                    entry.serial,
                    entry.at,
                    prose(&entry.who),
                    entry.commit.as_deref().map(cell_code).unwrap_or_default(),
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

fn last<T>(all: &[T], entries: Option<usize>) -> &[T] {
    match entries {
        Some(entries) => &all[all.len().saturating_sub(entries)..],
        None => all,
    }
}

/// Prints the runs that wrote, or the last of them, newest last.
pub(crate) async fn runs(entries: Option<usize>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    access.load_existing().await?;
    let all = history::runs(&*access.store)
        .await
        .map_err(|error| store_failure(&error))?;
    let shown = last(&all, entries);
    let theme = printer.data_theme();
    let mut text = String::new();
    // Writing to a string cannot fail.
    match options.format {
        Format::Json => {
            let _ = writeln!(text, "{:#}", json!({ "runs": shown }));
        }
        Format::Markdown => {
            let _ = writeln!(
                text,
                "| serials | when | who | command | commit | outcome |\n| --- | --- | --- | --- | --- | --- |"
            );
            for run in shown {
                let _ = writeln!(
                    text,
                    "| {} | {:.0} | {} | {} | {} | {} |",
                    serials(run),
                    run.started,
                    prose(&run.who),
                    prose(&run.operation),
                    run.commit.as_deref().map(cell_code).unwrap_or_default(),
                    prose(&outcome(run))
                );
            }
        }
        Format::Text => {
            let width = shown.iter().map(|run| serials(run).len()).max().unwrap_or(0);
            for run in shown {
                let commit = run
                    .commit
                    .as_deref()
                    .map(|commit| format!(", commit {}", plain(commit)));
                let outcome = match outcome(run) {
                    outcome if outcome.is_empty() => outcome,
                    outcome => format!(": {outcome}"),
                };
                let _ = writeln!(
                    text,
                    "{:>width$}  {dim}{:.0}{dim:#}  {strong}{}{strong:#}{}{}{}",
                    serials(run),
                    run.started,
                    operation(&run.operation),
                    by(&run.who),
                    commit.unwrap_or_default(),
                    plain(&outcome),
                    strong = theme.strong,
                    dim = theme.dim
                );
            }
        }
    }
    printer.data(&text);
    Ok(Exit::Done)
}

fn serials(run: &RunEntry) -> String {
    match (run.before + 1, run.after) {
        (first, last) if first == last => last.to_string(),
        (first, last) => format!("{first}-{last}"),
    }
}

fn outcome(run: &RunEntry) -> String {
    let Some(summary) = &run.summary else {
        return String::new();
    };
    let counts: Vec<String> = summary
        .iter()
        .filter(|(_, count)| **count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    match counts.is_empty() {
        true => "nothing done".to_owned(),
        false => counts.join(", "),
    }
}

fn operation(name: &str) -> String {
    match name {
        "" => "a run".to_owned(),
        name => plain(name),
    }
}

fn by(who: &str) -> String {
    match who {
        "" => String::new(),
        who => format!(" by {}", plain(who)),
    }
}

/// Writes the entries below a line for each run.
fn write_text(text: &mut String, entries: &[HistoryEntry], context: &Context) {
    let theme = context.printer.data_theme();
    let mut run = None;
    for entry in entries {
        if run != Some(entry.run) {
            run = Some(entry.run);
            let commit = entry
                .commit
                .as_deref()
                .map(|commit| format!(", commit {}", plain(commit)));
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{strong}{}{strong:#}{}{} {dim}{:.0}{dim:#}",
                operation(&entry.operation),
                by(&entry.who),
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
