use insta::assert_snapshot;

use super::super::{
    DocumentRegistry, GivenVariables, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use crate::diagnostic::{Diagnostics, SourceFile};
use crate::resource::Configuration;

const SETTINGS: &str = "\
project: demo
vars:
  size: 3
  region: {type: string, default: eu, description: Where it runs.}
  zones: {type: list, default: [a, b]}
  models:
    type: map
    default:
      qwen: {port: 8000, tags: [fast]}
      llama: {port: 8001, tags: []}
outputs:
  where: ${{ vars.region }}
";

fn lower(texts: &[(&str, &str)], given: &GivenVariables) -> (Configuration, Diagnostics) {
    let registry = DocumentRegistry::new();
    let inputs = LowerInputs {
        purpose: Purpose::Plan,
        registry: &registry,
        recorded: &NothingRecorded,
        environment: &|_| None,
        secret: &no_secrets,
        version: "0.1.0",
    };
    let sources = Sources::from_texts("demo", texts.iter().copied());
    let (project, mut problems) = Project::parse_with(sources, given);
    let (configuration, found) = project.lower(inputs, &problems);
    problems.extend(found);
    (configuration, problems)
}

fn problems(main: &str, given: &GivenVariables) -> String {
    lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", main)], given)
        .1
        .to_string()
}

/// Each resource with its inputs, a line each.
fn resources(main: &str, given: &GivenVariables) -> String {
    let (configuration, problems) = lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", main)], given);
    assert!(problems.is_empty(), "{problems}");
    configuration
        .resources
        .iter()
        .map(|resource| format!("{} {:?}\n", resource.address, resource.inputs))
        .collect()
}

fn none() -> GivenVariables {
    GivenVariables::default()
}

const ALL: &str = "\
type: resource
kind: gabion_data
name: ${{ vars.region }}-all
properties:
  size: ${{ vars.size }}
  text: in ${{ vars.region }}-${{ vars.size }}, $${{ vars.size }} and ${{ gabion_data.b.output }}
  zone: ${{ vars.zones[1] }}
  model: ${{ vars.models.qwen }}
---
{type: resource, kind: gabion_data, name: b}
";

#[test]
fn variables_keep_their_types() {
    assert_snapshot!(resources(ALL, &none()), @r#"
    gabion_data.b {}
    gabion_data.eu-all {"model": {"port": 8000, "tags": ["fast"]}, "size": 3, "text": Unknown(in eu-3, $${{ vars.size }} and ${{ gabion_data.b.output }}), "zone": "b"}
    "#);
}

#[test]
fn later_layers_win_and_are_read_as_declared() {
    let mut given = none();
    given.add_stack_file(SourceFile::new(
        "gabion.prod.yml",
        "vars: {size: 7, region: us}\n",
    ));
    given.add_environment("size", "8", "GABION_VAR_size");
    given.add_environment("unrelated", "x", "GABION_VAR_unrelated");
    given.add_file(SourceFile::new("big.yml", "zones: [x, y]\n"));
    given.add_text("region", "010", "--var region");
    given.add_text("models", "{qwen: {port: 1}}", "--var models");
    assert_snapshot!(resources(ALL, &given), @r#"
    gabion_data.010-all {"model": {"port": 1}, "size": 8, "text": Unknown(in 010-8, $${{ vars.size }} and ${{ gabion_data.b.output }}), "zone": "y"}
    gabion_data.b {}
    "#);
    let digest = |given: &GivenVariables| {
        lower(&[("gabion.yml", SETTINGS), ("a.gabion.yml", ALL)], given)
            .0
            .digest
    };
    assert_ne!(digest(&given), digest(&none()));
}

#[test]
fn for_each_makes_a_document_of_each_entry() {
    let text = "\
type: resource
for_each: ${{ vars.models }}
kind: gabion_data
name: model
properties: {key: '${{ each.key }}', port: '${{ each.value.port }}'}
---
type: resource
for_each: [x, y]
kind: gabion_data
name: of-${{ each.key }}
properties: {input: '${{ gabion_data.model/qwen.output }}', same: '${{ each.value }}'}
---
{type: resource, kind: gabion_data, name: none, for_each: {}}
";
    assert_snapshot!(resources(text, &none()), @r#"
    gabion_data.model/llama {"key": "llama", "port": 8001}
    gabion_data.model/qwen {"key": "qwen", "port": 8000}
    gabion_data.of-x {"input": Unknown(${{ gabion_data.model/qwen.output }}), "same": "x"}
    gabion_data.of-y {"input": Unknown(${{ gabion_data.model/qwen.output }}), "same": "y"}
    "#);
}

#[test]
fn what_is_wrong_with_a_value_is_said_with_both_places() {
    let mut given = none();
    given.add_text("size", "many", "--var size");
    given.add_text("sise", "1", "--var sise");
    given.add_text("zones", "[${{ env.X }}]", "--var zones");
    let text = "\
type: resource
kind: gabion_data
name: a
timeouts: {create: '${{ vars.region }}'}
properties:
  a: ${{ vars.regoin }}
---
type: resource
kind: gabion_data
name: b
timeouts: {create: '${{ vars.region }}'}
lifecycle: {prevent_destroy: '${{ vars.models.qwen.tags }}'}
";
    assert_snapshot!(problems(text, &given), @r"
    error: unknown variable
      --> --var sise:1:1
    1 | 1
      | ^
       The project declares no variable `sise`.
    hint: did you mean `size`?

    error: wrong type
      --> --var size:1:1
    1 | many
      | ^^^^
       Expected a whole number, found text `many`.
      --> gabion.yml:3:3: declared here
    hint: write a whole number

    error: invalid YAML
      --> --var zones:1:3
    1 | [${{ env.X }}]
      |   ^
       The file is not valid YAML here: while parsing a flow sequence, expected ',' or ']'.
    hint: close the bracket, or quote the text if the bracket is part of it

    error: unknown variable
      --> a.gabion.yml:6:10
    6 |   a: ${{ vars.regoin }}
      |          ^^^^^^^^^^^
       The project declares no variable `regoin`.
    hint: did you mean `region`?

    error: wrong type
      --> gabion.yml:4:35
    4 |   region: {type: string, default: eu, description: Where it runs.}
      |                                   ^^
       Expected a duration such as `90`, `30s`, `5m` or `2h`, found text `eu`.
      --> a.gabion.yml:4:25: used here
    hint: write a duration such as `90`, `30s`, `5m` or `2h`

    error: wrong type
      --> gabion.yml:4:35
    4 |   region: {type: string, default: eu, description: Where it runs.}
      |                                   ^^
       Expected a duration such as `90`, `30s`, `5m` or `2h`, found text `eu`.
      --> a.gabion.yml:11:25: used here
    hint: write a duration such as `90`, `30s`, `5m` or `2h`

    error: wrong type
      --> gabion.yml:9:32
    9 |       qwen: {port: 8000, tags: [fast]}
      |                                ^^^^^^
       Expected `true` or `false`, found a list.
      --> a.gabion.yml:12:35: used here
    hint: write `true` or `false`
    ");
}

#[test]
fn what_is_wrong_with_a_for_each_is_said_once() {
    let text = "\
type: resource
for_each: [a, a]
kind: gabion_data
name: twice
---
type: resource
for_each: ${{ gabion_data.x.output }}
kind: gabion_data
name: unknown
---
type: resource
for_each: 3
kind: gabion_data
name: number
---
type: resource
for_each: {a: 1, b: 2}
kind: gabion_data
name: missing
properties: {x: '${{ each.value.port }}', y: '${{ each.valeu }}', z: 'at ${{ vars.models }}'}
---
type: resource
kind: gabion_data
name: outside
properties: {x: '${{ each.key }}', seen: '${{ gabion_data.missing/a.output }}'}
---
type: resource
for_each: [a/b]
kind: gabion_data
name: slash
";
    assert_snapshot!(problems(text, &none()), @r"
    error: duplicate key
      --> a.gabion.yml:2:15
    2 | for_each: [a, a]
      |               ^
       `a` is in this list twice.
    hint: remove one of the two

    error: keys that are not known when planning
      --> a.gabion.yml:7:11
    7 | for_each: ${{ gabion_data.x.output }}
      |           ^^^^^^^^^^^^^^^^^^^^^^^^^^^
       What `for_each` goes over must be known before anything is made.
    hint: write the map itself, or a variable: `${{ vars.NAME }}`

    error: wrong type
      --> a.gabion.yml:12:11
    12 | for_each: 3
       |           ^
       Expected a map, or a list of keys, found a number `3`.
    hint: write a map, or a list of keys

    error: unknown reference
      --> a.gabion.yml:20:22
    20 | properties: {x: '${{ each.value.port }}', y: '${{ each.valeu }}', z: 'at ${{ vars.models }}'}
       |                      ^^^^^^^^^^^^^^^
       `each.value.port` is not in the value of `each` here.
      --> a.gabion.yml:17:15: the value is here
    hint: write a key that it has

    error: unknown reference
      --> a.gabion.yml:20:51
    20 | properties: {x: '${{ each.value.port }}', y: '${{ each.valeu }}', z: 'at ${{ vars.models }}'}
       |                                                   ^^^^^^^^^^
       `each` has `each.key` and `each.value`.
    hint: write `${{ each.key }}` or `${{ each.value }}`

    error: list or map within a text
      --> a.gabion.yml:20:78
    20 | properties: {x: '${{ each.value.port }}', y: '${{ each.valeu }}', z: 'at ${{ vars.models }}'}
       |                                                                              ^^^^^^^^^^^
       `vars.models` is a map and cannot stand within a text.
      --> gabion.yml:8:5: its value is here
    hint: let the expression stand alone

    error: `each` without `for_each`
      --> a.gabion.yml:25:22
    25 | properties: {x: '${{ each.key }}', seen: '${{ gabion_data.missing/a.output }}'}
       |                      ^^^^^^^^
       `each` has a meaning only in a document with the key `for_each`.
    hint: add `for_each: …` beside `type`

    error: invalid name
      --> a.gabion.yml:30:7
    30 | name: slash
       |       ^^^^^
       `slash/a/b` cannot be the name of a resource. It must not hold `/`.
    hint: such as `qwen-chat`
    ");
}

#[test]
fn declarations_are_checked() {
    let settings = "\
project: demo
vars:
  2x: 1
  secret: {type: string, sensitive: true}
  wrong: {type: int, default: [1]}
  kind: {type: number}
  needed:
  asked: {type: string, description: The region to run in.}
  expression: ${{ env.X }}
";
    let (_, problems) = lower(&[("gabion.yml", settings)], &none());
    assert_snapshot!(problems.to_string(), @r"
    error: invalid variable name
      --> gabion.yml:3:3
    3 |   2x: 1
      |   ^^
       A variable's name has letters, digits and `_`, and starts with no digit.
    hint: such as `replica_count`

    error: variable without a value
      --> gabion.yml:4:3
    4 |   secret: {type: string, sensitive: true}
      |   ^^^^^^
       The variable `secret` has no default, and must be given.
    hint: give it with `--var secret=…`, or set GABION_VAR_secret

    error: unsupported key
      --> gabion.yml:4:26
    4 |   secret: {type: string, sensitive: true}
      |                          ^^^^^^^^^
       A variable's value is written into plans and state.
    hint: declare it under `secrets`, and write `${{ secrets.NAME }}`

    error: wrong type
      --> gabion.yml:5:31
    5 |   wrong: {type: int, default: [1]}
      |                               ^^^
       Expected a whole number, found a list.
    hint: write a whole number

    error: unknown word
      --> gabion.yml:6:16
    6 |   kind: {type: number}
      |                ^^^^^^
       `number` is not a variable's type; there is `string`, `int`, `float`, `bool`, `list`, `map`, `any`.
    hint: write one of these words

    error: variable without a value
      --> gabion.yml:7:3
    7 |   needed:
      |   ^^^^^^
       The variable `needed` has no default, and must be given.
    hint: give it with `--var needed=…`, or set GABION_VAR_needed

    error: variable without a value
      --> gabion.yml:8:3
    8 |   asked: {type: string, description: The region to run in.}
      |   ^^^^^
       The variable `asked` has no default, and must be given: The region to run in.
    hint: give it with `--var asked=…`, or set GABION_VAR_asked

    error: expression in a variable's value
      --> gabion.yml:9:15
    9 |   expression: ${{ env.X }}
      |               ^^^^^^^^^^^^
       Variables are known before anything else, so no expression can stand here.
    hint: write the value itself; use the variable where the expression is needed
    ");
}
