//! Checks that Markdown is what it should be, as GitHub would read it.

use std::fmt::Write;

use comrak::nodes::{AstNode, NodeValue};
use comrak::{Arena, Options, parse_document};

/// Reads Markdown as GitHub does and says what is wrong with it: markup that is not gabion's, blocks that are not closed,
/// rows that do not fit their table, mentions and references outside of code, characters that nobody sees.
pub(crate) fn faults(markdown: &str) -> Vec<String> {
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.autolink = true;
    options.extension.strikethrough = true;
    options.extension.tasklist = true;
    options.extension.footnotes = true;
    options.extension.alerts = true;
    options.extension.math_dollars = true;
    let arena = Arena::new();
    let root = parse_document(&arena, markdown, &options);
    let mut reader = Reader {
        lines: markdown.lines().collect(),
        open: 0,
        in_code: false,
        faults: Vec::new(),
    };
    if let Some(c) = markdown
        .chars()
        .find(|c| *c != '\n' && gabion_engine::words::is_unsafe(*c))
    {
        reader.fault(format!("the character {c:?} got through"));
    }
    root.children().for_each(|node| reader.block(node));
    if reader.open != 0 {
        reader.fault("a details block is not closed".to_owned());
    }
    reader.faults
}

/// Fails with what is wrong with Markdown, and with the Markdown.
#[track_caller]
pub(crate) fn check(markdown: &str) {
    let faults = faults(markdown);
    assert!(faults.is_empty(), "{}\n\n{markdown}", faults.join("\n"));
}

struct Reader<'a> {
    lines: Vec<&'a str>,
    open: usize,
    in_code: bool,
    faults: Vec<String>,
}

impl Reader<'_> {
    fn fault(&mut self, fault: String) {
        self.faults.push(fault);
    }

    fn block<'b>(&mut self, node: &'b AstNode<'b>) {
        let data = node.data.borrow();
        match &data.value {
            NodeValue::HtmlBlock(html) => self.html_block(&html.literal),
            NodeValue::CodeBlock(code) => {
                if !code.fenced || !matches!(&*code.info, "diff" | "mermaid") {
                    self.fault(format!("a code block of its own: {:?}", code.literal));
                }
                let end = self
                    .lines
                    .get(data.sourcepos.end.line - 1)
                    .copied()
                    .unwrap_or_default();
                if !end.starts_with("```") || !end.trim_matches('`').is_empty() {
                    self.fault("a fence is not closed".to_owned());
                }
            }
            NodeValue::Table(table) => {
                let columns = table.num_columns;
                for row in node.children() {
                    let at = row.data.borrow().sourcepos.start.line;
                    let line = self.lines[at - 1];
                    if line.matches('|').count() != columns + 1 {
                        self.fault(format!("a row does not fit its {columns} columns: {line}"));
                    }
                    row.children().for_each(|cell| self.inlines(cell));
                }
            }
            NodeValue::Heading(_) | NodeValue::Paragraph => self.inlines(node),
            NodeValue::Alert(_) | NodeValue::List(_) | NodeValue::Item(_) => {
                node.children().for_each(|child| self.block(child));
            }
            other => self.fault(format!("a block of its own: {other:?}")),
        }
    }

    fn html_block(&mut self, html: &str) {
        let text = html.trim();
        if text == "</details>" {
            match self.open.checked_sub(1) {
                Some(open) => self.open = open,
                None => self.fault("a details block is closed twice".to_owned()),
            }
            return;
        }
        let comment = text
            .strip_prefix("<!-- gabion:")
            .and_then(|text| text.strip_suffix(" -->"))
            .filter(|inside| !inside.contains("--"));
        let summary = text
            .strip_prefix("<details><summary>")
            .and_then(|text| text.strip_suffix("</summary>"));
        self.open += usize::from(summary.is_some());
        let inside = comment.or(summary).unwrap_or_default();
        let inside = inside
            .replace("<code>", "")
            .replace("</code>", "")
            .replace("<!-- -->", "");
        if inside.is_empty() || inside.contains(['<', '>', '@', '\n']) {
            self.fault(format!("HTML of its own: {html:?}"));
        }
    }

    fn inlines<'b>(&mut self, node: &'b AstNode<'b>) {
        let mut text = String::new();
        for child in node.descendants().skip(1) {
            match &child.data.borrow().value {
                NodeValue::HtmlInline(tag) => match &**tag {
                    "<code>" => self.in_code = true,
                    "</code>" => self.in_code = false,
                    "<sub>" | "</sub>" | "<!-- -->" => {}
                    other => self.fault(format!("HTML of its own: {other:?}")),
                },
                NodeValue::Text(part) if !self.in_code => text.push_str(part),
                NodeValue::Text(_) | NodeValue::Code(_) => text.push(' '),
                NodeValue::Strong | NodeValue::Emph => {}
                other => self.fault(format!("markup of its own: {other:?}")),
            }
        }
        let number = |mark: &str| {
            text.match_indices(mark)
                .any(|(at, _)| text[at + mark.len()..].starts_with(|c: char| c.is_ascii_digit()))
        };
        if text.contains('@') || text.contains("://") || number("#") {
            let mut fault = String::new();
            let _ = write!(fault, "a mention, reference or link: {text:?}");
            self.fault(fault);
        }
        if self.in_code {
            self.in_code = false;
            self.fault("an HTML tag is not closed".to_owned());
        }
    }
}

#[test]
fn what_is_wrong_is_seen() {
    for wrong in [
        "<details><summary>a</summary>\n\nb\n",
        "</details>\n",
        "```diff\n+ a\n",
        "<script>x</script>\n",
        "a @b\n",
        "see #12\n",
        "| a | b |\n| --- | --- |\n| 1 | 2 | 3 |\n",
        "[a](http://b)\n",
        "a <b>c</b>\n",
        "a \u{202e}b\n",
    ] {
        assert!(!faults(wrong).is_empty(), "{wrong}");
    }
    check("### a `b@c`\n\n| a |\n| --- |\n| <code>&#124;</code> |\n");
}

#[test]
fn every_snapshot_in_markdown_is_intact() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../snapshots");
    let mut seen = 0;
    let mut open = vec![root];
    while let Some(directory) = open.pop() {
        for entry in std::fs::read_dir(directory).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.to_string_lossy().ends_with(".md.snap") {
                let text = std::fs::read_to_string(&path).unwrap();
                let body = text.splitn(3, "---\n").nth(2).unwrap();
                let faults = faults(body);
                assert!(faults.is_empty(), "{}:\n{}", path.display(), faults.join("\n"));
                seen += 1;
            }
        }
    }
    assert!(seen >= 4);
}
