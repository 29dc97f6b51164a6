//! Markdown that values cannot break out of.

use std::fmt::Write;

use super::words::plain;

/// Returns text as a code span: on one line, and with more backticks around it than in it.
pub(crate) fn code(text: &str) -> String {
    let text = plain(text);
    if text.is_empty() {
        return String::new();
    }
    let fence = "`".repeat(longest_run(&text, '`') + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') {
        " "
    } else {
        ""
    };
    format!("{fence}{pad}{text}{pad}{fence}")
}

/// Returns text as prose: nothing in it is markup, a mention or a link.
pub(crate) fn prose(text: &str) -> String {
    let text = plain(text);
    let mut out = String::with_capacity(text.len());
    let mut in_code = false;
    for c in text.chars() {
        match c {
            // Our own sentences quote names with backticks; an unbalanced one is escaped below.
            '`' => {
                in_code = !in_code;
                out.push('`');
            }
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            '\\' | '*' | '_' | '[' | ']' | '#' | '|' | '~' | '!' if !in_code => {
                out.push('\\');
                out.push(c);
            }
            '|' => out.push_str("\\|"),
            '@' => out.push_str("&#64;"),
            other => out.push(other),
        }
    }
    if in_code {
        out = out.replace('`', "\\`");
    }
    out
}

/// Returns a code span for a table cell, where `|` would end the cell even in code.
pub(crate) fn cell_code(text: &str) -> String {
    code(text).replace('|', "\\|")
}

/// Returns text for the inside of an HTML element.
pub(crate) fn html(text: &str) -> String {
    plain(text)
        .replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('@', "&#64;")
        .replace('`', "&#96;")
}

/// Writes a fenced block whose fence is longer than any in the body.
pub(crate) fn fenced(out: &mut dyn Write, language: &str, body: &str) -> std::fmt::Result {
    let fence = "`".repeat((longest_run(body, '`') + 1).max(3));
    let end = if body.ends_with('\n') { "" } else { "\n" };
    writeln!(out, "{fence}{language}\n{body}{end}{fence}")
}

fn longest_run(text: &str, wanted: char) -> usize {
    let mut longest = 0;
    let mut run = 0;
    for c in text.chars() {
        run = if c == wanted { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_break_out() {
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(cell_code("a|b"), "`a\\|b`");
        assert_eq!(html("</summary>@x"), "&lt;/summary&gt;&#64;x");
        assert_eq!(
            prose("see <b> @me *x* `a|b`"),
            "see &lt;b&gt; &#64;me \\*x\\* `a\\|b`"
        );
        assert_eq!(prose("odd ` one"), "odd \\` one");
        let mut out = String::new();
        fenced(&mut out, "diff", "```\nout").unwrap();
        assert_eq!(out, "````diff\n```\nout\n````\n");
    }
}
