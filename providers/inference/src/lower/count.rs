//! How many replicas a group has: what is written, or what was chosen within the range that is written.
//!
//! The choice lives in the state, as a `replica_count` of the group: a plan keeps it, whatever else was edited, and only
//! moves it into a range that has become narrower. A group that had a fixed number before starts with what it has, a new
//! one with the least.

use gabion_engine::address::ResourceAddress;
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::builder::{ResourceBuilder, address};
use super::program::seconds;
use super::project::Context;
use crate::document::dialect::Member;
use crate::document::replica_group::ReplicaCount;

/// Returns the address of a group's count, `replica_count.qwen/default`.
pub(crate) fn address_of(group: &str) -> ResourceAddress {
    address("replica_count", group)
}

/// Returns how many replicas a group has.
pub(crate) fn of(group: &str, range: ReplicaCount, context: &Context) -> u32 {
    if range.is_fixed() {
        return range.min;
    }
    let running = || {
        let slots = context.slots.get(group).map_or(0, Vec::len);
        (slots > 0).then(|| u32::try_from(slots).unwrap_or(u32::MAX))
    };
    let chosen = context.counts.get(group).copied().or_else(running);
    chosen.unwrap_or(range.min).clamp(range.min, range.max)
}

/// Returns the count of a group with a range, as a resource.
pub(crate) fn resource(
    group: &str,
    member: &Member<'_>,
    count: u32,
    document: &DocumentRef,
) -> Option<Resource> {
    let scaling = member.scaling.filter(|_| !member.replicas.value.is_fixed())?;
    let rule = &scaling.value;
    let range = member.replicas.value;
    let number = |number: u32| Value::Int(i64::from(number));
    let mut builder = ResourceBuilder::new(address_of(group), document);
    if let Some(percentile) = &rule.percentile {
        builder = builder
            .input("percentile", number(percentile.value.0.into()))
            .at("percentile", &percentile.span);
    }
    Some(
        builder
            .input("count", number(count))
            .input("min", number(range.min))
            .input("max", number(range.max))
            .input("metric", rule.metric.as_str())
            .input("target", Value::Float(rule.target.0))
            .input("window_seconds", seconds(rule.window.0))
            .input("scale_up_delay_seconds", seconds(rule.scale_up_delay))
            .input("scale_down_delay_seconds", seconds(rule.scale_down_delay))
            .at("count", &member.replicas.span)
            .at("min", &member.replicas.span)
            .at("max", &member.replicas.span)
            .at("metric", &scaling.span)
            .at("target", &scaling.span)
            .at("window_seconds", &scaling.span)
            .at("scale_up_delay_seconds", &scaling.span)
            .at("scale_down_delay_seconds", &scaling.span)
            .build(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use gabion_engine::config::Purpose;

    use super::super::project::RecordedSlot;
    use super::*;

    fn check(range: (u32, u32), chosen: Option<u32>, running: u32, expected: u32) {
        let slots = (0..running).map(|slot| RecordedSlot {
            slot,
            needs_repair: false,
        });
        let context = Context {
            aws: crate::lower::AwsSettings::default(),
            acme: BTreeMap::new(),
            purpose: Purpose::Plan,
            project_directory: String::new(),
            root: None,
            backends: Vec::new(),
            ready_timeout: Duration::ZERO,
            machine_ready_timeout: Duration::ZERO,
            tokens: BTreeMap::new(),
            slots: BTreeMap::from([("qwen/default".to_owned(), slots.collect())]),
            counts: chosen
                .map(|count| ("qwen/default".to_owned(), count))
                .into_iter()
                .collect(),
            local_runtime: None,
            local_facts: None,
            unread: crate::lower::Unread::default(),
        };
        let (min, max) = range;
        assert_eq!(of("qwen/default", ReplicaCount { min, max }, &context), expected);
    }

    #[test]
    fn the_chosen_count_stands_within_the_range() {
        check((2, 2), Some(4), 5, 2);
        check((1, 4), None, 0, 1);
        check((0, 4), None, 0, 0);
        check((1, 4), Some(3), 1, 3);
        check((0, 4), Some(0), 2, 0);
        check((1, 2), Some(3), 3, 2);
        check((3, 5), Some(1), 1, 3);
        // A number that was fixed before.
        check((1, 4), None, 3, 3);
    }
}
