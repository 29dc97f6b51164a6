//! `gabion state list`.

use std::fmt::{self, Write};

use gabion_engine::address::{Lineage, ObjectId, ResourceAddress, Uid};
use gabion_engine::state::State;
use gabion_engine::state::record::{Record, Status};
use serde::Serialize;

use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::streamed::{Made, write_json};
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
    let records = || state.current_records().chain(state.deposed_records());
    let mut text = printer.data_writer();
    let written = match options.format {
        Format::Json => write_json(
            &mut text,
            &ListJson {
                lineage: state.lineage,
                records: Made::by(|| records().map(RecordJson::of)),
                serial: state.serial,
            },
        ),
        Format::Markdown => write_markdown(&mut text, records()),
        Format::Text => write_text(&mut text, &records),
    };
    // Printing keeps its failures to itself.
    debug_assert!(written.is_ok());
}

#[derive(Serialize)]
struct ListJson<'a> {
    lineage: Option<Lineage>,
    records: Made<'a, RecordJson<'a>>,
    serial: u64,
}

#[derive(Serialize)]
struct RecordJson<'a> {
    address: &'a ResourceAddress,
    deposed: bool,
    id: Option<&'a ObjectId>,
    status: Status,
    uid: Uid,
}

impl<'a> RecordJson<'a> {
    fn of(record: &'a Record) -> Self {
        Self {
            address: &record.address,
            deposed: record.deposed,
            id: record.id.as_ref(),
            status: record.status,
            uid: record.uid,
        }
    }
}

fn write_markdown<'a>(out: &mut dyn Write, records: impl Iterator<Item = &'a Record>) -> fmt::Result {
    writeln!(out, "| resource | status | id |\n| --- | --- | --- |")?;
    for record in records {
        let id = record.id.as_ref().map(|id| cell_code(id.as_str()));
        let address = cell_code(&record.address.to_string());
        let status = prose(&status_words(record));
        writeln!(out, "| {address} | {status} | {} |", id.unwrap_or_default())?;
    }
    Ok(())
}

fn write_text<'a, I: Iterator<Item = &'a Record>>(
    out: &mut dyn Write,
    records: &dyn Fn() -> I,
) -> fmt::Result {
    let width = |record: &Record| record.address.to_string().chars().count();
    let width = records().map(width).max().unwrap_or(0);
    for record in records() {
        let address = record.address.to_string();
        let status = status_words(record);
        let id = record.id.as_ref().map(|id| plain(id.as_str()));
        let line = format!("{address:width$}  {status:10}  {}", id.unwrap_or_default());
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
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
