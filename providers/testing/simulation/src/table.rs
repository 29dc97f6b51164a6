//! The table of what was hit: a row for each action and boundary, and each moment at it; a column for each outcome.

use std::collections::BTreeMap;

use crate::cell::{Cell, Moment, Outcome, Place};
use crate::expected::{self, Expected};

/// Prints how often each cell was hit: `–` is a cell that cannot be hit, a count in brackets one that is hit by chance.
pub fn table(cells: &BTreeMap<Cell, u64>) -> String {
    let mut rows: BTreeMap<(Place, Moment), BTreeMap<Outcome, String>> = BTreeMap::new();
    for cell in expected::all() {
        let count = cells.get(&cell).copied().unwrap_or_default();
        let shown = match (expected::expected(cell), count) {
            (Expected::Never, 0) => "–".to_owned(),
            (Expected::Never, count) => format!("!{count}"),
            (Expected::Often, count) => count.to_string(),
            (Expected::ByChance, count) => format!("({count})"),
        };
        rows.entry((cell.place, cell.moment))
            .or_default()
            .insert(cell.outcome, shown);
    }
    rows.retain(|_, row| row.values().any(|shown| shown != "–"));
    let mut text = format!("{:<20} {:<10} {:<13}", "action", "boundary", "moment");
    for outcome in Outcome::ALL {
        text += &format!(" {outcome:>10}");
    }
    text.push('\n');
    for ((Place { action, boundary }, moment), row) in rows {
        text += &format!("{action:<20} {boundary:<10} {moment:<13}");
        for shown in row.values() {
            text += &format!(" {shown:>10}");
        }
        text.push('\n');
    }
    text
}
