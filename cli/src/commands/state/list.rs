//! `gabion state list`.

use std::fmt::Write;

use gabion_engine::state::State;
use gabion_engine::state::record::{Record, Status};
use serde_json::json;

use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::words::plain;
use crate::state_access::StateAccess;

/// Lists what is recorded, by address, deposed objects after current ones.
pub(crate) async fn run(context: &Context) -> Outcome {
    let project = LoadedProject::read_settings(&context.options);
    let state = StateAccess::of(&project, &context.options)?
        .load_existing()
        .await?;
    print(&state, context);
    Ok(Exit::Done)
}

/// Prints what a state records.
pub(crate) fn print(state: &State, context: &Context) {
    let Context { options, printer } = context;
    let records: Vec<&Record> = state.current_records().chain(state.deposed_records()).collect();
    let mut text = String::new();
    match options.format {
        Format::Json => {
            let list: Vec<_> = records
                .iter()
                .map(|record| {
                    json!({
                        "address": record.address,
                        "uid": record.uid,
                        "id": record.id,
                        "status": record.status,
                        "deposed": record.deposed,
                    })
                })
                .collect();
            let all = json!({ "serial": state.serial, "lineage": state.lineage, "records": list });
            let _ = writeln!(text, "{all:#}");
        }
        Format::Markdown => {
            let _ = writeln!(text, "| resource | status | id |\n| --- | --- | --- |");
            for record in records {
                let id = record
                    .id
                    .as_ref()
                    .map(|id| cell_code(id.as_str()))
                    .unwrap_or_default();
                let address = cell_code(&record.address.to_string());
                let _ = writeln!(text, "| {address} | {} | {id} |", prose(&status_words(record)));
            }
        }
        Format::Text => {
            let width = |record: &&Record| record.address.to_string().chars().count();
            let width = records.iter().map(width).max().unwrap_or(0);
            for record in records {
                let address = record.address.to_string();
                let status = status_words(record);
                let id = record
                    .id
                    .as_ref()
                    .map(|id| plain(id.as_str()))
                    .unwrap_or_default();
                let line = format!("{address:width$}  {status:10}  {id}");
                let _ = writeln!(text, "{}", line.trim_end());
            }
        }
    }
    printer.data(&text);
}

/// Returns how far an object is, in a word or two.
pub(crate) fn status_words(record: &Record) -> String {
    let word = match record.status {
        Status::Creating => "creating",
        Status::Incomplete => "incomplete",
        Status::Ready => "ready",
        Status::Tainted => "tainted",
        Status::Deleting => "deleting",
    };
    if record.deposed {
        format!("{word}, deposed")
    } else {
        word.to_owned()
    }
}
