//! Unusual spellings of every document type: what dstack reads is read and can be written back, and what it refuses is
//! refused at the right place for the right reason. So are gabion's extensions of its language.
//!
//! A file of `refused` starts with a comment: the error's code, its line and column, and what is said.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has failed"
)]

mod support;

use std::path::Path;

use support::{errors, resolve, validate};

/// The files of a directory with their names, in the order of these.
fn files(directory: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/spellings")
        .join(directory);
    let mut files: Vec<(String, String)> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn what_dstack_reads_is_read_and_written_back() {
    let files = files("read");
    assert!(files.len() >= 40, "{}", files.len());
    for (name, text) in files {
        assert_eq!(errors(&validate(&name, &text)), Vec::<String>::new(), "{name}");
        let documents = resolve(&name, &text);
        assert_eq!(documents.len(), 1, "{name}");
        let yaml = &documents[0].0;
        assert_eq!(
            errors(&validate(&name, yaml)),
            Vec::<String>::new(),
            "{name}:\n{yaml}"
        );
        assert_eq!(&resolve(&name, yaml)[0].0, yaml, "{name}");
    }
}

#[test]
fn what_dstack_refuses_is_refused_at_its_place() {
    let files = files("refused");
    assert!(files.len() >= 80, "{}", files.len());
    let mut wrong = Vec::new();
    for (name, text) in files {
        let path = format!("{}.dstack.yml", name.trim_end_matches(".yml"));
        let mut words = text
            .lines()
            .next()
            .unwrap()
            .trim_start_matches("# ")
            .splitn(3, ' ');
        let [code, place, says] = [(); 3].map(|()| words.next().unwrap());
        let expected = format!("{path}:{place} {code}: {says}");
        let said = errors(&validate(&name, &text));
        // A detail may have more lines.
        let first: Vec<&str> = said.iter().filter_map(|error| error.lines().next()).collect();
        if first != [expected.as_str()] {
            wrong.push(format!(
                "{name}:\n  expected {expected}\n  said     {}",
                said.join("\n           ")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
