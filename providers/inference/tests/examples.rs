//! The examples of the repository, loaded and lowered.

use std::path::PathBuf;

use gabion_engine::config::{DocumentRegistry, LowerInputs, NothingRecorded, Purpose, load, no_secrets};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::Configuration;
use gabion_inference::Inference;

fn lower(example: &str, purpose: Purpose) -> (Configuration, Diagnostics) {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples")
        .join(example);
    let registry = DocumentRegistry::new().with(Inference);
    let (_, configuration, problems) = load(
        &directory,
        LowerInputs {
            purpose,
            registry: &registry,
            recorded: &NothingRecorded,
            environment: &|_| None,
            secret: &no_secrets,
            version: "0.1.0",
        },
    );
    (configuration, problems)
}

fn places(problems: &Diagnostics) -> Vec<String> {
    problems
        .iter()
        .map(|problem| {
            let place = problem
                .primary
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            format!("{place} {}: {}", problem.code, problem.detail)
        })
        .collect()
}

#[test]
fn the_quickstart_is_what_design_says_it_is() {
    let (configuration, problems) = lower("quickstart", Purpose::Plan);
    assert_eq!(places(&problems), Vec::<String>::new());
    let addresses: Vec<String> = configuration
        .resources
        .iter()
        .map(|resource| resource.address.to_string())
        .collect();
    insta::assert_snapshot!(addresses.join("\n"), @r"
    gateway_listener.my-gateway
    gateway_route.qwen
    host_unit.agent/local
    host_unit.my-gateway/router/qwen
    host_unit.qwen/default/0
    host_unit.qwen/default/1
    router_worker.qwen/default/0
    router_worker.qwen/default/1
    ");
}

#[test]
fn the_seeds_own_files_are_well_formed() {
    for example in [
        "seed-aws/nvidia",
        "seed-aws/amd",
        "seed-aws/router",
        "seed-aws/prefill-decode",
    ] {
        let (_, problems) = lower(example, Purpose::Validate);
        assert_eq!(places(&problems), Vec::<String>::new(), "{example}");
    }
}

#[test]
fn a_task_is_one_unit_for_each_node() {
    let (configuration, problems) = lower("task", Purpose::Plan);
    assert_eq!(places(&problems), Vec::<String>::new());
    let addresses: Vec<String> = configuration
        .resources
        .iter()
        .map(|resource| resource.address.to_string())
        .collect();
    insta::assert_snapshot!(addresses.join("\n"), @r"
    host_unit.evaluate/default/0/0
    host_unit.evaluate/default/0/1
    ");
}
