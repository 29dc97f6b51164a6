//! Measurements as Markdown tables.

use std::fmt::Write as _;

use super::goals::{BASE, MOST_PER_RESOURCE, goals};
use super::mix;
use super::results::{Cell, Phase, Results};
use super::shape::Shape;
use super::words::{grouped, name_of};

/// A table; columns that are empty in every row are left out.
struct Table {
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(columns: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            columns: columns.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn markdown(&self) -> String {
        let filled = |column: &usize| {
            self.rows
                .iter()
                .any(|row| row.get(*column).is_some_and(|cell| !cell.is_empty()))
        };
        let kept: Vec<usize> = (0..self.columns.len())
            .filter(|column| *column == 0 || filled(column))
            .collect();
        let line = |cells: &mut dyn Iterator<Item = String>| -> String {
            cells.fold(String::from("|"), |line, cell| line + " " + &cell + " |") + "\n"
        };
        let rule = |column: &usize| if *column == 0 { "---" } else { "--:" }.to_owned();
        let mut text = line(&mut kept.iter().map(|column| self.columns[*column].clone()));
        text += &line(&mut kept.iter().map(rule));
        for row in &self.rows {
            let cell = |column: &usize| row.get(*column).cloned().unwrap_or_default();
            text += &line(&mut kept.iter().map(cell));
        }
        text
    }
}

/// Returns each goal, what was measured, and the verdict.
pub(super) fn goals_table(results: &Results) -> String {
    let mut text = String::from("| what | goal | measured | |\n| --- | --- | --- | --- |\n");
    for goal in goals(results) {
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            goal.what,
            goal.bound,
            goal.measured,
            goal.verdict.words()
        );
    }
    text
}

/// Returns a table for each shape: what a resource costs at each size.
pub(super) fn curves(results: &Results) -> String {
    let mut text = String::new();
    for shape in Shape::ALL {
        let cells: Vec<Cell> = results
            .cells()
            .into_iter()
            .filter(|cell| cell.0 == shape)
            .collect();
        let Some(largest) = cells.last() else {
            continue;
        };
        let sizes = cells.iter().map(|cell| grouped(cell.1 as u64));
        let mut table = Table::new(std::iter::once("command".to_owned()).chain(sizes));
        for phase in Phase::ALL {
            let each = cells
                .iter()
                .map(|cell| curve_point(results, *cell, phase).unwrap_or_default());
            let row: Vec<String> = each.collect();
            if row.iter().any(|point| !point.is_empty()) {
                table.row(std::iter::once(phase.name().to_owned()).chain(row));
            }
        }
        let _ = write!(
            text,
            "\n### {}: per resource, to {}\n\n{}",
            shape.name(),
            grouped(largest.1 as u64),
            table.markdown()
        );
    }
    text
}

/// Says what a resource costs, and above the size to compare with, how much more than there.
fn curve_point(results: &Results, cell: Cell, phase: Phase) -> Option<String> {
    let each = results.per_resource(cell, phase)?;
    let base = results.per_resource((cell.0, BASE), phase);
    Some(match base {
        Some(base) if cell.1 > BASE => {
            let ratio = each / base;
            let mark = if ratio > MOST_PER_RESOURCE { "**" } else { "" };
            format!("{each:.1} ({mark}{ratio:.2}×{mark})")
        }
        _ => format!("{each:.1}"),
    })
}

/// Returns a table for each shape and size.
pub(super) fn commands(results: &Results) -> String {
    let mut text = String::new();
    for cell in results.cells() {
        let mut table = Table::new([
            "command",
            "wall s",
            "processor s",
            "per resource µs",
            "peak MiB",
            "log bytes",
            "commits",
            "API calls",
            "Terraform: wall, processor, MiB",
            "less processor",
            "less memory",
        ]);
        for phase in Phase::ALL {
            if let Some(row) = command(results, cell, phase) {
                table.row(row);
            }
        }
        let _ = write!(text, "\n### {}\n\n{}", name_of(cell), table.markdown());
    }
    text
}

fn command(results: &Results, cell: Cell, phase: Phase) -> Option<Vec<String>> {
    let ours = results.gabion(cell, phase)?;
    let over = |cut: bool| if cut { "over " } else { "" };
    let growth = results.growth(cell, phase).filter(|log| log.events > 0);
    let calls = results.calls(cell, phase);
    let terraform = results.terraform(cell, phase).map(|theirs| {
        format!(
            "{}{:.2}, {:.2}, {:.0}",
            over(theirs.cut),
            theirs.wall,
            theirs.cpu,
            theirs.peak
        )
    });
    let less = |ratio: Option<f64>, digits: usize| match ratio {
        Some(ratio) => format!("{ratio:.digits$}×"),
        None => String::new(),
    };
    let processor = results.less(cell, phase, |usage| usage.cpu);
    let memory = results.less(cell, phase, |usage| usage.peak);
    Some(vec![
        phase.name().to_owned(),
        format!("{}{:.2}", over(ours.cut), ours.wall),
        format!("{:.2}", ours.cpu),
        format!("{:.1}", ours.cpu / cell.1 as f64 * 1e6),
        format!("{:.0}", ours.peak),
        growth.map_or_else(String::new, |log| grouped(log.bytes)),
        growth.map_or_else(String::new, |log| grouped(log.commits)),
        calls.map_or_else(String::new, |calls| grouped(calls.values().sum())),
        terraform.unwrap_or_default(),
        less(processor.map(|ratios| ratios.median), 0),
        less(memory.map(|ratios| ratios.median), 1),
    ])
}

/// Returns what the first plans cost without and with what was cached.
pub(super) fn caches(results: &Results) -> String {
    let mut table = Table::new([
        "project",
        "first plan, cold: processor s",
        "warm",
        "plan with nothing to do, cold",
        "warm",
        "files cached",
    ]);
    for cell in results.cells() {
        let seconds = |phase: Phase| match results.gabion(cell, phase) {
            Some(figures) => format!("{:.3}", figures.cpu),
            None => String::new(),
        };
        table.row([
            name_of(cell),
            seconds(Phase::FirstPlan),
            seconds(Phase::FirstPlanWarm),
            seconds(Phase::EmptyPlan),
            seconds(Phase::EmptyPlanWarm),
            results
                .cached(cell)
                .map_or_else(String::new, |files| files.to_string()),
        ]);
    }
    table.markdown()
}

/// Returns what durability cost in applies whose resources wait for each other.
pub(super) fn durability(results: &Results) -> Option<String> {
    let mut table = Table::new([
        "project",
        "levels",
        "commits",
        "commits ÷ levels",
        "bytes a write",
        "fsync ms",
        "wall ÷ (commits × fsync)",
        "fdatasync ms",
        "wall ÷ (commits × fdatasync)",
    ]);
    for cell in results.cells() {
        let (Some(found), Some(levels)) = (results.durability(cell), cell.0.levels(cell.1)) else {
            continue;
        };
        table.row([
            name_of(cell),
            grouped(levels as u64),
            grouped(found.commits),
            format!("{:.3}", found.commits_a_level),
            grouped(found.bytes),
            format!("{:.3}", found.fsync * 1e3),
            format!("{:.2}", found.over_fsync),
            format!("{:.3}", found.fdatasync * 1e3),
            format!("{:.2}", found.over_fdatasync),
        ]);
    }
    (!table.rows.is_empty()).then(|| table.markdown())
}

/// Returns how often each command asked the fake cloud for what.
pub(super) fn calls(results: &Results) -> Option<String> {
    const VERBS: [&str; 6] = ["create", "describe", "find", "update", "delete", "facts"];
    let columns = ["project", "command", "API calls"].into_iter().chain(VERBS);
    let mut table = Table::new(columns);
    for cell in results.cells() {
        for phase in Phase::ALL {
            let Some(calls) = results.calls(cell, phase) else {
                continue;
            };
            // A call is named by its verb and the type that it is about.
            let of_verb = |verb: &str| -> u64 {
                let same = calls
                    .iter()
                    .filter(|(name, _)| name.split(' ').next() == Some(verb));
                same.map(|(_, count)| count).sum()
            };
            let machines = grouped(mix::machines(cell.1) as u64);
            let start = [
                format!("{} ({machines} machines)", name_of(cell)),
                phase.name().to_owned(),
                grouped(calls.values().sum()),
            ];
            table.row(start.into_iter().chain(VERBS.map(|verb| match of_verb(verb) {
                0 => String::new(),
                count => grouped(count),
            })));
        }
    }
    (!table.rows.is_empty()).then(|| table.markdown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_that_nothing_is_in_is_left_out() {
        let mut table = Table::new(["a", "b", "c"]);
        table.row(["1".to_owned(), String::new(), "2".to_owned()]);
        assert_eq!(table.markdown(), "| a | c |\n| --- | --: |\n| 1 | 2 |\n");
    }
}
