//! Words of commands that people copy into a shell.

/// Returns a word as a shell reads it.
pub(crate) fn shell_word(word: &str) -> String {
    let is_plain = !word.is_empty()
        && word
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_./:=@,+%".contains(c));
    if is_plain {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_for_the_shell() {
        assert_eq!(shell_word("a/b.yml"), "a/b.yml");
        assert_eq!(shell_word("it's"), "'it'\\''s'");
    }
}
