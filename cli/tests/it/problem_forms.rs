//! Problems in the forms that CI services show at their places.

use std::fs;

use serde_json::Value;

use crate::harness::Project;
use crate::sarif::assert_official;

const BAD: &str = "type: resource\nkind: gabion_data\nname: a\nproperties: {input: 1}\nname: b\n---\ntype: gateway\n\
                   name: front\nbackend: local\ndomain: example.org\nnaem: x\n";

/// A project in the directory `demo` of a checkout.
fn checkout(documents: &str) -> Project {
    let project = Project::with(documents);
    let top = project.directory().parent().unwrap().to_owned();
    project.set("GITHUB_WORKSPACE", &top.to_string_lossy())
}

/// Asserts what the schema of SARIF, and what reads it, demands of a log.
fn assert_is_sarif(log: &Value) {
    assert_official(log);
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().contains("sarif-2.1.0"));
    let runs = log["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1);
    let driver = &runs[0]["tool"]["driver"];
    assert!(!driver["name"].as_str().unwrap().is_empty());
    assert_eq!(runs[0]["invocations"][0]["executionSuccessful"], true);
    assert_eq!(runs[0]["columnKind"], "unicodeCodePoints");
    let rules = driver["rules"].as_array().unwrap();
    for rule in rules {
        assert!(!rule["id"].as_str().unwrap().is_empty());
        assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
    }
    for result in runs[0]["results"].as_array().unwrap() {
        let rule = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        assert_eq!(rules[rule]["id"], result["ruleId"]);
        assert!(["error", "warning", "note"].contains(&result["level"].as_str().unwrap()));
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let places = result["locations"].as_array().unwrap();
        assert_eq!(places.len(), 1);
        let related = result["relatedLocations"].as_array().into_iter().flatten();
        for place in places.iter().chain(related) {
            let place = &place["physicalLocation"];
            let uri = place["artifactLocation"]["uri"].as_str().unwrap();
            assert!(uri.is_ascii() && !uri.contains([' ', '#', '?', '\\']), "{uri}");
            assert_eq!(place["artifactLocation"]["uriBaseId"], "%SRCROOT%");
            let region = &place["region"];
            assert!(region["startLine"].as_u64().unwrap() >= 1);
            if let Some(end) = region["endColumn"].as_u64() {
                assert!(end > region["startColumn"].as_u64().unwrap(), "{region}");
            }
        }
    }
}

fn places(log: &Value) -> Vec<String> {
    let results = log["runs"][0]["results"].as_array().unwrap();
    let place = |result: &Value| {
        let place = &result["locations"][0]["physicalLocation"];
        let region = &place["region"];
        format!(
            "{}:{}:{}-{} {} {}",
            place["artifactLocation"]["uri"].as_str().unwrap(),
            region["startLine"],
            region["startColumn"],
            region["endColumn"],
            result["level"].as_str().unwrap(),
            result["ruleId"].as_str().unwrap()
        )
    };
    results.iter().map(place).collect()
}

#[test]
fn sarif_has_every_problem_at_its_place_in_the_repository() {
    let project = checkout(BAD);
    let said = project.exits(1, &["validate", "--format", "sarif"]);
    assert_eq!(said.err, "");
    let log: Value = serde_json::from_str(&said.out).unwrap();
    assert_is_sarif(&log);
    assert_eq!(
        places(&log),
        [
            "demo/main.gabion.yml:5:1-5 error duplicate-key",
            "demo/main.gabion.yml:11:1-5 error unknown-key"
        ],
        "{}",
        said.out
    );
    let first = &log["runs"][0]["results"][0]["relatedLocations"][0];
    assert_eq!(first["physicalLocation"]["region"]["startLine"], 3);
    assert_eq!(first["message"]["text"], "first set here");
}

#[test]
fn sarif_of_a_good_project_has_no_results_and_one_of_no_project_has_a_place() {
    let project = checkout("type: resource\nkind: gabion_data\nname: a\n");
    let said = project.exits(0, &["validate", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&said.out).unwrap();
    assert_is_sarif(&log);
    assert_eq!(places(&log), Vec::<String>::new());
    fs::remove_file(project.directory().join("main.gabion.yml")).unwrap();
    let said = project.exits(1, &["validate", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&said.out).unwrap();
    assert_is_sarif(&log);
    let places = places(&log);
    assert!(
        places.len() == 1 && places[0].starts_with("demo/gabion.yml:1:"),
        "{}",
        said.out
    );
}

#[test]
fn other_commands_have_no_sarif() {
    let project = checkout(BAD);
    let said = project.exits(1, &["plan", "--format", "sarif"]);
    assert!(
        said.out.is_empty() && said.err.contains("gabion validate --format sarif"),
        "{}",
        said.all()
    );
}

#[test]
fn every_command_annotates_what_is_wrong_with_the_configuration() {
    let project = checkout(BAD);
    for command in ["validate", "plan", "apply", "graph"] {
        let said = project.exits(1, &[command, "--format", "github"]);
        assert_eq!(said.out, "", "{command}");
        let lines: Vec<&str> = said.err.lines().collect();
        assert_eq!(lines.len(), 2, "{command}: {}", said.err);
        assert!(
            lines[0].starts_with(
                "::error file=demo/main.gabion.yml,line=5,col=1,endLine=5,endColumn=5,title=duplicate key::"
            ),
            "{command}: {}",
            lines[0]
        );
        assert!(
            lines[0].contains("%0Ademo/main.gabion.yml:3:1: first set here"),
            "{command}: {}",
            lines[0]
        );
        assert!(
            lines[1].starts_with("::error file=demo/main.gabion.yml,line=11,col=1,"),
            "{command}: {}",
            lines[1]
        );
    }
}

#[test]
fn a_value_cannot_give_the_runner_commands() {
    let project =
        checkout("type: resource\nkind: gabion_data\nname: \"a\\n::add-mask::%0A,:\\r::stop-commands::x\"\n");
    let said = project.exits(1, &["validate", "--format", "github"]);
    let lines: Vec<&str> = said.err.lines().collect();
    assert_eq!(lines.len(), 1, "{}", said.err);
    assert!(lines[0].starts_with("::error file=demo/main.gabion.yml,line=3,col=7,"));
    // What the runner shows is what stands in the file.
    assert!(
        !lines[0].contains("%0A,:") && lines[0].contains("%250A,:"),
        "{}",
        lines[0]
    );
}

#[test]
fn warnings_are_annotations_and_results_are_for_people() {
    let project = Project::new();
    project.write("chat.dstack.yml", "type: task\ncommands: [train]\n");
    let said = project.exits(0, &["validate", "--format", "github"]);
    assert!(
        said.out.starts_with("The configuration is valid:"),
        "{}",
        said.all()
    );
    assert!(
        said.err.starts_with("::warning file=chat.dstack.yml,line=1,") && said.err.lines().count() == 1,
        "{}",
        said.err
    );
}

#[test]
fn what_has_no_place_is_an_annotation_too() {
    let project = checkout("type: resource\nkind: gabion_data\nname: a\n");
    let said = project.exits(1, &["apply", "--format", "github"]);
    assert_eq!(
        said.err
            .lines()
            .filter(|line| line.starts_with("::error title="))
            .count(),
        1,
        "{}",
        said.err
    );
}

#[test]
fn a_value_that_is_in_no_file_is_shown_where_its_variable_is_declared() {
    let project = checkout("type: resource\nkind: gabion_data\nname: a\n").set("GABION_VAR_size", "many");
    project.write("gabion.yml", "project: demo\nvars:\n  size: {type: int}\n");
    let said = project.exits(1, &["validate", "--format", "github"]);
    let start = "::error file=demo/gabion.yml,line=3,col=3,endLine=3,endColumn=7,title=wrong type::In \
                 `GABION_VAR_size`:%0A";
    assert!(said.err.starts_with(start), "{}", said.err);
    let said = project.exits(1, &["validate", "--format", "sarif"]);
    let log: Value = serde_json::from_str(&said.out).unwrap();
    assert_is_sarif(&log);
    assert_eq!(places(&log), ["demo/gabion.yml:3:3-7 error wrong-type"]);
}

#[test]
fn no_form_shows_a_secret() {
    for form in ["sarif", "github", "json", "text"] {
        let project = checkout(
            "type: resource\nkind: gabion_data\nname: a\nproperties: {input: \"${{ secrets.token }}\"}\nlifecycle: \
             {prevent_destroy: \"${{ secrets.token }}\"}\n",
        )
        .set("TOKEN", "hunter2-%0A");
        project.write("gabion.yml", "project: demo\nsecrets:\n  token: {env: TOKEN}\n");
        let said = project.exits(1, &["validate", "--format", form]);
        assert!(!said.all().contains("hunter2"), "{form}: {}", said.all());
    }
}
