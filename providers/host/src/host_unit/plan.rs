//! What a `host_unit` becomes: kept, repaired in place, or replaced. Pure.

use std::sync::Arc;

use gabion_engine::diff::same;
use gabion_engine::provider::{Claim, PlanRequest, PlanResponse, PriorObject, ReplaceCause, propose};
use gabion_engine::schema::{AttributeSchema, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Comparison, Value};

use super::actual::{Private, UNREADABLE};
use super::inputs::Inputs;
use super::reader::Knowledge;
use super::{AGENT_DIGEST, MAIN_PORT, url};
use crate::ports::PortRequest;
use crate::provider::AgentBuilds;
use crate::transport::Machines;
use crate::unit::is_agent;

/// Plans a unit.
///
/// A replacing attribute replaces the unit when the configuration changed it. When only the machine's side changed (an edited file, a killed program), the same unit is put right in place, on the same ports.
pub(crate) fn plan(
    schema: &ResourceSchema,
    builds: Option<&AgentBuilds>,
    request: &PlanRequest,
) -> PlanResponse {
    let mut response = propose(schema, request);
    response.replace = request
        .prior
        .as_ref()
        .map(|prior| replace_causes(schema, request, prior))
        .unwrap_or_default();
    let kept = request.prior.as_ref().filter(|_| response.replace.is_empty());
    computed(&mut response.planned, &request.desired, kept);
    response.claims = claims(&request.desired);
    response.planned.remove(AGENT_DIGEST);
    if let Some(prior) = kept {
        response.notes.extend(trouble(request, prior));
        if let Some(digest) = agent_digest(builds, &request.desired, prior) {
            if digest.is_another {
                response.notes.push(
                    "This gabion has another build of the agent: the agent is upgraded in place, and open connections go on."
                        .to_owned(),
                );
            }
            response.planned.insert(AGENT_DIGEST.into(), digest.planned);
        }
    }
    response
}

/// The build that an agent should run.
struct AgentDigest {
    planned: Value,
    /// Whether it is another one than the agent runs.
    is_another: bool,
}

/// Returns which build an agent should run: what this gabion has, else what it runs. `None` when it does not run, because then
/// it is started from what its machine has at that moment, or when that is not known.
fn agent_digest(
    builds: Option<&AgentBuilds>,
    desired: &Attributes,
    prior: &PriorObject,
) -> Option<AgentDigest> {
    let argv = desired.get("argv").and_then(Value::as_list)?;
    let runs = prior.attributes.get(AGENT_DIGEST).and_then(Value::as_str)?;
    if !is_agent(argv.iter().map(|argument| argument.as_str().unwrap_or_default()))
        || prior.attributes.get("running").and_then(Value::as_bool) != Some(true)
    {
        return None;
    }
    let machine = desired.get("machine").and_then(Value::as_str);
    let has = builds.and_then(|builds| builds.of(machine.unwrap_or(Machines::LOCAL)));
    Some(AgentDigest {
        planned: has.unwrap_or(runs).into(),
        is_another: has.is_some_and(|has| has != runs),
    })
}

/// Returns what people should know of a program that was meant to end and did not end well: nothing starts it again.
fn trouble(request: &PlanRequest, prior: &PriorObject) -> Option<String> {
    let trouble = Private::of(&prior.private).trouble?;
    Some(format!(
        "It {trouble}. It is not started again by itself; `gabion apply --replace {}` does.",
        request.address
    ))
}

fn replace_causes(schema: &ResourceSchema, request: &PlanRequest, prior: &PriorObject) -> Vec<ReplaceCause> {
    let imported = prior.inputs.is_empty();
    let mut causes: Vec<ReplaceCause> = schema
        .attributes
        .iter()
        // Ports have their own rule.
        .filter(|(name, attribute)| attribute.forces_replacement && &***name != "ports")
        .filter(|(name, attribute)| {
            let after = effective(&request.desired, name, attribute);
            let differs = |before| same(attribute.equality, before, after) == Comparison::Different;
            // Not what was asked for before, and not what is there either: an ignored difference, or an object that is
            // imported, needs no replacement.
            differs(effective(&prior.inputs, name, attribute))
                && differs(effective(&prior.attributes, name, attribute))
                && !(imported && UNREADABLE.contains(&&***name))
        })
        .map(|(name, _)| ReplaceCause {
            path: AttributePath::root(name),
            why: None,
        })
        .collect();
    causes.extend(port_causes(&request.desired, prior));
    causes
}

fn effective<'a>(inputs: &'a Attributes, name: &str, attribute: &'a AttributeSchema) -> &'a Value {
    inputs
        .get(name)
        .filter(|value| !value.is_null())
        .or(attribute.default.as_ref())
        .unwrap_or(&Value::Null)
}

/// A program reads its ports when it starts, so a port that no longer fits takes a new one.
fn port_causes(desired: &Attributes, prior: &PriorObject) -> Vec<ReplaceCause> {
    let path = AttributePath::root("ports");
    let same_request = prior
        .inputs
        .get("ports")
        .unwrap_or(&Value::Null)
        .compare(desired.get("ports").unwrap_or(&Value::Null));
    if same_request == Comparison::Equal {
        return Vec::new();
    }
    let leased = Private::of(&prior.private).ports;
    let (wanted, _) = Inputs::parse(desired, Knowledge::Partial);
    let mut causes = Vec::new();
    for (name, request) in &wanted.ports {
        let why = match (leased.get(name), request) {
            (None, _) => "A running program is given no further ports.".to_owned(),
            (Some(port), PortRequest::Range(range)) if !range.contains(port) => {
                format!(
                    "It has port {port}, which {}-{} does not hold.",
                    range.start(),
                    range.end()
                )
            }
            (Some(port), PortRequest::Exact(exact)) if exact != port => format!("It has port {port}."),
            _ => continue,
        };
        causes.push(ReplaceCause {
            path: path.key(name),
            why: Some(why),
        });
    }
    for name in leased.keys().filter(|name| !wanted.ports.contains_key(*name)) {
        causes.push(ReplaceCause {
            path: path.key(name),
            why: Some("A running program cannot give back a port.".to_owned()),
        });
    }
    causes
}

/// Plans what the configuration does not set.
fn computed(planned: &mut Attributes, desired: &Attributes, kept: Option<&PriorObject>) {
    planned.remove("ended");
    planned.remove("restarted");
    planned.remove("service_changed");
    let is_service = desired.get("runtime").and_then(Value::as_str) == Some(super::container_inputs::SYSTEMD);
    if !is_service {
        planned.remove("service");
    } else if kept.is_none() {
        planned.insert("service".into(), Value::unknown());
    }
    let image = kept.and_then(|prior| Private::of(&prior.private).image);
    for name in ["image_id", "image_digest"] {
        planned.remove(name);
    }
    if desired
        .get("container")
        .is_some_and(|container| !container.is_null())
    {
        let (id, digest) = match image {
            Some(image) => (Value::string(image.id), image.digest.map(Value::string)),
            None => (Value::unknown(), Some(Value::unknown())),
        };
        planned.insert("image_id".into(), id);
        planned.extend(digest.map(|digest| ("image_digest".into(), digest)));
    }
    // How far a program is that is meant to end is nothing that a plan could ask for.
    if desired.get("completes").and_then(Value::as_bool) == Some(true) {
        planned.remove("running");
    } else {
        planned.insert("running".into(), true.into());
    }
    let port = match kept {
        Some(prior) => Private::of(&prior.private).port_value(),
        None => {
            for name in ["id", "unit_dir"] {
                planned.insert(name.into(), Value::unknown());
            }
            future_ports(desired)
        }
    };
    let main = match &port {
        Value::Map(ports) => url(ports.get(MAIN_PORT)),
        Value::Unknown(_) => Value::unknown(),
        _ => Value::Null,
    };
    for (name, value) in [("port", port), ("url", main)] {
        if value.is_null() {
            planned.remove(name);
        } else {
            planned.insert(name.into(), value);
        }
    }
}

/// The ports a unit will have: fixed ones are known, leased ones are not.
fn future_ports(desired: &Attributes) -> Value {
    match desired.get("ports") {
        None | Some(Value::Null) => Value::Null,
        Some(Value::Map(ports)) => Value::Map(
            ports
                .iter()
                .map(|(name, request)| {
                    let fixed = request
                        .as_map()
                        .and_then(|entries| entries.get("port"))
                        .and_then(Value::as_int);
                    (name.clone(), fixed.map_or_else(Value::unknown, Value::Int))
                })
                .collect(),
        ),
        Some(_) => Value::unknown(),
    }
}

/// A fixed port can belong to one unit of a machine only.
fn claims(desired: &Attributes) -> Vec<Claim> {
    let (inputs, _) = Inputs::parse(desired, Knowledge::Partial);
    let machine = match desired.get("machine") {
        Some(Value::Unknown(_)) => return Vec::new(),
        Some(Value::String(name)) => name.to_string(),
        _ => Machines::LOCAL.to_owned(),
    };
    inputs
        .ports
        .iter()
        .filter_map(|(name, request)| match request {
            PortRequest::Exact(port) => Some(Claim {
                key: Arc::from(format!("tcp/{machine}/{port}")),
                path: AttributePath::root("ports").key(name).key("port"),
            }),
            PortRequest::Range(_) => None,
        })
        .collect()
}
