//! "Did you mean".

/// Words longer than this are never compared: nobody mistypes them by a letter, and comparing costs their product.
const LONGEST: usize = 80;

/// Returns the candidate that `word` is most likely a misspelling of.
///
/// Case, `-` and `_` count as equal; otherwise about a third of the letters may be wrong. Of equally near
/// candidates the first in alphabetical order is taken.
pub fn did_you_mean<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.is_empty() || word.len() > LONGEST {
        return None;
    }
    let normal = normalise(word);
    let allowed = (normal.chars().count() / 3).clamp(1, 6);
    candidates
        .into_iter()
        .filter(|candidate| candidate.len() <= LONGEST && *candidate != word)
        .filter_map(|candidate| {
            let other = normalise(candidate);
            let distance = strsim::damerau_levenshtein(&normal, &other);
            let near = distance <= allowed && distance < normal.chars().count().max(other.chars().count());
            near.then_some((distance, candidate))
        })
        .min()
        .map(|(_, candidate)| candidate)
}

/// Returns the hint for [`did_you_mean`], "did you mean `port`?".
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<String> {
    did_you_mean(word, candidates).map(|candidate| format!("did you mean `{candidate}`?"))
}

fn normalise(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_words_are_found_and_far_ones_are_not() {
        let check = |word, expected| {
            let candidates = ["port", "ports", "replicas", "cache_aware", "a"];
            assert_eq!(did_you_mean(word, candidates), expected, "{word}");
        };
        check("prot", Some("port"));
        check("Port", Some("port"));
        check("replica", Some("replicas"));
        check("cache-aware", Some("cache_aware"));
        check("cahce_awre", Some("cache_aware"));
        check("b", None);
        check("gateway", None);
        check("", None);
        check(&"x".repeat(10_000), None);
    }
}
