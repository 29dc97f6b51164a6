//! Plans and drift in Markdown as a browser shows them, once a renderer that is not ours made a page of them.

use std::path::{Path, PathBuf};

use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, format_html, parse_document};
use serde_json::{Value, json};

use super::driver::{Browser, Trap, url};
use super::hostile;
use crate::harness::Project;

/// How GitHub reads Markdown. What is HTML stays HTML: GitHub would take out what does harm, and this does not.
fn options() -> Options<'static> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.alerts = true;
    options.render.r#unsafe = true;
    options
}

/// Returns each table and block of code with how deep in `details` it stands, and how many rows or lines it has: as the
/// Markdown is written, and as a page.
fn read(markdown: &str) -> (Value, String) {
    let options = options();
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &options);
    let mut parts = Vec::new();
    let mut depth = 0_i32;
    walk(root, &mut depth, &mut parts);
    assert_eq!(depth, 0, "a details block is not closed:\n{markdown}");
    let mut html = String::new();
    format_html(root, &options, &mut html).unwrap();
    let page =
        format!("<!doctype html>\n<meta charset=\"utf-8\">\n<title>plan</title>\n<body>\n{html}\n</body>\n");
    (Value::Array(parts), page)
}

fn walk<'a>(node: &'a AstNode<'a>, depth: &mut i32, parts: &mut Vec<Value>) {
    for child in node.children() {
        match &child.data.borrow().value {
            NodeValue::HtmlBlock(html) => {
                *depth += html.literal.matches("<details>").count() as i32;
                *depth -= html.literal.matches("</details>").count() as i32;
                assert!(*depth >= 0, "a details block is closed twice");
            }
            NodeValue::CodeBlock(code) => {
                parts.push(json!(["PRE", *depth, code.literal.lines().count()]));
            }
            NodeValue::Table(_) => parts.push(json!(["TABLE", *depth, child.children().count()])),
            _ => walk(child, depth, parts),
        }
    }
}

/// What [`read`] says, asked of the page.
const SHOWN: &str = "\
const depth = (it) => { let n = 0; for (let at = it.parentElement; at; at = at.parentElement) n += at.tagName === 'DETAILS'; return n; };
return [...document.querySelectorAll('table, pre')].map((it) => [it.tagName, depth(it),
  it.tagName === 'TABLE' ? it.rows.length : it.textContent.replace(/\\n$/, '').split('\\n').filter((_, n, all) => all.length > 1 || all[0]).length]);";

/// What nothing of a plan may become.
const ACTIVE: &str = "return [...document.querySelectorAll('body *')].map((it) => it.tagName.toLowerCase()).filter((name) => ![
  'h3', 'p', 'blockquote', 'div', 'strong', 'em', 'code', 'pre', 'ul', 'ol', 'li', 'table', 'thead', 'tbody', 'tr', 'th', 'td', 'details',
  'summary', 'sub', 'br'].includes(name))";

#[track_caller]
fn is_intact(browser: &Browser, directory: &Path, name: &str, markdown: &str) {
    let (written, page) = read(markdown);
    let path: PathBuf = directory.join("plan.html");
    std::fs::write(&path, page).unwrap();
    browser.open(&path);
    assert_eq!(browser.run(SHOWN), written, "{name}\n{markdown}");
    assert_eq!(browser.run(ACTIVE), json!([]), "{name}\n{markdown}");
    let details = markdown
        .lines()
        .filter(|line| line.starts_with("<details>"))
        .count();
    assert_eq!(
        browser.run("return document.querySelectorAll('details').length"),
        details,
        "{name}"
    );
    // What stands at the end stands there, and in no block that was left open.
    assert_eq!(
        browser.run("return document.querySelectorAll('details sub, details h3').length"),
        0,
        "{name}\n{markdown}"
    );
    assert_eq!(browser.run("return window.ran ?? null"), Value::Null, "{name}");
    let asked = browser.requests();
    assert!(
        asked.iter().all(|asked| *asked == url(&path)),
        "{name}: {asked:?}"
    );
}

/// Returns every Markdown snapshot, by name.
fn snapshots() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots")];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(".md.snap") {
                let text = std::fs::read_to_string(&path).unwrap();
                let body = text.splitn(3, "---\n").nth(2).unwrap().to_owned();
                found.push((path.display().to_string(), body));
            }
        }
    }
    found.sort();
    found
}

#[test]
fn every_snapshot_in_markdown_is_shown_as_it_is_written() {
    let Some(browser) = Browser::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let snapshots = snapshots();
    for named in [
        "first", "scale-up", "replace", "destroy", "drift", "moved", "secrets", "unknown", "300-cut",
    ] {
        let ending = format!("plans/{named}.md.snap");
        assert!(
            snapshots.iter().any(|(name, _)| name.ends_with(&ending)),
            "{named}"
        );
    }
    for (name, markdown) in &snapshots {
        is_intact(&browser, directory.path(), name, markdown);
    }
}

#[test]
fn a_plan_and_drift_full_of_markup_are_shown_as_text() {
    let Some(browser) = Browser::start() else { return };
    let trap = Trap::set();
    let texts = hostile(&trap.url());
    let note = |texts: &[String]| json!(texts.concat());
    let documents = |files: &Value| {
        format!(
            "type: resource\nkind: host_unit\nname: clock\nproperties: {}\n",
            json!({ "machine": "local", "argv": ["sleep", "600"], "files": files })
        )
    };
    let project = Project::with(&documents(&json!({ "note.txt": note(&texts) })));
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let unit = record["outputs"]["unit_dir"].as_str().unwrap().to_owned();
    let other = texts.iter().rev().cloned().collect::<String>();
    std::fs::write(format!("{unit}/files/note.txt"), other).unwrap();
    let directory = tempfile::tempdir().unwrap();
    for (code, arguments) in [
        (0, &["plan", "--format", "markdown"][..]),
        (0, &["plan", "--format", "markdown", "--max-bytes", "1500"]),
        (2, &["drift", "--format", "markdown"]),
    ] {
        let said = project.exits(code, arguments).out;
        assert!(said.contains("host_unit.clock"), "{said}");
        is_intact(&browser, directory.path(), &arguments.join(" "), &said);
    }
    project.write(
        "data.gabion.yml",
        format!(
            "type: resource\nkind: gabion_data\nname: all\nproperties: {}\n",
            json!({ "input": texts })
        ),
    );
    let said = project.exits(0, &["plan", "--format", "markdown"]).out;
    is_intact(&browser, directory.path(), "plan", &said);
    // The same for whoever reads it elsewhere.
    for arguments in [&["plan"][..], &["drift"], &["drift", "--junit", "drift.xml"]] {
        let said = project.run(arguments);
        for text in [&said.out, &said.err] {
            let hidden = text
                .chars()
                .find(|c| c.is_control() && *c != '\n' || ('\u{202a}'..='\u{202e}').contains(c));
            assert_eq!(hidden, None, "{arguments:?}\n{text}");
        }
    }
    trap.is_untouched();
}
