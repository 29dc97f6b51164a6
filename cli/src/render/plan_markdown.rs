//! A plan for a pull request: the verdict first, then what is dangerous, a table, and the differences folded away.

use std::fmt::{self, Write};

use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::{Mode, Plan};

use super::drift_markdown;
use super::markdown::{cell_code, code, fenced, html, prose};
use super::value::{Line, Sign, attribute_lines, inline, split};
use super::view::{self, PlanContext};
use super::words::{self, count};

/// Writes a plan as Markdown.
pub(crate) fn write_plan(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    write_verdict(out, plan, context)?;
    write_danger(out, plan, context)?;
    if plan.has_changes() {
        write_table(out, plan)?;
        write_details(out, plan)?;
        write_outputs(out, plan)?;
    }
    if !plan.drift.is_empty() {
        let drift: Vec<_> = plan.drift.iter().collect();
        writeln!(out)?;
        drift_markdown::write_table(out, &drift)?;
    }
    write_list(out, "Recovered", &view::recovery(plan))?;
    let notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| format!("{}{}", note.message, view::at_place(note.place.as_ref())))
        .collect();
    write_list(out, "Notes", &notes)?;
    if !plan.left_out.is_empty() {
        let names: Vec<String> = plan.left_out.iter().map(ToString::to_string).collect();
        writeln!(
            out,
            "\n**This is a part.** The selection leaves out {}: {}",
            count(plan.left_out.len(), "change"),
            names.iter().map(|name| code(name)).collect::<Vec<_>>().join(", ")
        )?;
    }
    if plan.mode == Mode::Apply && !plan.endpoints.is_empty() {
        writeln!(out, "\n| endpoint | |\n| --- | --- |")?;
        for (name, url) in view::endpoints(plan) {
            writeln!(out, "| {} | {} |", prose(&name), cell_code(&url))?;
        }
    }
    write_footer(out, plan, context)
}

fn write_verdict(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    writeln!(
        out,
        "<!-- gabion:plan:{} -->",
        html(&plan.project).replace("--", "- -")
    )?;
    let what = match plan.mode {
        Mode::Apply => "gabion plan",
        Mode::Destroy => "gabion destroy",
    };
    let mark = if !view::danger(plan, context.catalogue).is_empty() {
        "⚠️ "
    } else if plan.has_changes() {
        ""
    } else {
        "✅ "
    };
    let verdict = if plan.has_changes() {
        let parts: Vec<String> = words::summary_parts(&plan.summary())
            .into_iter()
            .filter(|(number, _)| *number > 0)
            .map(|(number, word)| format!("{number} {word}"))
            .collect();
        if parts.is_empty() {
            "only the state changes".to_owned()
        } else {
            parts.join(", ")
        }
    } else {
        "nothing to do".to_owned()
    };
    let drift = match plan.drift.len() {
        0 => String::new(),
        number => format!(" (drift: {number})"),
    };
    writeln!(out, "### {mark}{what} {}: {verdict}{drift}", code(&plan.project))
}

fn write_danger(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    let dangerous = view::danger(plan, context.catalogue);
    if dangerous.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n> [!CAUTION]")?;
    for change in dangerous {
        let data = if context.catalogue.holds_data(&change.address.resource_type) {
            " **with its data**"
        } else {
            ""
        };
        let why = view::main_reason(change)
            .map(|clause| format!(": {}", prose(&clause)))
            .unwrap_or_default();
        writeln!(
            out,
            "> - {} {} {}{data}{why}",
            code(words::symbol(change.action)),
            code(&change.address.to_string()),
            prose(&words::verb(change))
        )?;
    }
    Ok(())
}

fn write_table(out: &mut dyn Write, plan: &Plan) -> fmt::Result {
    let shown: Vec<&Change> = view::groups(plan)
        .into_iter()
        .flat_map(|group| group.changes)
        .collect();
    if shown.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n| | resource | action | attributes | why |\n| --- | --- | --- | --- | --- |"
    )?;
    for change in shown {
        let why = view::because(plan, change)
            .into_iter()
            .map(|(_, text)| prose(text.trim_start_matches("because ")))
            .collect::<Vec<_>>()
            .join(", ");
        writeln!(
            out,
            "| {} | {} | {} | {} | {why} |",
            cell_code(words::symbol(change.action).trim()),
            cell_code(&change.address.to_string()),
            prose(&words::verb(change)),
            attribute_names(change),
        )?;
    }
    Ok(())
}

/// Returns the names of the attributes that change; a creation sets all of them, which says nothing.
fn attribute_names(change: &Change) -> String {
    const SHOWN: usize = 5;
    if !matches!(change.action, Action::Update | Action::Replace(_)) {
        return String::new();
    }
    let mut names: Vec<String> = Vec::new();
    for attribute in &change.attributes {
        let name = attribute.path.first_key().unwrap_or_default();
        let mut text = cell_code(name);
        if attribute.forces_replacement {
            text = format!("**{text}**");
        }
        if !names.contains(&text) {
            names.push(text);
        }
    }
    let rest = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    if rest > 0 {
        names.push(format!("{rest} more"));
    }
    names.join(", ")
}

fn write_details(out: &mut dyn Write, plan: &Plan) -> fmt::Result {
    for group in view::groups(plan) {
        let with_body: Vec<(&Change, String)> = group
            .changes
            .into_iter()
            .map(|change| (change, diff_body(change)))
            .filter(|(_, body)| !body.is_empty())
            .collect();
        if with_body.is_empty() {
            continue;
        }
        let heading = match group.document {
            Some(document) => format!(
                "{} {} ({})",
                document.document_type, document.name, document.place
            ),
            None => "no longer in the configuration".to_owned(),
        };
        writeln!(
            out,
            "\n<details><summary>{}: {}</summary>",
            html(&heading),
            count(with_body.len(), "difference")
        )?;
        for (change, body) in with_body {
            let title = format!(
                "{} {} {}",
                words::symbol(change.action),
                change.address,
                words::verb(change)
            );
            writeln!(out, "\n{}\n", code(title.trim()))?;
            fenced(out, "diff", &body)?;
        }
        writeln!(out, "\n</details>")?;
    }
    Ok(())
}

/// Returns the difference with its signs in the first column, where they are coloured.
fn diff_body(change: &Change) -> String {
    if matches!(change.action, Action::Delete | Action::Forget) {
        return String::new();
    }
    let split = split(change);
    let mut body = String::new();
    for line in split.shown.into_iter().flat_map(attribute_lines) {
        push_line(&mut body, &line);
    }
    if !split.computed.is_empty() {
        body.push_str(&format!("# known after apply: {}\n", split.computed.join(", ")));
    }
    if !split.again.is_empty() {
        body.push_str(&format!(
            "# set again, as they cannot be read: {}\n",
            split.again.join(", ")
        ));
    }
    body
}

fn push_line(body: &mut String, line: &Line) {
    let sign = match line.sign {
        Sign::Change => "!",
        other => other.symbol(),
    };
    let indent = " ".repeat(1 + line.depth * 4);
    let label = match line.label.as_str() {
        "" => String::new(),
        "-" => "- ".to_owned(),
        label => format!("{label}: "),
    };
    let value = match &line.becomes {
        Some(new) => format!("{} → {new}", line.value),
        None => line.value.clone(),
    };
    let remark = line
        .remark
        .as_ref()
        .map(|remark| format!("  # {remark}"))
        .unwrap_or_default();
    let text = format!("{sign}{indent}{label}{value}");
    body.push_str(text.trim_end());
    body.push_str(&remark);
    body.push('\n');
}

fn write_outputs(out: &mut dyn Write, plan: &Plan) -> fmt::Result {
    let changed = view::output_changes(plan);
    if changed.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n| output | is | will be |\n| --- | --- | --- |")?;
    for (name, before, after) in changed {
        let side = |value: Option<&gabion_engine::value::Value>| {
            value.map(|value| cell_code(&inline(value))).unwrap_or_default()
        };
        writeln!(
            out,
            "| {} | {} | {} |",
            cell_code(name),
            side(before),
            side(after)
        )?;
    }
    Ok(())
}

fn write_list(out: &mut dyn Write, heading: &str, items: &[String]) -> fmt::Result {
    if items.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n**{heading}**\n")?;
    for item in items {
        writeln!(out, "- {}", prose(item))?;
    }
    Ok(())
}

fn write_footer(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    let basis = &plan.basis;
    let mut parts = vec![match basis.lineage {
        None => "no state yet".to_owned(),
        Some(_) => format!("state serial {}", basis.serial),
    }];
    if let Some(commit) = &basis.commit {
        parts.push(format!("commit {}", code(commit)));
    }
    if let Some(digest) = context.digest {
        parts.push(format!("plan {}", code(digest)));
    }
    parts.push(format!("read {:.0}", basis.gathered_at));
    writeln!(out, "\n<sub>{}</sub>", parts.join(" · "))?;
    if let Some(next) = context.next {
        writeln!(out, "\nNext: {}", code(next))?;
    }
    Ok(())
}
