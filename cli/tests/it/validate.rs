use gabion::wire::DiagnosticsJson;

use crate::harness::{Project, THREE_LEVELS};

#[test]
fn a_valid_configuration_makes_nothing() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(0, &["validate"]);
    assert_eq!(
        said.out,
        "The configuration is valid: 3 documents in 1 file make 3 resources.\n"
    );
    assert_eq!(said.err, "");
    assert_eq!(project.entries(), ["main.gabion.yml"]);
    assert!(!project.home().exists());
}

#[test]
fn json_lists_every_problem() {
    let project =
        Project::with("type: resource\nkind: gabion_data\nname: a\nproperties: {inptu: 1}\nextra: 2\n");
    let said = project.exits(1, &["validate", "--format", "json"]);
    let wire: DiagnosticsJson = serde_json::from_str(&said.out).unwrap();
    assert_eq!((wire.valid, wire.error_count), (false, 2), "{}", said.out);
    let places: Vec<u32> = wire
        .diagnostics
        .iter()
        .map(|problem| problem.place.as_ref().unwrap().line)
        .collect();
    assert_eq!(places, [4, 5]);
    let good = Project::with(THREE_LEVELS).exits(0, &["validate", "--format", "json"]);
    let wire: DiagnosticsJson = serde_json::from_str(&good.out).unwrap();
    assert!(wire.valid && wire.diagnostics.is_empty());
}

#[test]
fn an_import_is_not_looked_for() {
    let project = Project::with(
        "type: resource\nkind: gabion_data\nname: a\n---\ntype: import\nto: gabion_data.a\nid: 01a202c3\n",
    );
    project.exits(0, &["validate"]);
}
