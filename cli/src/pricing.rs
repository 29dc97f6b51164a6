//! What the objects of a plan cost, by their attributes and the price list: gathered into the plan, so that a saved plan tells
//! and is judged by the same prices wherever it is shown.

use std::collections::BTreeSet;

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::Action;
use gabion_engine::plan::price::{ObjectPrice, PlanPrices, Rate};
use gabion_engine::state::State;
use gabion_engine::value::Attributes;
use gabion_inference::offers::PriceBook;

/// Returns what the objects of a plan cost, those that it leaves out included; `None` when none has a price.
pub(crate) fn of(plan: &Plan, state: &State, book: &PriceBook) -> Option<PlanPrices> {
    let mut objects = Vec::new();
    let mut seen = BTreeSet::new();
    for change in &plan.changes {
        seen.extend(change.uid);
        let kind = change.address.resource_type.as_str();
        let rate = |attributes: &Option<Attributes>| book.rate(kind, attributes.as_ref()?);
        let before = rate(&change.before);
        let after = match change.action {
            Action::Delete | Action::Forget => None,
            Action::NoOp => rate(&change.after).or(before),
            Action::Create | Action::Update | Action::Replace(_) => rate(&change.after),
        };
        let touched = change.action != Action::NoOp || change.importing.is_some();
        let others = change.alternatives.others.iter();
        let alternatives = others.filter_map(|other| book.rate(kind, &other.after)).collect();
        push(
            &mut objects,
            &change.address,
            (before, after),
            alternatives,
            touched,
        );
    }
    for record in state.current_records().chain(state.deposed_records()) {
        if !seen.contains(&record.uid) {
            let rate = book.rate(record.address.resource_type.as_str(), &record.attributes);
            push(&mut objects, &record.address, (rate, rate), Vec::new(), false);
        }
    }
    if objects.is_empty() {
        return None;
    }
    objects.sort();
    Some(PlanPrices {
        date: book.date().into(),
        objects,
    })
}

fn push(
    objects: &mut Vec<ObjectPrice>,
    address: &gabion_engine::address::ResourceAddress,
    (before, after): (Option<Rate>, Option<Rate>),
    alternatives: Vec<Rate>,
    touched: bool,
) {
    if before.is_some() || after.is_some() {
        objects.push(ObjectPrice {
            address: address.clone(),
            before,
            after,
            alternatives,
            touched,
        });
    }
}
