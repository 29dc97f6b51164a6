//! Problems deep inside a document point at their exact column: as they stand, through merged anchors, and in modules.

use std::fs;

use crate::harness::{Project, assert_said};

/// A service with two groups, the second made of the first by merges; `gpu` is what the first's `gpu` holds, and
/// `probes` what stands under that key.
fn service(name: &str, gpu: &str, probes: &str) -> String {
    format!(
        "type: service\nname: {name}\nport: 8000\nauth: false\ngateway: false\nprobes:\n{probes}groups:\n  - &prefill\n    name: \
         prefill\n    replicas: 1\n    commands: [serve $PORT]\n    resources: &need\n      gpu:\n{gpu}  - <<: *prefill\n    name: \
         decode\n    resources:\n      <<: *need\n      memory: 64GB\n"
    )
}

/// Two resources, the second made of the first by a merge; `entry` stands five levels deep.
fn resources(name: &str, entry: &str) -> String {
    format!(
        "type: resource\nkind: gabion_data\nname: {name}\nproperties:\n  input:\n    servers:\n      - &one\n        \
         limits:\n          {entry}\n      - <<: *one\n        name: other\n"
    )
}

/// What is wrong with a document that stands in the project and in a module that it uses.
fn check(problem: &str, document: impl Fn(&str) -> String) {
    let project = Project::with(&document("qwen"));
    project.write(
        "modules.gabion.yml",
        "type: module\nname: edge\nsource: ./modules/edge\ninputs: {size: 40GB..80GB}\n",
    );
    fs::create_dir_all(project.directory().join("modules/edge")).unwrap();
    project.write("modules/edge/module.yml", "inputs:\n  size: {type: string}\n");
    project.write("modules/edge/inner.dstack.yml", document("inner"));
    let said = project.exits(1, &["validate"]);
    assert_said(&format!("deep-problems/{problem}.txt"), &said.all());
}

fn in_gpu(problem: &str, entry: &str) {
    check(problem, |name| {
        service(
            name,
            &format!("        name: H100\n        count: 1\n        {entry}\n"),
            "  []\n",
        )
    });
}

#[test]
fn a_wrong_type() {
    in_gpu("wrong-type", "compute_capability: {major: 9}");
}

#[test]
fn an_unknown_key() {
    in_gpu("unknown-key", "memroy: 80GB");
}

#[test]
fn a_missing_key() {
    check("missing-key", |name| {
        let probes = "  - &ready\n    type: http\n    headers:\n      - name: Host\n        value: a\n      - name: \
                      Accept\n  - <<: *ready\n    url: /health\n";
        service(name, "        name: H100\n        count: 1\n", probes)
    });
}

#[test]
fn a_bad_range() {
    in_gpu("bad-range", "memory: 80GB..40GB");
}

#[test]
fn a_bad_gpu_spec() {
    check("bad-gpu-spec", |name| {
        service(name, "        nvidia:40GB:A100:H100:1\n", "  []\n")
    });
}

#[test]
fn a_duplicate_key() {
    in_gpu("duplicate-key", "count: 2");
}

#[test]
fn what_only_a_merge_makes_a_problem() {
    check("merged", |name| {
        let service = service(
            name,
            "        <<: *loose\n        name: H100\n        count: 1\n",
            "  []\n",
        );
        // Tags may be called anything, and hold any text.
        let tags = "tags: &loose\n  memroy: 80GB\n  memory: 80GB..40GB\n  compute_capability: nine\nport:";
        service.replacen("port:", tags, 1)
    });
}

#[test]
fn a_broken_reference() {
    check("broken-reference", |name| {
        resources(name, "rate: 'about ${{ gabion_data.nowhere.output }} a second'")
    });
}

#[test]
fn an_unknown_attribute() {
    check("unknown-attribute", |name| {
        resources(name, "rate: 1").replace("  input:", "  inptu:")
    });
}
