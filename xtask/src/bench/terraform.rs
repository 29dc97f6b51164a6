//! The same shapes with Terraform.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::measure::Gauge;
use super::report::{Phase, Results};
use super::shape::Shape;
use crate::Failure;

/// More than these are not applied: the time grows with the square of their number. Plans without a change start from a
/// state that was written for them.
const MOST_APPLIED: usize = 1_000;

/// Longer chains are not even planned: minutes.
const LONGEST_CHAIN: usize = 2_000;

/// Returns the program, if there is one.
pub(super) fn find() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|directory| directory.join("terraform"))
        .find(|program| program.is_file())
}

/// Leads one project as far as that ends in time.
pub(super) fn measure(
    gauge: &Gauge,
    terraform: &Path,
    shape: Shape,
    size: usize,
    limit: u64,
    results: &mut Results,
) -> Result<(), Failure> {
    if shape == Shape::Chain && size > LONGEST_CHAIN || size > 20_000 {
        return Ok(());
    }
    let directory = gauge.directory("terraform")?;
    let write = |name: &str, text: String| {
        let file = directory.join(name);
        std::fs::write(&file, text).map_err(|error| format!("{}: {error}", file.display()))
    };
    write("main.tf", shape.terraform(size))?;
    gauge.run(terraform, &["init", "-no-color"], &directory, limit)?;
    let mut measure = |phase: Phase, arguments: &[&str]| -> Result<bool, Failure> {
        let usage = gauge.run(terraform, arguments, &directory, limit)?;
        results.add(shape, size, "terraform", phase, usage);
        Ok(!usage.cut)
    };
    measure(Phase::FirstPlan, &["plan", "-no-color"])?;
    let applied = size <= MOST_APPLIED
        && shape != Shape::Chain
        && measure(Phase::Apply, &["apply", "-no-color", "-auto-approve"])?;
    if !applied {
        write("terraform.tfstate", state(shape, size).to_string())?;
    }
    measure(Phase::EmptyPlan, &["plan", "-no-color"])?;
    if applied {
        measure(Phase::Destroy, &["destroy", "-no-color", "-auto-approve"])?;
    }
    std::fs::remove_dir_all(&directory).map_err(|error| format!("{}: {error}", directory.display()))
}

/// A state in which everything is as it should be. It names direct dependencies only, where Terraform's own lists all.
fn state(shape: Shape, size: usize) -> Value {
    let id = |index: usize| format!("{index:08}-0000-4000-8000-000000000000");
    let instance = |index: usize| {
        let (value, dependencies) = match shape.parent(index, size) {
            Some(parent) => (
                json!({"value": [id(parent), "v"], "type": ["tuple", ["string", "string"]]}),
                json!([format!("terraform_data.r{parent}")]),
            ),
            None => (json!({"value": format!("v{index}"), "type": "string"}), json!([])),
        };
        let mut instance = json!({
            "schema_version": 0,
            "attributes": {"id": id(index), "input": value, "output": value, "triggers_replace": null},
            "sensitive_attributes": [],
            "dependencies": dependencies,
        });
        if shape == Shape::ForEach {
            instance["index_key"] = json!(format!("k{index}"));
        }
        instance
    };
    let resource = |name: String, instances: Vec<Value>| {
        json!({
            "mode": "managed", "type": "terraform_data", "name": name,
            "provider": "provider[\"terraform.io/builtin/terraform\"]", "instances": instances,
        })
    };
    let resources: Vec<Value> = match shape {
        Shape::ForEach => vec![resource("r".to_owned(), (0..size).map(instance).collect())],
        _ => (0..size)
            .map(|index| resource(format!("r{index}"), vec![instance(index)]))
            .collect(),
    };
    json!({
        "version": 4, "terraform_version": "1.11.4", "serial": 1,
        "lineage": "00000000-0000-0000-0000-000000000001",
        "outputs": {}, "resources": resources, "check_results": null,
    })
}
