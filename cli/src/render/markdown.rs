//! Markdown that values cannot break out of.
//!
//! Whatever comes from a configuration, a provider or the world goes through one of these functions. GitHub looks for
//! mentions, issue numbers and links in the finished page, outside of code: escaping such a word in the source is not
//! enough, so it is set as code.

use std::fmt::Write;

use gabion_engine::plan::Plan;

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

/// Returns a code span that stays whole in a table, where `|` ends a cell even in code.
pub(crate) fn cell_code(text: &str) -> String {
    if text.contains('|') {
        // A backslash before the `|` would not do: the text may end in one itself.
        html_code(text)
    } else {
        code(text)
    }
}

/// Returns text as prose: nothing in it is markup, a mention, a reference or a link. Names in backticks and names with `_`
/// are code. It may stand in a table.
pub(crate) fn prose(text: &str) -> String {
    let text = plain(text);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.trim(); // Four spaces would begin a block of code.
    while let Some((before, after)) = rest.split_once('`') {
        let Some((inside, after)) = after.split_once('`').filter(|(inside, _)| !inside.is_empty()) else {
            break;
        };
        push_words(&mut out, before);
        push_code(&mut out, inside);
        rest = after;
    }
    push_words(&mut out, rest);
    if out.starts_with(['-', '+']) {
        out.insert(0, '\\'); // Else a list would begin.
    }
    out
}

fn push_words(out: &mut String, text: &str) {
    for (position, word) in text.split(' ').enumerate() {
        if position > 0 {
            out.push(' ');
        }
        let end = word.trim_end_matches([',', ';', ':', '.', ')']).len();
        let start = word[..end].len() - word[..end].trim_start_matches('(').len();
        let (name, tail) = (&word[start..end], &word[end..]);
        if is_active(name) || name.contains('_') {
            out.push_str(&word[..start]);
            push_code(out, name);
            out.push_str(tail);
        } else {
            word.chars().for_each(|c| push_escaped(out, c));
        }
    }
}

/// Adds code to prose. Two code spans side by side would become one.
fn push_code(out: &mut String, text: &str) {
    if text.contains(['`', '|']) || out.ends_with('`') {
        out.push_str(&html_code(text));
    } else {
        out.push_str(&code(text));
    }
}

/// Returns whether a word would become a mention, a reference to an issue, or a link.
fn is_active(word: &str) -> bool {
    let lower = word.to_ascii_lowercase();
    let numbered = |mark: &str| {
        lower
            .match_indices(mark)
            .any(|(at, _)| lower[at + mark.len()..].starts_with(|c: char| c.is_ascii_digit()))
    };
    word.contains('@')
        || lower.contains("://")
        || lower.contains("www.")
        || lower.contains("mailto:")
        || lower.contains("xmpp:")
        || numbered("#")
        || numbered("gh-")
}

fn push_escaped(out: &mut String, c: char) {
    match c {
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '&' => out.push_str("&amp;"),
        '|' => out.push_str("&#124;"),
        '`' => out.push_str("&#96;"),
        '\\' | '*' | '_' | '[' | ']' | '#' | '~' | '!' | '$' => {
            out.push('\\');
            out.push(c);
        }
        other => out.push(other),
    }
}

/// Returns text for the inside of an HTML element that Markdown is not read in, as code.
pub(crate) fn html_code(text: &str) -> String {
    let mut out = String::from("<code>");
    let text = plain(text);
    let links = is_active(&text);
    for c in text.chars() {
        // Inside a paragraph Markdown is read between HTML's tags too.
        let is_plain =
            matches!(c, '-' | '/' | ',' | '(' | ')' | '=' | ';') || !links && matches!(c, '.' | ':');
        if c.is_ascii_punctuation() && !is_plain {
            let _ = write!(out, "&#{};", u32::from(c));
        } else {
            out.push(c);
        }
        if c == '@' {
            out.push_str("<!-- -->"); // Without it an address of mail would be one.
        }
    }
    out.push_str("</code>");
    out
}

/// Returns text for the inside of an HTML comment.
pub(crate) fn comment(text: &str) -> String {
    let mut out = String::new();
    for c in plain(text).chars() {
        match c {
            '<' | '>' | '&' | '@' => {
                let _ = write!(out, "%{:02x}", u32::from(c));
            }
            '-' if out.ends_with('-') => out.push_str("%2d"),
            other => out.push(other),
        }
    }
    out
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

/// A table: its heading row, and a row for each thing.
#[derive(Default)]
pub(crate) struct Table {
    /// The names of the columns, in Markdown.
    pub(crate) columns: Vec<String>,
    /// The cells of each row, in Markdown.
    pub(crate) rows: Vec<Vec<String>>,
}

impl Table {
    /// Makes a table without rows.
    pub(crate) fn new(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|column| (*column).to_owned()).collect(),
            rows: Vec::new(),
        }
    }

    /// Leaves out the columns in which nothing stands.
    pub(crate) fn without_empty_columns(mut self) -> Self {
        for column in (0..self.columns.len()).rev() {
            if self.rows.iter().all(|row| row[column].is_empty()) {
                self.columns.remove(column);
                self.rows.iter_mut().for_each(|row| drop(row.remove(column)));
            }
        }
        self
    }

    /// Returns the heading row and the rule below it.
    pub(crate) fn heading(&self) -> String {
        let rule = vec!["---".to_owned(); self.columns.len()];
        format!("\n{}{}", row(&self.columns), row(&rule))
    }

    /// Returns the whole table.
    pub(crate) fn to_markdown(&self) -> String {
        let rows: String = self.rows.iter().map(|cells| row(cells)).collect();
        format!("{}{rows}", self.heading())
    }
}

/// Returns a row of a table.
pub(crate) fn row(cells: &[String]) -> String {
    format!("| {} |\n", cells.join(" | "))
}

/// The mark by which a bot finds the comment that it wrote about this project and stack.
pub(crate) fn marker(what: &str, plan: &Plan) -> String {
    let stack = plan
        .basis
        .stack
        .as_ref()
        .map(|stack| format!("/{stack}"))
        .unwrap_or_default();
    format!(
        "<!-- gabion:{what}:{} -->",
        comment(&format!("{}{stack}", plan.project))
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_break_out() {
        assert_eq!(code("a`b"), "``a`b``");
        assert_eq!(code("`a`"), "`` `a` ``");
        assert_eq!(cell_code("a|b"), "<code>a&#124;b</code>");
        assert_eq!(cell_code("a\\|`b"), "<code>a&#92;&#124;&#96;b</code>");
        assert_eq!(
            html_code("</summary>@x"),
            "<code>&#60;/summary&#62;&#64;<!-- -->x</code>"
        );
        assert_eq!(
            prose("see <b> @me *x* `a|b` #12"),
            "see &lt;b&gt; `@me` \\*x\\* <code>a&#124;b</code> `#12`"
        );
        assert_eq!(prose("(a_b.c/d), e."), "(`a_b.c/d`), e.");
        assert_eq!(prose("`a``b`c"), "`a`<code>b</code>c");
        assert_eq!(prose("odd ` one"), "odd &#96; one");
        assert_eq!(
            prose("at https://x.example/y now"),
            "at `https://x.example/y` now"
        );
        assert_eq!(comment("a-->b<!--"), "a-%2d%3eb%3c!-%2d");
        let mut out = String::new();
        fenced(&mut out, "diff", "```\nout").unwrap();
        assert_eq!(out, "````diff\n```\nout\n````\n");
    }
}
