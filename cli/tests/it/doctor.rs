use crate::harness::{Project, THREE_LEVELS};

#[test]
fn a_machine_is_checked_and_nothing_is_made() {
    let project = Project::with(THREE_LEVELS);
    let said = project.exits(0, &["doctor"]);
    assert!(
        said.out.contains("with venv") && said.out.contains("no state yet"),
        "{}",
        said.all()
    );
    let without = Project::with(THREE_LEVELS).set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    let said = without.exits(0, &["doctor"]);
    assert!(
        said.out.contains("no containers on this machine: "),
        "{}",
        said.all()
    );
    assert!(!project.home().exists());
    project.apply();
    let said = project.exits(0, &["doctor"]);
    assert!(
        said.out.contains("all whole") && said.out.contains("nobody holds the state"),
        "{}",
        said.all()
    );
    let project = project.set("GABION_PYTHON", "/nowhere/python3");
    let said = project.exits(1, &["doctor", "--format", "json"]);
    let bad: Vec<_> = said.json()["checks"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|check| check["verdict"] == "bad")
        .map(|check| check["what"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(bad.len(), 1, "{bad:?}");
}
