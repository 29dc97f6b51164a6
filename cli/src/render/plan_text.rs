//! A plan for the terminal.

use std::fmt::{self, Write};

use gabion_engine::config::Effect;
use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::{Mode, Plan};

use super::difference_text::write_line;
use super::drift_text;
use super::price;
use super::theme::Theme;
use super::value::{Line, Sign, attribute_lines, inline, split};
use super::view::{self, PlanContext};
use super::words::{self, count, plain};

/// Writes a plan for people.
pub(crate) fn write_plan(
    out: &mut dyn Write,
    plan: &Plan,
    context: PlanContext<'_>,
    theme: &Theme,
) -> fmt::Result {
    write_heading(out, plan, theme)?;
    if !plan.has_changes() {
        writeln!(out)?;
        write_nothing(out, plan, theme)?;
        write_policy(out, plan, theme)?;
    } else {
        write_policy(out, plan, theme)?;
        match plan.mode {
            Mode::Apply => {
                write_danger(out, plan, context, theme)?;
                write_groups(out, plan, theme)?;
            }
            // Everything goes: the list of it is the plan.
            Mode::Destroy => write_danger(out, plan, context, theme)?,
        }
        write_outputs(out, plan, theme)?;
    }
    let drift: Vec<_> = plan.drift.iter().collect();
    if !drift.is_empty() {
        writeln!(out)?;
        drift_text::write_section(out, &drift, plan.basis.gathered_at, theme)?;
    }
    write_section(out, "Recovered", &view::recovery(plan), theme)?;
    write_data(out, plan, theme)?;
    write_notes(out, plan, theme)?;
    if plan.has_changes() {
        let line = words::summary_line(&plan.summary(), plan.mode);
        writeln!(out, "\n{0}Plan:{0:#} {line}.", theme.strong)?;
        if let Some(prices) = &plan.prices {
            writeln!(out, "{0}Cost:{0:#} {1}.", theme.strong, price::line(prices))?;
        }
    }
    write_left_out(out, plan, theme)?;
    write_endpoints(out, plan, theme)?;
    if let Some(digest) = context.digest {
        writeln!(out, "\n{0}Digest:{0:#} {digest}", theme.dim)?;
    }
    if let Some(next) = context.next {
        writeln!(out, "\n{0}Next:{0:#} {next}", theme.strong)?;
    }
    Ok(())
}

/// Writes the changes by document. What is said of several objects is written once.
fn write_groups(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let (strong, dim) = (theme.strong, theme.dim);
    for group in view::groups(plan) {
        writeln!(out)?;
        match group.document {
            Some(document) => writeln!(
                out,
                "{strong}{} {}{strong:#} {dim}{}{dim:#}",
                plain(&document.document_type),
                plain(&document.name),
                document.place
            )?,
            None => writeln!(out, "{strong}in no document{strong:#}")?,
        }
        if let [change] = group.changes.as_slice() {
            write_change(out, plan, change, theme)?;
            continue;
        }
        let folds = view::fold(group.changes, |change| {
            let mut body = String::new();
            // Writing to a string cannot fail.
            let _ = write_body(&mut body, plan, change, theme);
            body
        });
        for fold in folds {
            let (first, others) = (fold.changes[0], &fold.changes[1..]);
            write_headline(out, first, theme)?;
            if fold.body.is_empty() {
                for change in others {
                    write_headline(out, change, theme)?;
                }
                continue;
            }
            out.write_str(&fold.body)?;
            if !others.is_empty() {
                let names: Vec<String> = others.iter().map(|change| change.address.to_string()).collect();
                let heading = format!("and {} more, the same: ", others.len());
                write_wrapped(out, &heading, &names, theme)?;
            }
        }
    }
    Ok(())
}

/// Writes one change with its attributes and reasons, as `show PLAN ADDR` does too.
pub(crate) fn write_change(out: &mut dyn Write, plan: &Plan, change: &Change, theme: &Theme) -> fmt::Result {
    write_headline(out, change, theme)?;
    write_body(out, plan, change, theme)
}

fn write_headline(out: &mut dyn Write, change: &Change, theme: &Theme) -> fmt::Result {
    let style = theme.action(change.action);
    writeln!(
        out,
        "  {style}{:>3}{style:#} {strong}{}{strong:#}  {style}{}{style:#}",
        words::symbol(change.action),
        change.address,
        words::verb(change),
        strong = theme.strong,
    )
}

fn write_body(out: &mut dyn Write, plan: &Plan, change: &Change, theme: &Theme) -> fmt::Result {
    write_attributes(out, change, theme)?;
    for (depth, text) in view::because(plan, change) {
        let indent = 8 + depth * 2;
        writeln!(out, "{:indent$}{dim}{text}{dim:#}", "", dim = theme.dim)?;
    }
    for note in change.notes.iter() {
        writeln!(out, "        note: {}", plain(note))?;
    }
    if !change.alternatives.is_empty() {
        writeln!(out, "        where there is no capacity for it, in this order:")?;
    }
    for other in &change.alternatives.others {
        writeln!(out, "          {}", plain(&other.label))?;
    }
    Ok(())
}

fn write_attributes(out: &mut dyn Write, change: &Change, theme: &Theme) -> fmt::Result {
    if matches!(change.action, Action::Delete | Action::Forget) {
        return Ok(());
    }
    let split = split(change);
    let blocks: Vec<Vec<Line>> = split.shown.into_iter().map(attribute_lines).collect();
    let width = blocks
        .iter()
        .filter_map(|lines| lines.first())
        .map(|line| line.label.chars().count())
        .filter(|width| *width <= 28)
        .max()
        .unwrap_or(0);
    for line in blocks.iter().flatten() {
        write_line(out, line, width, 8, theme)?;
    }
    if !split.computed.is_empty() {
        write_wrapped(out, "known after apply: ", &split.computed, theme)?;
    }
    if !split.again.is_empty() {
        write_wrapped(out, "set again, as they cannot be read: ", &split.again, theme)?;
    }
    Ok(())
}

/// Writes names after a heading, several lines if they need it.
fn write_wrapped(out: &mut dyn Write, heading: &str, names: &[String], theme: &Theme) -> fmt::Result {
    const WIDTH: usize = 92;
    let dim = theme.dim;
    let mut line = String::new();
    let mut first = true;
    let mut flush = |line: &mut String, out: &mut dyn Write| -> fmt::Result {
        let heading = if first {
            heading.to_owned()
        } else {
            " ".repeat(heading.len())
        };
        first = false;
        writeln!(out, "          {dim}{heading}{}{dim:#}", std::mem::take(line))
    };
    for (position, name) in names.iter().enumerate() {
        let last = position + 1 == names.len();
        if !line.is_empty() {
            if line.len() + name.len() + heading.len() + 12 > WIDTH {
                flush(&mut line, out)?;
            } else {
                line.push(' ');
            }
        }
        line.push_str(name);
        if !last {
            line.push(',');
        }
    }
    flush(&mut line, out)
}

fn write_heading(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let basis = &plan.basis;
    let state = match basis.lineage {
        None => "no state yet".to_owned(),
        Some(_) => format!("state serial {}", basis.serial),
    };
    let read = view::how_read(basis);
    let what = match plan.mode {
        Mode::Apply => "gabion plan",
        Mode::Destroy => "gabion destroy",
    };
    let stack = match &basis.stack {
        Some(stack) => format!(" stack {}", plain(stack)),
        None => String::new(),
    };
    writeln!(
        out,
        "{strong}{what} {}{stack}: {}{strong:#} {dim}({state}, {:.0}{read}){dim:#}",
        plain(&plan.project),
        view::verdict(plan),
        basis.gathered_at,
        strong = theme.strong,
        dim = theme.dim
    )
}

fn write_nothing(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let good = theme.good;
    let resources = plan.changes.iter().filter(|change| !change.deposed).count();
    if !plan.unsettled.is_empty() {
        return writeln!(
            out,
            "{0}Nothing to do yet.{0:#} Nobody knows what became of {1} of an earlier run; what that is about is not touched.",
            theme.change,
            count(plan.unsettled.len(), "call")
        );
    }
    match plan.mode {
        Mode::Apply => writeln!(
            out,
            "{good}Nothing to do.{good:#} {} {} as the configuration says.",
            count(resources, "resource"),
            if resources == 1 { "is" } else { "are" }
        ),
        Mode::Destroy => writeln!(out, "{good}Nothing to do.{good:#} Nothing is recorded."),
    }
}

fn write_danger(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>, theme: &Theme) -> fmt::Result {
    let dangerous = view::danger(plan, context.catalogue);
    if dangerous.is_empty() {
        return Ok(());
    }
    let shown = match plan.mode {
        Mode::Apply => 30,
        Mode::Destroy => usize::MAX,
    };
    match plan.mode {
        Mode::Apply => writeln!(
            out,
            "\n{0}Look first:{0:#} {1}",
            theme.bad,
            view::danger_counts(&dangerous)
        )?,
        Mode::Destroy => writeln!(out)?,
    }
    let width = |change: &&Change| change.address.to_string().chars().count();
    let width = dangerous.iter().take(shown).map(width).max().unwrap_or(0);
    for change in dangerous.iter().take(shown) {
        let style = theme.action(change.action);
        let data = if context.catalogue.holds_data(&change.address.resource_type) {
            ", with its data"
        } else {
            ""
        };
        let why = view::main_reason(change)
            .map(|clause| format!(": {clause}"))
            .unwrap_or_default();
        writeln!(
            out,
            "  {style}{:>3}{style:#} {:width$}  {}{data}{dim}{why}{dim:#}",
            words::symbol(change.action),
            change.address.to_string(),
            view::danger_words(change),
            dim = theme.dim
        )?;
    }
    if dangerous.len() > shown {
        writeln!(out, "      and {} more below", dangerous.len() - shown)?;
    }
    Ok(())
}

fn write_policy(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let Some(report) = &plan.policy else {
        return Ok(());
    };
    let rules = count(report.rules, "rule");
    if report.rulings.is_empty() {
        return writeln!(out, "\n{0}Policy: {rules}, and no objection{0:#}", theme.dim);
    }
    let style = if plan.denials().next().is_some() {
        theme.bad
    } else {
        theme.change
    };
    writeln!(
        out,
        "\n{style}Policy:{style:#} {}, of {rules}",
        view::objections(report)
    )?;
    for ruling in &report.rulings {
        let (style, word) = match ruling.effect {
            Effect::Deny => (theme.bad, "deny"),
            Effect::Warn => (theme.change, "warn"),
        };
        writeln!(out, "  {style}{word}{style:#}  {}", words::ruling(ruling))?;
    }
    Ok(())
}

fn write_outputs(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let changed = view::output_changes(plan);
    if changed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{0}outputs{0:#}", theme.strong)?;
    let width = changed
        .iter()
        .map(|(name, ..)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, before, after) in changed {
        let (sign, value, becomes) = match (before, after) {
            (None, Some(after)) => (Sign::Add, inline(after), None),
            (Some(before), None) => (Sign::Remove, inline(before), None),
            (Some(before), Some(after)) => (Sign::Change, inline(before), Some(inline(after))),
            (None, None) => continue,
        };
        let line = Line {
            sign,
            depth: 0,
            label: plain(name),
            value,
            becomes,
            remark: None,
        };
        write_line(out, &line, width, 4, theme)?;
    }
    Ok(())
}

fn write_section(out: &mut dyn Write, heading: &str, lines: &[String], theme: &Theme) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n{0}{heading}{0:#}", theme.strong)?;
    for line in lines {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

fn write_data(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    write_section(out, "Read, and not managed", &view::data(plan), theme)
}

fn write_notes(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    let notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| format!("{}{}", plain(&note.message), view::at_place(note.place.as_ref())))
        .collect();
    write_section(out, "Notes", &notes, theme)
}

fn write_left_out(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    if plan.left_out.is_empty() {
        return Ok(());
    }
    const SHOWN: usize = 8;
    let mut names: Vec<String> = plan
        .left_out
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if plan.left_out.len() > SHOWN {
        names.push(format!("and {} more", plan.left_out.len() - SHOWN));
    }
    writeln!(
        out,
        "{0}This is a part:{0:#} the selection leaves out {1} ({2}).",
        theme.change,
        count(plan.left_out.len(), "change"),
        names.join(", ")
    )
}

fn write_endpoints(out: &mut dyn Write, plan: &Plan, theme: &Theme) -> fmt::Result {
    if plan.mode == Mode::Destroy || plan.endpoints.is_empty() {
        return Ok(());
    }
    let endpoints = view::endpoints(plan);
    writeln!(out, "\n{0}Endpoints{0:#}", theme.strong)?;
    let width = endpoints
        .iter()
        .map(|(name, _)| name.chars().count())
        .max()
        .unwrap_or(0);
    for (name, url) in endpoints {
        writeln!(out, "  {name:width$}  {url}")?;
    }
    Ok(())
}
