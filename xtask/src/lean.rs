//! What a build of gabion without its cargo features is made of.
//!
//! Such a build is what `cargo quickstart` makes: whoever tries gabion out, or works on it, waits for it. Each crate here
//! was once in it by a feature of some dependency, unnoticed, and nothing in such a build uses it.

use crate::{Failure, process};

/// How names of crates begin that have no place in it, and why.
const UNWANTED: [(&str, &str); 10] = [
    ("aws-", "the feature `aws` of gabion brings it"),
    ("object_store", "the feature `remote-state` of gabion brings it"),
    ("tokio-postgres", "the feature `remote-state` of gabion brings it"),
    ("cel", "the feature `policy-rules` of gabion brings it"),
    ("regex", "nothing in such a build has patterns of people"),
    ("reqwest", "the feature `forge` of gabion brings it"),
    ("h2", "nothing speaks HTTP/2; a feature `http2` brings it"),
    ("chrono", "times are jiff's"),
    (
        "tracing-attributes",
        "nothing traces; tracing's default features bring it",
    ),
    (
        "icu_",
        "Cargo.lock keeps idna_adapter at 1.1; get it back with:\n    cargo update -p idna_adapter --precise 1.1.0",
    ),
];

/// Fails if a crate came into such a build that has no place there, or if clippy objects to it.
pub(crate) fn check() -> Result<(), Failure> {
    let mut tree = process::cargo();
    tree.args(["tree", "--package", "gabion", "--no-default-features"])
        .args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let unwanted = unwanted(&process::output(&mut tree)?);
    if !unwanted.is_empty() {
        return Err(format!(
            "a build without features grew:\n{}\nask who needs one with:\n    cargo tree -p gabion --no-default-features -e features -i CRATE",
            unwanted.join("\n")
        ));
    }
    process::run(process::cargo().args([
        "clippy",
        "--package",
        "gabion",
        "--lib",
        "--bins",
        "--no-default-features",
        "--",
        "-D",
        "warnings",
    ]))
}

/// Returns what in a tree has no place in such a build, and why.
fn unwanted(tree: &str) -> Vec<String> {
    let mut found: Vec<String> = tree
        .lines()
        .filter_map(|line| {
            let name = line.split_whitespace().next()?;
            let (_, why) = UNWANTED
                .iter()
                .find(|(crates, _)| match crates.strip_suffix(['-', '_']) {
                    Some(_) => name.starts_with(crates),
                    None => name == *crates,
                })?;
            Some(format!("{name}: {why}"))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_are_found_by_name_and_by_the_family() {
        let tree = "gabion v0.1.0 (/x/cli)\nicu_properties v2.4.0\ncell v1.0.0\nh2 v0.4.20\nh2 v0.4.20 (*)\n";
        let found = unwanted(tree);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("h2: ") && found[1].starts_with("icu_properties: "));
    }
}
