//! The table of what was hit: a row for each action and boundary, and each moment at it; a column for each outcome.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::cell::{Action, Boundary, Cell, Moment, Outcome, Place};

/// Prints how often each cell was hit. Rows that cannot be hit are left out.
pub fn table(cells: &BTreeMap<Cell, u64>) -> String {
    let mut text = format!("{:<20} {:<10} {:<13}", "action", "boundary", "moment");
    for outcome in Outcome::ALL {
        write!(text, " {outcome:>10}").expect("writing to a string cannot fail");
    }
    text.push('\n');
    for action in Action::ALL {
        for boundary in Boundary::ALL {
            for moment in Moment::ALL {
                let counts: Vec<u64> = Outcome::ALL
                    .iter()
                    .map(|outcome| {
                        let cell = Cell {
                            place: Place {
                                action: *action,
                                boundary: *boundary,
                            },
                            moment: *moment,
                            outcome: *outcome,
                        };
                        cells.get(&cell).copied().unwrap_or_default()
                    })
                    .collect();
                if counts.iter().all(|count| *count == 0) {
                    continue;
                }
                write!(text, "{action:<20} {boundary:<10} {moment:<13}")
                    .expect("writing to a string cannot fail");
                for count in counts {
                    match count {
                        0 => text.push_str("          –"),
                        count => write!(text, " {count:>10}").expect("writing to a string cannot fail"),
                    }
                }
                text.push('\n');
            }
        }
    }
    text
}
