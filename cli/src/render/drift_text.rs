//! What the world changed behind our back, for the terminal.

use std::fmt::{self, Write};

use gabion_engine::plan::change::{AttributeChange, AttributeDrift, Cause, Drift, DriftKind, DriftVerdict};

use gabion_engine::words::ago;
use jiff::Timestamp;

use super::difference_text::write_line;
use super::theme::Theme;
use super::value::{self, Line, inline};
use super::words::{self, count, plain};

/// Writes the section of a plan, and the body of `gabion drift`.
pub(crate) fn write_section(
    out: &mut dyn Write,
    drift: &[&Drift],
    now: Timestamp,
    theme: &Theme,
) -> fmt::Result {
    writeln!(
        out,
        "{strong}Changed outside gabion{strong:#} {dim}(recorded → there is){dim:#}",
        strong = theme.strong,
        dim = theme.dim
    )?;
    for item in drift {
        let since = match item.recorded_at {
            Some(at) => format!("  {0}(recorded {1}){0:#}", theme.dim, ago(at, now)),
            None => String::new(),
        };
        match &item.kind {
            DriftKind::Vanished => writeln!(
                out,
                "  {bad}  -{bad:#} {strong}{}{strong:#}  {bad}is gone{bad:#}{since}",
                item.address,
                bad = theme.bad,
                strong = theme.strong
            )?,
            DriftKind::CannotTell { reason } => writeln!(
                out,
                "  {dim}  ?{dim:#} {strong}{}{strong:#}  cannot be read: {}{since}",
                item.address,
                plain(reason),
                dim = theme.dim,
                strong = theme.strong
            )?,
            DriftKind::Changed(attributes) => {
                writeln!(
                    out,
                    "  {change}  ~{change:#} {strong}{}{strong:#}{since}",
                    item.address,
                    change = theme.change,
                    strong = theme.strong
                )?;
                let width = attributes
                    .iter()
                    .map(|drift| drift.path.to_string().chars().count())
                    .max()
                    .unwrap_or(0);
                for line in attributes.iter().flat_map(attribute_lines) {
                    write_line(out, &line, width.min(28), 8, theme)?;
                }
            }
        }
    }
    Ok(())
}

/// Returns the lines of one attribute: from what was recorded to what is there, and what becomes of it.
fn attribute_lines(drift: &AttributeDrift) -> Vec<Line> {
    let change = AttributeChange {
        path: drift.path.clone(),
        before: drift.recorded.clone().map(Box::new),
        after: drift.actual.clone(),
        forces_replacement: false,
        sensitive: drift.sensitive,
        cause: Cause::Drift,
    };
    let mut lines = value::attribute_lines(&change);
    if let Some(first) = lines.first_mut() {
        let wanted = match (&drift.desired, drift.verdict) {
            (Some(desired), DriftVerdict::Reverted)
                if drift.desired != drift.recorded && !drift.sensitive =>
            {
                format!("will become {}", inline(desired))
            }
            // What was never recorded cannot be put back.
            _ if drift.verdict == DriftVerdict::Reverted && drift.recorded.is_none() => {
                "will be taken away".into()
            }
            _ => words::verdict(drift.verdict).to_owned(),
        };
        first.remark = Some(wanted);
    }
    lines
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
