//! A plan for a pull request: the verdict first, then what is dangerous, a table, and the differences folded away.
//!
//! Hosts refuse comments that are too long, so a plan is written within a number of bytes. The verdict, what is dangerous
//! and the footer are always whole. What is left goes to the rest in the order of its weight; where it ends, whole rows
//! and whole objects are left out, and their number is said.

use std::fmt::{self, Write};

use gabion_engine::config::Effect;
use gabion_engine::plan::change::{Action, Change};
use gabion_engine::plan::policy::Ruling;
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::value::Value;

use super::drift_markdown;
use super::markdown::{Table, cell_code, code, fenced, html_code, marker, prose, row};
use super::mermaid;
use super::price;
use super::value::{Line, Sign, attribute_lines, inline, split};
use super::view::{self, Fold, PlanContext};
use super::words::{self, count};

/// How many bytes a plan may take when nobody says: GitHub's limit is 65,536 characters, and a job may want to add some.
pub(crate) const MAX_BYTES: usize = 60_000;

/// How many bytes are kept for the sentences that say what is left out.
const SENTENCES: usize = 400;

/// How many objects of which the same is said are named before the others are only counted.
const NAMED: usize = 3;

/// Writes a plan as Markdown.
pub(crate) fn write_plan(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    let mut head = String::new();
    write_verdict(&mut head, plan, context)?;
    write_denials(&mut head, plan)?;
    write_danger(&mut head, plan, context)?;
    let mut foot = String::new();
    write_footer(&mut foot, plan, context)?;
    let mut room = Room(
        context
            .max_bytes
            .saturating_sub(head.len() + foot.len() + SENTENCES),
    );
    let (mut tables, mut lists, mut details) = (String::new(), String::new(), String::new());
    // First come, first served; the order of reading is that of the parts below.
    if plan.has_changes() {
        tables.push_str(&room.table(&change_table(plan), "row"));
    }
    if !plan.drift.is_empty() {
        let drift: Vec<_> = plan.drift.iter().collect();
        tables.push_str(&room.table(
            &drift_markdown::table(&drift, plan.basis.gathered_at),
            "difference",
        ));
    }
    if plan.has_changes() {
        tables.push_str(&room.table(&outputs(plan), "output"));
    }
    tables.push_str(&room.table(&warnings(plan), "warning"));
    tables.push_str(&room.whole(no_objection(plan)));
    lists.push_str(&room.list("Recovered", &view::recovery(plan)));
    lists.push_str(&room.list("Read, and not managed", &view::data(plan)));
    let notes: Vec<String> = plan
        .notes
        .iter()
        .map(|note| format!("{}{}", note.message, view::at_place(note.place.as_ref())))
        .collect();
    lists.push_str(&room.list("Notes", &notes));
    lists.push_str(&room.whole(left_out(plan)));
    let endpoints = room.table(&endpoints(plan), "endpoint");
    if plan.has_changes() {
        let graph = graph(plan)?;
        details.push_str(&differences(plan, context, &mut room)?);
        details.push_str(&room.whole(graph));
    }
    for part in [head, tables, lists, details, endpoints, foot] {
        out.write_str(&part)?;
    }
    Ok(())
}

/// How many bytes are left. What does not fit is left out whole.
struct Room(usize);

impl Room {
    /// Takes what a text needs, if that is there.
    fn takes(&mut self, text: &str) -> bool {
        let fits = text.len() <= self.0;
        if fits {
            self.0 -= text.len();
        }
        fits
    }

    fn whole(&mut self, text: String) -> String {
        if self.takes(&text) { text } else { String::new() }
    }

    /// Returns as many of the pieces as fit between their ends; `left_out` says how many do not.
    fn pieces(&mut self, start: &str, pieces: &[String], left_out: impl Fn(usize) -> String) -> String {
        if pieces.is_empty() || !self.takes(start) {
            return String::new();
        }
        let mut text = start.to_owned();
        for (position, piece) in pieces.iter().enumerate() {
            if !self.takes(piece) {
                text.push_str(&left_out(pieces.len() - position));
                return text;
            }
            text.push_str(piece);
        }
        text
    }

    fn table(&mut self, table: &Table, what: &str) -> String {
        let rows: Vec<String> = table.rows.iter().map(|cells| row(cells)).collect();
        self.pieces(&table.heading(), &rows, |number| {
            format!(
                "\n_{} did not fit here._\n",
                count(number, &format!("more {what}"))
            )
        })
    }

    fn list(&mut self, heading: &str, items: &[String]) -> String {
        let items: Vec<String> = items.iter().map(|item| format!("- {}\n", prose(item))).collect();
        self.pieces(&format!("\n**{heading}**\n\n"), &items, |number| {
            format!("- {} did not fit here\n", count(number, "more line"))
        })
    }
}

fn write_verdict(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    writeln!(out, "{}", marker("plan", plan))?;
    let what = match plan.mode {
        Mode::Apply => "gabion plan",
        Mode::Destroy => "gabion destroy",
    };
    let mark = if plan.denials().next().is_some() {
        "⛔ "
    } else if !view::danger(plan, context.catalogue).is_empty() {
        "⚠️ "
    } else if plan.is_open() {
        ""
    } else {
        "✅ "
    };
    let stack = match &plan.basis.stack {
        Some(stack) => format!(" stack {}", code(stack)),
        None => String::new(),
    };
    let drift = match plan.drift.len() {
        0 => String::new(),
        number => format!(" (drift: {number})"),
    };
    writeln!(
        out,
        "### {mark}{what} {}{stack}: {}{drift}",
        code(&plan.project),
        view::verdict(plan)
    )?;
    match &plan.prices {
        Some(prices) if plan.has_changes() => writeln!(out, "\n**Cost:** {}.", prose(&price::line(prices))),
        _ => Ok(()),
    }
}

/// What forbids the plan; never cut.
fn write_denials(out: &mut dyn Write, plan: &Plan) -> fmt::Result {
    let denials: Vec<&Ruling> = plan.denials().collect();
    if denials.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n> [!CAUTION]\n> **The policy forbids this plan: it cannot be applied.**\n>"
    )?;
    for ruling in denials {
        let about = match &ruling.address {
            Some(address) => format!(" {}:", code(&address.to_string())),
            None => String::new(),
        };
        writeln!(
            out,
            "> - {}:{about} {} ({})",
            code(&ruling.rule),
            prose(&ruling.message),
            prose(&ruling.place.to_string())
        )?;
    }
    Ok(())
}

fn warnings(plan: &Plan) -> Table {
    let mut table = Table::new(&["policy warns", "resource", "message", "rule"]);
    let rulings = plan.policy.iter().flat_map(|report| &report.rulings);
    for ruling in rulings.filter(|ruling| ruling.effect == Effect::Warn) {
        table.rows.push(vec![
            cell_code(&ruling.rule),
            ruling
                .address
                .as_ref()
                .map(|address| cell_code(&address.to_string()))
                .unwrap_or_default(),
            prose(&ruling.message),
            prose(&ruling.place.to_string()),
        ]);
    }
    table
}

fn no_objection(plan: &Plan) -> String {
    match &plan.policy {
        Some(report) if report.rulings.is_empty() => {
            format!("\nPolicy: {}, and no objection.\n", count(report.rules, "rule"))
        }
        _ => String::new(),
    }
}

fn write_danger(out: &mut dyn Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    let dangerous = view::danger(plan, context.catalogue);
    if dangerous.is_empty() {
        return Ok(());
    }
    writeln!(
        out,
        "\n> [!CAUTION]\n> **{}**\n>",
        view::danger_counts(&dangerous)
    )?;
    // How long nothing is there, and what is lost, is what people must know first.
    let folds = view::fold(dangerous, |change| {
        let data = if context.catalogue.holds_data(&change.address.resource_type) {
            ", **with its data**"
        } else {
            ""
        };
        let why = view::main_reason(change)
            .map(|clause| format!(": {}", prose(&clause)))
            .unwrap_or_default();
        format!("{}{data}{why}", prose(&view::danger_words(change)))
    });
    for fold in folds {
        let names: Vec<String> = fold
            .changes
            .iter()
            .map(|change| code(&change.address.to_string()))
            .collect();
        let symbol = code(words::symbol(fold.changes[0].action).trim());
        let space = if symbol.is_empty() { "" } else { " " };
        match &names[..] {
            [name] => writeln!(out, "> - {symbol}{space}{name} {}", fold.body)?,
            names => writeln!(
                out,
                "> - {symbol}{space}{} × {}. All of them: {}",
                names.len(),
                fold.body,
                names.join(", ")
            )?,
        }
    }
    Ok(())
}

fn change_table(plan: &Plan) -> Table {
    let mut table = Table::new(&["", "resource", "action", "attributes", "declared by", "why"]);
    for group in view::groups(plan) {
        let document = group
            .document
            .map(|document| cell_code(&format!("{} {}", document.document_type, document.name)));
        let folds = view::fold(group.changes, |change| {
            let why = view::because(plan, change)
                .into_iter()
                .map(|(_, text)| prose(text.trim_start_matches("because ")))
                .collect::<Vec<_>>()
                .join(", ");
            format!(
                "{}\n{why}\n{}",
                attribute_names(change),
                change.address.resource_type
            )
        });
        for fold in folds {
            let (attributes, why) = fold.body.split_once('\n').unwrap_or_default();
            let why = why.split_once('\n').map_or(why, |(why, _)| why);
            // A few are quicker read one by one.
            let rows: Vec<&[&Change]> = if fold.changes.len() > NAMED + 1 {
                vec![&fold.changes]
            } else {
                fold.changes.chunks(1).collect()
            };
            for changes in rows {
                table.rows.push(vec![
                    cell_code(words::symbol(changes[0].action).trim()),
                    names(changes),
                    prose(&words::verb(changes[0])),
                    attributes.to_owned(),
                    document.clone().unwrap_or_default(),
                    why.to_owned(),
                ]);
            }
        }
    }
    table.without_empty_columns()
}

/// The addresses of changes, the first ones by name.
fn names(changes: &[&Change]) -> String {
    let names: Vec<String> = changes
        .iter()
        .take(NAMED)
        .map(|change| cell_code(&change.address.to_string()))
        .collect();
    match changes.len() {
        number if number > NAMED => format!("{number} × {} … {} more", names.join(", "), number - NAMED),
        _ => names.join(", "),
    }
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

/// The differences by document, the most dangerous first, as far as there is room.
fn differences(plan: &Plan, context: PlanContext<'_>, room: &mut Room) -> Result<String, fmt::Error> {
    let mut groups: Vec<(String, Vec<Fold<'_>>)> = Vec::new();
    let mut sources = view::groups(plan);
    for group in &mut sources {
        group.changes.sort_by_key(|change| view::risk(change));
    }
    sources.sort_by_key(|group| group.changes.iter().map(|change| view::risk(change)).min());
    for group in sources {
        let heading = match group.document {
            Some(document) => html_code(&format!(
                "{} {} ({})",
                document.document_type, document.name, document.place
            )),
            None => "no longer in the configuration".to_owned(),
        };
        let mut folds = view::fold(group.changes, diff_body);
        folds.retain(|fold| !fold.body.is_empty());
        if !folds.is_empty() {
            groups.push((heading, folds));
        }
    }
    let objects = |folds: &[Fold<'_>]| folds.iter().map(|fold| fold.changes.len()).sum::<usize>();
    let total: usize = groups.iter().map(|(_, folds)| objects(folds)).sum();
    let budget = room.0;
    let mut text = String::new();
    let mut shown = 0;
    let mut full = false;
    for (heading, folds) in &groups {
        let start = format!("\n<details><summary>{heading}: {}</summary>\n", summary_of(folds));
        let end = "\n</details>\n";
        let mut open = false;
        for fold in folds {
            let body = difference(fold)?;
            let frame = if open { 0 } else { start.len() + end.len() };
            // One that could take the room of all the others does not keep them out.
            let huge = body.len() > budget / 2;
            if full || body.len() + frame > room.0 {
                full |= !huge;
                continue;
            }
            room.0 -= body.len() + frame;
            if !open {
                text.push_str(&start);
                open = true;
            }
            text.push_str(&body);
            shown += fold.changes.len();
        }
        if open {
            text.push_str(end);
        }
    }
    if shown < total {
        text.push_str(&not_shown(total - shown, context));
    }
    Ok(text)
}

/// Says how many differences there is no room for, and where they are.
fn not_shown(number: usize, context: PlanContext<'_>) -> String {
    let them = if number == 1 { "it" } else { "them" };
    let how = match context.digest {
        Some(_) => format!("`gabion show PLAN ADDR` prints {them} from the saved plan"),
        None => format!("`gabion plan` prints {them}"),
    };
    format!(
        "\n**The {} not shown here** for want of room; {how}.\n",
        match number {
            1 => "difference of 1 resource is".to_owned(),
            number => format!("differences of {number} resources are"),
        }
    )
}

/// "2 create, 12 update (12 the same)".
fn summary_of(folds: &[Fold<'_>]) -> String {
    let mut counts: Vec<(&'static str, usize, usize)> = Vec::new();
    for fold in folds {
        let word = words::action(fold.changes[0].action);
        let number = fold.changes.len();
        let same = if number > 1 { number } else { 0 };
        match counts.iter_mut().find(|(other, ..)| *other == word) {
            Some(found) => {
                found.1 += number;
                found.2 = found.2.max(same);
            }
            None => counts.push((word, number, same)),
        }
    }
    let parts: Vec<String> = counts
        .into_iter()
        .map(|(word, number, same)| match same {
            0 => format!("{number} {word}"),
            same => format!("{number} {word} ({same} the same)"),
        })
        .collect();
    parts.join(", ")
}

/// One difference, with the objects that it is of.
fn difference(fold: &Fold<'_>) -> Result<String, fmt::Error> {
    let mut text = String::new();
    let change = fold.changes[0];
    match fold.changes.len() {
        1 => {
            let title = format!(
                "{} {} {}",
                words::symbol(change.action),
                change.address,
                words::verb(change)
            );
            writeln!(text, "\n{}\n", code(title.trim()))?;
        }
        number => {
            let names: Vec<String> = fold
                .changes
                .iter()
                .map(|change| code(&change.address.to_string()))
                .collect();
            let title = format!("{} {}", words::symbol(change.action), words::verb(change));
            writeln!(
                text,
                "\n{number} × {}, all the same: {}\n",
                code(title.trim()),
                names.join(", ")
            )?;
        }
    }
    fenced(&mut text, "diff", &fold.body)?;
    Ok(text)
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
    for note in change.notes.iter() {
        body.push_str(&format!("# note: {}\n", words::plain(note)));
    }
    if !change.alternatives.is_empty() {
        body.push_str("# where there is no capacity for it, in this order:\n");
    }
    for other in &change.alternatives.others {
        body.push_str(&format!("#   {}\n", words::plain(&other.label)));
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

fn graph(plan: &Plan) -> Result<String, fmt::Error> {
    let Some(graph) = mermaid::changed_part(plan) else {
        return Ok(String::new());
    };
    let mut text = "\n<details><summary>What changes, and what it depends on</summary>\n\n".to_owned();
    fenced(&mut text, "mermaid", &graph)?;
    text.push_str("\n</details>\n");
    Ok(text)
}

fn outputs(plan: &Plan) -> Table {
    let mut table = Table::new(&["output", "is", "will be"]);
    for (name, before, after) in view::output_changes(plan) {
        let side = |value: Option<&Value>| value.map(|value| cell_code(&inline(value))).unwrap_or_default();
        table.rows.push(vec![cell_code(name), side(before), side(after)]);
    }
    table
}

fn endpoints(plan: &Plan) -> Table {
    let mut table = Table::new(&["endpoint", ""]);
    if plan.mode == Mode::Apply {
        for (name, url) in view::endpoints(plan) {
            table.rows.push(vec![prose(&name), cell_code(&url)]);
        }
    }
    table
}

fn left_out(plan: &Plan) -> String {
    const SHOWN: usize = 20;
    let number = plan.left_out.len();
    if number == 0 {
        return String::new();
    }
    let mut names: Vec<String> = plan
        .left_out
        .iter()
        .take(SHOWN)
        .map(|address| code(&address.to_string()))
        .collect();
    if number > SHOWN {
        names.push(format!("{} more", number - SHOWN));
    }
    format!(
        "\n**This is a part.** The selection leaves out {}: {}\n",
        count(number, "change"),
        names.join(", ")
    )
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
    parts.push(format!("read {:.0}{}", basis.gathered_at, view::how_read(basis)));
    writeln!(out, "\n<sub>{}</sub>", parts.join(" · "))?;
    match (context.next, context.digest) {
        (Some(next), Some(digest)) => writeln!(
            out,
            "\nApply exactly this: {}",
            code(&format!("{next} --digest {digest}"))
        ),
        (Some(next), None) => writeln!(out, "\nNext: {}", code(next)),
        (None, _) => Ok(()),
    }
}
