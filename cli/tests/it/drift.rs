use crate::harness::{Project, THREE_LEVELS, assert_said};

#[test]
fn nothing_drifted() {
    let project = Project::with(THREE_LEVELS);
    project.exits(0, &["drift"]);
    assert_eq!(project.entries(), ["main.gabion.yml"]);
    project.apply();
    assert_said("cli/drift-none.txt", &project.exits(0, &["drift"]).out);
}

#[test]
fn what_did_not_drift_cannot_be_accepted() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    let said = project.exits(1, &["drift", "--accept", "gabion_data.base"]);
    assert!(said.err.contains("nothing to accept"), "{}", said.all());
}

#[test]
fn an_accepted_change_is_drift_no_more() {
    let project = Project::with(
        "type: resource
kind: host_unit
name: clock
properties:
  machine: local
  argv: [sleep, '600']
  files: {note.txt: one}
",
    );
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let unit = record["outputs"]["unit_dir"].as_str().unwrap().to_owned();
    std::fs::write(format!("{unit}/files/note.txt"), "two").unwrap();
    let said = project.exits(2, &["drift"]);
    assert!(
        said.out.contains("\"one\" → \"two\"  # will be put back"),
        "{}",
        said.all()
    );
    project.exits(0, &["drift", "--accept", "host_unit.clock"]);
    project.exits(0, &["drift"]);
    // The configuration still asks for the old text.
    let plan = project.exits(2, &["plan", "--detailed-exitcode"]);
    assert!(plan.out.contains("\"two\" → \"one\""), "{}", plan.all());
}

/// A program whose file is changed behind gabion's back, beside an object that is left alone.
fn drifted() -> Project {
    let project = Project::with(&format!(
        "type: resource\nkind: host_unit\nname: clock\nproperties:\n  machine: local\n  argv: [sleep, '600']\n  \
         files: {{note.txt: one}}\n---\n{THREE_LEVELS}"
    ));
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let unit = record["outputs"]["unit_dir"].as_str().unwrap().to_owned();
    std::fs::write(format!("{unit}/files/note.txt"), "two").unwrap();
    project
}

#[test]
fn drift_stands_where_its_object_is_declared_and_says_how_old_its_record_is() {
    let project = drifted();
    let log = project.exits(2, &["drift", "--format", "sarif"]).json();
    crate::sarif::assert_official(&log);
    let result = &log["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "drift-changed");
    let place = &result["locations"][0]["physicalLocation"];
    assert_eq!(place["artifactLocation"]["uri"], "main.gabion.yml");
    assert_eq!(place["region"]["startLine"], 1);
    let text = result["message"]["text"].as_str().unwrap();
    assert!(
        text.starts_with("host_unit.clock (recorded less than a minute ago) was changed"),
        "{text}"
    );
    let said = project.exits(2, &["drift"]);
    assert!(
        said.out
            .contains("host_unit.clock  (recorded less than a minute ago)"),
        "{}",
        said.all()
    );
    let report = project.exits(2, &["drift", "--format", "json"]).json();
    assert!(report["drift"][0]["recorded_at"].is_string(), "{report}");
}

#[test]
fn nothing_is_accepted_when_one_of_several_cannot_be() {
    let project = drifted();
    for wrong in ["gabion_data.base", "gabion_data.unknown"] {
        let said = project.exits(1, &["drift", "--accept", "host_unit.clock", wrong]);
        assert!(!said.err.contains("Recorded"), "{}", said.all());
        project.exits(2, &["drift"]);
    }
}

/// A machine that is declared and away: what is there nobody knows, whatever the records say.
#[test]
fn what_could_not_be_asked_is_shown_in_every_form_and_is_not_taken_for_none() {
    let project = Project::with(THREE_LEVELS);
    project.apply();
    project.exits(0, &["drift"]);
    project.write(
        "away.gabion.yml",
        "type: resource\nkind: ssh_host\nname: away\nproperties:\n  machine: gpu/away\n  hostname: 127.0.0.1\n  port: 1\n  \
         trust_on_first_use: true\n",
    );
    let said = project.exits(2, &["drift"]);
    let shown = [
        "Not asked",
        "? machine `gpu/away`: ",
        "No drift in what could be asked.",
    ];
    for words in shown {
        assert!(said.out.contains(words), "{}", said.all());
    }
    let report = project.exits(2, &["drift", "--format", "json"]).json();
    assert_eq!(report["drifted"], false);
    let missing = &report["not_asked"][0];
    assert_eq!(missing["part"], "machine `gpu/away`");
    assert_eq!(
        missing["providers"],
        serde_json::json!(["gateway", "host", "router"])
    );
    let why = missing["why"].as_str().unwrap();
    assert!(
        !why.is_empty() && report["not_asked"].as_array().unwrap().len() == 1,
        "{report}"
    );
    let said = project.exits(2, &["drift", "--format", "markdown"]);
    assert!(
        said.out
            .contains("| not asked | why |\n| --- | --- |\n| machine "),
        "{}",
        said.all()
    );
    let log = project.exits(2, &["drift", "--format", "sarif"]).json();
    assert_eq!(log["runs"][0]["results"][0]["ruleId"], "drift-not-asked");
    project.exits(2, &["drift", "--junit", "drift.xml"]);
    let xml = std::fs::read_to_string(project.directory().join("drift.xml")).unwrap();
    assert!(
        xml.contains("errors=\"1\"") && xml.contains("classname=\"not asked\""),
        "{xml}"
    );
}
