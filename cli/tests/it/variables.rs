//! Variables of a project, from every place that they can be given in.

use crate::harness::Project;

const SETTINGS: &str = "\
project: demo
vars:
  size: 3
  region: {type: string, description: Where it runs.}
outputs:
  where: ${{ vars.region }}-${{ vars.size }}
";

const MAIN: &str = "\
type: resource
for_each: [a, b]
kind: gabion_data
name: box
properties: {input: '${{ each.key }} of ${{ vars.size }} in ${{ vars.region }}'}
";

fn project() -> Project {
    let project = Project::with(MAIN);
    project.write("gabion.yml", SETTINGS);
    project
}

#[test]
fn a_value_comes_from_the_place_that_wins() {
    let project = project();
    project.write("gabion.prod.yml", "vars: {size: 7, region: us}\n");
    project.write("big.yml", "size: 9\n");
    let output = |arguments: &[&str]| {
        let with_yes: Vec<&str> = ["apply", "-y"].iter().chain(arguments).copied().collect();
        project.exits(0, &with_yes);
        let output: Vec<&str> = ["output", "where"].iter().chain(arguments).copied().collect();
        project.exits(0, &output).out
    };
    assert_eq!(output(&["--var", "region=eu"]), "eu-3\n");
    assert_eq!(output(&["--stack", "prod"]), "us-7\n");
    let file = project.directory().join("big.yml").display().to_string();
    assert_eq!(output(&["--stack", "prod", "--var-file", &file]), "us-9\n");
    assert_eq!(
        output(&["--stack", "prod", "--var-file", &file, "--var", "size=10"]),
        "us-10\n"
    );
    let list = project.exits(0, &["state", "list", "--var", "region=eu"]).out;
    assert!(
        list.contains("gabion_data.box/a") && list.contains("gabion_data.box/b"),
        "{list}"
    );
}

#[test]
fn what_was_not_given_is_asked_for() {
    let project = project();
    let said = project.exits(1, &["plan"]);
    assert!(said.err.contains("gabion.yml:4:3"), "{}", said.err);
    assert!(
        said.err
            .contains("The variable `region` has no default, and must be given: Where it runs."),
        "{}",
        said.err
    );
    assert!(said.err.contains("--var region="), "{}", said.err);
    let said = project.exits(1, &["plan", "--var", "regoin=eu", "--var", "region=eu"]);
    assert!(said.err.contains("did you mean `region`?"), "{}", said.err);
    let said = project.exits(1, &["plan", "--var", "region"]);
    assert!(said.err.contains("write: --var NAME=VALUE"), "{}", said.err);
    let said = project.exits(1, &["plan", "--var-file", "nowhere.yml", "--var", "region=eu"]);
    assert!(said.err.contains("nowhere.yml"), "{}", said.err);
}
