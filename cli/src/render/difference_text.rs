//! A line of a difference, for the terminal.

use std::fmt::{self, Write};

use anstyle::Style;

use super::theme::Theme;
use super::value::{Line, Sign};

/// Writes one line of a difference.
pub(crate) fn write_line(
    out: &mut dyn Write,
    line: &Line,
    width: usize,
    indent: usize,
    theme: &Theme,
) -> fmt::Result {
    let style = sign_style(line.sign, theme);
    let indent = indent + line.depth * 4;
    let mut text = String::new();
    if !line.label.is_empty() {
        text.push_str(&line.label);
        if line.label != "-" {
            text.push(':');
        }
        if !(line.value.is_empty() && line.becomes.is_none()) {
            let pad = if line.depth == 0 {
                width.saturating_sub(line.label.chars().count())
            } else {
                0
            };
            text.push_str(&" ".repeat(pad + 1));
        }
    }
    write!(out, "{:indent$}{style}{}{style:#} {text}", "", line.sign.symbol())?;
    let dim = theme.dim;
    match &line.becomes {
        Some(new) => write!(out, "{} {dim}→{dim:#} {}", line.value, new)?,
        None if line.sign == Sign::Same => write!(out, "{dim}{}{dim:#}", line.value)?,
        None if line.label.is_empty() => write!(out, "{style}{}{style:#}", line.value)?,
        None => write!(out, "{}", line.value)?,
    }
    if let Some(remark) = &line.remark {
        let style = if remark == "forces replacement" {
            theme.replace
        } else {
            theme.dim
        };
        write!(out, "  {style}# {remark}{style:#}")?;
    }
    writeln!(out)
}

fn sign_style(sign: Sign, theme: &Theme) -> Style {
    match sign {
        Sign::Add => theme.good,
        Sign::Remove => theme.bad,
        Sign::Change => theme.change,
        Sign::Same => theme.dim,
    }
}
