//! The article's files on AWS, planned from recorded facts of a region: nobody's account is asked.

use std::fs;
use std::path::{Path, PathBuf};

use crate::harness::{Project, assert_said};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/seed-aws")
}

/// Returns a project with an example's files.
fn example(name: &str) -> Project {
    let facts = examples().join("facts.json");
    let project = Project::new()
        .set("GABION_AWS_FACTS", &facts.to_string_lossy())
        .set("CLIENT_TOKEN", "token")
        .set("HF_TOKEN", "token");
    for entry in fs::read_dir(examples().join(name)).unwrap().flatten() {
        let text = fs::read(entry.path()).unwrap();
        project.write(&entry.file_name().to_string_lossy(), text);
    }
    project
}

#[test]
fn the_seeds_gateway_and_nvidia_service_are_planned() {
    let project = example("nvidia");
    for (format, suffix) in [("text", "txt"), ("markdown", "md"), ("json", "json")] {
        let said = project.run(&["plan", "--format", format]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(said.err, "");
        assert_said(&format!("aws/plan-nvidia.{suffix}"), &said.out);
    }
    let entries = project.entries();
    assert!(!entries.contains(&".gabion".to_owned()), "{entries:?}");
}

#[test]
fn the_amd_service_is_refused_and_the_rest_is_planned_without_it() {
    let project = example("amd");
    let said = project.run(&["plan"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert_said("aws/plan-amd.txt", &said.err);
    let said = project.run(&["plan", "--exclude", "aws_instance.qwen/default/*"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("+ aws_instance.my-gateway  create"),
        "{}",
        said.out
    );
    assert!(
        !said.out.contains("+ host_unit.qwen/default/0  create"),
        "{}",
        said.out
    );
}

#[test]
fn a_mistyped_upgrade_is_told() {
    let said = example("nvidia").run(&["plan", "--upgrade", "aws_instance.qwe/*"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("No resource fits `--upgrade aws_instance.qwe/*`."),
        "{}",
        said.err
    );
}

#[test]
fn offers_are_listed_for_services_and_for_what_is_asked() {
    let project = example("nvidia");
    for (format, suffix) in [("text", "txt"), ("json", "json")] {
        let said = project.exits(0, &["offer", "--limit", "4", "--format", format]);
        assert_said(&format!("aws/offer-nvidia.{suffix}"), &said.out);
    }
    let asked = ["offer", "--region", "eu-west-1", "--gpu", "A100:40GB:8"];
    assert_said("aws/offer-asked.txt", &project.exits(0, &asked).out);
    let said = example("amd").exits(0, &["offer"]);
    assert!(
        said.out
            .contains("Nothing meets it. What comes closest:\n  g5.xlarge"),
        "{}",
        said.out
    );
    let said = project.exits(1, &["offer", "--gpu", "24GB..:x:y"]);
    assert!(said.err.contains("bad request"), "{}", said.err);
    let said = project.exits(1, &["offer", "--region", "us-east-1", "--gpu", "1"]);
    assert!(
        said.err.contains("has nothing about the region `us-east-1`"),
        "{}",
        said.err
    );
}
