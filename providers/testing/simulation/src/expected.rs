//! Which cells of the table a run must hit, and which can never be hit.

use crate::cell::{Action, Boundary, Cell, Moment, Outcome, Place};

/// How a cell is expected to be hit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Whenever it is aimed at, or as often as not: a run of some length hits it many times.
    Often,
    /// Only when something else happens in the same moment: a second fault, a late arrival, a process that is quicker
    /// than its own end. Counted and shown, and not asked for.
    ByChance,
    /// Never: a hit is a violation.
    Never,
}

/// Returns how a cell is expected to be hit.
pub fn expected(cell: Cell) -> Expected {
    let Cell {
        place: Place { action, boundary },
        moment,
        outcome,
    } = cell;
    if !exists(action, boundary) {
        return Expected::Never;
    }
    match boundary {
        Boundary::Opening => opening(action, moment, outcome),
        Boundary::Intent => intent(action, moment, outcome),
        Boundary::Call | Boundary::Checkpoint => under_way(action, boundary, moment, outcome),
        Boundary::Result => result(action, moment, outcome),
    }
}

/// Returns whether an action has a boundary.
fn exists(action: Action, boundary: Boundary) -> bool {
    match action {
        Action::Move | Action::Import | Action::Forget => boundary == Boundary::Opening,
        // An object that was found is waited for; nothing is asked of the cloud.
        Action::Adopt => {
            matches!(boundary, Boundary::Opening | Boundary::Intent | Boundary::Result)
                || boundary == Boundary::Call
        }
        Action::Create | Action::Update | Action::Delete => {
            matches!(boundary, Boundary::Intent | Boundary::Call | Boundary::Result)
        }
        Action::CheckpointedCreate | Action::ReplaceCreateFirst | Action::ReplaceDeleteFirst => {
            boundary != Boundary::Opening
        }
    }
}

/// What a run records first is in the log or not.
fn opening(action: Action, moment: Moment, outcome: Outcome) -> Expected {
    match (moment, outcome) {
        // The creation whose object was found is still open, and its object is found again.
        (Moment::Before, Outcome::Present) if action == Action::Adopt => Expected::Often,
        (Moment::Before, Outcome::Unknown) if action == Action::Adopt => Expected::ByChance,
        (Moment::Before, Outcome::Untouched) if action != Action::Adopt => Expected::Often,
        (Moment::Unheard | Moment::After, Outcome::Recorded) => Expected::Often,
        _ => Expected::Never,
    }
}

fn intent(action: Action, moment: Moment, outcome: Outcome) -> Expected {
    let exists_before = matches!(action, Action::Update | Action::Delete | Action::Adopt);
    let replaces = matches!(action, Action::ReplaceCreateFirst | Action::ReplaceDeleteFirst);
    match (moment, outcome) {
        (Moment::Before, Outcome::Untouched) => Expected::Often,
        (Moment::Before, _) => Expected::Never,
        (_, Outcome::Untouched) => Expected::Never,
        (_, Outcome::Unknown) => Expected::ByChance,
        // Nothing was sent: what was to be made is not there, what was to be changed or deleted is.
        (Moment::Unheard, Outcome::Absent) if !exists_before => Expected::Often,
        (Moment::Unheard, Outcome::Present) if exists_before || replaces => Expected::Often,
        (Moment::Unheard, _) => Expected::ByChance,
        (Moment::After, Outcome::Absent) if !matches!(action, Action::Update | Action::Adopt) => {
            Expected::Often
        }
        (Moment::After, Outcome::Present) => Expected::Often,
        (Moment::After, Outcome::Absent | Outcome::Recorded) => Expected::ByChance,
    }
}

fn under_way(action: Action, boundary: Boundary, moment: Moment, outcome: Outcome) -> Expected {
    let call = boundary == Boundary::Call;
    let creates = matches!(action, Action::Create | Action::CheckpointedCreate);
    let replaces = matches!(action, Action::ReplaceCreateFirst | Action::ReplaceDeleteFirst);
    match (moment, outcome) {
        (_, Outcome::Untouched) => Expected::Never,
        (_, Outcome::Unknown) => Expected::ByChance,
        _ if action == Action::Adopt => Expected::ByChance,
        (Moment::Before, Outcome::Absent) if call && (creates || replaces) => Expected::Often,
        (Moment::Before, Outcome::Present) if call && creates => Expected::ByChance,
        (Moment::Unheard | Moment::After, Outcome::Absent) if call && action == Action::Delete => {
            Expected::Often
        }
        (_, Outcome::Present) if call && action == Action::Delete && moment == Moment::Before => {
            Expected::Often
        }
        (_, Outcome::Present) if action != Action::Delete => Expected::Often,
        _ => Expected::ByChance,
    }
}

fn result(action: Action, moment: Moment, outcome: Outcome) -> Expected {
    match (moment, outcome) {
        (_, Outcome::Untouched) => Expected::Never,
        (_, Outcome::Unknown) => Expected::ByChance,
        (Moment::Before, Outcome::Recorded) => Expected::Never,
        (Moment::Before, Outcome::Absent) if action == Action::Delete => Expected::Often,
        (Moment::Before, Outcome::Present) if action != Action::Delete => Expected::Often,
        (Moment::Unheard | Moment::After, Outcome::Recorded) => Expected::Often,
        _ => Expected::ByChance,
    }
}

/// Returns every cell that a run of some length must hit.
pub fn often() -> Vec<Cell> {
    all().filter(|cell| expected(*cell) == Expected::Often).collect()
}

/// Returns every cell, those included that cannot be hit.
pub fn all() -> impl Iterator<Item = Cell> {
    let places = Action::ALL.iter().flat_map(|action| {
        Boundary::ALL.iter().map(|boundary| Place {
            action: *action,
            boundary: *boundary,
        })
    });
    let moments = places.flat_map(|place| Moment::ALL.iter().map(move |moment| (place, *moment)));
    moments.flat_map(|(place, moment)| {
        Outcome::ALL.iter().map(move |outcome| Cell {
            place,
            moment,
            outcome: *outcome,
        })
    })
}
