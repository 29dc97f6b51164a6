//! A secret is where it is needed and nowhere else.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::harness::{Project, occurrences};

const PASSED_THROUGH: &str = "hf-5f3a9c1e7b2d4860a1c3";
const TOKEN: &str = "client-c0ffee8d1b6e4f27a9d2";

#[test]
fn secrets_are_in_the_units_environment_and_nowhere_else() {
    let mut project = Project::quick();
    project.set("HF_TOKEN", PASSED_THROUGH);
    project.set("CLIENT_TOKEN", TOKEN);
    project.edit("service.dstack.yml", "env:\n", "env:\n  - HF_TOKEN\n");
    project.edit("service.dstack.yml", "auth: false", "auth: true");
    let settings =
        "secrets:\n  CLIENT_TOKEN: {env: CLIENT_TOKEN}\ntokens:\n  client: ${{ secrets.CLIENT_TOKEN }}\n";
    project.write("gabion.yml", &(project.read("gabion.yml") + settings));

    let mut said = String::new();
    let mut run = |arguments: &[&str]| {
        let outcome = project.run(arguments);
        said.push_str(&outcome.to_string());
        outcome
    };
    run(&["plan", "--out", "plan.gabion"]).succeeds();
    run(&["show", "plan.gabion"]).succeeds();
    run(&["show", "plan.gabion", "--format", "json"]).succeeds();
    let arguments = watched(|| {
        run(&["apply", "plan.gabion", "-v", "--events", "events.ndjson"]).succeeds();
    });
    for arguments_of_a_process in &arguments {
        assert!(
            !arguments_of_a_process.contains(PASSED_THROUGH),
            "{arguments_of_a_process}"
        );
        assert!(
            !arguments_of_a_process.contains(TOKEN),
            "{arguments_of_a_process}"
        );
    }
    let unit = project.unit("host_unit.qwen/default/0");
    let environment = fs::read(format!("/proc/{}/environ", unit.pid())).unwrap();
    assert!(
        String::from_utf8_lossy(&environment).contains(PASSED_THROUGH),
        "the replica does not have it"
    );

    for format in ["text", "markdown", "json"] {
        run(&["plan", "--format", format]).succeeds();
        run(&["drift", "--format", format]).exits(0);
        run(&["state", "show", "host_unit.qwen/default/0", "--format", format]).succeeds();
        run(&["state", "show", "gateway_route.qwen", "--format", format]).succeeds();
        run(&["ps", "--format", format]).succeeds();
    }
    run(&["state", "history"]).succeeds();
    run(&["logs", "qwen"]).succeeds();

    // A changed secret is an update, and says no more than that.
    project.set("HF_TOKEN", &PASSED_THROUGH.replace("hf-", "new-"));
    let changed = project.run(&["plan", "--format", "json"]).succeeds();
    said.push_str(&changed.to_string());
    let plan = crate::harness::PlanView(changed.json());
    assert!(
        plan.changes().contains_key("host_unit.qwen/default/0"),
        "{:?}",
        plan.changes()
    );
    project.set("HF_TOKEN", PASSED_THROUGH);

    let secret = &PASSED_THROUGH["hf-".len()..];
    assert!(!said.contains(secret), "a command printed the variable's value");
    assert!(!said.contains(TOKEN), "a command printed the token");
    assert_eq!(
        occurrences(project.directory(), secret),
        [""; 0].map(std::path::PathBuf::from)
    );
    assert_eq!(
        occurrences(project.directory(), TOKEN),
        [""; 0].map(std::path::PathBuf::from)
    );
    assert_eq!(
        occurrences(&project.user_directory(), TOKEN),
        [""; 0].map(std::path::PathBuf::from)
    );
    let mut expected: Vec<_> = ["host_unit.qwen/default/0", "host_unit.qwen/default/1"]
        .map(|replica| project.unit(replica).directory.join("env"))
        .into();
    expected.sort();
    assert_eq!(occurrences(&project.user_directory(), secret), expected);
    for file in expected {
        assert_eq!(fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    project.destroy();
    assert_eq!(
        occurrences(&project.user_directory(), secret),
        [""; 0].map(std::path::PathBuf::from)
    );
}

/// Runs something and returns the arguments of every process that was seen meanwhile.
fn watched(run: impl FnOnce()) -> BTreeSet<String> {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let watcher = scope.spawn(|| {
            let mut seen = BTreeSet::new();
            while !done.load(Ordering::SeqCst) {
                for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
                    let arguments = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                    seen.insert(String::from_utf8_lossy(&arguments).replace('\0', " "));
                }
                thread::sleep(Duration::from_millis(5));
            }
            seen
        });
        run();
        done.store(true, Ordering::SeqCst);
        watcher.join().unwrap()
    })
}
