//! Rolling changes: which replacements of a plan go in turn, and which of them at the same time.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::ResourceAddress;
use crate::plan::change::{Action, Change, Reason};
use crate::resource::Roll;
use crate::schema::ReplaceOrder;

/// The replacements of one group, in turns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rollout {
    /// The turns, one after the other; each holds its changes by position.
    pub(super) turns: Vec<Vec<usize>>,
    /// The change to say it with: the first of the first turn that replaces something.
    pub(super) first: usize,
    /// What people should know of it.
    pub(super) note: String,
}

/// What one member of a group has in a plan.
#[derive(Default)]
struct Member {
    changes: Vec<usize>,
    /// The first of its replacements.
    replaces: Option<usize>,
    /// Whether one of its old objects goes before the new one is made.
    deletes_first: bool,
    /// Whether it is out of order anyway, so that its turn takes nothing away.
    ails: bool,
}

/// Returns the rolling changes of a plan's changes, one for each group of which it replaces more than one member.
pub(super) fn rollouts(changes: &[Change]) -> Vec<Rollout> {
    let rolls: BTreeMap<&ResourceAddress, &Roll> = changes
        .iter()
        .filter_map(|change| {
            let roll = change.declaration.as_ref()?.lifecycle.roll.as_ref()?;
            Some((&change.address, roll))
        })
        .collect();
    let mut groups: BTreeMap<&Arc<str>, (&Roll, BTreeMap<String, Member>)> = BTreeMap::new();
    for (index, change) in changes.iter().enumerate() {
        let Some(roll) = rolls.get(&change.address) else {
            continue;
        };
        let name = match &roll.member {
            Some(member) => member.to_string(),
            None => change.address.to_string(),
        };
        let (_, members) = groups.entry(&roll.group).or_insert((roll, BTreeMap::new()));
        let member = members.entry(name).or_default();
        member.changes.push(index);
        // What goes with something that holds it has no turn of its own: all of it goes at that time.
        let goes_along = change
            .reasons
            .iter()
            .any(|reason| matches!(reason, Reason::DeletedWith(_)));
        if let Action::Replace(order) = change.action
            && !goes_along
        {
            member.replaces = member.replaces.or(Some(index));
            member.deletes_first |= order == ReplaceOrder::DeleteThenCreate;
            member.ails |= change.reasons.iter().any(is_ailment);
        }
    }
    groups
        .into_values()
        .filter_map(|(roll, members)| rollout(roll, members))
        .collect()
}

fn is_ailment(reason: &Reason) -> bool {
    matches!(reason, Reason::Tainted | Reason::Incomplete | Reason::Drifted)
}

fn rollout(roll: &Roll, members: BTreeMap<String, Member>) -> Option<Rollout> {
    let mut members: Vec<Member> = members
        .into_values()
        .filter(|member| member.replaces.is_some())
        .collect();
    if members.len() < 2 {
        return None;
    }
    // In the order of the changes; what does not work as it is comes first.
    members.sort_by_key(|member| (!member.ails, member.changes.first().copied()));
    let most = |deletes_first: bool| {
        let most = if deletes_first {
            roll.max_unavailable
        } else {
            roll.max_surge
        };
        usize::try_from(most.max(1)).unwrap_or(usize::MAX)
    };
    let mut turns: Vec<(bool, usize, Vec<usize>)> = Vec::new();
    for member in &members {
        match turns.last_mut() {
            Some((deletes_first, count, changes))
                if *deletes_first == member.deletes_first && *count < most(*deletes_first) =>
            {
                *count += 1;
                changes.extend(&member.changes);
            }
            _ => turns.push((member.deletes_first, 1, member.changes.clone())),
        }
    }
    let first = members.first().and_then(|member| member.replaces)?;
    let (down, beside): (Vec<&Member>, Vec<&Member>) =
        members.iter().partition(|member| member.deletes_first);
    let mut ways = Vec::new();
    if !beside.is_empty() {
        ways.push(match roll.max_surge.max(1) {
            1 => "one new one at a time beside the old ones".to_owned(),
            most => format!("up to {most} new ones at a time beside the old ones"),
        });
    }
    if !down.is_empty() {
        let most = match roll.max_unavailable.max(1) {
            1 => "one at a time".to_owned(),
            most => format!("up to {most} at a time"),
        };
        ways.push(if beside.is_empty() {
            format!("{most}, the old one going first")
        } else {
            format!("{most} where the old one goes first")
        });
    }
    let note = format!(
        "The {} of `{}` are replaced in turn: {}. The first that fails ends it, and the others stay as they are.",
        members.len(),
        roll.group,
        ways.join(", ")
    );
    Some(Rollout {
        turns: turns.into_iter().map(|(_, _, changes)| changes).collect(),
        first,
        note,
    })
}
