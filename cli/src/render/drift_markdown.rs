//! What the world changed behind our back, as Markdown.

use std::fmt::{self, Write};

use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Drift, DriftKind};

use super::drift_text::{sides, summary_line};
use super::markdown::{cell_code, code, prose};
use super::plan_markdown::{Table, marker};
use super::words;

/// Writes the answer of `gabion drift`.
pub(crate) fn write_drift(out: &mut dyn Write, plan: &Plan, drift: &[Drift]) -> fmt::Result {
    writeln!(out, "{}", marker("drift", plan))?;
    let project = code(&plan.project);
    if drift.is_empty() {
        return writeln!(out, "### ✅ gabion drift {project}: none");
    }
    writeln!(out, "### ⚠️ gabion drift {project}: {}", summary_line(drift))?;
    out.write_str(&table(&drift.iter().collect::<Vec<_>>()).to_markdown())
}

/// Returns the table of differences.
pub(crate) fn table(drift: &[&Drift]) -> Table {
    let mut table = Table::new(&["changed outside gabion", "attribute", "was", "is", "apply"]);
    let row = |cells: [&str; 5]| cells.iter().map(|cell| (*cell).to_owned()).collect();
    for item in drift {
        let address = cell_code(&item.address.to_string());
        match &item.kind {
            DriftKind::Vanished => table.rows.push(row([&address, "", "there", "**gone**", ""])),
            DriftKind::CannotTell { reason } => {
                let why = format!("cannot be read: {}", prose(reason));
                table.rows.push(row([&address, "", "", &why, ""]));
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
                    ]));
                }
            }
        }
    }
    table
}
