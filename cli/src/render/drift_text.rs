//! What the world changed behind our back, for the terminal.

use std::fmt::{self, Write};

use gabion_engine::plan::change::{AttributeDrift, Drift, DriftKind};

use super::theme::Theme;
use super::value::inline;
use super::words::{self, count, plain};

/// Writes the section of a plan, and the body of `gabion drift`.
pub(crate) fn write_section(out: &mut dyn Write, drift: &[&Drift], theme: &Theme) -> fmt::Result {
    writeln!(out, "{0}Changed outside gabion{0:#}", theme.strong)?;
    for item in drift {
        match &item.kind {
            DriftKind::Vanished => writeln!(
                out,
                "  {bad}  -{bad:#} {strong}{}{strong:#}  {bad}is gone{bad:#}",
                item.address,
                bad = theme.bad,
                strong = theme.strong
            )?,
            DriftKind::CannotTell { reason } => writeln!(
                out,
                "  {dim}  ?{dim:#} {strong}{}{strong:#}  cannot be read: {}",
                item.address,
                plain(reason),
                dim = theme.dim,
                strong = theme.strong
            )?,
            DriftKind::Changed(attributes) => {
                writeln!(
                    out,
                    "  {change}  ~{change:#} {strong}{}{strong:#}",
                    item.address,
                    change = theme.change,
                    strong = theme.strong
                )?;
                for attribute in attributes {
                    write_attribute(out, attribute, theme)?;
                }
            }
        }
    }
    Ok(())
}

fn write_attribute(out: &mut dyn Write, drift: &AttributeDrift, theme: &Theme) -> fmt::Result {
    let [recorded, actual, desired] = sides(drift);
    let verdict = words::verdict(drift.verdict);
    let dim = theme.dim;
    writeln!(
        out,
        "        {}  {dim}{verdict}{dim:#}",
        plain(&drift.path.to_string())
    )?;
    writeln!(out, "          {dim}recorded{dim:#}  {recorded}")?;
    writeln!(out, "          {dim}there is{dim:#}  {actual}")?;
    if drift.desired != drift.recorded {
        writeln!(out, "          {dim}wanted{dim:#}    {desired}")?;
    }
    Ok(())
}

/// Returns what was recorded, what is there and what is wanted, masked where they are sensitive.
pub(crate) fn sides(drift: &AttributeDrift) -> [String; 3] {
    [&drift.recorded, &drift.actual, &drift.desired].map(|value| match value {
        None => "(none)".to_owned(),
        Some(_) if drift.sensitive => "(sensitive)".to_owned(),
        Some(value) => inline(value),
    })
}

/// Returns the line that says how much drifted: "2 objects changed outside gabion, 1 is gone".
pub(crate) fn summary_line(drift: &[Drift]) -> String {
    let number = |wanted: fn(&DriftKind) -> bool| drift.iter().filter(|item| wanted(&item.kind)).count();
    let changed = number(|kind| matches!(kind, DriftKind::Changed(_)));
    let gone = number(|kind| matches!(kind, DriftKind::Vanished));
    let unclear = number(|kind| matches!(kind, DriftKind::CannotTell { .. }));
    let mut parts = Vec::new();
    if gone > 0 {
        parts.push(format!("{} gone", count(gone, "object")));
    }
    if changed > 0 {
        parts.push(format!("{} changed", count(changed, "object")));
    }
    if unclear > 0 {
        parts.push(format!("{} cannot be read", count(unclear, "object")));
    }
    parts.join(", ")
}
