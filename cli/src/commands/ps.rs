//! `gabion ps`: what runs, and how what was meant to end did.

use std::collections::BTreeMap;
use std::fmt::Write;

use gabion_engine::resource::DocumentRef;
use gabion_engine::state::record::Record;
use serde_json::json;

use crate::args::{Format, Ps};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::progress::elapsed;
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::wiring::{self, UnitReport, is_unit, unit_reports, units_root};

/// One program.
struct Row<'a> {
    record: &'a Record,
    unit: UnitReport,
}

/// Lists the programs of the project, by the document that they belong to.
pub(crate) async fn run(_: &Ps, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load().await?;
    let root = units_root(options, &state);
    let records: Vec<&Record> = state
        .current_records()
        .chain(state.deposed_records())
        .filter(|record| is_unit(record))
        .collect();
    // Where machines are is recorded; what the configuration says now is for the next plan.
    wiring::providers(options, &project.project.settings.project.value, &state)?;
    let reports = unit_reports(options, &records, &root).await;
    let rows: Vec<Row<'_>> = records
        .into_iter()
        .zip(reports)
        .map(|(record, unit)| Row { record, unit })
        .collect();
    let text = match options.format {
        Format::Json => to_json(&rows),
        Format::Markdown => to_markdown(&rows),
        Format::Text => to_text(&rows, context),
    };
    if rows.is_empty() && options.format == Format::Text {
        printer.status("Nothing runs.");
    }
    printer.data(&text);
    Ok(Exit::Done)
}

fn document_of<'a>(row: &Row<'a>) -> Option<&'a DocumentRef> {
    row.record.declaration.document.as_ref()
}

fn to_json(rows: &[Row<'_>]) -> String {
    let list: Vec<_> = rows
        .iter()
        .map(|row| {
            json!({
                "address": row.record.address,
                "document": document_of(row).map(|document| format!("{} {}", document.document_type, document.name)),
                "role": row.unit.role,
                "machine": row.unit.machine,
                "status": row.unit.status,
                "state": row.unit.state,
                "running": row.unit.running,
                "exit_code": row.unit.exit.and_then(|exit| exit.code),
                "signal": row.unit.exit.and_then(|exit| exit.signal),
                "ended_at": row.unit.ended_at,
                "deposed": row.record.deposed,
                "pid": row.unit.pid,
                "uptime_seconds": row.unit.uptime.map(|uptime| uptime.as_secs()),
                "ports": row.unit.ports,
                "url": row.unit.url,
            })
        })
        .collect();
    format!("{:#}\n", json!({ "programs": list }))
}

fn to_markdown(rows: &[Row<'_>]) -> String {
    let mut text = "| program | role | status | pid | url |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for row in rows {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            cell_code(row.record.address.name.as_str()),
            prose(&row.unit.role),
            prose(&row.unit.status),
            row.unit.pid.map(|pid| pid.to_string()).unwrap_or_default(),
            row.unit.url.as_deref().map(cell_code).unwrap_or_default(),
        );
    }
    text
}

fn to_text(rows: &[Row<'_>], context: &Context) -> String {
    let theme = context.printer.data_theme();
    let mut groups: BTreeMap<Option<(String, String)>, Vec<&Row<'_>>> = BTreeMap::new();
    for row in rows {
        let key =
            document_of(row).map(|document| (document.document_type.to_string(), document.name.to_string()));
        groups.entry(key).or_default().push(row);
    }
    let cells = |row: &Row<'_>| {
        let deposed = if row.record.deposed { ", going" } else { "" };
        let ports: Vec<String> = row.unit.ports.iter().map(ToString::to_string).collect();
        [
            row.record.address.name.to_string(),
            plain(&row.unit.role),
            format!("{}{deposed}", plain(&row.unit.status)),
            row.unit
                .pid
                .map(|pid| pid.to_string())
                .unwrap_or_else(|| "-".into()),
            row.unit.uptime.map(elapsed_coarse).unwrap_or_else(|| "-".into()),
            if ports.is_empty() {
                "-".into()
            } else {
                ports.join(",")
            },
            row.unit.url.as_deref().map(plain).unwrap_or_default(),
        ]
    };
    let headings = ["NAME", "ROLE", "STATUS", "PID", "UPTIME", "PORT", "URL"];
    let mut widths = headings.map(str::len);
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(cells(row)) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| -> String {
        let padded: Vec<String> = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:width$}"))
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = String::new();
    for (position, (document, rows)) in groups.into_iter().enumerate() {
        if position > 0 {
            text.push('\n');
        }
        let good = rows.iter().filter(|row| row.unit.good).count();
        let running = rows.iter().filter(|row| row.unit.running).count();
        let done = good - running;
        let title = match document {
            Some((document_type, name)) => format!("{document_type} {}", plain(&name)),
            None => "other programs".to_owned(),
        };
        let mut how = Vec::new();
        if running > 0 || done == 0 {
            how.push(format!("{running} of {} running", rows.len()));
        }
        if done > 0 {
            how.push(format!("{done} of {} done", rows.len()));
        }
        let style = if good == rows.len() { theme.good } else { theme.bad };
        let _ = writeln!(
            text,
            "{strong}{title}{strong:#}  {style}{}{style:#}",
            how.join(", "),
            strong = theme.strong
        );
        if position == 0 {
            let _ = writeln!(
                text,
                "  {dim}{}{dim:#}",
                line(&headings.map(str::to_owned)),
                dim = theme.dim
            );
        }
        for row in rows {
            let style = if row.unit.good {
                anstyle::Style::new()
            } else {
                theme.bad
            };
            let _ = writeln!(text, "  {style}{}{style:#}", line(&cells(row)));
        }
    }
    text
}

fn elapsed_coarse(duration: std::time::Duration) -> String {
    match duration.as_secs() {
        seconds @ 0..10 => format!("{seconds}s"),
        86_400.. => format!("{}d", duration.as_secs() / 86_400),
        _ => elapsed(duration),
    }
}
