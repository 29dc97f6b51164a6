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
