//! Real files of dstack's users, where they lie beside the repository. What each is expected to be comes from the index
//! beside them: what dstack itself says.
#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot read its files has failed, and one that is skipped says so"
)]

mod support;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use support::{errors, resolve, validate};

/// Returns the directory with the files; `None` where there is none.
fn corpus() -> Option<PathBuf> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let above = repository.ancestors().skip(1).take(3);
    let found = above
        .map(|above| above.join("shared/corpus/dstack"))
        .find(|place| place.join("INDEX.tsv").is_file());
    if found.is_none() {
        eprintln!("skipped: there is no ../shared/corpus/dstack beside the repository");
    }
    found
}

struct Case {
    file: String,
    text: String,
    verdict: String,
}

fn cases() -> Vec<Case> {
    let Some(directory) = corpus() else {
        return Vec::new();
    };
    let index = std::fs::read_to_string(directory.join("INDEX.tsv")).unwrap();
    let lines = index.lines().skip(1).map(|line| {
        let columns: Vec<&str> = line.split('\t').collect();
        Case {
            file: columns[0].to_owned(),
            text: std::fs::read_to_string(directory.join(columns[0])).unwrap(),
            verdict: columns[3].to_owned(),
        }
    });
    let cases: Vec<Case> = lines.collect();
    assert!(cases.len() > 100, "the index names {} files", cases.len());
    cases
}

/// What becomes of a file that dstack has an opinion of.
enum Expected {
    /// It is read.
    Read,
    /// It is read, and told to be of the older dialect.
    ReadAsOlder,
    /// It is refused where the document begins, for a key is missing: the error's code, and the key.
    Refused(&'static str, &'static str),
}

/// What dstack says of a file, and what gabion makes of it; rules, not files.
const RULES: [(&str, Expected); 5] = [
    ("gateway.router Extra inputs", Expected::ReadAsOlder),
    ("service.router Extra inputs", Expected::ReadAsOlder),
    (
        "Either `commands` or `image` must be set",
        Expected::Refused("missing-key", "commands"),
    ),
    ("port Field required", Expected::Refused("missing-key", "port")),
    ("ok", Expected::Read),
];

fn expected(verdict: &str) -> &'static Expected {
    let rule = RULES
        .iter()
        .find(|(says, _)| verdict == *says || verdict.contains(says) && *says != "ok");
    &rule
        .unwrap_or_else(|| panic!("no rule for what dstack says: {verdict}"))
        .1
}

/// Returns the number of the line that a file's document begins at.
fn first_line(text: &str) -> usize {
    let says_nothing = |line: &str| line.trim().is_empty() || line.starts_with(['#', '-']);
    text.lines().take_while(|line| says_nothing(line)).count() + 1
}

/// Every file with what dstack says of it and what gabion does; shown with `--nocapture`.
#[test]
fn files_are_read_and_refused_as_dstack_does() {
    let mut wrong = Vec::new();
    let mut verdicts: BTreeMap<&str, usize> = BTreeMap::new();
    for case in cases() {
        let problems = validate(&case.file, &case.text);
        let said = errors(&problems);
        let verdict = match expected(&case.verdict) {
            Expected::Read => "read",
            Expected::ReadAsOlder => "read as the older form",
            Expected::Refused(code, _) => code,
        };
        *verdicts.entry(verdict).or_default() += 1;
        eprintln!("{}\t{}\t{}", case.file, case.verdict, said.join("; "));
        let good = match expected(&case.verdict) {
            Expected::Read => said.is_empty(),
            Expected::ReadAsOlder => {
                let resolved = resolve(&case.file, &case.text);
                said.is_empty()
                    && resolved
                        .iter()
                        .all(|(_, notes)| notes.iter().any(|note| note.contains("older form")))
            }
            Expected::Refused(code, key) => {
                let begins = Some((first_line(&case.text), 1));
                let is_it = |problem: &&gabion_engine::diagnostic::Diagnostic| {
                    let place = problem.primary.as_ref().map(|place| place.position());
                    problem.code == *code
                        && problem.detail.contains(&format!("`{key}`"))
                        && place.map(|place| (place.line, place.column)) == begins
                };
                problems
                    .iter()
                    .filter(|problem| problem.is_error())
                    .all(|problem| is_it(&problem))
                    && said.len() == 1
            }
        };
        if !good {
            wrong.push(format!(
                "{} ({}):\n    {}",
                case.file,
                case.verdict,
                said.join("\n    ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{} files:\n{}", wrong.len(), wrong.join("\n"));
    // Where there is a corpus, it has files of every verdict.
    assert!(verdicts.is_empty() || verdicts.len() == 3, "{verdicts:?}");
    eprintln!("{verdicts:?}");
}

#[test]
fn a_file_is_the_same_when_it_is_written_back() {
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for case in cases() {
        if matches!(expected(&case.verdict), Expected::Refused(..)) {
            continue;
        }
        let documents = resolve(&case.file, &case.text);
        assert!(!documents.is_empty(), "{} has no resolved form", case.file);
        for (yaml, _) in documents {
            checked += 1;
            let again = resolve(&case.file, &yaml);
            let said = errors(&validate(&case.file, &yaml));
            if again.first().map(|(yaml, _)| yaml) != Some(&yaml) || !said.is_empty() {
                wrong.push(format!("{}\n{yaml}\n{again:?}\n{}", case.file, said.join("\n")));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "{} of {checked} documents:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
