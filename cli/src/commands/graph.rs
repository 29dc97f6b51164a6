//! `gabion graph`: what depends on what.

use std::collections::BTreeMap;
use std::fmt::Write;

use gabion_engine::address::ResourceAddress;
use gabion_engine::graph::{Dependence, DependenceKind, ResourceGraph};
use gabion_engine::plan::problem::Places;
use gabion_engine::resource::Configuration;
use serde_json::json;

use super::Context;
use crate::args::{Format, Graph, GraphStyle};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::project::{About, LoadedProject, print_warnings};
use crate::render::markdown::fenced;
use crate::state_access::StateAccess;

/// Prints the graph of the configuration's resources.
pub(crate) async fn run(args: &Graph, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load().await?;
    let configuration = project.lower(options, printer, About::Nothing, &state)?;
    let places = Places::new(&project.project.sources);
    let (graph, problems) = ResourceGraph::build(&configuration.resources, &places);
    if problems.has_errors() {
        return Err(problems.into());
    }
    print_warnings(printer, &problems);
    let style = args.style.unwrap_or(match options.format {
        Format::Text => GraphStyle::Dot,
        Format::Markdown => GraphStyle::Mermaid,
        Format::Json => GraphStyle::Json,
    });
    let text = match style {
        GraphStyle::Dot => dot(&configuration, &graph),
        GraphStyle::Json => json_text(&configuration, &graph),
        GraphStyle::Mermaid => {
            let body = mermaid(&configuration, &graph);
            if options.format == Format::Markdown {
                let mut text = String::new();
                // Writing to a string cannot fail.
                let _ = fenced(&mut text, "mermaid", &body);
                text
            } else {
                body
            }
        }
    };
    printer.data(&text);
    Ok(Exit::Done)
}

/// Returns the resources by the document that they come from.
fn documents(configuration: &Configuration) -> BTreeMap<String, Vec<&ResourceAddress>> {
    let mut documents: BTreeMap<String, Vec<&ResourceAddress>> = BTreeMap::new();
    for resource in &configuration.resources {
        let name = format!("{} {}", resource.document.document_type, resource.document.name);
        documents.entry(name).or_default().push(&resource.address);
    }
    documents
}

/// Returns why an edge is there, in a word or two.
fn label(why: &[Dependence]) -> String {
    let mut parts: Vec<String> = why
        .iter()
        .map(|dependence| match &dependence.kind {
            DependenceKind::Reference { input, .. } => input.first_key().unwrap_or_default().to_owned(),
            DependenceKind::Lifecycle => "lifecycle".to_owned(),
            DependenceKind::DependsOn => "depends_on".to_owned(),
        })
        .collect();
    parts.sort();
    parts.dedup();
    parts.join(", ")
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn dot(configuration: &Configuration, graph: &ResourceGraph) -> String {
    let mut text = "digraph gabion {\n  rankdir = LR\n  node [shape = box]\n".to_owned();
    for (number, (document, addresses)) in documents(configuration).into_iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  subgraph cluster_{number} {{\n    label = {}",
            quoted(&document)
        );
        for address in addresses {
            let _ = writeln!(text, "    {}", quoted(&address.to_string()));
        }
        text.push_str("  }\n");
    }
    for (from, to, why) in graph.edges() {
        let (from, to) = (quoted(&from.to_string()), quoted(&to.to_string()));
        let _ = writeln!(text, "  {from} -> {to} [label = {}]", quoted(&label(why)));
    }
    text.push_str("}\n");
    text
}

fn mermaid(configuration: &Configuration, graph: &ResourceGraph) -> String {
    let number = |address: &ResourceAddress| graph.position(address).unwrap_or_default();
    let safe = |text: &str| text.replace('"', "#quot;");
    let mut text = "flowchart LR\n".to_owned();
    for (position, (document, addresses)) in documents(configuration).into_iter().enumerate() {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  subgraph d{position}[\"{}\"]", safe(&document));
        for address in addresses {
            let _ = writeln!(
                text,
                "    r{}[\"{}\"]",
                number(address),
                safe(&address.to_string())
            );
        }
        text.push_str("  end\n");
    }
    for (from, to, why) in graph.edges() {
        let _ = writeln!(
            text,
            "  r{} -- \"{}\" --> r{}",
            number(from),
            safe(&label(why)),
            number(to)
        );
    }
    text
}

fn json_text(configuration: &Configuration, graph: &ResourceGraph) -> String {
    let nodes: Vec<_> = configuration
        .resources
        .iter()
        .map(|resource| {
            json!({
                "address": resource.address,
                "document": format!("{} {}", resource.document.document_type, resource.document.name),
                "place": resource.document.place.to_string(),
            })
        })
        .collect();
    let edges: Vec<_> = graph
        .edges()
        .into_iter()
        .map(|(from, to, why)| {
            let mut places: Vec<String> = why
                .iter()
                .map(|dependence| dependence.place.to_string())
                .collect();
            places.dedup();
            json!({ "from": from, "to": to, "because": label(why), "places": places })
        })
        .collect();
    format!(
        "{:#}\n",
        json!({ "format_version": "1.0", "nodes": nodes, "edges": edges })
    )
}
