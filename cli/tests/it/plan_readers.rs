//! Programs from elsewhere that read Terraform's plans read ours: Checkov finds in them what it finds in the `.tf` files of
//! the same configuration, and readtheplan counts what they count.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::Project;

/// The Python that has the programs; the test command sets it.
const PYTHON: &str = "GABION_TEST_PLAN_READERS";

/// Prints, for each directory with `.tf` files and each plan, the failed checks by resource, and how many passed.
const CHECKOV: &str = "\
import json, sys
from checkov.runner_filter import RunnerFilter
from checkov.terraform.plan_runner import Runner as OfPlans
from checkov.terraform.runner import Runner as OfFiles
said = {}
for path in sys.argv[1:]:
    if path.endswith('.json'):
        report = OfPlans().run(root_folder=None, files=[path], runner_filter=RunnerFilter(framework=['terraform_plan']))
    else:
        report = OfFiles().run(root_folder=path, runner_filter=RunnerFilter(framework=['terraform']))
    failed = {}
    for check in report.failed_checks:
        failed.setdefault(check.resource, []).append(check.check_id)
    said[path] = {'failed': failed, 'passed': len(report.passed_checks), 'unreadable': report.parsing_errors}
print(json.dumps(said))
";

fn python() -> OsString {
    std::env::var_os(PYTHON)
        .unwrap_or_else(|| panic!("{PYTHON} is not set; run the tests with: cargo xtask test -p gabion"))
}

/// Runs a program of the readers' environment, which must succeed; returns what it printed.
fn reader(home: &Path, arguments: &[&str]) -> String {
    let output = Command::new(python())
        .arg("-I")
        .args(arguments)
        .env_clear()
        .env("HOME", home)
        .env("LOG_LEVEL", "ERROR")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{said}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// The failed checks of each resource.
fn failed(said: &Value) -> BTreeMap<String, BTreeSet<String>> {
    assert_eq!(said["unreadable"], json!([]));
    assert!(
        said["passed"].as_u64().unwrap() > 0,
        "nothing was looked at: {said}"
    );
    let resources = said["failed"].as_object().unwrap().iter();
    resources
        .map(|(resource, checks)| {
            let checks = checks.as_array().unwrap().iter();
            let checks = checks.map(|check| check.as_str().unwrap().to_owned());
            (resource.clone(), checks.collect())
        })
        .collect()
}

#[test]
fn checkov_finds_in_a_plan_what_it_finds_in_the_files_of_the_same_configuration() {
    let cases = [
        ("open-ssh", "aws_security_group.inline", "CKV_AWS_24"),
        (
            "open-ssh",
            "aws_vpc_security_group_ingress_rule.ssh",
            "CKV_AWS_24",
        ),
        ("unencrypted-disk", "aws_ebs_volume.models", "CKV_AWS_3"),
        ("unencrypted-disk", "aws_instance.worker", "CKV_AWS_8"),
        ("imds-v1", "aws_instance.worker", "CKV_AWS_79"),
    ];
    let project = Project::new();
    let mut paths: BTreeMap<&str, [PathBuf; 2]> = BTreeMap::new();
    for (name, ..) in cases {
        let files = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/terraform")
            .join(name);
        let written = std::fs::read_to_string(files.join("main.gabion.yml")).unwrap();
        project.write("main.gabion.yml", written);
        let plan = project.directory().join(format!("{name}.json"));
        std::fs::write(&plan, project.exits(0, &["plan", "--format", "json"]).out).unwrap();
        paths.insert(name, [files, plan]);
    }
    let text = |path: &PathBuf| path.to_str().unwrap().to_owned();
    let all: Vec<String> = paths.values().flatten().map(text).collect();
    let mut arguments = vec!["-c", CHECKOV];
    arguments.extend(all.iter().map(String::as_str));
    let said: Value = serde_json::from_str(&reader(&project.home(), &arguments)).unwrap();
    let found = |path: &PathBuf| failed(&said[text(path)]);
    for (name, [files, plan]) in &paths {
        assert_eq!(found(plan), found(files), "{name}");
    }
    // What each case is about is among it.
    for (name, resource, check) in cases {
        assert!(
            found(&paths[name][1])[resource].contains(check),
            "{name}: {resource} {check}"
        );
    }
}

#[test]
fn another_reader_of_plans_counts_what_they_count() {
    let data = |name: &str, more: &str| {
        format!("type: resource\nkind: gabion_data\nname: {name}\nproperties: {{input: one{more}}}\n---\n")
    };
    let project = Project::with(&format!(
        "{}{}{}{}",
        data("same", ""),
        data("changed", ""),
        data("replaced", ""),
        data("gone", "")
    ));
    project.apply();
    project.write(
        "main.gabion.yml",
        format!(
            "{}{}{}{}{}",
            data("same", ""),
            data("changed", " more"),
            data("replaced", ", triggers_replace: [1]"),
            data("new", ""),
            data("newer", "")
        ),
    );
    let plan = project.directory().join("plan.json");
    std::fs::write(&plan, project.exits(0, &["plan", "--format", "json"]).out).unwrap();
    let program = Path::new(&python()).with_file_name("readtheplan");
    let said = reader(
        &project.home(),
        &[
            program.to_str().unwrap(),
            "analyze",
            "--format",
            "json",
            plan.to_str().unwrap(),
        ],
    );
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(said["resource_change_count"], 6);
    assert_eq!(
        said["actions"],
        json!({"no-op": 1, "update": 1, "create/delete": 1, "create": 2, "delete": 1})
    );
    assert_eq!(said["terraform_version"], "1.11.4");
}
