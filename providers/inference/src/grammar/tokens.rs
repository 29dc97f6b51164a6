//! The parts of a one-line value between its colons.

use std::ops::Range;

/// A part.
pub(super) struct Token {
    /// What it says, without white space.
    pub(super) text: String,
    /// Where it stands in the whole; of an empty part, a colon beside it.
    pub(super) range: Range<usize>,
}

/// Why a one-line value is refused, and which part of it, if it is not all of it.
pub(super) struct Refusal {
    pub(super) why: String,
    pub(super) range: Option<Range<usize>>,
}

/// Splits a text at its colons.
pub(super) fn tokens(text: &str) -> impl Iterator<Item = Token> {
    let mut next = 0;
    text.split(':').map(move |part| {
        let start = next;
        next += part.len() + 1;
        let words = part.trim();
        let from = start + (part.len() - part.trim_start().len());
        let range = match (words.is_empty(), start) {
            (false, _) => from..from + words.len(),
            (true, 0) => part.len()..(part.len() + 1).min(text.len()),
            (true, start) => start - 1..start,
        };
        Token {
            text: part.chars().filter(|c| !c.is_whitespace()).collect(),
            range,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_knows_its_place() {
        let places = |text: &str| {
            tokens(text)
                .map(|token| (token.text, text[token.range].to_owned()))
                .collect::<Vec<_>>()
        };
        let pair = |text: &str, place: &str| (text.to_owned(), place.to_owned());
        assert_eq!(
            places(" A100 : 40GB .. 80GB"),
            [pair("A100", "A100"), pair("40GB..80GB", "40GB .. 80GB")]
        );
        assert_eq!(places(":1"), [pair("", ":"), pair("1", "1")]);
        assert_eq!(places("1:"), [pair("1", "1"), pair("", ":")]);
        assert_eq!(places(""), [pair("", "")]);
        assert_eq!(places("é: :ü"), [pair("é", "é"), pair("", ":"), pair("ü", "ü")]);
    }
}
