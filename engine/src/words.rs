//! How what programs say becomes what people read.

use jiff::Timestamp;

/// Makes a full sentence of an error's words, which are a clause.
#[must_use]
pub fn sentence(clause: &str) -> String {
    let mut sentence = capitalised(clause.trim());
    if !sentence.is_empty() && !sentence.ends_with(['.', '!', '?']) {
        sentence.push('.');
    }
    sentence
}

/// Returns an error's words with a capital letter and without a full stop, to go on after them.
#[must_use]
pub fn capitalised(clause: &str) -> String {
    let clause = clause.trim_end_matches('.');
    let mut characters = clause.chars();
    match characters.next() {
        Some(first) => first.to_uppercase().chain(characters).collect(),
        None => String::new(),
    }
}

/// Returns how long ago something was, in the largest unit that fits: "3 days ago".
#[must_use]
pub fn ago(then: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(then).as_secs();
    for (unit, word) in [(86_400, "day"), (3_600, "hour"), (60, "minute")] {
        match seconds / unit {
            ..=0 => {}
            1 => return format!("1 {word} ago"),
            number => return format!("{number} {word}s ago"),
        }
    }
    "less than a minute ago".to_owned()
}

/// Returns a text with control characters and invisible ones written out, so that it can neither steer a terminal nor
/// say to people something else than to programs.
#[must_use]
pub fn plain(text: &str) -> String {
    if !text.chars().any(is_unsafe) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if is_unsafe(c) {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// Returns whether a character is none that people can see for what it is.
///
/// These are control characters, line ends of other alphabets, and what nobody sees: characters that change the direction of text,
/// that take no room, or that hide whole sentences from people only. The joiners that scripts and emoji need stay.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}'
            | '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_begins_with_a_capital_and_ends_with_a_stop() {
        for (clause, expected) in [
            ("the unit is held (by 7)", "The unit is held (by 7)."),
            ("Why? ", "Why?"),
            ("\u{e9}t\u{e9}", "\u{c9}t\u{e9}."),
            ("", ""),
        ] {
            assert_eq!(sentence(clause), expected);
        }
        assert_eq!(capitalised("it is held."), "It is held");
    }

    #[test]
    fn an_age_has_one_unit() {
        let now: Timestamp = "2026-11-29T12:00:00Z".parse().unwrap();
        for (then, expected) in [
            ("2026-11-26T11:00:00Z", "3 days ago"),
            ("2026-11-29T10:59:59Z", "1 hour ago"),
            ("2026-11-29T11:57:30Z", "2 minutes ago"),
            ("2026-11-29T11:59:30Z", "less than a minute ago"),
            // Clocks of two machines may differ.
            ("2026-11-29T12:00:30Z", "less than a minute ago"),
        ] {
            assert_eq!(ago(then.parse().unwrap(), now), expected);
        }
    }

    #[test]
    fn a_value_cannot_steer_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\u{202e}"), "a\\u{1b}[31mb\\u{202e}");
        assert_eq!(plain("ü → 模型 👩\u{200d}💻"), "ü → 模型 👩\u{200d}💻");
        assert_eq!(
            plain("a\u{2028}b\u{feff}\u{e0041}"),
            "a\\u{2028}b\\u{feff}\\u{e0041}"
        );
    }
}
