//! History, comparing, copies and compaction.

use crate::harness::{Project, THREE_LEVELS, assert_said};

/// Makes a project with two runs: one creates, one changes, and removes one.
fn two_runs() -> Project {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let changed = THREE_LEVELS.replace("port: 80", "port: 8080");
    let (changed, _) = changed.rsplit_once("---").unwrap();
    project.write("main.gabion.yml", changed);
    project.apply();
    project
}

fn serial(project: &Project) -> u64 {
    let list = project.exits(0, &["state", "list", "--format", "json"]).json();
    list["serial"].as_u64().unwrap()
}

#[test]
fn history_is_whole_unless_asked_otherwise() {
    let project = two_runs();
    for _ in 0..15 {
        project.exits(0, &["state", "taint", "gabion_data.base"]);
        project.exits(0, &["state", "untaint", "gabion_data.base"]);
    }
    let all = project.exits(0, &["state", "history", "--format", "json"]).json();
    let all = all["history"].as_array().unwrap();
    assert_eq!(all[0]["serial"], 1);
    assert!(all.len() > 100, "{}", all.len());
    let few = project
        .exits(0, &["state", "history", "-n", "3", "--format", "json"])
        .json();
    assert_eq!(
        few["history"].as_array().unwrap().as_slice(),
        &all[all.len() - 3..]
    );
    let runs = project
        .exits(0, &["state", "history", "--runs", "--format", "json"])
        .json();
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 32);
    assert_eq!(
        (&runs[0]["before"], &runs[0]["operation"]),
        (&0.into(), &"apply".into())
    );
    assert!(runs.windows(2).all(|pair| pair[0]["after"] == pair[1]["before"]));
    let text = project.exits(0, &["state", "history", "--runs", "-n", "2"]).out;
    assert!(text.contains("state untaint by ada"), "{text}");
}

#[test]
fn history_names_the_commit() {
    let project = Project::with(THREE_LEVELS);
    let git = project.directory().join(".git");
    std::fs::create_dir(&git).unwrap();
    std::fs::write(git.join("HEAD"), "0123456789abcdef0123456789abcdef01234567\n").unwrap();
    project.apply();
    let text = project.exits(0, &["state", "history"]).out;
    assert!(
        text.contains("commit 0123456789abcdef0123456789abcdef01234567"),
        "{text}"
    );
    let text = project.exits(0, &["state", "history", "--runs"]).out;
    assert!(text.contains("commit 0123456789"), "{text}");
}

#[test]
fn states_are_shown_and_compared_as_they_were() {
    let project = two_runs();
    let runs = project
        .exits(0, &["state", "history", "--runs", "--format", "json"])
        .json();
    let first = runs["runs"][0]["after"].to_string();
    assert_said(
        "cli/state-diff.txt",
        &project.exits(0, &["state", "diff", &first]).out,
    );
    let markdown = project
        .exits(0, &["state", "diff", &first, "--format", "markdown"])
        .out;
    assert!(markdown.starts_with("```diff\n"), "{markdown}");
    let diff = project
        .exits(
            0,
            &[
                "state",
                "diff",
                &first,
                &serial(&project).to_string(),
                "--format",
                "json",
            ],
        )
        .json();
    assert_eq!(diff["removed"][0]["address"], "gabion_data.top");
    assert_eq!(diff["changed"][0]["address"], "gabion_data.base");
    assert_eq!(diff["changed"][0]["before"]["attributes"]["input"]["port"], 80);
    assert_eq!(diff["changed"][0]["after"]["attributes"]["input"]["port"], 8080);
    let same = project.exits(0, &["state", "diff", &first, &first]).out;
    assert!(same.contains("nothing changed"), "{same}");
    let then = project.exits(0, &["state", "show", "--at", &first]).out;
    assert_eq!(then.lines().count(), 3, "{then}");
    project.exits(0, &["state", "show", "gabion_data.top", "--at", &first]);
    project.exits(1, &["state", "show", "gabion_data.top"]);
    let said = project.exits(1, &["state", "show", "--at", "4711"]);
    assert!(said.err.contains("from serial 1 to"), "{}", said.all());
    project.exits(1, &["state", "diff", "9", "3"]);
    // Without an address and without a serial there is nothing to show.
    assert_eq!(project.run(&["state", "show"]).code, 1);
}

#[test]
fn old_history_is_dropped_when_a_person_says_so() {
    let project = two_runs();
    let before = serial(&project);
    assert_eq!(project.run(&["state", "compact"]).code, 1);
    let said = project.exits(1, &["state", "compact", "--keep-runs", "1"]);
    assert!(said.err.contains("nobody to ask"), "{}", said.all());
    let said = project.exits(0, &["state", "compact", "--before", "2001-01-01", "-y"]);
    assert!(said.err.contains("Nothing to drop"), "{}", said.all());
    project.exits(0, &["state", "compact", "--keep-runs", "1", "-y"]);
    assert_eq!(serial(&project), before);
    let runs = project
        .exits(0, &["state", "history", "--runs", "--format", "json"])
        .json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1);
    let kept = runs["runs"][0]["before"].to_string();
    project.exits(0, &["state", "diff", &kept]);
    let said = project.exits(1, &["state", "diff", "3"]);
    assert!(said.err.contains("what was before was dropped"), "{}", said.all());
    project.exits(0, &["state", "verify"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
}

#[test]
fn a_state_is_pulled_and_pushed() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let printed = project.exits(0, &["state", "pull"]).json();
    assert_eq!(
        (&printed["format"], &printed["format_version"]),
        (&"gabion-log".into(), &2.into())
    );
    project.exits(0, &["state", "pull", "-o", "copy.json"]);
    let path = project.directory().join("copy.json");
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
    let copy: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!(copy, printed);
    let said = project.exits(0, &["state", "push", "copy.json"]);
    assert!(said.err.contains("there already"), "{}", said.all());
    // A lost state comes back whole.
    std::fs::remove_dir_all(project.directory().join(".gabion")).unwrap();
    project.exits(1, &["plan"]);
    // It may be formatted anew, not altered.
    std::fs::write(&path, serde_json::to_vec(&copy).unwrap()).unwrap();
    project.exits(0, &["state", "push", "copy.json"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["state", "verify"]);
    let altered = copy.to_string().replace("example.org", "example.com");
    project.write("altered.json", altered);
    let said = project.exits(1, &["state", "push", "--force", "altered.json"]);
    assert!(said.err.contains("altered"), "{}", said.all());
    project.write("other.json", "{}");
    let said = project.exits(1, &["state", "push", "other.json"]);
    assert!(said.err.contains("holds no state"), "{}", said.all());
    // An older one only by force, and what was there is kept.
    project.exits(0, &["state", "taint", "gabion_data.top"]);
    let said = project.exits(1, &["state", "push", "copy.json"]);
    assert!(said.err.contains("the file is older"), "{}", said.all());
    assert!(said.err.contains("--force"), "{}", said.all());
    project.exits(0, &["state", "push", "copy.json", "--force"]);
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let kept = std::fs::read_dir(project.directory().join(".gabion"))
        .unwrap()
        .any(|entry| {
            entry
                .unwrap()
                .file_name()
                .to_string_lossy()
                .starts_with("replaced-")
        });
    assert!(kept);
    // Another project's only by force.
    let other = Project::with(THREE_LEVELS);
    other.apply();
    std::fs::copy(&path, other.directory().join("copy.json")).unwrap();
    let said = other.exits(1, &["state", "push", "copy.json"]);
    assert!(said.err.contains("another project's state"), "{}", said.all());
}

#[test]
fn objects_move_to_another_stack() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let said = project.exits(1, &["state", "mv", "gabion_data.base", "--to-stack", "live"]);
    assert!(
        said.err
            .contains("gabion state mv --to-stack live gabion_data.base gabion_data.middle gabion_data.top"),
        "{}",
        said.all()
    );
    project.exits(1, &["state", "list", "--stack", "live"]);
    let all = ["gabion_data.base", "gabion_data.middle", "gabion_data.top"];
    let before = project
        .exits(0, &["state", "show", all[0], "--format", "json"])
        .json();
    project.exits(0, &[&["state", "mv", "--to-stack", "live"][..], &all].concat());
    assert_eq!(project.exits(0, &["state", "list"]).out, "");
    let after = project
        .exits(
            0,
            &["state", "show", all[0], "--format", "json", "--stack", "live"],
        )
        .json();
    assert_eq!((&before["uid"], &before["id"]), (&after["uid"], &after["id"]));
    project.exits(0, &["plan", "--detailed-exitcode", "--stack", "live"]);
    for stack in [&[][..], &["--stack", "live"]] {
        project.exits(0, &[&["state", "verify"][..], stack].concat());
    }
    // Doing it again finds it done, and back is the same way.
    project.exits(0, &[&["state", "mv", "--to-stack", "live"][..], &all].concat());
    project.exits(
        0,
        &[
            &["state", "mv", "--stack", "live", "--to-stack", "default"][..],
            &all,
        ]
        .concat(),
    );
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let said = project.exits(1, &["state", "mv", "gabion_data.base"]);
    assert!(said.err.contains("two addresses are needed"), "{}", said.all());
}

#[test]
fn a_damaged_state_is_refused_and_rebuilt_on_request() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(1, &["state", "rebuild", "-y"]);
    assert!(said.err.contains("nothing says which objects"), "{}", said.all());
    project.apply();
    let said = project.exits(0, &["state", "rebuild", "-y"]);
    assert!(said.err.contains("nothing to rebuild"), "{}", said.all());
    let list = project.exits(0, &["state", "list", "--format", "json"]).json();
    let database = project.directory().join(".gabion/state.db");
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{suffix}", database.display()));
    }
    std::fs::write(&database, "no database at all").unwrap();
    for arguments in [&["plan"][..], &["apply", "-y"], &["drift"]] {
        let said = project.exits(1, arguments);
        assert!(
            said.err.contains("state.db") && said.err.contains("gabion state rebuild"),
            "{}",
            said.all()
        );
    }
    let said = project.exits(1, &["state", "rebuild"]);
    assert!(said.err.contains("nobody to ask"), "{}", said.all());
    assert!(said.err.contains("3 of them were not found"), "{}", said.all());
    assert_eq!(std::fs::read(&database).unwrap(), b"no database at all");
    let said = project.exits(0, &["state", "rebuild", "-y"]);
    assert!(said.err.contains("state.db.damaged-"), "{}", said.all());
    let rebuilt = project.exits(0, &["state", "list", "--format", "json"]).json();
    assert_eq!(rebuilt["lineage"], list["lineage"]);
    project.exits(0, &["state", "verify"]);
    project.exits(0, &["plan"]);
}
