//! Rules that need no expression: counts, protected kinds, regions, open ports.

use gabion_engine::config::{Effect, Policy};
use gabion_engine::diagnostic::Span;
use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::glob::AddressGlob;
use gabion_engine::plan::policy::Ruling;
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::value::{Attributes, Value};

use super::price;
use crate::render::words::count;

/// Returns what the built-in rules object to.
pub(super) fn evaluate(policy: &Policy, plan: &Plan) -> Vec<Ruling> {
    let mut rulings = Vec::new();
    let mut deny = |rule: &str, change: Option<&Change>, span: &Span, message: String| {
        rulings.push(Ruling {
            effect: Effect::Deny,
            rule: rule.into(),
            address: change.map(|change| change.address.clone()),
            message,
            place: span.place(),
        });
    };
    let summary = plan.summary();
    // Who destroys everything has said so.
    if let (Some(limit), Mode::Apply) = (&policy.max_destroy, plan.mode)
        && summary.destroy > limit.value as usize
    {
        let message = format!(
            "{} would be destroyed, and {} may be at once.",
            count(summary.destroy, "object"),
            limit.value
        );
        deny("max_destroy", None, &limit.span, message);
    }
    if let Some(limit) = &policy.max_replace
        && summary.replace > limit.value as usize
    {
        let message = format!(
            "{} would be replaced, and {} may be at once.",
            count(summary.replace, "object"),
            limit.value
        );
        deny("max_replace", None, &limit.span, message);
    }
    for pattern in &policy.protected {
        for change in plan
            .changes
            .iter()
            .filter(|change| goes(change) && !change.deposed)
        {
            if matches(&pattern.value, change) {
                let what = if change.action == Action::Delete {
                    "destroyed"
                } else {
                    "replaced"
                };
                let message = format!("`{}` may not be {what}.", pattern.value);
                deny("protected", Some(change), &pattern.span, message);
            }
        }
    }
    for change in plan.changes.iter().filter(|change| comes(change)) {
        let Some(after) = &change.after else { continue };
        if let Some(regions) = &policy.regions
            && let Some(region) = region_of(after)
            && !regions.value.iter().any(|allowed| is_in(&region, allowed))
        {
            let message = format!(
                "The region `{region}` is not one of {}.",
                regions.value.join(", ")
            );
            deny("regions", Some(change), &regions.span, message);
        }
        if let Some(ports) = &policy.open_ports {
            for (from, to) in open_to_all(&Value::Map(after.clone())) {
                if (from..=to).all(|port| u16::try_from(port).is_ok_and(|port| ports.value.contains(&port))) {
                    continue;
                }
                let which = match (from, to) {
                    (0, 65535) => "Every port".to_owned(),
                    (from, to) if from == to => format!("Port {from}"),
                    (from, to) => format!("Ports {from} to {to}"),
                };
                let message = format!("{which} would be open to the whole internet.");
                deny("open_ports", Some(change), &ports.span, message);
            }
        }
    }
    rulings.extend(price::evaluate(policy, plan));
    rulings
}

fn goes(change: &Change) -> bool {
    matches!(change.action, Action::Delete | Action::Replace(_))
}

/// Whether the plan makes or changes the object; what is there already is not this plan's doing.
fn comes(change: &Change) -> bool {
    matches!(
        change.action,
        Action::Create | Action::Update | Action::Replace(_)
    ) || change.importing.is_some()
}

fn matches(pattern: &str, change: &Change) -> bool {
    if !pattern.contains('.') && !pattern.contains('*') {
        return change.address.resource_type.as_str() == pattern;
    }
    pattern
        .parse::<AddressGlob>()
        .is_ok_and(|glob| glob.matches(&change.address))
}

/// Returns the region in which an object is, by the attributes that providers call so.
fn region_of(attributes: &Attributes) -> Option<String> {
    ["region", "availability_zone"]
        .iter()
        .find_map(|name| match attributes.get(*name) {
            Some(Value::String(text)) => Some(text.to_string()),
            _ => None,
        })
}

/// A zone is in its region: `eu-west-1a` is in `eu-west-1`.
fn is_in(place: &str, region: &str) -> bool {
    place.strip_prefix(region).is_some_and(|rest| {
        rest.is_empty() || rest.len() == 1 && rest.starts_with(|c: char| c.is_ascii_lowercase())
    })
}

/// Returns the ranges of ports that are open to everybody, wherever an object says so: in a rule of its own, or in a list
/// of rules.
fn open_to_all(value: &Value) -> Vec<(i64, i64)> {
    let mut found = Vec::new();
    collect_open(value, true, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

fn collect_open(value: &Value, may_be_rule: bool, found: &mut Vec<(i64, i64)>) {
    match value {
        Value::Map(entries) => {
            let everybody = |value: &Value| matches!(value, Value::String(text) if &**text == "0.0.0.0/0" || &**text == "::/0");
            let open = ["cidr_ipv4", "cidr_ipv6", "cidr_blocks", "ipv6_cidr_blocks"]
                .iter()
                .filter_map(|name| entries.get(*name))
                .any(|value| match value {
                    Value::List(items) => items.iter().any(everybody),
                    single => everybody(single),
                });
            // What goes out is open everywhere.
            let inbound = !matches!(entries.get("type"), Some(Value::String(text)) if &**text == "egress");
            if open && inbound && may_be_rule {
                let port = |name: &str| match entries.get(name) {
                    Some(Value::Int(port)) if *port >= 0 => Some(*port),
                    _ => None,
                };
                let all = matches!(entries.get("ip_protocol").or(entries.get("protocol")), Some(Value::String(text)) if &**text == "-1");
                found.push(match (port("from_port"), port("to_port")) {
                    (Some(from), Some(to)) if !all => (from, to),
                    _ => (0, 65535),
                });
            }
            for (name, inner) in entries {
                collect_open(inner, &**name != "egress", found);
            }
        }
        Value::List(items) => items
            .iter()
            .for_each(|item| collect_open(item, may_be_rule, found)),
        _ => {}
    }
}
