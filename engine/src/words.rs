//! How what programs say becomes what people read.

/// Makes a full sentence of an error's words, which are a clause.
#[must_use]
pub fn sentence(clause: &str) -> String {
    let clause = clause.trim();
    let mut characters = clause.chars();
    let Some(first) = characters.next() else {
        return String::new();
    };
    let end = if clause.ends_with(['.', '!', '?']) {
        ""
    } else {
        "."
    };
    format!("{}{}{end}", first.to_ascii_uppercase(), characters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clause_begins_with_a_capital_and_ends_with_a_stop() {
        for (clause, expected) in [
            ("the unit is held (by 7)", "The unit is held (by 7)."),
            ("Why? ", "Why?"),
            ("\u{e9}t\u{e9}", "\u{e9}t\u{e9}."),
            ("", ""),
        ] {
            assert_eq!(sentence(clause), expected);
        }
    }
}
