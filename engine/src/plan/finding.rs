//! What planning finds beside changes: drift, values that cannot be had, and renames that look meant.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::{ResourceType, Uid};
use crate::config::{Resolved, Scope as _, Target};
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::drift::{Compared, attribute_drift};
use crate::plan::change::{Action, Change, Drift, DriftKind, DriftVerdict, Reason};
use crate::plan::decide::{Decider, Decision};
use crate::plan::evaluate::{Changed, PlanScope, protect};
use crate::plan::known::Actual;
use crate::plan::path;
use crate::plan::planner::Planner;
use crate::resource::Place;
use crate::state::record::{Record, Status};
use crate::value::{Attributes, Value, seal_attributes};
use crate::words::ago;
use crate::world::Refresh;

/// Compares every record with the world; returns the drift, and the attributes that records of unchanged objects take
/// over.
pub(super) fn drift(planner: &Planner<'_>) -> (Vec<Drift>, BTreeMap<Uid, Attributes>) {
    let mut found = Vec::new();
    let mut accepted = BTreeMap::new();
    let of = |record: &Record, kind| Drift {
        address: record.address.clone(),
        uid: record.uid,
        provider: record.declaration.provider.clone(),
        recorded_at: record.written_at.0,
        place: planner.declared_at(record),
        kind,
    };
    for record in planner.known.vanished.values() {
        found.push(of(record, DriftKind::Vanished));
    }
    for record in planner.known.state.records() {
        match planner.known.actual(record.uid) {
            Actual::NotRead => {}
            Actual::CannotTell(reason) => {
                let reason = reason.to_owned();
                found.push(of(record, DriftKind::CannotTell { reason }));
            }
            Actual::Read(_) => {
                let compared = compare(planner, record, &mut accepted);
                found.extend(compared.map(|kind| of(record, kind)));
            }
        }
    }
    found.sort_by(|a, b| (&a.address, a.uid).cmp(&(&b.address, b.uid)));
    (found, accepted)
}

impl Planner<'_> {
    /// Returns where the document is that declares an object, or did when it was last applied.
    fn declared_at(&self, record: &Record) -> Option<Place> {
        let position = self.graph.position(&record.address).filter(|_| !record.deposed);
        let now = position.map(|at| &self.input.configuration.resources[at].document);
        let document = now.or(record.declaration.document.as_ref())?;
        Some(document.place.clone())
    }
}

fn compare(
    planner: &Planner<'_>,
    record: &Record,
    accepted: &mut BTreeMap<Uid, Attributes>,
) -> Option<DriftKind> {
    // What an earlier run did not finish is not known to have been as recorded.
    if !matches!(record.status, Status::Ready | Status::Tainted) || record.open.is_some() {
        return None;
    }
    let schema = planner.input.providers.schema(&record.address.resource_type)?;
    let position = planner
        .graph
        .position(&record.address)
        .filter(|_| !record.deposed);
    let covered = position.and_then(|at| planner.decisions.get(at));
    let decision = covered.or_else(|| planner.left_out.get(position?));
    let lifecycle = match position {
        Some(at) => &planner.input.configuration.resources[at].lifecycle,
        None => &record.declaration.lifecycle,
    };
    let mut actual = planner.known.attributes(record);
    protect(schema, &mut actual, planner.input.options.key.as_deref());
    let compared = Compared {
        recorded: &record.attributes,
        actual: &actual,
        desired: decision.and_then(|d| d.change.inputs.as_ref()),
        planned: decision.and_then(|d| d.change.after.as_ref()),
    };
    let drift = attribute_drift(schema, lifecycle, compared);
    if drift.is_empty() {
        return None;
    }
    let untouched = covered.is_some_and(|decision| decision.change.action == Action::NoOp);
    if untouched && drift.iter().any(|d| d.verdict == DriftVerdict::Accepted) {
        let mut attributes = seal_attributes(&actual);
        for kept in drift.iter().filter(|d| d.verdict != DriftVerdict::Accepted) {
            match &kept.recorded {
                Some(value) => path::set(&mut attributes, &kept.path, value.seal()),
                None => path::remove(&mut attributes, &kept.path),
            }
        }
        accepted.insert(record.uid, attributes);
    }
    Some(DriftKind::Changed(drift))
}

/// Says how old what is recorded is, where the world was not read for it.
pub(super) fn unread(planner: &Planner<'_>) -> Option<String> {
    let world = planner.input.world;
    if world.refresh == Refresh::Full {
        return None;
    }
    let unread: Vec<&Record> = planner
        .input
        .state
        .records()
        .filter(|record| record.open.is_none() && !world.objects.contains_key(&record.uid))
        .collect();
    let (it, was) = match unread.len() {
        0 => return None,
        1 => ("1 object was not read: what is known of it".to_owned(), ""),
        number => (
            format!("{number} objects were not read: what is known of them"),
            "up to ",
        ),
    };
    // Without a time it is older than any that has one.
    let oldest = unread.iter().min_by_key(|record| record.written_at.0)?;
    let when = match oldest.written_at.0 {
        Some(at) => format!("was recorded {was}{}", ago(at, world.gathered_at)),
        None => "was recorded by an earlier version, which kept no time".to_owned(),
    };
    Some(format!("{it} {when} (`{}`).", oldest.address))
}

/// Reports inputs that need a secret which only its provider knew and which was not kept.
pub(super) fn sealed_secrets(decider: &Decider<'_>, decision: &Decision, problems: &mut Diagnostics) {
    if decision.change.action == Action::NoOp {
        return;
    }
    let resource = &decider.input.configuration.resources[decision.position];
    let inputs = decision.change.inputs.as_ref();
    let scope = PlanScope {
        graph: decider.graph,
        outcomes: decider.outcomes,
        providers: decider.input.providers,
        options: decider.input.options,
        itself: None,
    };
    for input in decider.graph.templates(decision.position) {
        let value = inputs.and_then(|inputs| path::get(inputs, &input.path));
        // What waits for a value of another object, too, may need such a secret beside it.
        let lacks = match value {
            Some(Value::Secret(secret)) => secret.expose().is_none(),
            Some(Value::Unknown(_)) => true,
            _ => false,
        };
        if !lacks {
            continue;
        }
        for reference in input.template.references() {
            let Target::Resource(address) = &reference.target else {
                continue;
            };
            let Some(at) = decider.graph.position(address) else {
                continue;
            };
            let sealed = match scope.resolve(reference) {
                Resolved::Known(Value::Secret(secret)) => secret.expose().is_none(),
                _ => false,
            };
            if sealed && decider.outcomes[at].changed == Changed::Nothing {
                problems.push(
                    Diagnostic::error("secret-not-kept", "a secret was not kept")
                        .detail(format!(
                            "`{}` of `{}` needs `{reference}`, a secret that its provider returned when the object was \
                             made. No state keeps the value of a secret, an encrypted one neither, so it is not known any \
                             more.",
                            input.path, resource.address
                        ))
                        .at(decider.places.span(resource.place_of(&input.path)))
                        .hint(format!(
                            "give both a value of your own from `secrets`, or replace the object: `gabion plan \
                             --replace {address}`"
                        )),
                );
            }
        }
    }
}

/// Finds an object that goes and one that comes which have the same type and inputs: perhaps it was renamed.
pub(super) fn likely_moves(changes: &[Change]) -> Vec<(String, Option<Place>)> {
    type Candidates<'a> = (Vec<&'a Change>, Vec<&'a Change>);
    let mut alike: BTreeMap<String, Candidates<'_>> = BTreeMap::new();
    let key = |change: &Change, inputs: &Attributes| {
        let wholly_known = inputs.values().all(Value::is_wholly_known) && !inputs.is_empty();
        let written = serde_json::to_string(inputs).ok().filter(|_| wholly_known)?;
        Some(format!("{} {written}", change.address.resource_type))
    };
    // Of a record only attributes are left: those that a new resource of the type sets are compared.
    let mut sets: BTreeMap<&ResourceType, Vec<&Arc<str>>> = BTreeMap::new();
    for change in changes {
        let new = (change.action, change.reasons.first()) == (Action::Create, Some(&Reason::New));
        let Some(inputs) = change.inputs.as_ref().filter(|_| new) else {
            continue;
        };
        sets.entry(&change.address.resource_type)
            .or_insert_with(|| inputs.keys().collect());
        if let Some(key) = key(change, inputs) {
            alike.entry(key).or_default().1.push(change);
        }
    }
    for change in changes {
        let goes =
            (change.action, change.reasons.first()) == (Action::Delete, Some(&Reason::Undeclared(None)));
        let names = sets.get(&change.address.resource_type).filter(|_| goes);
        let (Some(names), Some(before)) = (names, &change.before) else {
            continue;
        };
        let same = names
            .iter()
            .filter_map(|name| Some(((*name).clone(), before.get(*name)?.clone())));
        if let Some(key) = key(change, &same.collect()) {
            alike.entry(key).or_default().0.push(change);
        }
    }
    alike
        .into_values()
        .filter_map(|(gone, come)| match (gone.as_slice(), come.as_slice()) {
            ([gone], [come]) => Some((
                format!(
                    "`{}` goes and `{}` comes with the same inputs. Was it renamed? Then keep the object: `type: moved`, \
                     `from: {}`, `to: {}`.",
                    gone.address, come.address, gone.address, come.address
                ),
                None,
            )),
            _ => None,
        })
        .collect()
}
