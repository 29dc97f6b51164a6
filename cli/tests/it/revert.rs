use crate::harness::Project;

fn documents(middle: &str, last: &str) -> String {
    format!(
        "type: resource\nkind: gabion_data\nname: base\nproperties: {{input: 1}}\n---\n\
         type: resource\nkind: gabion_data\nname: middle\nproperties: {{input: {middle}}}\n---\n\
         type: resource\nkind: gabion_data\nname: {last}\nproperties: {{input: '${{{{ gabion_data.middle.output }}}}'}}\n"
    )
}

#[test]
fn a_run_is_taken_back_by_a_plan_like_any_other() {
    let project = Project::with(&documents("old", "before"));
    project.apply();
    let serial = |project: &Project| {
        let report = project.exits(0, &["drift", "--format", "json"]).json();
        report["serial"].as_u64().unwrap()
    };
    let first = serial(&project);
    project.write("main.gabion.yml", documents("new", "after"));
    project.apply();
    let run = (first + 1).to_string();
    let said = project.exits(2, &["plan", "--revert", &run, "--detailed-exitcode"]);
    for line in ["+ gabion_data.before  create", "- gabion_data.after  destroy"] {
        assert!(said.out.contains(line), "{}", said.all());
    }
    assert!(
        said.out.contains(&format!("goes back to serial {first}")),
        "{}",
        said.all()
    );
    assert!(
        said.out.contains(&format!("plan --revert {run}")),
        "{}",
        said.all()
    );
    project.exits(0, &["plan", "--revert", &run, "--out", "back.gabion"]);
    project.exits(0, &["apply", "back.gabion"]);
    // The files of that time have nothing to do.
    project.write("main.gabion.yml", documents("old", "before"));
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let said = project.exits(1, &["plan", "--revert", "4711"]);
    assert!(said.err.contains("no such run"), "{}", said.all());
    project.exits(1, &["plan", "--revert", &run, "--destroy"]);
}
