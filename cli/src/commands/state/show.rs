//! `gabion state show`.

use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::diagnostic::did_you_mean;
use gabion_engine::state::State;
use gabion_engine::state::history;
use gabion_engine::state::record::Record;
use gabion_engine::value::Attributes;
use serde_json::json;

use super::list::{self, status_words};
use crate::args::Format;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::render::catalogue::Catalogue;
use crate::render::difference_text::write_line;
use crate::render::markdown;
use crate::render::plan_json::known;
use crate::render::theme::Theme;
use crate::render::value::{Sign, whole};
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;
use crate::wiring;

/// Shows one record. Secrets are not in it.
pub(crate) async fn run(address: Option<&ResourceAddress>, at: Option<u64>, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let mut state = access.load_existing().await?;
    if let Some(serial) = at {
        state = state_at(&access, serial, &state).await?;
    }
    let Some(address) = address else {
        list::print(&state, context);
        return Ok(Exit::Done);
    };
    let record = find(&state, address)?;
    let providers = wiring::providers(options, &project.project.settings.project.value, &state)?;
    let catalogue = Catalogue::of(&providers);
    let text = match options.format {
        Format::Json => format!("{:#}\n", to_json(record, &catalogue)),
        Format::Text => to_text(record, &catalogue, &printer.data_theme()),
        Format::Markdown => {
            let mut text = String::new();
            // Writing to a string cannot fail.
            let _ = markdown::fenced(&mut text, "", &to_text(record, &catalogue, &Theme::plain()));
            text
        }
    };
    printer.data(&text);
    Ok(Exit::Done)
}

/// Returns the state as it was at a serial, or how far the kept history reaches.
pub(super) async fn state_at(access: &StateAccess, serial: u64, now: &State) -> Result<State, Failure> {
    if serial == now.serial {
        return Ok(now.clone());
    }
    let found = history::state_at(&*access.store, serial)
        .await
        .map_err(|error| store_failure(&error))?;
    if let Some(state) = found {
        return Ok(state);
    }
    let first = access
        .store
        .base()
        .await
        .map_err(|error| store_failure(&error))?
        .serial
        .max(1);
    let why = if serial < first {
        "what was before was dropped"
    } else {
        "nothing happened since"
    };
    Err(Failure::new("no such serial")
        .detail(format!(
            "The kept history reaches from serial {first} to {}: {why}.",
            now.serial
        ))
        .hint("gabion state history"))
}

/// Returns the record at an address, or what the person may have meant.
pub(crate) fn find<'a>(state: &'a State, address: &ResourceAddress) -> Result<&'a Record, Failure> {
    if let Some(record) = state.current(address) {
        return Ok(record);
    }
    let known: Vec<String> = state
        .current_records()
        .map(|record| record.address.to_string())
        .collect();
    let hint = match did_you_mean(&address.to_string(), known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "list what is recorded:\n    gabion state list".to_owned(),
    };
    Err(Failure::new("nothing is recorded at this address")
        .detail(format!("The state has no object at {address}."))
        .hint(hint))
}

fn to_json(record: &Record, catalogue: &Catalogue) -> serde_json::Value {
    let resource_type = &record.address.resource_type;
    let values = |attributes: &Attributes| {
        known(&gabion_engine::value::Value::Map(
            catalogue.masked(resource_type, attributes),
        ))
    };
    let declaration = &record.declaration;
    json!({
        "address": record.address,
        "uid": record.uid,
        "id": record.id,
        "status": record.status,
        "deposed": record.deposed,
        "provider": declaration.provider,
        "document": declaration.document,
        "depends_on": declaration.dependencies.iter().map(|dependency| dependency.address.to_string()).collect::<Vec<_>>(),
        "claims": declaration.claims,
        "lifecycle": {
            "prevent_destroy": declaration.lifecycle.prevent_destroy,
            "replace_order": declaration.lifecycle.replace_order,
            "ignore_changes": declaration.lifecycle.ignore_changes,
            "replace_triggered_by": declaration.lifecycle.replace_triggered_by,
            "roll": declaration.lifecycle.roll,
            "together": declaration.lifecycle.together,
        },
        "pins": declaration.pins,
        "created_at_serial": record.created_at,
        "changed_at_serial": record.changed_at,
        "open_call": record.open.as_ref().map(|open| json!({
            "operation": open.operation,
            "action": open.action,
            "since_serial": open.since,
        })),
        "inputs": values(&record.inputs),
        "outputs": values(&record.attributes),
    })
}

fn to_text(record: &Record, catalogue: &Catalogue, theme: &Theme) -> String {
    let mut text = String::new();
    let declaration = &record.declaration;
    let dim = theme.dim;
    let mut field = |name: &str, value: String| {
        if !value.is_empty() {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "  {dim}{name:12}{dim:#} {value}");
        }
    };
    let heading = format!(
        "{0}{1}{0:#}  {2}\n",
        theme.strong,
        record.address,
        status_words(record)
    );
    field(
        "id",
        record
            .id
            .as_ref()
            .map(|id| plain(id.as_str()))
            .unwrap_or_default(),
    );
    field("uid", record.uid.to_string());
    field("provider", declaration.provider.to_string());
    if let Some(document) = &declaration.document {
        field(
            "document",
            format!(
                "{} {} ({})",
                document.document_type,
                plain(&document.name),
                document.place
            ),
        );
    }
    field("created", format!("at serial {}", record.created_at));
    field("changed", format!("at serial {}", record.changed_at));
    if let Some(open) = &record.open {
        field(
            "open call",
            format!("{:?} since serial {}", open.action, open.since).to_lowercase(),
        );
    }
    if declaration.lifecycle.prevent_destroy {
        field("protected", "yes".into());
    }
    let depends: Vec<String> = declaration
        .dependencies
        .iter()
        .map(|dependency| dependency.address.to_string())
        .collect();
    field("depends on", depends.join("\n               "));
    let attributes = catalogue.masked(&record.address.resource_type, &record.attributes);
    text.push('\n');
    let mut lines = Vec::new();
    for (name, value) in &attributes {
        whole(Sign::Same, name, value, 0, &mut lines);
    }
    let width = attributes
        .keys()
        .map(|name| name.chars().count())
        .filter(|width| *width <= 28)
        .max()
        .unwrap_or(0);
    for line in &lines {
        let _ = write_line(&mut text, line, width, 0, theme);
    }
    heading + &text
}
