use std::io::Read;
use std::process::Stdio;

use crate::harness::{Project, THREE_LEVELS};

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let project = Project::with(THREE_LEVELS);
    let mut child = project
        .command(&["completion", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(said, "");
}

#[test]
fn data_is_on_stdout_and_status_on_stderr() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(0, &["apply", "-y", "-q"]);
    assert_eq!(said.err.trim().lines().count(), 1, "{}", said.all());
    let said = project.exits(0, &["apply", "-y", "-q"]);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    for arguments in [&["plan"][..], &["drift"], &["state", "list"], &["graph"]] {
        assert_eq!(project.exits(0, arguments).err, "");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let project = Project::with(THREE_LEVELS);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = project.command(&["plan"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot write the output")
    );
}

#[test]
fn errors_are_json_when_json_was_asked_for() {
    let project = Project::new();
    let said = project.exits(1, &["plan", "--format", "json"]);
    let problem: serde_json::Value = serde_json::from_str(&said.err).unwrap();
    assert_eq!(problem["diagnostics"][0]["summary"], "no configuration");
    assert_eq!(said.out, "");
}
