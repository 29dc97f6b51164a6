//! The same shapes with Terraform.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::measure::Gauge;
use super::results::{Cell, Engine, Phase, Results};
use super::shape::Shape;
use crate::Failure;

/// More than these are not applied: the time grows with the square of their number. Plans without a change start from a
/// state that was written for them.
const MOST_APPLIED: usize = 1_000;

/// Longer chains are not even planned: minutes.
const LONGEST_CHAIN: usize = 2_000;

/// Larger projects are not planned.
const MOST_PLANNED: usize = 20_000;

/// A project of which a command took longer than so many seconds is measured once.
const LONG: f64 = 60.0;

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
    cell: Cell,
    limit: u64,
    results: &mut Results,
) -> Result<(), Failure> {
    let (shape, size) = cell;
    let too_large = size > MOST_PLANNED || shape == Shape::Chain && size > LONGEST_CHAIN;
    let took_long = Phase::ALL.iter().any(|phase| {
        let earlier = results.terraform(cell, *phase);
        earlier.is_some_and(|figures| figures.wall > LONG)
    });
    if shape == Shape::Mix || too_large || took_long {
        return Ok(());
    }
    let place = gauge.place("terraform")?;
    place.write("main.tf", &shape.terraform(size))?;
    place.run(terraform, &["init", "-no-color"], &[], limit)?;
    let mut measure = |phase: Phase, arguments: &[&str]| -> Result<bool, Failure> {
        let usage = place.run(terraform, arguments, &[], limit)?;
        let ended = !usage.cut;
        results.add(cell, Engine::Terraform, phase, usage);
        Ok(ended)
    };
    measure(Phase::FirstPlan, &["plan", "-no-color"])?;
    let applied = size <= MOST_APPLIED
        && shape != Shape::Chain
        && measure(Phase::Apply, &["apply", "-no-color", "-auto-approve"])?;
    if !applied {
        place.write("terraform.tfstate", &state(shape, size).to_string())?;
    }
    measure(Phase::EmptyPlan, &["plan", "-no-color"])?;
    if applied {
        measure(Phase::Destroy, &["destroy", "-no-color", "-auto-approve"])?;
    }
    Ok(())
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
