use insta::assert_snapshot;

use super::super::{
    DocumentRegistry, GivenVariables, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use crate::diagnostic::Diagnostics;
use crate::resource::Configuration;

fn lower(texts: &[(&str, &str)]) -> (Configuration, Diagnostics) {
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
    let (project, mut problems) = Project::parse_with(sources, &GivenVariables::default());
    let (configuration, found) = project.lower(inputs, &problems);
    problems.extend(found);
    (configuration, problems)
}

fn problems(texts: &[(&str, &str)]) -> String {
    lower(texts).1.to_string()
}

const MODULE: &str = "\
inputs:
  region: {type: string}
  size: 2
outputs:
  summary: ${{ gabion_data.box.output }} in ${{ inputs.region }}
  size: ${{ inputs.size }}
  inner: ${{ module.deep.said }}
";

const DOCUMENTS: &str = "\
type: resource
kind: gabion_data
name: box
properties: {input: '${{ gabion_data.part/b.output }}', region: '${{ inputs.region }}', size: '${{ inputs.size }}'}
depends_on: [gabion_data.part/a]
lifecycle: {replace_triggered_by: [gabion_data.part/a.output]}
---
type: resource
for_each: [a, b]
kind: gabion_data
name: part
properties: {key: '${{ each.key }}', of: '${{ gabion_data.other.output }}'}
---
{type: module, name: deep, source: ../deep, inputs: {word: '${{ gabion_data.box.id }}!'}}
---
{type: moved, from: gabion_data.old, to: gabion_data.box}
";

const DEEP: &str = "{inputs: {word: {type: string}}, outputs: {said: '${{ gabion_data.echo.output }}'}}";
const ECHO: &str =
    "{type: resource, kind: gabion_data, name: echo, properties: {word: 'is ${{ inputs.word }}'}}";

const MAIN: &str = "\
type: module
name: edge
source: ./modules/edge
for_each: {eu: 1, us: 5}
inputs: {region: '${{ each.key }}-${{ vars.number }}', size: '${{ each.value }}'}
---
type: module
name: after
source: modules/deep
inputs: {word: '${{ module.edge-eu.summary }}'}
---
type: resource
kind: gabion_data
name: other
properties: {size: '${{ module.edge-us.size }}', said: '${{ module.after.said }}, ${{ module.edge-eu.inner }}'}
";

const ALL: [(&str, &str); 6] = [
    (
        "gabion.yml",
        "vars: {number: 7}\noutputs: {summary: '${{ module.edge-us.summary }}'}\n",
    ),
    ("a.gabion.yml", MAIN),
    ("modules/edge/module.yml", MODULE),
    ("modules/edge/a.gabion.yml", DOCUMENTS),
    ("modules/deep/module.yml", DEEP),
    ("modules/deep/a.gabion.yml", ECHO),
];

#[test]
fn a_module_is_used_as_often_as_wanted() {
    let (configuration, problems) = lower(&ALL);
    // `other` is declared outside: what a module refers to and does not declare is taken as it is.
    assert!(problems.is_empty(), "{problems}");
    let mut said: String = configuration
        .resources
        .iter()
        .map(|resource| {
            let after: Vec<String> = resource.depends_on.iter().map(|(on, _)| on.to_string()).collect();
            let place = resource.place_of(&crate::value::AttributePath::default());
            format!(
                "{} {:?} after {after:?} at {place}\n",
                resource.address, resource.inputs
            )
        })
        .collect();
    said += &format!("outputs {:?}\n", configuration.outputs);
    let moves = &configuration.directives.moved;
    said.extend(
        moves
            .iter()
            .map(|moved| format!("{} -> {}\n", moved.from, moved.to)),
    );
    let triggers = &configuration
        .resources
        .iter()
        .find(|found| found.address.to_string() == "gabion_data.edge-eu/box");
    said += &format!("{:?}\n", triggers.unwrap().lifecycle.replace_triggered_by);
    assert_snapshot!(said, @r#"
    gabion_data.after/echo {"word": Unknown(is ${{ gabion_data.edge-eu/box.output }} in eu-7)} after [] at modules/deep/a.gabion.yml:1:24
    gabion_data.edge-eu/box {"input": Unknown(${{ gabion_data.edge-eu/part/b.output }}), "region": "eu-7", "size": 1} after ["gabion_data.edge-eu/part/a"] at modules/edge/a.gabion.yml:2:7
    gabion_data.edge-eu/deep/echo {"word": Unknown(is ${{ gabion_data.edge-eu/box.id }}!)} after [] at modules/deep/a.gabion.yml:1:24
    gabion_data.edge-eu/part/a {"key": "a", "of": Unknown(${{ gabion_data.other.output }})} after [] at modules/edge/a.gabion.yml:10:7
    gabion_data.edge-eu/part/b {"key": "b", "of": Unknown(${{ gabion_data.other.output }})} after [] at modules/edge/a.gabion.yml:10:7
    gabion_data.edge-us/box {"input": Unknown(${{ gabion_data.edge-us/part/b.output }}), "region": "us-7", "size": 5} after ["gabion_data.edge-us/part/a"] at modules/edge/a.gabion.yml:2:7
    gabion_data.edge-us/deep/echo {"word": Unknown(is ${{ gabion_data.edge-us/box.id }}!)} after [] at modules/deep/a.gabion.yml:1:24
    gabion_data.edge-us/part/a {"key": "a", "of": Unknown(${{ gabion_data.other.output }})} after [] at modules/edge/a.gabion.yml:10:7
    gabion_data.edge-us/part/b {"key": "b", "of": Unknown(${{ gabion_data.other.output }})} after [] at modules/edge/a.gabion.yml:10:7
    gabion_data.other {"said": Unknown(${{ gabion_data.after/echo.output }}, ${{ gabion_data.edge-eu/deep/echo.output }}), "size": 5} after [] at a.gabion.yml:13:7
    outputs {"summary": Unknown(${{ gabion_data.edge-us/box.output }} in us-7)}
    gabion_data.edge-eu/old -> gabion_data.edge-eu/box
    gabion_data.edge-us/old -> gabion_data.edge-us/box
    ["${{ gabion_data.edge-eu/part/a.output }}"]
    "#);
}

#[test]
fn what_is_wrong_in_a_module_has_a_place_in_it() {
    let mut texts = ALL.to_vec();
    texts[1].1 = "\
{type: module, name: edge, source: ./modules/edge, inputs: {size: many, regoin: eu}}
---
{type: module, name: fine, source: ./modules/bad, inputs: {}}
---
{type: module, name: nowhere, source: ./modules/edeg}
---
{type: module, name: absolute, source: /etc}
---
{type: module, name: a/b, source: modules/deep}
---
{type: resource, kind: gabion_data, name: x, properties: {a: '${{ inputs.a }}', b: '${{ module.nothing.x }}', c: '${{ module.self.x }}'}}
---
{type: module, name: self, source: modules/self}
---
{type: module, name: one, source: modules/deep, inputs: {word: '${{ module.two.said }}'}}
---
{type: module, name: two, source: modules/deep, inputs: {word: '${{ module.one.said }}'}}
";
    texts[0].1 = "{}";
    texts.push((
        "modules/bad/a.gabion.yml",
        "{type: resource, kind: gabion_data, name: '${{ inputs.x }}', properties: {a: '${{ vars.number }}', b: '${{ inputs.y }}', c: '${{ gabion_data.nope.id }}'}}\n",
    ));
    texts.push((
        "modules/self/a.gabion.yml",
        "{type: module, name: again, source: ../self}\n",
    ));
    assert_snapshot!(problems(&texts), @r"
    error: input without a value
      --> a.gabion.yml:1:22
    1 | {type: module, name: edge, source: ./modules/edge, inputs: {size: many, regoin: eu}}
      |                      ^^^^
       The module's input `region` has no default, and must be given.
      --> modules/edge/module.yml:2:3: declared here
    hint: add it under `inputs`: `region: …`

    error: wrong type
      --> a.gabion.yml:1:67
    1 | {type: module, name: edge, source: ./modules/edge, inputs: {size: many, regoin: eu}}
      |                                                                   ^^^^
       Expected a whole number, found text `many`.
      --> modules/edge/module.yml:3:3: declared here
    hint: write a whole number

    error: unknown input
      --> a.gabion.yml:1:73
    1 | {type: module, name: edge, source: ./modules/edge, inputs: {size: many, regoin: eu}}
      |                                                                         ^^^^^^
       The module declares no input `regoin`.
    hint: did you mean `region`?

    error: unknown module
      --> a.gabion.yml:5:39
    5 | {type: module, name: nowhere, source: ./modules/edeg}
      |                                       ^^^^^^^^^^^^^^
       `modules/edeg` holds no documents and no `module.yml`.
    hint: the path counts from the directory of this file

    error: invalid source of a module
      --> a.gabion.yml:7:40
    7 | {type: module, name: absolute, source: /etc}
      |                                        ^^^^
       `/etc` is no relative path.
    hint: such as `./modules/edge`

    error: invalid name
      --> a.gabion.yml:9:22
    9 | {type: module, name: a/b, source: modules/deep}
      |                      ^^^
       `a/b` cannot be the name of a module. It must be one word of a path.
    hint: such as `qwen-chat`

    error: `inputs` outside a module
      --> a.gabion.yml:11:67
    11 | {type: resource, kind: gabion_data, name: x, properties: {a: '${{ inputs.a }}', b: '${{ module.nothing.x }}', c: '${{ module.self.x }}'}}
       |                                                                   ^^^^^^^^
       `inputs` has a meaning only in the files of a module.
    hint: declare a variable under `vars`, and write `${{ vars.NAME }}`

    error: unknown reference
      --> a.gabion.yml:11:89
    11 | {type: resource, kind: gabion_data, name: x, properties: {a: '${{ inputs.a }}', b: '${{ module.nothing.x }}', c: '${{ module.self.x }}'}}
       |                                                                                         ^^^^^^^^^^^^^^^^
       No module `nothing` is used here.
    hint: write `${{ module.NAME.OUTPUT }}`, with the name of a `type: module` document

    error: unknown reference
      --> a.gabion.yml:11:119
    11 | {type: resource, kind: gabion_data, name: x, properties: {a: '${{ inputs.a }}', b: '${{ module.nothing.x }}', c: '${{ module.self.x }}'}}
       |                                                                                                                       ^^^^^^^^^^^^^
       `module.self.x` is not in the value of `module` here.
      --> a.gabion.yml:13:36: the value is here
    hint: write a key that it has

    error: modules that need each other
      --> a.gabion.yml:15:1
    15 | {type: module, name: one, source: modules/deep, inputs: {word: '${{ module.two.said }}'}}
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       This module's inputs use outputs of a module that in turn needs this one's.
    hint: give one of them a value that does not come from the other

    error: modules that need each other
      --> a.gabion.yml:17:1
    17 | {type: module, name: two, source: modules/deep, inputs: {word: '${{ module.one.said }}'}}
       | ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       This module's inputs use outputs of a module that in turn needs this one's.
    hint: give one of them a value that does not come from the other

    error: expression in a name
      --> modules/bad/a.gabion.yml:1:43
    1 | {type: resource, kind: gabion_data, name: '${{ inputs.x }}', properties: {a: '${{ vars.number }}', b: '${{ inputs.y }}', c: '${{ gabion_data.nope.id }}'}}
      |                                           ^^^^^^^^^^^^^^^^^
       A name within a module holds no expression: it gets the module's name in front.
    hint: write a plain name; `for_each` gives each copy its key

    error: unknown input
      --> modules/bad/a.gabion.yml:1:48
    1 | {type: resource, kind: gabion_data, name: '${{ inputs.x }}', properties: {a: '${{ vars.number }}', b: '${{ inputs.y }}', c: '${{ gabion_data.nope.id }}'}}
      |                                                ^^^^^^^^
       The module declares no input `x`.
    hint: declare it in the module's `module.yml` under `inputs`

    error: `vars` within a module
      --> modules/bad/a.gabion.yml:1:83
    1 | {type: resource, kind: gabion_data, name: '${{ inputs.x }}', properties: {a: '${{ vars.number }}', b: '${{ inputs.y }}', c: '${{ gabion_data.nope.id }}'}}
      |                                                                                   ^^^^^^^^^^^
       The variables of the project have no meaning in the files of a module.
    hint: declare an input in `module.yml`, and give it the variable where the module is used

    error: unknown input
      --> modules/bad/a.gabion.yml:1:108
    1 | {type: resource, kind: gabion_data, name: '${{ inputs.x }}', properties: {a: '${{ vars.number }}', b: '${{ inputs.y }}', c: '${{ gabion_data.nope.id }}'}}
      |                                                                                                            ^^^^^^^^
       The module declares no input `y`.
    hint: declare it in the module's `module.yml` under `inputs`

    error: module within itself
      --> modules/self/a.gabion.yml:1:37
    1 | {type: module, name: again, source: ../self}
      |                                     ^^^^^^^
       The module in `modules/self` uses itself, by way of modules/self.
    hint: take one of the uses out
    ");
}

#[test]
fn data_is_the_modules_own_by_kind_and_name() {
    let (configuration, problems) = lower(&[
        ("gabion.yml", "project: demo\n"),
        (
            "a.gabion.yml",
            "{type: module, name: edge, source: inner}\n---\n{type: data, kind: other_data, name: zone, properties: {input: 1}}\n",
        ),
        (
            "inner/a.gabion.yml",
            "{type: data, kind: gabion_data, name: zone, for_each: [a], properties: {input: 2}}\n---\n\
             {type: resource, kind: gabion_data, name: box, properties: {\
             own: '${{ data.gabion_data.zone/a.output }}', outer: '${{ data.other_data.zone.output }}'}}\n",
        ),
    ]);
    assert!(problems.is_empty(), "{problems}");
    assert_snapshot!(format!("{:?}", configuration.resources[0].inputs), @r#"{"outer": Unknown(${{ data.other_data.zone.output }}), "own": Unknown(${{ data.gabion_data.edge/zone/a.output }})}"#);
}
