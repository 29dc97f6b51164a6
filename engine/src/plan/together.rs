//! Groups that stand and fall together: when one of a group begins anew, all of it does.
//!
//! Nothing in a group has to depend on the others, so no order of deciding is right for all. What a plan decides shows
//! which groups begin anew, and what was decided otherwise about the rest of such a group is decided again.

use std::collections::BTreeMap;

use crate::plan::change::{Action, Change, Reason};
use crate::plan::decisions::Decisions;
use crate::plan::path;
use crate::resource::{Resource, Together};

/// What is replaced because of its group, by the position of the resource: why.
#[derive(Debug, Default)]
pub(super) struct Fates(BTreeMap<usize, Vec<Reason>>);

impl Fates {
    /// Returns why a resource is replaced with its group.
    pub(super) fn reasons(&self, position: usize) -> &[Reason] {
        self.0.get(&position).map_or(&[], Vec::as_slice)
    }

    /// Adds what the groups that begin anew take along. Returns whether there was any that was not known.
    pub(super) fn add(&mut self, resources: &[Resource], decisions: &Decisions) -> bool {
        let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (position, resource) in resources.iter().enumerate() {
            if let Some(together) = &resource.lifecycle.together {
                groups.entry(&together.group).or_default().push(position);
            }
        }
        let mut is_new = false;
        for members in groups.into_values() {
            let decided = || members.iter().filter_map(|at| decisions.get(*at));
            let begins =
                |at: usize, change: &Change| begins_anew(change, resources[at].lifecycle.together.as_ref());
            let Some(first) = decided().find(|decided| begins(decided.position, decided.change)) else {
                continue;
            };
            for member in decided() {
                let stays = matches!(member.change.action, Action::NoOp | Action::Update);
                if !stays || self.0.contains_key(&member.position) {
                    continue;
                }
                let own = member.change.reasons.clone();
                let because = match begins(member.position, member.change) && !own.is_empty() {
                    true => own,
                    false => vec![Reason::TriggeredBy(first.change.address.clone())],
                };
                self.0.insert(member.position, because);
                is_new = true;
            }
        }
        is_new
    }
}

/// Returns whether a change makes an object, or has the one that is there begin anew.
fn begins_anew(change: &Change, together: Option<&Together>) -> bool {
    let attributes = together.map_or(&[][..], |together| &together.attributes);
    let counts = |at| attributes.iter().any(|own| path::overlap(own, at));
    match change.action {
        Action::Create | Action::Replace(_) => true,
        Action::Update => change.attributes.iter().any(|attribute| counts(&attribute.path)),
        Action::NoOp | Action::Delete | Action::Forget => false,
    }
}
