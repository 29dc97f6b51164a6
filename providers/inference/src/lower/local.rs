//! The machine that runs gabion: what must be known of it before documents are planned on it, and what they need of it.

use std::collections::BTreeSet;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Node, Purpose, RecordedView, Survey, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Severity};
use gabion_engine::value::{Attributes, Value};

use super::backend::LOCAL;
use super::builder::address;
use super::check::group_nodes;
use super::machines::MachineFacts;
use super::placement::{accelerators, architecture, gigabytes, is_enough};
use super::project::{Context, Placed};
use crate::document::resources::Resources;
use crate::document::service::Service;

/// Keys of `resources` that a machine may lack.
const MEASURED: [&str; 4] = ["cpu", "memory", "disk", "gpu"];

/// Returns what the machine that runs gabion is called when it is looked at.
fn local_machine() -> ResourceAddress {
    address("local_machine", LOCAL)
}

/// Returns what must be known of the machine that runs gabion, for documents that may run there; `backends` are the
/// project's. It asks for `images` where there are containers, for `resources` where a need of them is written, and for
/// `accelerators` where one of these is.
pub(crate) fn survey<'a>(nodes: impl IntoIterator<Item = &'a Node>, backends: &[&str]) -> Option<Survey> {
    let parts: Vec<&Node> = nodes
        .into_iter()
        .filter(|node| may_be_local(node, backends))
        .flat_map(parts_of)
        .collect();
    let written = |key: &'static str| parts.iter().filter_map(move |node| written(node, key));
    let images: Vec<&Node> = written("image").collect();
    let names: BTreeSet<&str> = images
        .iter()
        .filter_map(|image| image.as_str())
        .filter(|name| !Template::is_in(name))
        .collect();
    let asks_for = |key: &str| written("resources").any(|need| self::written(need, key).is_some());
    let mut inputs = Attributes::from([("machine".into(), LOCAL.into())]);
    if !images.is_empty() {
        let names = names.into_iter().map(Value::from).collect();
        inputs.insert("images".into(), Value::List(names));
    }
    if MEASURED.into_iter().any(asks_for) {
        inputs.insert("resources".into(), true.into());
        inputs.insert("accelerators".into(), asks_for("gpu").into());
    }
    (inputs.len() > 1).then(|| Survey {
        address: local_machine(),
        inputs,
    })
}

/// Returns the value of a key that says something.
fn written<'a>(node: &'a Node, key: &str) -> Option<&'a Node> {
    node.get(key).filter(|value| !value.is_null())
}

fn may_be_local(node: &Node, backends: &[&str]) -> bool {
    if written(node, "fleets").is_some() {
        return false;
    }
    match written(node, "backends") {
        Some(own) => {
            let is_local = |node: &Node| node.as_str() == Some(LOCAL);
            is_local(own) || own.as_list().is_some_and(|own| own.iter().any(is_local))
        }
        None => backends.is_empty() || backends.contains(&LOCAL),
    }
}

/// A document and its groups.
fn parts_of(node: &Node) -> Vec<&Node> {
    let groups = ["groups", "replicas"]
        .into_iter()
        .filter_map(|key| node.get(key)?.as_list());
    std::iter::once(node).chain(groups.flatten()).collect()
}

/// What was found of the container runtime of the machine that runs gabion.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LocalRuntime {
    /// The images of documents that are not there yet.
    pub absent: BTreeSet<String>,
}

/// Returns what was found of the container runtime of the machine that runs gabion, or why there is none; `None` when
/// nobody has looked.
pub(crate) fn runtime(recorded: &dyn RecordedView) -> Option<Result<LocalRuntime, String>> {
    let found = match recorded.surveyed(&local_machine())? {
        Ok(found) => found,
        Err(failure) => return Some(Err(failure.message.clone())),
    };
    if let Some(why) = found.get("no_containers").and_then(Value::as_str) {
        return Some(Err(why.to_owned()));
    }
    let absent = found.get("absent").and_then(Value::as_list)?;
    let absent = absent.iter().filter_map(Value::as_str).map(str::to_owned);
    Some(Ok(LocalRuntime {
        absent: absent.collect(),
    }))
}

/// Returns what the machine that runs gabion is; `None` when nobody has looked.
pub(crate) fn facts(recorded: &dyn RecordedView) -> Option<MachineFacts> {
    let found = recorded.surveyed(&local_machine())?.as_ref().ok()?;
    MachineFacts::of(found)
}

/// What programs need that are alike.
#[derive(Clone, Copy)]
pub(super) struct Need<'a> {
    /// The document or group that says so.
    pub(super) node: &'a Node,
    /// What it says.
    pub(super) resources: &'a Resources,
    /// The type of the document.
    pub(super) what: &'a str,
    /// What the paths of their units begin with.
    pub(super) units: &'a str,
}

/// Reports what the replicas of a service need and the machine that runs gabion has not.
pub(super) fn check_service(
    placed: &Placed<Service>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) {
    let service = &placed.document;
    let nodes = match group_nodes(placed) {
        [] => std::slice::from_ref(&placed.node),
        groups => groups,
    };
    for (member, node) in service.members().iter().zip(nodes) {
        let need = Need {
            node,
            resources: member.resources,
            what: "service",
            units: &format!("{}/{}/", service.name.value, member.name),
        };
        check(need, context, recorded, problems);
    }
}

/// Reports what programs need and the machine that runs gabion has not, each at its key.
///
/// Only what is written counts: defaults are made for choosing between machines, and here there is one. A machine that has
/// more than is asked for will do. What runs there already stays, with a warning.
pub(super) fn check(
    need: Need<'_>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) {
    let facts = context.local_facts.as_ref();
    check_accelerators(need, facts, problems);
    let (Some(facts), Purpose::Plan) = (facts, context.purpose) else {
        return;
    };
    let resources = need.resources;
    let cpu = &resources.cpu.value;
    let lacks = [
        (
            "cpu",
            cpu.arch
                .is_some_and(|wanted| wanted != architecture(facts))
                .then(|| format!("{} processors", facts.arch))
                .or_else(|| {
                    let enough = cpu.count.min.is_none_or(|least| least <= facts.cpus);
                    (!enough).then(|| format!("{} CPUs", facts.cpus))
                }),
        ),
        (
            "memory",
            (!is_enough(&resources.memory, facts.memory_mib)).then(|| gigabytes(facts.memory_mib)),
        ),
        (
            "disk",
            (!is_enough(&resources.disk.0, facts.disk_gib * 1024))
                .then(|| format!("a disk of {}GB", facts.disk_gib)),
        ),
    ];
    let wanted = written(need.node, "resources");
    let mut stands = None;
    for (key, has) in lacks {
        let (Some(has), Some(value)) = (has, wanted.and_then(|wanted| written(wanted, key))) else {
            continue;
        };
        let asked = match key {
            "cpu" => cpu.to_string(),
            "memory" => resources.memory.to_string(),
            _ => resources.disk.0.to_string(),
        };
        let problem = value.error("unmet-need", "resources not available").detail(format!(
            "`{key}: {asked}` is asked for, and the machine that runs gabion (backend `{LOCAL}`) has {has}."
        ));
        problems.push(
            match *stands.get_or_insert_with(|| is_there(recorded, need.units)) {
                true => Diagnostic {
                    severity: Severity::Warning,
                    ..problem.hint("ask for less, or expect it to fail; what runs there already stays")
                },
                false => problem.hint(format!(
                    "ask for less, or run the {} on a backend whose machines have more",
                    need.what
                )),
            },
        );
    }
}

/// Returns whether programs are recorded on the machine that runs gabion.
fn is_there(recorded: &dyn RecordedView, units: &str) -> bool {
    let here = Value::from(LOCAL);
    recorded
        .under("host_unit", units)
        .iter()
        .any(|(unit, _)| recorded.attribute(unit, "machine").as_ref() == Some(&here))
}

/// Reports accelerators: the local backend gives programs none.
fn check_accelerators(need: Need<'_>, facts: Option<&MachineFacts>, problems: &mut Diagnostics) {
    let gpu = &need.resources.gpu;
    if !gpu.value.is_needed() {
        return;
    }
    let there = facts
        .filter(|facts| !facts.gpus.is_empty())
        .map_or_else(String::new, |facts| {
            format!(
                "; the {} of this machine are not given out",
                accelerators(&facts.gpus)
            )
        });
    problems.push(
        Diagnostic::error("unmet-need", "resources not available")
            .detail(format!(
                "`gpu: {}` cannot be met: backend `{LOCAL}` offers no accelerators{there}.",
                gpu.value
            ))
            .at(gpu.span.clone())
            .hint(format!(
                "remove `gpu`, or run the {} on a backend that has some",
                need.what
            )),
    );
}
