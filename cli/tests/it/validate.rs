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

#[test]
fn a_profile_is_chosen_by_flag_or_environment() {
    let project = || {
        let project = Project::new();
        project.write("train.dstack.yml", "type: task\nname: train\ncommands: [train]\n");
        project.write(
            "profiles.yml",
            "profiles: [{name: usual, default: true, max_price: 1}, {name: dear, max_price: 2}, {name: dearest, max_price: 3}]\n",
        );
        project
    };
    let price = |project: Project, flags: &[&str]| {
        let arguments: Vec<&str> = ["validate", "--explain", "train.dstack.yml"]
            .iter()
            .chain(flags)
            .copied()
            .collect();
        let said = project.exits(0, &arguments).out;
        let line = said.lines().find_map(|line| line.strip_prefix("max_price: "));
        line.unwrap_or_default().to_owned()
    };
    assert_eq!(price(project(), &[]), "1.0");
    assert_eq!(price(project(), &["--profile", "dear"]), "2.0");
    assert_eq!(price(project().set("DSTACK_PROFILE", "dear"), &[]), "2.0");
    let both = project()
        .set("DSTACK_PROFILE", "dear")
        .set("GABION_PROFILE", "dearest");
    assert_eq!(price(both, &[]), "3.0");
    let both = project().set("GABION_PROFILE", "dearest");
    assert_eq!(price(both, &["--profile", "dear"]), "2.0");
    let said = project().set("GABION_PROFILE", "cheap").exits(1, &["validate"]);
    assert!(
        said.err.contains("GABION_PROFILE:1:1") && said.err.contains("The project has no profile `cheap`."),
        "{}",
        said.err
    );
}

#[test]
fn a_document_can_be_explained() {
    let project = Project::new();
    project.write(
        "chat.dstack.yml",
        "type: service\nport: 8000\nauth: false\ncommands: [serve]\nmax_duration: off\nresources: {gpu: 0}\n\
         ---\ntype: gateway\nname: front\nbackend: local\nrouter: {type: sglang, policy: random}\n",
    );
    project.write(
        "profiles.yml",
        "profiles: [{name: cheap, default: true, spot_policy: spot}]\n",
    );
    let said = project.exits(0, &["validate", "--explain", "chat.dstack.yml"]);
    assert!(
        said.err
            .contains("This service is called `chat`, after its file."),
        "{}",
        said.err
    );
    let documents: Vec<&str> = said.out.split("---\n").collect();
    assert_eq!(documents.len(), 2, "{}", said.out);
    for line in [
        "type: service\n",
        "name: chat\n",
        "max_duration: off\n",
        "spot_policy: spot\n",
        "stop_duration: 5m\n",
        "replicas: 1\n",
    ] {
        assert!(documents[0].contains(line), "{line} is not in {}", documents[0]);
    }
    assert!(
        documents[0].contains("# dialect: the same in every version of dstack"),
        "{}",
        documents[0]
    );
    assert!(
        documents[1].contains("# dialect: the older form"),
        "{}",
        documents[1]
    );
    assert!(documents[1].contains("policy: random\n"), "{}", documents[1]);
    // What is printed is a project that means the same.
    let again = Project::with(&said.out);
    let second = again.exits(0, &["validate", "--explain", "main.gabion.yml"]);
    let without_notes = |text: &str| {
        text.lines()
            .filter(|line| !line.starts_with('#'))
            .collect::<Vec<_>>()
            .join("\n")
    };
    assert_eq!(without_notes(&second.out), without_notes(&said.out));
}
