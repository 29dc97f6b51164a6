//! Running what console blocks show, and comparing what they show with what is printed.
//!
//! A console block is a list of `$ COMMAND` lines, each with what it prints, if the page shows that. A line `…` stands
//! for any lines, `…` in a line for any text. Ids, times, ports, digests and serials may differ. A command must
//! succeed, unless `# exits with N` ends its line.

use super::page::Block;

/// A command of a console block.
#[derive(Debug, PartialEq)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) code: i32,
    /// What it prints, or nothing when the page does not show it.
    pub(crate) shown: Vec<String>,
}

/// Returns the commands of a block.
pub(crate) fn steps(block: &Block) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.text.lines() {
        if let Some(command) = line.strip_prefix("$ ") {
            let (command, code) = match command.split_once("# exits with ") {
                Some((command, code)) => (command.trim_end(), code.trim().parse().unwrap()),
                None => (command, 0),
            };
            steps.push(Step {
                command: command.to_owned(),
                code,
                shown: Vec::new(),
            });
        } else if let Some(step) = steps.last_mut() {
            step.shown.push(line.to_owned());
        } else {
            panic!("a console block starts with its output:\n{}", block.text);
        }
    }
    for step in &mut steps {
        while step.shown.last().is_some_and(|line| line.trim().is_empty()) {
            step.shown.pop();
        }
    }
    steps
}

/// Returns whether what was printed is what is shown.
pub(crate) fn matches(shown: &[String], printed: &str) -> bool {
    let shown: Vec<String> = shown.iter().map(|line| redact(line)).collect();
    let printed: Vec<String> = printed.trim_end().lines().map(redact).collect();
    lines_match(&shown, &printed)
}

fn lines_match(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skipped| lines_match(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_matches(first, line) && lines_match(rest, others)),
    }
}

fn line_matches(shown: &str, line: &str) -> bool {
    let Some((start, mut rest)) = shown.split_once('…') else {
        return shown == line;
    };
    let Some(mut line) = line.strip_prefix(start) else {
        return false;
    };
    while let Some((middle, after)) = rest.split_once('…') {
        let Some(at) = line.find(middle) else { return false };
        line = &line[at + middle.len()..];
        rest = after;
    }
    line.ends_with(rest)
}

/// Replaces what differs from run to run, and the spaces that align it.
fn redact(line: &str) -> String {
    let mut out = String::new();
    let mut previous = "";
    for word in line.trim_end().split_inclusive(|c: char| " \"()/,;".contains(c)) {
        let end = word.trim_end_matches(|c: char| " \"()/,;".contains(c)).len();
        let (core, tail) = word.split_at(end);
        out.push_str(&redact_word(core, previous));
        out.push_str(tail);
        if !core.is_empty() {
            previous = core;
        }
    }
    // Columns are as wide as what is in them.
    let indent = out.len() - out.trim_start().len();
    let words: Vec<&str> = out.split_whitespace().collect();
    format!("{}{}", &out[..indent], words.join(" "))
}

fn redact_word(word: &str, previous: &str) -> String {
    let hex = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let groups: Vec<usize> = word.split('-').map(str::len).collect();
    if groups == [8, 4, 4, 4, 12] && word.split('-').all(hex) {
        return "<id>".to_owned();
    }
    if word.len() == 64 && hex(word) {
        return "<digest>".to_owned();
    }
    if word.len() == 20 && word.ends_with('Z') && word.as_bytes()[10] == b'T' {
        return "<time>".to_owned();
    }
    let is_port = |port: &str| digits(port) && port.len() >= 4;
    if let Some((host, port)) = word.split_once(':')
        && ["127.0.0.1", "localhost"].contains(&host)
        && is_port(port)
    {
        return format!("{host}:<port>");
    }
    let seconds = word.trim_end_matches('.').strip_suffix('s');
    if let Some(seconds) = seconds
        && seconds.split('.').all(digits)
    {
        return "<duration>".to_owned();
    }
    if digits(word.trim_end_matches('.')) && (previous == "serial" || word.len() >= 4) {
        return "<number>".to_owned();
    }
    word.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(shown: &str, printed: &str) -> bool {
        let shown: Vec<String> = shown.lines().map(str::to_owned).collect();
        matches(&shown, printed)
    }

    #[test]
    fn what_differs_from_run_to_run_may_differ() {
        for (shown, printed) in [
            (
                "id 01a202a6-9d22-77a4-a215-75303323e654",
                "id 01b202a6-9d22-77a4-a215-75303323e655",
            ),
            (
                "(state serial 29, 2026-11-22T09:46:46Z)",
                "(state serial 3, 2027-01-01T00:00:00Z)",
            ),
            ("a   http://127.0.0.1:8255/v1", "a http://127.0.0.1:21999/v1"),
            ("  created (0.6s)", "  created (10.2s)"),
        ] {
            assert!(check(shown, printed), "{shown} {printed}");
        }
    }

    #[test]
    fn everything_else_must_be_the_same() {
        for (shown, printed) in [
            ("2 to create", "3 to create"),
            ("one\ntwo", "one"),
            ("one", "one\ntwo"),
            ("  indented", "    indented"),
            (
                "\"cache_aware\" → \"random\"",
                "\"cache_aware\" → \"round_robin\"",
            ),
            ("http://127.0.0.1:8255/v1", "http://127.0.0.1:8255/v2"),
        ] {
            assert!(!check(shown, printed), "{shown} {printed}");
        }
    }

    #[test]
    fn ellipsis_stands_for_lines_and_for_text() {
        assert!(check("one\n…\nfour", "one\ntwo\nthree\nfour"));
        assert!(check("one\n…", "one"));
        assert!(check("a … c … e", "a b c d e"));
        assert!(!check("one\n…\nfour", "one\ntwo"));
        assert!(!check("a … c", "a b d"));
    }

    #[test]
    fn exit_codes_and_outputs_are_read() {
        let block = Block {
            info: "console".to_owned(),
            text: "$ gabion drift  # exits with 2\nDrift\n\n$ gabion apply -y\n".to_owned(),
        };
        let steps = steps(&block);
        assert_eq!((steps[0].command.as_str(), steps[0].code), ("gabion drift", 2));
        assert_eq!(steps[0].shown, ["Drift"]);
        assert_eq!((steps[1].code, steps[1].shown.len()), (0, 0));
    }
}
