//! The plain text of problems: no colour, no width, the same everywhere.

use std::fmt;

use super::list::Diagnostics;
use super::problem::Diagnostic;
use super::source::Span;

/// The problem with its source line and hint; see the style guide's examples.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}: {}", self.severity.as_str(), self.summary)?;
        if let Some(span) = &self.primary {
            writeln!(f, "  --> {span}")?;
            write_excerpt(f, span)?;
        }
        for line in self.detail.lines() {
            writeln!(f, "   {line}")?;
        }
        for related in &self.related {
            writeln!(f, "  --> {}: {}", related.span, related.message)?;
        }
        if let Some(hint) = &self.hint {
            let mut lines = hint.lines();
            writeln!(f, "hint: {}", lines.next().unwrap_or_default())?;
            for line in lines {
                writeln!(f, "      {line}")?;
            }
        }
        Ok(())
    }
}

/// Every problem, with an empty line between two.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, diagnostic) in self.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        Ok(())
    }
}

fn write_excerpt(f: &mut fmt::Formatter<'_>, span: &Span) -> fmt::Result {
    let excerpt = span.file.excerpt(span);
    if excerpt.text.trim().is_empty() {
        return Ok(());
    }
    let number = excerpt.line.to_string();
    let before = if excerpt.cropped_start { "…" } else { "" };
    let after = if excerpt.cropped_end { "…" } else { "" };
    let clean = |text: &str| text.replace(|c: char| c.is_control(), " ");
    writeln!(f, "{number} | {before}{}{after}", clean(excerpt.text))?;
    let indent = before.chars().count() + excerpt.text[..excerpt.start].chars().count();
    let width = excerpt.text[excerpt.start..excerpt.end].chars().count().max(1);
    writeln!(
        f,
        "{} | {}{}",
        " ".repeat(number.len()),
        " ".repeat(indent),
        "^".repeat(width)
    )
}
