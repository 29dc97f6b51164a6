//! What the world changed behind our back, as Markdown.

use std::fmt::{self, Write};

use gabion_engine::plan::change::{Drift, DriftKind};

use super::drift_text::{sides, summary_line};
use super::markdown::{cell_code, code, prose};
use super::words;

/// Writes the answer of `gabion drift`.
pub(crate) fn write_drift(out: &mut dyn Write, project: &str, drift: &[Drift]) -> fmt::Result {
    if drift.is_empty() {
        return writeln!(out, "### ✅ gabion drift {}: none", code(project));
    }
    writeln!(
        out,
        "### ⚠️ gabion drift {}: {}\n",
        code(project),
        summary_line(drift)
    )?;
    write_table(out, &drift.iter().collect::<Vec<_>>())
}

/// Writes the table of differences.
pub(crate) fn write_table(out: &mut dyn Write, drift: &[&Drift]) -> fmt::Result {
    writeln!(
        out,
        "| changed outside gabion | attribute | recorded | there is | apply |\n| --- | --- | --- | --- | --- |"
    )?;
    for item in drift {
        let address = cell_code(&item.address.to_string());
        match &item.kind {
            DriftKind::Vanished => writeln!(out, "| {address} | | there | **gone** | |")?,
            DriftKind::CannotTell { reason } => {
                writeln!(out, "| {address} | | | cannot be read: {} | |", prose(reason))?;
            }
            DriftKind::Changed(attributes) => {
                for attribute in attributes {
                    let [recorded, actual, _] = sides(attribute);
                    writeln!(
                        out,
                        "| {address} | {} | {} | {} | {} |",
                        cell_code(&attribute.path.to_string()),
                        cell_code(&recorded),
                        cell_code(&actual),
                        words::verdict(attribute.verdict)
                    )?;
                }
            }
        }
    }
    Ok(())
}
