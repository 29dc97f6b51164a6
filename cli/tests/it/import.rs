use crate::harness::{Project, THREE_LEVELS};

const UNIT: &str =
    "type: resource\nkind: host_unit\nname: clock\nproperties: {machine: local, argv: [sleep, '600']}\n";

#[test]
fn a_forgotten_program_is_managed_again() {
    let project = Project::with(UNIT);
    project.apply();
    let record = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    let id = record["id"].as_str().unwrap().to_owned();
    project.exits(0, &["state", "rm", "host_unit.clock"]);
    project.exits(2, &["plan", "--detailed-exitcode"]);
    let said = project.exits(0, &["import", "host_unit.clock", &id]);
    assert!(said.err.contains("is now managed"), "{}", said.all());
    let again = project
        .exits(0, &["state", "show", "host_unit.clock", "--format", "json"])
        .json();
    assert_eq!(again["id"], id);
    assert!(
        project
            .exits(1, &["import", "host_unit.clock", &id])
            .err
            .contains("the address is taken")
    );
}

#[test]
fn what_is_not_declared_or_not_there_is_refused() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(1, &["import", "gabion_data.bse", "x"]);
    assert!(
        said.err.contains("did you mean `gabion_data.base`?"),
        "{}",
        said.all()
    );
    let project = Project::with(UNIT);
    project.exits(
        1,
        &[
            "import",
            "host_unit.clock",
            "01a00000-0000-7000-8000-000000000000",
        ],
    );
    assert_eq!(project.entries(), ["main.gabion.yml"]);
}
