//! Renames: which object goes where, chains and swaps at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::address::ResourceAddress;
use crate::diagnostic::{Diagnostic, Diagnostics};
use crate::plan::problem::Places;
use crate::resource::{Configuration, Moved};
use crate::state::State;
use crate::state::event::ObjectMove;

/// Works out the renames that `moved` documents ask for and that have not happened yet.
///
/// An object follows the documents until it comes to an address that the configuration declares, so that `a → b`,
/// `b → c` shifts two objects when `b` is declared and carries one all the way when it is not. Documents may stay
/// after they were carried out: where both ends are declared and both have objects, the state tells whether the
/// object at `to` is the one that came from `from`.
pub(super) fn resolve(
    configuration: &Configuration,
    state: &State,
    places: &Places<'_>,
) -> (Vec<ObjectMove>, Diagnostics) {
    let mut problems = Diagnostics::new();
    let declared: BTreeSet<&ResourceAddress> = configuration.resources.iter().map(|r| &r.address).collect();
    let mut by_from: BTreeMap<&ResourceAddress, &Moved> = BTreeMap::new();
    for moved in &configuration.directives.moved {
        if moved.from.resource_type != moved.to.resource_type {
            problems.push(
                Diagnostic::error("move-across-types", "an object cannot change its type")
                    .detail(format!(
                        "`{}` cannot become `{}`: the types differ.",
                        moved.from, moved.to
                    ))
                    .at(places.span(&moved.place))
                    .hint("declare the new resource and let the old one be deleted, or import the object"),
            );
            continue;
        }
        match by_from.get(&moved.from) {
            Some(earlier) if earlier.to != moved.to => problems.push(
                Diagnostic::error("move-conflict", "two moves of one object")
                    .detail(format!(
                        "`{}` is moved to `{}` and to `{}`.",
                        moved.from, earlier.to, moved.to
                    ))
                    .at(places.span(&moved.place))
                    .related(places.span(&earlier.place), "the other move"),
            ),
            Some(_) => {}
            None => {
                by_from.insert(&moved.from, moved);
            }
        }
    }
    let happened = |moved: &Moved| {
        state.current(&moved.to).is_some()
            && (state.moved.get(&moved.to) == Some(&moved.from))
            && declared.contains(&moved.from)
    };
    let mut moves = Vec::new();
    let mut goes_to: BTreeMap<ResourceAddress, (&ResourceAddress, &Moved)> = BTreeMap::new();
    for (from, moved) in &by_from {
        let Some(record) = state.current(from) else {
            continue;
        };
        if happened(moved) {
            continue;
        }
        let mut last = *moved;
        let mut seen = BTreeSet::from([*from]);
        while !declared.contains(&last.to) && seen.insert(&last.to) {
            match by_from.get(&last.to) {
                Some(next) => last = next,
                None => break,
            }
        }
        let to = &last.to;
        if !declared.contains(to) {
            problems.push(
                Diagnostic::error("move-to-nothing", "a move leads to nothing")
                    .detail(format!(
                        "`{from}` would become `{to}`, which the configuration does not declare: its object would be \
                         deleted."
                    ))
                    .at(places.span(&last.place))
                    .hint(format!(
                        "declare `{to}`, or remove this document to let the object go"
                    )),
            );
            continue;
        }
        if to == *from {
            continue;
        }
        if let Some((other, place)) = goes_to.insert(to.clone(), (*from, *moved)) {
            problems.push(
                Diagnostic::error("move-conflict", "two objects move to one address")
                    .detail(format!("`{other}` and `{from}` would both become `{to}`."))
                    .at(places.span(&moved.place))
                    .related(places.span(&place.place), "the other move"),
            );
            continue;
        }
        moves.push(ObjectMove {
            uid: record.uid,
            from: (*from).clone(),
            to: to.clone(),
        });
    }
    let leaving: BTreeSet<&ResourceAddress> = moves.iter().map(|m| &m.from).collect();
    let mut stuck = BTreeSet::new();
    for object in &moves {
        let Some(standing) = state.current(&object.to) else {
            continue;
        };
        if leaving.contains(&object.to) {
            continue;
        }
        // Both are declared and both have objects: the move was meant for a state that is no more.
        if declared.contains(&object.from) {
            stuck.insert(object.uid);
            continue;
        }
        let place = by_from.get(&object.from).map(|moved| places.span(&moved.place));
        problems.push(
            Diagnostic::error("move-conflict", "the new address is taken")
                .detail(format!(
                    "`{}` cannot become `{}`, where there is another object already ({}).",
                    object.from, object.to, standing.uid
                ))
                .at(place)
                .hint(format!(
                    "decide which of the two goes: `gabion state rm {}` makes gabion forget the new one",
                    object.to
                )),
        );
    }
    // What does not move keeps its address, and so must whatever was to follow it there.
    let coming: BTreeMap<&ResourceAddress, &ObjectMove> = moves.iter().map(|m| (&m.to, m)).collect();
    let mut held: Vec<&ObjectMove> = moves.iter().filter(|m| stuck.contains(&m.uid)).collect();
    while let Some(kept) = held.pop() {
        if let Some(follower) = coming.get(&kept.from)
            && stuck.insert(follower.uid)
        {
            held.push(follower);
        }
    }
    moves.retain(|m| !stuck.contains(&m.uid));
    (moves, problems)
}
