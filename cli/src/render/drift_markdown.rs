//! What the world changed behind our back, as Markdown.

use std::fmt::{self, Write};

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Drift, DriftKind};

use gabion_engine::words::ago;
use jiff::Timestamp;

use super::drift_text::{sides, summary_line};
use super::markdown::{Table, cell_code, code, marker, prose};
use super::words;

/// Writes the answer of `gabion drift`; whether everything could be asked decides what no drift means.
pub(crate) fn write_drift(
    out: &mut dyn Write,
    plan: &Plan,
    drift: &[Drift],
    is_complete: bool,
) -> fmt::Result {
    writeln!(out, "{}", marker("drift", plan))?;
    let project = code(&plan.project);
    if drift.is_empty() {
        return match is_complete {
            true => writeln!(out, "### ✅ gabion drift {project}: none"),
            false => writeln!(out, "### ⚠️ gabion drift {project}: none in what could be asked"),
        };
    }
    writeln!(out, "### ⚠️ gabion drift {project}: {}", summary_line(drift))?;
    let drift: Vec<_> = drift.iter().collect();
    out.write_str(&table(&drift, plan.basis.gathered_at).to_markdown())
}

/// Returns the table of differences.
pub(crate) fn table(drift: &[&Drift], now: Timestamp) -> Table {
    let mut table = Table::new(&[
        "changed outside gabion",
        "attribute",
        "was",
        "is",
        "apply",
        "recorded",
    ]);
    let row = |cells: [&str; 6]| cells.iter().map(|cell| (*cell).to_owned()).collect();
    for item in drift {
        let address = cell_code(&item.address.to_string());
        let since = item.recorded_at.map(|at| ago(at, now)).unwrap_or_default();
        match &item.kind {
            DriftKind::Vanished => table
                .rows
                .push(row([&address, "", "there", "**gone**", "", &since])),
            DriftKind::CannotTell { reason } => {
                let why = format!("cannot be read: {}", prose(reason));
                table.rows.push(row([&address, "", "", &why, "", &since]));
            }
            DriftKind::Changed(attributes) => {
                for attribute in attributes {
                    let [recorded, actual, _] = sides(attribute);
                    table.rows.push(row([
                        &address,
                        &cell_code(&attribute.path.to_string()),
                        &cell_code(&recorded),
                        &cell_code(&actual),
                        words::verdict(attribute.verdict),
                        &since,
                    ]));
                }
            }
        }
    }
    table.without_empty_columns()
}
