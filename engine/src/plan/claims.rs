//! Exclusive claims: two objects cannot hold the same, and what one gives up another may take.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::address::{ResourceAddress, Uid};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::graph::ResourceGraph;
use crate::plan::change::{Action, Change};
use crate::plan::decisions::{Decided, Decisions};
use crate::plan::known::Known;
use crate::plan::problem::Places;
use crate::resource::Configuration;
use crate::value::AttributePath;

/// Something that passes from one object to another within the plan.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct HandOver {
    /// What.
    pub(super) key: Arc<str>,
    /// The object that holds it now.
    pub(super) from: Uid,
    /// The resource that shall hold it.
    pub(super) to: ResourceAddress,
}

/// Who shall hold a claim, and where it says so.
enum Holder<'a> {
    Declared(Decided<'a>, &'a AttributePath),
    Kept(&'a ResourceAddress),
}

/// Finds claims that two objects would hold, and those that pass from one to another.
pub(super) fn resolve(
    decisions: &Decisions,
    removals: &[Change],
    known: &Known<'_>,
    graph: &ResourceGraph,
    configuration: &Configuration,
    places: &Places<'_>,
    problems: &mut Diagnostics,
) -> Vec<HandOver> {
    let mut holders: BTreeMap<&Arc<str>, Holder<'_>> = BTreeMap::new();
    let going: BTreeSet<Uid> = removals
        .iter()
        .filter(|change| change.action == Action::Delete)
        .filter_map(|change| change.uid)
        .collect();
    let decided: BTreeSet<Uid> = decisions.iter().filter_map(|d| d.change.uid).collect();
    let mut held_now: BTreeMap<&Arc<str>, Vec<Uid>> = BTreeMap::new();
    for record in known.state.records() {
        for key in record.declaration.claims.iter() {
            held_now.entry(key).or_default().push(record.uid);
            if !going.contains(&record.uid) && !decided.contains(&record.uid) {
                holders.entry(key).or_insert(Holder::Kept(&record.address));
            }
        }
    }
    let place = |decision: Decided<'_>, path: &AttributePath| {
        places.span(configuration.resources[decision.position].place_of(path))
    };
    let mut hand_overs = Vec::new();
    for decision in decisions.iter() {
        let own: BTreeSet<&Arc<str>> = decision
            .change
            .uid
            .and_then(|uid| known.state.record(uid))
            .into_iter()
            .flat_map(|record| record.declaration.claims.iter())
            .collect();
        let mut seen = BTreeSet::new();
        for claim in &decision.beside.claims {
            if !seen.insert(&claim.key) {
                continue;
            }
            match holders.get(&claim.key) {
                Some(Holder::Declared(other, path)) => problems.push(
                    Diagnostic::error("claimed-twice", "two objects need the same thing")
                        .detail(format!(
                            "`{}` and `{}` both need `{}`, which only one can hold.",
                            other.change.address, decision.change.address, claim.key
                        ))
                        .at(place(decision, &claim.path))
                        .related(place(*other, path), "also needed here"),
                ),
                Some(Holder::Kept(other)) if **other != decision.change.address => problems.push(
                    Diagnostic::error("claimed-twice", "two objects need the same thing")
                        .detail(format!(
                            "`{}` needs `{}`, which `{other}` holds, and this plan leaves that as it is.",
                            decision.change.address, claim.key
                        ))
                        .at(place(decision, &claim.path))
                        .hint(format!("take `{other}` into the plan too")),
                ),
                _ => {
                    holders.insert(&claim.key, Holder::Declared(decision, &claim.path));
                }
            }
            if own.contains(&claim.key) && !matches!(decision.change.action, Action::Create) {
                continue;
            }
            for from in held_now.get(&claim.key).into_iter().flatten() {
                if Some(*from) != decision.change.uid {
                    hand_overs.push(HandOver {
                        key: claim.key.clone(),
                        from: *from,
                        to: graph.address(decision.position).clone(),
                    });
                }
            }
        }
    }
    hand_overs.sort();
    hand_overs
}

/// Returns the keys that all decisions take.
pub(super) fn all_taken(decisions: &Decisions, known: &Known<'_>) -> BTreeSet<Arc<str>> {
    let taking = decisions.iter().filter(|d| d.change.action != Action::NoOp);
    taking.flat_map(|decision| taken(decision, known)).collect()
}

/// Returns what a change takes that its object does not hold yet.
fn taken(decision: Decided<'_>, known: &Known<'_>) -> Vec<Arc<str>> {
    let record = decision.change.uid.and_then(|uid| known.state.record(uid));
    let own: BTreeSet<&Arc<str>> = record
        .into_iter()
        .flat_map(|record| record.declaration.claims.iter())
        .collect();
    let mut keys: Vec<_> = decision
        .beside
        .claims
        .iter()
        .map(|claim| claim.key.clone())
        .filter(|key| !own.contains(key))
        .collect();
    keys.sort();
    keys.dedup();
    keys
}
