//! What jobs tell people, as Markdown.

use serde_json::Value as Json;

use super::child::Child;
use crate::exit::Exit;
use crate::render::markdown::{code, comment, fenced};
use crate::render::words::plain;

/// How many lines of what a command said are shown.
const LINES: usize = 40;

/// Returns the hidden mark of what is said about a project and stack.
pub(crate) fn mark(what: &str, project: &str, stack: Option<&str>) -> String {
    let stack = stack.map(|stack| format!("/{stack}")).unwrap_or_default();
    format!("<!-- gabion:{what}:{} -->", comment(&format!("{project}{stack}")))
}

/// Returns the title of an issue about a project and stack.
pub(crate) fn title(what: &str, project: &str, stack: Option<&str>) -> String {
    let stack = stack.map(|stack| format!(" ({stack})")).unwrap_or_default();
    format!("{what}: {project}{stack}")
}

/// Returns what is said when a command did not do what the job is for.
pub(crate) fn failed(mark: &str, what: &str, child: &Child, resume: Option<&str>) -> String {
    let mut text = format!("{mark}\n### ⛔ gabion {what}: {}\n\n", words(child));
    text.push_str(&end_of(child));
    if let Some(resume) = resume {
        text.push_str(&format!("\nGo on with: {}\n", code(resume)));
    }
    text
}

/// Returns what is said of an apply.
pub(crate) fn applied(child: &Child, resume: &str) -> String {
    let report: Json = serde_json::from_str(&child.out).unwrap_or(Json::Null);
    let mut parts = Vec::new();
    for name in ["done", "failed", "skipped", "uncertain"] {
        match report[name].as_u64() {
            Some(0) | None => {}
            Some(number) => parts.push(format!("{number} {name}")),
        }
    }
    if let Some(serial) = report["serial"].as_u64() {
        parts.push(format!("state serial {serial}"));
    }
    let numbers = match parts.is_empty() {
        true => String::new(),
        false => format!(" ({})", parts.join(", ")),
    };
    if child.exit() == Exit::Done {
        return format!("### ✅ gabion apply: done{numbers}\n");
    }
    let mut text = format!("### ⛔ gabion apply: {}{numbers}\n\n", words(child));
    text.push_str(&end_of(child));
    let how = match child.exit() {
        // What is out of date or forbidden stays so.
        Exit::Stale | Exit::Blocked => "\nPlan again, and have the new plan reviewed.\n".to_owned(),
        _ => format!("\nGo on with: {}\n", code(resume)),
    };
    text.push_str(&how);
    text
}

/// Returns a comment that says what became of a plan, and then the plan.
pub(crate) fn with_plan(mark: &str, outcome: &str, plan: &str) -> String {
    // The plan begins with a mark of its own.
    let plan = match plan.split_once('\n') {
        Some((first, rest)) if first.starts_with("<!--") => rest,
        _ => plan,
    };
    format!("{mark}\n{outcome}\n---\n\n{plan}")
}

fn words(child: &Child) -> String {
    match (child.code, child.exit()) {
        (None, _) => "killed; what was sent is in the log".to_owned(),
        (Some(code), exit) => {
            let words = match exit {
                Exit::Done => "done",
                Exit::Error => "an error, nothing was changed",
                Exit::Changes => "there are changes",
                Exit::Locked => "the state is locked",
                Exit::Stale => "the plan is out of date",
                Exit::Blocked => "forbidden",
                Exit::Incomplete => "not everything was done",
                Exit::Interrupted => "interrupted",
                Exit::Command(_) => "a command beside a program ended",
            };
            format!("{words} (exit code {code})")
        }
    }
}

/// Returns the last lines of what a command said.
fn end_of(child: &Child) -> String {
    let lines: Vec<String> = child
        .said
        .lines()
        .flat_map(|line| problems(line).unwrap_or_else(|| vec![line.to_owned()]))
        .map(|line| plain(&line))
        .collect();
    let mut body = lines[lines.len().saturating_sub(LINES)..].join("\n");
    if body.trim().is_empty() {
        body = "(it said nothing)".to_owned();
    }
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = fenced(&mut text, "text", &body);
    text
}

/// Returns the lines of problems that a command said as JSON, as people read them; `None` for any other line.
fn problems(line: &str) -> Option<Vec<String>> {
    let json: Json = serde_json::from_str(line).ok()?;
    let mut lines = Vec::new();
    for problem in json["diagnostics"].as_array()? {
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        lines.push(format!("{}: {}", text("severity"), text("summary")));
        lines.extend(text("detail").lines().map(|line| format!("  {line}")));
        for (number, line) in text("hint").lines().enumerate() {
            lines.push(match number {
                0 => format!("  hint: {line}"),
                _ => format!("  {line}"),
            });
        }
    }
    Some(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_as_json_are_worded() {
        let line = r#"{"diagnostics":[{"code":"failed","detail":"One.\nTwo.","hint":"do this:\n    x","severity":"error","summary":"no"}]}"#;
        let expected = ["error: no", "  One.", "  Two.", "  hint: do this:", "      x"];
        assert_eq!(problems(line).unwrap(), expected);
        assert_eq!(problems("{} done"), None);
        assert_eq!(problems("{}"), None);
    }

    #[test]
    fn what_a_command_said_cannot_break_out_of_its_fence() {
        let child = Child {
            code: Some(4),
            out: String::new(),
            said: "error: x\n```\n<script>@everyone\u{1b}[31m\n".to_owned(),
        };
        let text = failed(&mark("plan", "a--><b", Some("prod")), "plan", &child, None);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].matches("-->").count() == 1, "{}", lines[0]);
        assert_eq!(lines[3], "````text");
        assert_eq!(lines.last(), Some(&"````"));
        assert!(text.contains("the plan is out of date (exit code 4)") && !text.contains('\u{1b}'));
    }

    #[test]
    fn what_cannot_be_resumed_is_not_said_to_be() {
        let child = |code: Option<i32>| Child {
            code,
            out: r#"{"done": 2, "failed": 1, "skipped": 0, "serial": 9}"#.to_owned(),
            said: String::new(),
        };
        let text = applied(&child(Some(6)), "gabion apply p.gabion");
        assert!(
            text.contains("2 done, 1 failed, state serial 9") && text.contains("`gabion apply p.gabion`")
        );
        assert!(applied(&child(None), "again").contains("Go on with: `again`"));
        assert!(!applied(&child(Some(4)), "again").contains("Go on with"));
        assert!(applied(&child(Some(0)), "again").starts_with("### ✅"));
    }
}
