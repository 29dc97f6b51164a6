//! `gabion output`: what the project gives to people and other tools.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use gabion_engine::diagnostic::did_you_mean;
use gabion_engine::value::{Attributes, Value};
use serde_json::json;

use crate::args::{Format, Output};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::{About, LoadedProject};
use crate::recorded;
use crate::render::markdown::{cell_code, prose};
use crate::render::plan_json::known;
use crate::render::value::inline;
use crate::render::words::plain;
use crate::state_access::StateAccess;

/// Prints outputs and endpoints as they are recorded.
pub(crate) async fn run(args: &Output, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load_existing().await?;
    let configuration = project.lower(options, printer, About::Nothing, &state)?;
    let endpoints = recorded::endpoints(&configuration, &state);
    let outputs = &state.outputs;
    if let Some(name) = &args.name {
        let value = outputs
            .get(name.as_str())
            .or_else(|| endpoints.get(name.as_str()));
        let value = value.ok_or_else(|| unknown(name, outputs.keys().chain(endpoints.keys())))?;
        if value.has_secret() {
            return Err(Failure::new("the output is a secret").detail(format!(
                "gabion keeps no secret values, so it cannot print `{name}`."
            )));
        }
        let text = match (options.format, value) {
            (Format::Json, value) => known(value).to_string(),
            (_, Value::String(text)) => text.to_string(),
            (_, value) => known(value).to_string(),
        };
        printer.data(&format!("{text}\n"));
        return Ok(Exit::Done);
    }
    let mut text = String::new();
    match options.format {
        Format::Json => {
            let of = |values: &Attributes| -> BTreeMap<String, serde_json::Value> {
                values
                    .iter()
                    .map(|(name, value)| (name.to_string(), known(value)))
                    .collect()
            };
            let all = json!({ "outputs": of(outputs), "endpoints": of(&endpoints) });
            let _ = writeln!(text, "{all:#}");
        }
        Format::Markdown => {
            let _ = writeln!(text, "| name | value |\n| --- | --- |");
            for (name, value) in outputs.iter().chain(&endpoints) {
                let _ = writeln!(text, "| {} | {} |", prose(name), cell_code(&shown(value)));
            }
        }
        Format::Text => {
            let width = outputs
                .keys()
                .chain(endpoints.keys())
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, value) in outputs.iter().chain(&endpoints) {
                let _ = writeln!(text, "{:width$}  {}", plain(name), shown(value));
            }
        }
    }
    if outputs.is_empty() && endpoints.is_empty() && options.format == Format::Text {
        printer.status("There are no outputs and no endpoints.");
    }
    printer.data(&text);
    Ok(Exit::Done)
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        other => inline(other),
    }
}

fn unknown<'a>(name: &str, all: impl Iterator<Item = &'a Arc<str>>) -> Failure {
    let all: Vec<&str> = all.map(|name| &**name).collect();
    let hint = match did_you_mean(name, all.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None if all.is_empty() => "there are none yet".to_owned(),
        None => format!("there are: {}", all.join(", ")),
    };
    Failure::new("unknown output")
        .detail(format!("The project has no output or endpoint `{name}`."))
        .hint(hint)
}
