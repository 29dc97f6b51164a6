//! Numbers that dstack reads otherwise than most people mean them: its YAML is 1.1.
//!
//! gabion reads such a scalar as it is written, and warns.

use gabion_engine::config::{Node, NodeKind};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

/// Warns of every number of a document that YAML 1.1 reads as another one.
pub(crate) fn check(node: &Node, problems: &mut Diagnostics) {
    match &node.kind {
        NodeKind::List(items) => items.iter().for_each(|item| check(item, problems)),
        NodeKind::Map(entries) => entries.iter().for_each(|(_, value)| check(value, problems)),
        // Quotes are part of what is written, and say that it is text.
        NodeKind::String(text) if node.span.text() == text && !node.span.file.is_argument() => {
            problems.extend(trap(node, text));
        }
        _ => {}
    }
}

fn trap(node: &Node, text: &str) -> Option<Diagnostic> {
    let (code, summary, number, base) = if let Some(number) = octal(text) {
        ("octal-number", "number with a leading zero", number, 8)
    } else {
        let summary = "number that others read as another one";
        ("sexagesimal-number", summary, sexagesimal(text)?, 60)
    };
    let warning = Diagnostic::warning(code, summary)
        .detail(format!(
            "gabion reads `{text}` as it is written. YAML 1.1, and dstack with it, reads it as the number {number}, in base {base}."
        ))
        .at(node.span.clone())
        .hint(match base {
            8 => format!("write `{}`, or quote it if it is text: `\"{text}\"`", text.trim_start_matches('0')),
            _ => format!("quote it: `\"{text}\"`"),
        });
    Some(match &node.alias {
        Some(alias) => warning.related(alias.clone(), "used here"),
        None => warning,
    })
}

/// Returns the number of `010`, unless it is the same in every base.
fn octal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix('0').filter(|digits| !digits.is_empty())?;
    let number = u64::from_str_radix(digits, 8).ok()?;
    (digits.parse() != Ok(number)).then_some(number)
}

/// Returns the number of `80:22`: no part but the first is above 59, and that has no leading zero.
fn sexagesimal(text: &str) -> Option<u64> {
    let (first, rest) = text.split_once(':')?;
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(first) || first.starts_with('0') {
        return None;
    }
    rest.split(':')
        .try_fold(first.parse().ok()?, |number: u64, part| {
            let digit = part
                .parse()
                .ok()
                .filter(|digit| is_number(part) && part.len() <= 2 && *digit < 60)?;
            number.checked_mul(60)?.checked_add(digit)
        })
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::parse_yaml;
    use gabion_engine::diagnostic::SourceFile;

    use super::*;

    #[test]
    fn numbers_that_dstack_reads_otherwise_are_warned_of() {
        let check = |written: &str, expected: Option<&str>| {
            let (nodes, mut problems) = parse_yaml(&SourceFile::new("a.yml", format!("x: [{written}]\n")));
            check(&nodes[0], &mut problems);
            assert!(!problems.has_errors());
            let read = problems
                .iter()
                .map(|problem| problem.detail.clone())
                .collect::<String>();
            match expected {
                Some(number) => assert!(
                    read.contains(&format!("the number {number},")),
                    "{written}: {read}"
                ),
                None => assert_eq!(read, "", "{written}"),
            }
        };
        check("010", Some("8"));
        check("0644", Some("420"));
        check("\"010\"", None);
        check("007", None);
        check("08", None);
        check("0", None);
        check("0.5", None);
        check("80:22", Some("4822"));
        check("1:30:05", Some("5405"));
        check("'80:22'", None);
        check("80:8000", None);
        check("08:22", None);
        check("80:60", None);
        check("80:+2", None);
        check("a:22", None);
        check("99999999999999999999:59", None);
    }
}
