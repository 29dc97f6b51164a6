//! `gabion ps`: what runs, how what was meant to end did, and the certificates of gateways.

use std::collections::BTreeMap;
use std::fmt::Write;

use gabion_engine::resource::DocumentRef;
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_gateway::GATEWAY_ROUTE;
use serde_json::json;

use crate::args::{Format, Ps};
use crate::certificates::certificates;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::LoadedProject;
use crate::render::markdown::{cell_code, prose};
use crate::render::progress::elapsed;
use crate::render::ps_json::{
    CertificateJson, ProgramJson, PsJson, ServiceEndpointJson, UnreachableMachineJson,
};
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
    let providers = wiring::providers(options, &project.project.settings.project.value, &state)?;
    let (reports, certificates) = tokio::join!(
        unit_reports(options, &state, &records, &root),
        certificates(&state, &providers)
    );
    let rows: Vec<Row<'_>> = records
        .into_iter()
        .zip(reports)
        .map(|(record, unit)| Row { record, unit })
        .collect();
    let services = endpoints(&state);
    let away = away(&rows);
    let text = match options.format {
        Format::Json => to_json(&rows, services, certificates, &away),
        Format::Markdown => to_markdown(&rows, &certificates, &away),
        Format::Text => {
            let programs = to_text(&rows, &services, context);
            let certificates = certificates_to_text(&certificates, context);
            let both = [programs, certificates];
            let parts: Vec<&str> = both
                .iter()
                .map(String::as_str)
                .filter(|part| !part.is_empty())
                .collect();
            parts.join("\n")
        }
    };
    if rows.is_empty() && options.format == Format::Text {
        printer.status("Nothing runs.");
    }
    printer.data(&text);
    if options.format == Format::Text {
        for (machine, why) in &away {
            printer.status(&format!(
                "Of the programs on `{machine}` nothing is known now: {why}"
            ));
        }
    }
    Ok(Exit::Done)
}

/// Returns where each service is reached: at its gateway, and its model.
fn endpoints(state: &State) -> BTreeMap<String, ServiceEndpointJson> {
    let routes = state
        .current_records()
        .filter(|record| record.address.resource_type.as_str() == GATEWAY_ROUTE);
    let endpoint = |record: &Record| {
        let text = |name: &str| record.attributes.get(name)?.as_str().map(str::to_owned);
        let service = record.declaration.document.as_ref()?.name.to_string();
        let endpoint = ServiceEndpointJson {
            service: service.clone(),
            endpoint: text("url"),
            model_endpoint: text("model_url"),
        };
        Some((service, endpoint))
    };
    routes.filter_map(endpoint).collect()
}

/// Returns the machines that could not be asked, and why.
fn away(rows: &[Row<'_>]) -> BTreeMap<String, String> {
    rows.iter()
        .filter_map(|row| Some((row.unit.machine.clone(), row.unit.unreachable.clone()?)))
        .collect()
}

fn document_of<'a>(row: &Row<'a>) -> Option<&'a DocumentRef> {
    row.record.declaration.document.as_ref()
}

fn to_json(
    rows: &[Row<'_>],
    services: BTreeMap<String, ServiceEndpointJson>,
    certificates: Vec<CertificateJson>,
    away: &BTreeMap<String, String>,
) -> String {
    let program = |row: &Row<'_>| ProgramJson {
        address: row.record.address.to_string(),
        document: document_of(row).map(|document| format!("{} {}", document.document_type, document.name)),
        role: row.unit.role.clone(),
        machine: row.unit.machine.clone(),
        runtime: row.unit.runtime.clone(),
        status: row.unit.status.clone(),
        state: row.unit.state.clone(),
        running: row.unit.running,
        restarts: row.unit.restarts,
        exit_code: row.unit.exit.and_then(|exit| exit.code),
        signal: row.unit.exit.and_then(|exit| exit.signal),
        ended_at: row.unit.ended_at.clone(),
        deposed: row.record.deposed,
        pid: row.unit.pid,
        uptime_seconds: row.unit.uptime.map(|uptime| uptime.as_secs()),
        gpu: row.unit.gpu.clone(),
        ports: row.unit.ports.clone(),
        endpoint: row.unit.url.clone(),
    };
    let unreachable = |(machine, why): (&String, &String)| UnreachableMachineJson {
        machine: machine.clone(),
        why: why.clone(),
    };
    let answer = PsJson {
        format_version: "1.0".to_owned(),
        programs: rows.iter().map(program).collect(),
        services: services.into_values().collect(),
        certificates,
        unreachable: away.iter().map(unreachable).collect(),
    };
    format!("{:#}\n", json!(answer))
}

fn to_markdown(
    rows: &[Row<'_>],
    certificates: &[CertificateJson],
    away: &BTreeMap<String, String>,
) -> String {
    let mut text = "| program | role | machine | status | restarts | uptime | GPU | ports | endpoint |\n\
                    | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for row in rows {
        let ports: Vec<String> = row.unit.ports.iter().map(ToString::to_string).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            cell_code(row.record.address.name.as_str()),
            prose(&row.unit.role),
            cell_code(&row.unit.machine),
            prose(&row.unit.status),
            row.unit
                .restarts
                .map(|restarts| restarts.to_string())
                .unwrap_or_default(),
            row.unit.uptime.map(elapsed_coarse).unwrap_or_default(),
            row.unit.gpu.as_deref().map(prose).unwrap_or_default(),
            ports.join(", "),
            row.unit.url.as_deref().map(cell_code).unwrap_or_default(),
        );
    }
    if !certificates.is_empty() {
        text.push_str("\n| certificate | until | issuer | problem |\n| --- | --- | --- | --- |\n");
    }
    for certificate in certificates {
        let cell = |text: &Option<String>| text.as_deref().map(prose).unwrap_or_default();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            cell_code(&certificate.host),
            cell(&certificate.not_after),
            cell(&certificate.issuer),
            cell(&certificate.problem),
        );
    }
    for (machine, why) in away {
        let _ = writeln!(
            text,
            "\nOf the programs on {} nothing is known now: {}",
            cell_code(machine),
            prose(why)
        );
    }
    text
}

fn to_text(rows: &[Row<'_>], services: &BTreeMap<String, ServiceEndpointJson>, context: &Context) -> String {
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
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        [
            row.record.address.name.to_string(),
            plain(&row.unit.role),
            plain(&row.unit.machine),
            format!("{}{deposed}", plain(&row.unit.status)),
            or_dash(row.unit.restarts.map(|restarts| restarts.to_string())),
            or_dash(row.unit.uptime.map(elapsed_coarse)),
            or_dash(row.unit.gpu.as_deref().map(plain)),
            or_dash((!ports.is_empty()).then(|| ports.join(","))),
            row.unit.url.as_deref().map(plain).unwrap_or_default(),
        ]
    };
    let headings = [
        "NAME", "ROLE", "HOST", "STATE", "RESTARTS", "UPTIME", "GPU", "PORT", "ENDPOINT",
    ];
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
        let endpoint = document
            .as_ref()
            .filter(|(document_type, _)| document_type == "service")
            .and_then(|(_, name)| services.get(name)?.endpoint.as_deref())
            .map(|endpoint| format!("  {}", plain(endpoint)))
            .unwrap_or_default();
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
            "{strong}{title}{strong:#}  {style}{}{style:#}{endpoint}",
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

fn certificates_to_text(certificates: &[CertificateJson], context: &Context) -> String {
    if certificates.is_empty() {
        return String::new();
    }
    let theme = context.printer.data_theme();
    let wrong = certificates
        .iter()
        .filter(|certificate| certificate.problem.is_some())
        .count();
    let (style, how) = match wrong {
        0 => (theme.good, format!("{} good", certificates.len())),
        _ => (
            theme.bad,
            format!("{wrong} of {} with a problem", certificates.len()),
        ),
    };
    let mut text = format!(
        "{strong}certificates{strong:#}  {style}{how}{style:#}\n",
        strong = theme.strong
    );
    let width = certificates
        .iter()
        .map(|certificate| certificate.host.chars().count());
    let width = width.max().unwrap_or_default();
    for certificate in certificates {
        let until = match &certificate.not_after {
            Some(until) => format!("until {}", plain(until)),
            None => "none".to_owned(),
        };
        let (style, problem) = match &certificate.problem {
            Some(problem) => (theme.bad, format!("  {}", plain(problem))),
            None => (anstyle::Style::new(), String::new()),
        };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {style}{:width$}  {until}{problem}{style:#}",
            plain(&certificate.host)
        );
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
