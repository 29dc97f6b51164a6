use std::os::unix::fs::PermissionsExt;

use crate::harness::{Project, files_below};

const VALUE: &str = "correct-horse-battery-staple";

#[test]
fn a_secret_is_written_nowhere() {
    let project = Project::with(
        "type: resource\nkind: gabion_data\nname: a\nproperties:\n  input: {token: '${{ secrets.TOKEN }}', plain: 1}\n",
    )
    .set("MY_TOKEN", VALUE);
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  TOKEN: {env: MY_TOKEN}\n",
    );
    let mut said = String::new();
    for arguments in [
        &["plan", "--out", "plan.gabion"][..],
        &["show", "plan.gabion"],
        &["apply", "plan.gabion", "--events", "events.ndjson", "-v"],
        &["state", "show", "gabion_data.a"],
        &["state", "history"],
        &["output"],
        &["drift"],
    ] {
        for format in ["text", "markdown", "json"] {
            let arguments: Vec<&str> = arguments.iter().copied().chain(["--format", format]).collect();
            said.push_str(&project.exits(0, &arguments).all());
        }
    }
    assert!(!said.contains(VALUE), "the secret was printed");
    for file in files_below(&project.directory())
        .into_iter()
        .chain(files_below(&project.home()))
    {
        let bytes = std::fs::read(&file).unwrap();
        let found = bytes
            .windows(VALUE.len())
            .any(|window| window == VALUE.as_bytes());
        assert!(!found, "the secret is in {}", file.display());
    }
    let key = project.home().join("config/gabion/fingerprint.key");
    assert_eq!(
        std::fs::metadata(key).unwrap().permissions().mode() & 0o777,
        0o600
    );
    project.exits(0, &["plan", "--detailed-exitcode"]);
}

#[test]
fn a_changed_secret_is_a_change_and_an_exposed_key_an_error() {
    let document = "type: resource\nkind: gabion_data\nname: a\nproperties: {input: '${{ env.MY_TOKEN }}'}\n";
    let project = Project::with(document).set("MY_TOKEN", "one");
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let project = project.set("MY_TOKEN", "two");
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("(another value)"), "{}", plan.out);
    let key = project.home().join("config/gabion/fingerprint.key");
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).unwrap();
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("chmod 600"), "{}", said.all());
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o600)).unwrap();
}

/// A project with a secret from each kind of source, whose program notes each of its runs.
fn project_with_sources() -> Project {
    let project = Project::with(
        "type: resource\nkind: gabion_data\nname: a\nproperties:\n  input: {one: '${{ secrets.FILE }}', two: 'Bearer ${{ secrets.PROGRAM }}', three: '${{ secrets.PROGRAM }}'}\n---\n\
         type: resource\nkind: gabion_data\nname: b\nproperties: {input: '${{ gabion_data.a.id }} ${{ secrets.PROGRAM }}'}\n",
    );
    project.write("token", format!("{VALUE}\n"));
    mode(&project, 0o600);
    project.write(
        "gabion.yml",
        "project: demo\nsecrets:\n  FILE: {file: token}\n  PROGRAM: {command: [sh, -c, 'echo run >> ../runs; cat token']}\n  UNUSED: {command: [sh, -c, 'echo unused >> ../runs; exit 1']}\n",
    );
    project
}

fn mode(project: &Project, mode: u32) {
    std::fs::set_permissions(
        project.directory().join("token"),
        std::fs::Permissions::from_mode(mode),
    )
    .unwrap();
}

/// Returns how often programs ran so far, and forgets it.
fn runs(project: &Project) -> String {
    let path = project.directory().join("../runs");
    let runs = std::fs::read_to_string(&path).unwrap_or_default();
    let _ = std::fs::remove_file(path);
    runs
}

#[test]
fn secrets_of_files_and_programs_are_written_nowhere_and_read_when_they_are_needed() {
    let project = project_with_sources();
    let mut said = project.exits(0, &["validate"]).all();
    said.push_str(&project.exits(0, &["graph"]).all());
    assert_eq!(runs(&project), "", "nobody needed a value");
    for (arguments, expected) in [
        (&["plan", "--out", "plan.gabion"][..], "run\n"),
        (&["show", "plan.gabion"], ""),
        (
            &["apply", "plan.gabion", "--events", "events.ndjson", "-v"],
            "run\n",
        ),
        (&["state", "show", "gabion_data.b"], ""),
        (&["drift"], "run\n"),
        (&["plan", "--format", "json", "--detailed-exitcode"], "run\n"),
        (&["apply", "-y"], "run\n"),
    ] {
        said.push_str(&project.exits(0, arguments).all());
        assert_eq!(runs(&project), expected, "{arguments:?}");
    }
    assert!(!said.contains(VALUE), "the secret was printed");
    let own = project.directory().join("token");
    for file in files_below(&project.directory())
        .into_iter()
        .chain(files_below(&project.home()))
        .filter(|file| *file != own)
    {
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap()).into_owned();
        assert!(!text.contains(VALUE), "the secret is in {}", file.display());
    }
    // Another value is a change; and what goes needs no secret.
    project.write("token", "another-one");
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("(another value)"), "{}", plan.out);
    runs(&project);
    std::fs::remove_file(&own).unwrap();
    project.exits(0, &["destroy", "-y"]);
    assert_eq!(runs(&project), "");
}

#[test]
fn a_saved_plan_whose_secret_cannot_be_read_changes_nothing() {
    let project = project_with_sources();
    project.exits(0, &["plan", "--out", "plan.gabion"]);
    mode(&project, 0o644);
    let said = project.exits(1, &["apply", "plan.gabion"]);
    assert!(
        said.err.contains("secret without a value") && said.err.contains("chmod 600"),
        "{}",
        said.all()
    );
    assert!(!project.directory().join(".gabion").exists());
    mode(&project, 0o600);
    project.exits(0, &["apply", "plan.gabion"]);
}
