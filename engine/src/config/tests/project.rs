//! What a project becomes.

use insta::{assert_debug_snapshot, assert_snapshot};
use proptest::prelude::*;

use super::super::{DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets};
use crate::diagnostic::Diagnostics;
use crate::resource::Configuration;
use crate::value::Value;

fn environment(name: &str) -> Option<String> {
    (name == "TOKEN").then(|| "hunter2".to_owned())
}

pub(super) fn lower(texts: &[(&str, &str)], purpose: Purpose) -> (Configuration, Diagnostics) {
    let registry = DocumentRegistry::new();
    let inputs = LowerInputs {
        purpose,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &environment,
        secret: &no_secrets,
        version: "0.1.0",
    };
    let (project, mut problems) = Project::parse(Sources::from_texts("demo", texts.iter().copied()));
    let (configuration, found) = project.lower(inputs, &problems);
    problems.extend(found);
    (configuration, problems)
}

pub(super) fn problems(texts: &[(&str, &str)]) -> String {
    lower(texts, Purpose::Plan).1.to_string()
}

const GOOD: &str = "\
type: resource
kind: gabion_data
name: a
properties:
  input: {port: 8000, version: '3.10'}
timeouts: {create: 10m}
lifecycle:
  prevent_destroy: yes
  create_before_destroy: false
  ignore_changes: ['input.port']
  replace_triggered_by: [gabion_data.b.output]
conditions:
  before:
  - condition: ${{ gabion_data.b.output }} == 5
    error_message: b must be 5
---
type: resource
kind: gabion_data
name: b
properties:
  input: Bearer ${{ secrets.token }}
  plain: $${{ no }}
  mixed: ${{ env.TOKEN }} ${{ gabion_data.c.output.x[0] }}
depends_on: [gabion_data.c]
---
type: resource
kind: gabion_data
name: c
---
type: moved
from: gabion_data.old
to: gabion_data.c
---
type: removed
from: gabion_data.gone
lifecycle: {destroy: false}
---
type: import
to: gabion_data.b
id: 17
";

const SETTINGS: &str = "\
project: qwen-chat
required_version: '>= 0.1, < 1'
lineage: 0193e3a0-0000-7000-8000-000000000001
state: {type: sqlite, path: state.db}
backends: [local, {type: aws, region: eu-west-1}]
secrets:
  token: {env: TOKEN}
tokens:
  ci: ${{ secrets.token }}
outputs:
  port: ${{ gabion_data.a.output.port }}
";

#[test]
fn a_good_project_becomes_a_configuration() {
    let (configuration, problems) = lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", GOOD)], Purpose::Plan);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!(&*configuration.project, "qwen-chat");
    assert_debug_snapshot!(configuration.resources, @r#"
    [
        Resource {
            address: gabion_data.a,
            inputs: {
                "input": {
                    "port": 8000,
                    "version": "3.10",
                },
            },
            places: {
                : a.gabion.yml:2:7,
                input: a.gabion.yml:5:10,
                input.port: a.gabion.yml:5:17,
                input.version: a.gabion.yml:5:32,
            },
            depends_on: [],
            lifecycle: Lifecycle {
                prevent_destroy: true,
                replace_order: Some(
                    DeleteThenCreate,
                ),
                ignore_changes: [
                    input.port,
                ],
                replace_triggered_by: [
                    "${{ gabion_data.b.output }}",
                ],
                roll: None,
                together: None,
            },
            timeouts: TimeoutOverrides {
                create: Some(
                    600s,
                ),
                update: None,
                delete: None,
            },
            conditions: [
                Condition {
                    when: Before,
                    condition: "${{ gabion_data.b.output }} == 5",
                    message: "b must be 5",
                    place: a.gabion.yml:14:16,
                },
            ],
            alternatives: Alternatives {
                chosen: "",
                others: [],
            },
            update_after: [],
            frees: [],
            document: DocumentRef {
                document_type: "resource",
                name: "a",
                place: a.gabion.yml:1:7,
            },
        },
        Resource {
            address: gabion_data.b,
            inputs: {
                "input": Secret(Bearer ${{ secrets.token }}),
                "mixed": Unknown(${{ env.TOKEN }} ${{ gabion_data.c.output.x[0] }}),
                "plain": "${{ no }}",
            },
            places: {
                : a.gabion.yml:18:7,
                input: a.gabion.yml:21:10,
                mixed: a.gabion.yml:23:10,
                plain: a.gabion.yml:22:10,
            },
            depends_on: [
                (
                    gabion_data.c,
                    a.gabion.yml:24:14,
                ),
            ],
            lifecycle: Lifecycle {
                prevent_destroy: false,
                replace_order: None,
                ignore_changes: [],
                replace_triggered_by: [],
                roll: None,
                together: None,
            },
            timeouts: TimeoutOverrides {
                create: None,
                update: None,
                delete: None,
            },
            conditions: [],
            alternatives: Alternatives {
                chosen: "",
                others: [],
            },
            update_after: [],
            frees: [],
            document: DocumentRef {
                document_type: "resource",
                name: "b",
                place: a.gabion.yml:17:7,
            },
        },
        Resource {
            address: gabion_data.c,
            inputs: {},
            places: {
                : a.gabion.yml:27:7,
            },
            depends_on: [],
            lifecycle: Lifecycle {
                prevent_destroy: false,
                replace_order: None,
                ignore_changes: [],
                replace_triggered_by: [],
                roll: None,
                together: None,
            },
            timeouts: TimeoutOverrides {
                create: None,
                update: None,
                delete: None,
            },
            conditions: [],
            alternatives: Alternatives {
                chosen: "",
                others: [],
            },
            update_after: [],
            frees: [],
            document: DocumentRef {
                document_type: "resource",
                name: "c",
                place: a.gabion.yml:26:7,
            },
        },
    ]
    "#);
    assert_debug_snapshot!(configuration.directives, @r#"
    Directives {
        moved: [
            Moved {
                from: gabion_data.old,
                to: gabion_data.c,
                place: a.gabion.yml:31:7,
            },
        ],
        removed: [
            Removed {
                from: gabion_data.gone,
                destroy: false,
                place: a.gabion.yml:35:7,
            },
        ],
        imports: [
            Import {
                to: gabion_data.b,
                id: "17",
                place: a.gabion.yml:39:5,
            },
        ],
    }
    "#);
    assert_debug_snapshot!(configuration.outputs, @r#"
    {
        "port": Unknown(${{ gabion_data.a.output.port }}),
    }
    "#);
}

#[test]
fn secrets_hold_their_value_and_never_show_it() {
    let (configuration, _) = lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", GOOD)], Purpose::Plan);
    let b = &configuration.resources[1];
    let Value::Secret(secret) = &b.inputs["input"] else {
        panic!("{:?}", b.inputs)
    };
    assert_eq!(secret.expose().and_then(Value::as_str), Some("Bearer hunter2"));
    assert_eq!(
        b.inputs["mixed"],
        Value::template("${{ env.TOKEN }} ${{ gabion_data.c.output.x[0] }}")
    );
    assert!(!format!("{configuration:?}").contains("hunter2"));
}

#[test]
fn the_order_of_files_and_documents_does_not_matter() {
    let documents: Vec<&str> = GOOD.split("---\n").collect();
    let (forward, backward) = (documents.join("---\n"), {
        let reversed: Vec<&str> = documents.iter().rev().copied().collect();
        reversed.join("---\n")
    });
    let addresses = |text: &str| {
        let (configuration, _) = lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", text)], Purpose::Plan);
        configuration
            .resources
            .into_iter()
            .map(|resource| resource.address)
            .collect::<Vec<_>>()
    };
    assert_eq!(addresses(&forward), addresses(&backward));
}

#[test]
fn the_documents_of_a_file_are_understood_in_its_order() {
    let texts = [
        (
            "a.gabion.yml",
            "type: resource\nkind: gabion_data\nname: first\n---\ntype: removed\nfrom: gabion_data.x\nlifecycle: {destroy: \
             false}\n---\ntype: resource\nkind: gabion_data\nname: last\n",
        ),
        (
            "b.gabion.yml",
            "type: resource\nkind: gabion_data\nname: elsewhere\n",
        ),
    ];
    let (project, _) = Project::parse(Sources::from_texts("demo", texts));
    assert_eq!(project.document_count(), 4);
    let registry = DocumentRegistry::new();
    let inputs = LowerInputs {
        purpose: Purpose::Validate,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &environment,
        secret: &no_secrets,
        version: "0.1.0",
    };
    let documents = project.resolve("a.gabion.yml", inputs);
    let found: Vec<_> = documents
        .iter()
        .map(|(document, _)| (&*document.document_type.value, document.name()))
        .collect();
    assert_eq!(
        found,
        [("resource", "first"), ("removed", ""), ("resource", "last")]
    );
    let last = &documents[2].0;
    let written = &last.file.text()[last.range.clone()];
    assert!(
        written.contains("name: last") && !written.contains("first"),
        "{written}"
    );
}

#[test]
fn validating_needs_no_environment() {
    let text = "type: resource\nkind: gabion_data\nname: a\nproperties: {x: '${{ env.UNSET }}'}\n";
    let (configuration, problems) = lower(&[("a.gabion.yml", text)], Purpose::Validate);
    assert!(problems.is_empty(), "{problems}");
    assert_eq!(
        configuration.resources[0].inputs["x"],
        Value::template("${{ env.UNSET }}")
    );
}

#[test]
fn documents_in_the_settings_file_are_sent_elsewhere() {
    assert_snapshot!(problems(&[("gabion.yml", "type: service\nname: x\n---\nproject: y\n"), ("a.gabion.yml", "[]\n")]), @r"
    error: wrong type
      --> a.gabion.yml:1:1
    1 | []
      | ^^
       Expected a document: a map with the key `type`, found a list.
    hint: write a document: a map with the key `type`

    error: document in the settings file
      --> gabion.yml:1:1
    1 | type: service
      | ^^^^
       `gabion.yml` holds the project's settings, not documents.
    hint: move the document into a `*.gabion.yml` file

    error: more than one document
      --> gabion.yml:4:1
    4 | project: y
      | ^^^^^^^^^^
       `gabion.yml` holds one document with the project's settings.
    hint: move other documents into a `*.gabion.yml` file
    ");
}

#[test]
fn the_digest_is_of_paths_and_texts() {
    let digest = |texts: &[(&str, &str)]| Sources::from_texts("x", texts.iter().copied()).digest();
    assert_eq!(digest(&[("a", "b")]), digest(&[("a", "b")]));
    assert_ne!(digest(&[("a", "b")]), digest(&[("ab", "")]));
    assert_ne!(digest(&[("a", "b"), ("c", "")]), digest(&[("a", "bc")]));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_documents_never_panic_and_every_error_has_a_place(
        parts in prop::collection::vec(
            prop_oneof![
                Just("type: resource\n".to_owned()), Just("kind: gabion_data\n".to_owned()),
                Just("name: a\n".to_owned()), Just("---\n".to_owned()), Just("properties:\n".to_owned()),
                Just("  x: ${{ gabion_data.a.x }}\n".to_owned()), Just("  y: &y [1, *y]\n".to_owned()),
                Just("type: moved\n".to_owned()), Just("from: gabion_data.a\n".to_owned()), Just("to: b.c\n".to_owned()),
                Just("conditions: {before: [{condition: x}]}\n".to_owned()), Just("depends_on: 5\n".to_owned()),
                Just("  <<: {a: é}\n".to_owned()), "[ -~]{0,12}\n",
            ],
            0..16,
        ),
    ) {
        let text = parts.concat();
        for purpose in [Purpose::Plan, Purpose::Validate] {
            for problem in &lower(&[("a.gabion.yml", &text), ("gabion.yml", &text)], purpose).1 {
                prop_assert!(problem.primary.is_some() && problem.hint.is_some(), "{problem}");
                prop_assert!(!problem.to_string().is_empty());
            }
        }
    }
}

#[test]
fn a_lease_is_set_beside_the_store() {
    let lease = |state: &str| {
        let text = format!("project: demo\nstate: {state}\n");
        let (project, problems) = Project::parse(Sources::from_texts("demo", [("gabion.yml", &*text)]));
        let state = project.settings.state.expect("the state is set");
        assert!(state.node.get("lease").is_none(), "stores do not know it");
        (
            project.settings.lease.map(|lease| lease.value.as_secs()),
            problems.to_string(),
        )
    };
    assert_eq!(lease("{type: sqlite, lease: 10s}"), (Some(10), String::new()));
    assert_eq!(lease("sqlite"), (None, String::new()));
    for wrong in ["4s", "11m"] {
        let (lease, problems) = lease(&format!("{{type: sqlite, lease: {wrong}}}"));
        assert_eq!(lease, None);
        assert!(
            problems.contains("between 5 seconds and 10 minutes"),
            "{problems}"
        );
    }
}
