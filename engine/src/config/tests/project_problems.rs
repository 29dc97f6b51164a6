//! Every problem of a project is told, once and where it is.

use insta::assert_snapshot;

use super::super::{Purpose, parse_yaml};
use super::project::{lower, problems};
use crate::diagnostic::SourceFile;

#[test]
fn every_problem_of_every_stage_is_in_one_run() {
    assert_snapshot!(problems(&[
        (
            "gabion.yml",
            "project: Bad_Name\nsecrets: {token: hunter2, other: {env: A-B}, unset: {env: UNSET}}\ntokens: {ci: plain}\nbackend: local\noutputs: {x: '${{ gabion_data.nope.output }}'}\n",
        ),
        (
            "network.gabion.yml",
            "type: resource\nkind: gabion_data\nname: public\nproperties:\n  input: 1\n---\ntype: resource\nkind: gabion_data\nname: public\n---\ntype: servce\nname: x\n---\nname: y\n---\n- 5\n",
        ),
        (
            "web.gabion.yml",
            "type: resource\nkind: gabion_data\nname: web\nproperties:\n  list:\n  - subnet: ${{ gabion_data.pubic.output }}\n  - text: |\n      one\n      two ${{ env.UNSET }} and ${{ secrets.tken }}\n  bad: ${{ x y }}\n---\ntype: resource\nkind: gabion_data\nname: web2\nproperties:\n  list:\n  - subnet: ${{ gabion_data.pubic.output }}\n  - text: |\n      one\n      two ${{ env.UNSET }} and ${{ secrets.tken }} ${{ secrets.unset }}\n  web: ${{ gabion_data.web.output }} ${{ vars.x }}\ndepends_on: [gabion_data.nothing, 'no address']\ntimeouts: {creat: 5}\n---\ntype: resource\nkind: gabion_data\nname: web3\nproperties: {input: '${{ gabion_data.web3x.output }}', web: '${{ gabion_data.web2.x }}'}\nlifecycle: {replace_triggered_by: [gabion_data.web4]}\nconditions: {after: [{condition: '${{ gabion_data.zzz.x }} == 1', error_message: no}, {condition: 5}]}\n",
        ),
        ("empty.gabion.yml", "# nothing\n"),
    ]), @r"
    error: empty file
      --> empty.gabion.yml:1:1
    1 | # nothing
      | ^
       `empty.gabion.yml` holds no document.
    hint: write a document, or remove the file

    error: invalid name
      --> gabion.yml:1:10
    1 | project: Bad_Name
      |          ^^^^^^^^
       `Bad_Name` cannot be the name of a project. It must start with a lower-case letter.
    hint: such as `qwen-chat`

    error: secret without a source
      --> gabion.yml:2:18
    2 | secrets: {token: xxxxxxx, other: {env: A-B}, unset: {env: UNSET}}
      |                  ^^^^^^^
       A secret says where its value comes from; the value itself must not be written here.
    hint: write `{env: VARIABLE}`, `{file: PATH}` or `{command: [PROGRAM, ARGUMENT]}`

    error: invalid variable name
      --> gabion.yml:2:40
    2 | secrets: {token: xxxxxxx, other: {env: A-B}, unset: {env: UNSET}}
      |                                        ^^^
       A variable's name has letters, digits and `_`, and starts with no digit.
    hint: write the variable's name, without `$`

    error: environment variable is not set
      --> gabion.yml:2:53
    2 | secrets: {token: xxxxxxx, other: {env: A-B}, unset: {env: UNSET}}
      |                                                     ^^^^^^^^^^^^
       `UNSET` is not set in the environment. The secret `unset` comes from it.
    hint: set it: export UNSET=…

    error: token that is no secret
      --> gabion.yml:3:14
    3 | tokens: {ci: plain}
      |              ^^^^^
       The token `ci` must be exactly one secret.
    hint: declare it under `secrets` and write `${{ secrets.NAME }}`

    error: unknown key
      --> gabion.yml:4:1
    4 | backend: local
      | ^^^^^^^
       A project has no key `backend`.
    hint: did you mean `backends`?

    error: unknown reference
      --> gabion.yml:5:19
    5 | outputs: {x: '${{ gabion_data.nope.output }}'}
      |                   ^^^^^^^^^^^^^^^^^^^^^^^
       An output uses `gabion_data.nope`, which no document declares.
    hint: declare it, or write the address of a resource that is declared

    error: duplicate address
      --> network.gabion.yml:8:7
    8 | kind: gabion_data
      |       ^^^^^^^^^^^
       `gabion_data.public` is declared twice.
      --> network.gabion.yml:2:7: first declared here
    hint: rename one of the two

    error: unknown document type
      --> network.gabion.yml:11:7
    11 | type: servce
       |       ^^^^^^
       This build of gabion has no document type `servce`.
    hint: the types are data, import, module, moved, removed, resource

    error: document without a type
      --> network.gabion.yml:14:1
    14 | name: y
       | ^^^^^^^
       Every document says what it is in its key `type`.
    hint: add `type: service`, or the type that it is; documents are separated by `---`

    error: wrong type
      --> network.gabion.yml:16:3
    16 | - 5
       |   ^
       Expected a document: a map with the key `type`, found a list.
    hint: write a document: a map with the key `type`

    error: unknown reference
      --> web.gabion.yml:6:17
    6 |   - subnet: ${{ gabion_data.pubic.output }}
      |                 ^^^^^^^^^^^^^^^^^^^^^^^^
       `gabion_data.web` uses `gabion_data.pubic`, which no document declares.
    hint: did you mean `gabion_data.public` (network.gabion.yml:2:7)?

    error: environment variable is not set
      --> web.gabion.yml:9:15
    9 |       two ${{ env.UNSET }} and ${{ secrets.tken }}
      |               ^^^^^^^^^
       `UNSET` is not set in the environment. `gabion_data.web` needs it.
    hint: set it: export UNSET=…

    error: unknown secret
      --> web.gabion.yml:9:36
    9 |       two ${{ env.UNSET }} and ${{ secrets.tken }}
      |                                    ^^^^^^^^^^^^
       The project declares no secret `tken`.
    hint: did you mean `token`?

    error: invalid expression
      --> web.gabion.yml:10:14
    10 |   bad: ${{ x y }}
       |              ^
       Expected `}}`: an expression is one reference.
    hint: write `${{ env.NAME }}`, `${{ secrets.NAME }}` or `${{ type.name.attribute }}`

    error: unknown reference
      --> web.gabion.yml:17:17
    17 |   - subnet: ${{ gabion_data.pubic.output }}
       |                 ^^^^^^^^^^^^^^^^^^^^^^^^
       `gabion_data.web2` uses `gabion_data.pubic`, which no document declares.
    hint: did you mean `gabion_data.public` (network.gabion.yml:2:7)?

    error: environment variable is not set
      --> web.gabion.yml:20:15
    20 |       two ${{ env.UNSET }} and ${{ secrets.tken }} ${{ secrets.unset }}
       |               ^^^^^^^^^
       `UNSET` is not set in the environment. `gabion_data.web2` needs it.
    hint: set it: export UNSET=…

    error: unknown secret
      --> web.gabion.yml:20:36
    20 |       two ${{ env.UNSET }} and ${{ secrets.tken }} ${{ secrets.unset }}
       |                                    ^^^^^^^^^^^^
       The project declares no secret `tken`.
    hint: did you mean `token`?

    error: unknown variable
      --> web.gabion.yml:21:42
    21 |   web: ${{ gabion_data.web.output }} ${{ vars.x }}
       |                                          ^^^^^^
       The project declares no variable `x`.
    hint: declare it in `gabion.yml` under `vars`

    error: unknown reference
      --> web.gabion.yml:22:14
    22 | depends_on: [gabion_data.nothing, 'no address']
       |              ^^^^^^^^^^^^^^^^^^^
       `gabion_data.web2` uses `gabion_data.nothing`, which no document declares.
    hint: declare it, or write the address of a resource that is declared

    error: invalid address
      --> web.gabion.yml:22:35
    22 | depends_on: [gabion_data.nothing, 'no address']
       |                                   ^^^^^^^^^^^^
       `no address` is not an address: it has no `.` between type and name.
    hint: write `kind.name`, such as `gabion_data.a`

    error: unknown key
      --> web.gabion.yml:23:12
    23 | timeouts: {creat: 5}
       |            ^^^^^
       A timeouts map has no key `creat`.
    hint: did you mean `create`?

    error: unknown reference
      --> web.gabion.yml:28:26
    28 | properties: {input: '${{ gabion_data.web3x.output }}', web: '${{ gabion_data.web2.x }}'}
       |                          ^^^^^^^^^^^^^^^^^^^^^^^^
       `gabion_data.web3` uses `gabion_data.web3x`, which no document declares.
    hint: did you mean `gabion_data.web3` (web.gabion.yml:26:7)?

    error: unknown reference
      --> web.gabion.yml:29:36
    29 | lifecycle: {replace_triggered_by: [gabion_data.web4]}
       |                                    ^^^^^^^^^^^^^^^^
       `gabion_data.web3` uses `gabion_data.web4`, which no document declares.
    hint: did you mean `gabion_data.web` (web.gabion.yml:2:7)?

    error: unknown reference
      --> web.gabion.yml:30:39
    30 | conditions: {after: [{condition: '${{ gabion_data.zzz.x }} == 1', error_message: no}, {condition: 5}]}
       |                                       ^^^^^^^^^^^^^^^^^
       A condition of `gabion_data.web3` uses `gabion_data.zzz`, which no document declares.
    hint: declare it, or write the address of a resource that is declared

    error: missing key
      --> web.gabion.yml:30:87
    30 | conditions: {after: [{condition: '${{ gabion_data.zzz.x }} == 1', error_message: no}, {condition: 5}]}
       |                                                                                       ^^^^^^^^^^^^^^
       A condition needs the key `error_message`.
    hint: add `error_message: …` (text)

    error: invalid condition
      --> web.gabion.yml:30:99
    30 | conditions: {after: [{condition: '${{ gabion_data.zzz.x }} == 1', error_message: no}, {condition: 5}]}
       |                                                                                                   ^
       This condition compares nothing.
    hint: write `${{ a }} == value` with one of == != < <= > >=, or `${{ a }}` or `!${{ a }}`
    ");
}

#[test]
fn references_are_not_blamed_when_a_file_cannot_be_parsed() {
    assert_snapshot!(problems(&[
        ("a.gabion.yml", "type: resource\nkind: gabion_data\nname: a\nproperties: {x: '${{ gabion_data.b.output }}'}\n"),
        ("b.gabion.yml", "type: resource\nkind: gabion_data\nname: b\nproperties: {x: [1}\n"),
    ]), @r"
    error: invalid YAML
      --> b.gabion.yml:4:17
    4 | properties: {x: [1}
      |                 ^
       The file is not valid YAML here: mismatched bracket '[' closed by '}'.
    hint: close the bracket, or quote the text if the bracket is part of it
    ");
}

#[test]
fn a_document_that_is_no_yaml_hides_no_problem_of_the_others() {
    let one = "type: resource\nkind: gabion_data\nname: ";
    let text = format!(
        "{one}a\nproperties: {{x: '${{{{ gabion_data.b.output }}}}'}}\n--- # broken\r\n{one}b\nproperties: {{x: [é}}\n---\n{one}c\n\
         lifecycel: {{}}\n---\n{one}d\nproperties:\n  x: \"open\n---\n{one}e\ndepends_on: 5\n"
    );
    assert_snapshot!(problems(&[("a.gabion.yml", &text)]), @r"
    error: invalid YAML
      --> a.gabion.yml:9:17
    9 | properties: {x: [é}
      |                 ^
       The file is not valid YAML here: mismatched bracket '[' closed by '}'.
    hint: close the bracket, or quote the text if the bracket is part of it

    error: unknown key
      --> a.gabion.yml:14:1
    14 | lifecycel: {}
       | ^^^^^^^^^
       A resource has no key `lifecycel`.
    hint: did you mean `lifecycle`?

    error: invalid YAML
      --> a.gabion.yml:21:1
    21 | ---
       | ^
       The file is not valid YAML here: invalid indentation in multiline quoted scalar.
    hint: close the quotes

    error: wrong type
      --> a.gabion.yml:25:13
    25 | depends_on: 5
       |             ^
       Expected a list, found a number `5`.
    hint: write a list
    ");
}

#[test]
fn a_misnamed_resource_is_reported_once_and_what_refers_to_it_is_not_blamed() {
    let text = "\
type: resource
kind: gabion_data
name: a/b
---
type: resource
kind: gabion_data
name: c
properties:
  input: ${{ gabion_data[\"a/b\"].id }}
";
    let (configuration, problems) = lower(&[("a.gabion.yml", text)], Purpose::Plan);
    let codes: Vec<_> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["bad-name"], "{problems}");
    let names: Vec<_> = configuration
        .resources
        .iter()
        .map(|r| r.address.to_string())
        .collect();
    assert_eq!(names, ["gabion_data.c"]);
}

#[test]
fn aliases_of_a_file_with_a_broken_document_expand_to_no_more() {
    let mut text = "x: [1}\n".to_owned();
    for _ in 0..30 {
        let items = vec!["*b"; 60].join(", ");
        text.push_str(&format!(
            "---\na: &b [{}]\nc: [{items}]\n",
            vec!["1"; 200].join(", ")
        ));
    }
    let (documents, problems) = parse_yaml(&SourceFile::new("a.gabion.yml", text));
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes.first(), Some(&"yaml-syntax"));
    assert!(codes.contains(&"alias-expansion"), "{codes:?}");
    assert!(documents.len() < 12, "{}", documents.len());
}

#[test]
fn conflicting_directives_name_both_places() {
    let moved =
        |from: &str, to: &str| format!("---\ntype: moved\nfrom: gabion_data.{from}\nto: gabion_data.{to}\n");
    let resource = |name: &str| format!("---\ntype: resource\nkind: gabion_data\nname: {name}\n");
    let good = [
        resource("a"),
        resource("b"),
        moved("a", "b"),
        moved("b", "a"),
        moved("x", "y"),
        moved("y", "c"),
        resource("c"),
    ];
    assert_eq!(problems(&[("a.gabion.yml", &good.concat())]), "");
    let bad = [
        resource("a"),
        resource("b"),
        resource("c"),
        moved("a", "b"),
        moved("x", "b"),
        moved("x", "c"),
        moved("c", "c"),
        moved("z", "nowhere"),
        "---\ntype: moved\nfrom: other_kind.q\nto: gabion_data.a\n".to_owned(),
        "---\ntype: removed\nfrom: gabion_data.a\nlifecycle: {destroy: true}\n".to_owned(),
        "---\ntype: removed\nfrom: gabion_data.x\nlifecycle: {}\n".to_owned(),
        "---\ntype: removed\nfrom: gabion_data.x\nlifecycle: {destroy: yes}\n".to_owned(),
        "---\ntype: removed\nfrom: gabion_data.x\nlifecycle: {destroy: off}\n".to_owned(),
        "---\ntype: import\nto: gabion_data.b\nid: 1\n".to_owned(),
        "---\ntype: import\nto: gabion_data.b\nid: 2\n".to_owned(),
        "---\ntype: import\nto: gabion_data.d\n".to_owned(),
    ];
    assert_snapshot!(problems(&[("a.gabion.yml", &bad.concat())]), @r"
    error: move that cannot be done
      --> a.gabion.yml:19:7
    19 | from: gabion_data.x
       |       ^^^^^^^^^^^^^
       Two objects are moved to `gabion_data.b`.
      --> a.gabion.yml:15:7: the first is here
    hint: remove one of the two

    error: move that cannot be done
      --> a.gabion.yml:23:7
    23 | from: gabion_data.x
       |       ^^^^^^^^^^^^^
       `gabion_data.x` is moved twice.
      --> a.gabion.yml:19:7: the first is here
    hint: remove one of the two

    error: move that cannot be done
      --> a.gabion.yml:27:7
    27 | from: gabion_data.c
       |       ^^^^^^^^^^^^^
       `gabion_data.c` is moved to itself.
    hint: remove the document

    error: unknown reference
      --> a.gabion.yml:31:7
    31 | from: gabion_data.z
       |       ^^^^^^^^^^^^^
       This document uses `gabion_data.nowhere`, which no document declares.
    hint: declare it, or write the address of a resource that is declared

    error: move that cannot be done
      --> a.gabion.yml:35:7
    35 | from: other_kind.q
       |       ^^^^^^^^^^^^
       `other_kind.q` cannot become `gabion_data.a`: an object keeps its kind.
    hint: an object of another kind is a new object

    error: removal that cannot be done
      --> a.gabion.yml:39:7
    39 | from: gabion_data.a
       |       ^^^^^^^^^^^^^
       `gabion_data.a` is removed and moved.
      --> a.gabion.yml:15:7: moved here
    hint: remove one of the two

    error: removal that cannot be done
      --> a.gabion.yml:39:7
    39 | from: gabion_data.a
       |       ^^^^^^^^^^^^^
       `gabion_data.a` is removed and still declared.
      --> a.gabion.yml:3:7: declared here
    hint: remove one of the two

    error: missing key
      --> a.gabion.yml:44:12
    44 | lifecycle: {}
       |            ^^
       A lifecycle map needs the key `destroy`.
    hint: add `destroy: …` (`true` or `false`)

    error: removal that cannot be done
      --> a.gabion.yml:47:7
    47 | from: gabion_data.x
       |       ^^^^^^^^^^^^^
       `gabion_data.x` is removed and moved.
      --> a.gabion.yml:19:7: moved here
    hint: remove one of the two

    error: removal that cannot be done
      --> a.gabion.yml:51:7
    51 | from: gabion_data.x
       |       ^^^^^^^^^^^^^
       `gabion_data.x` is removed and moved.
      --> a.gabion.yml:19:7: moved here
    hint: remove one of the two

    error: removal that cannot be done
      --> a.gabion.yml:51:7
    51 | from: gabion_data.x
       |       ^^^^^^^^^^^^^
       `gabion_data.x` is removed twice.
      --> a.gabion.yml:47:7: the first is here
    hint: remove one of the two

    error: import that cannot be done
      --> a.gabion.yml:55:5
    55 | to: gabion_data.b
       |     ^^^^^^^^^^^^^
       An object is imported as `gabion_data.b`, and another is moved there.
      --> a.gabion.yml:15:7: moved here
    hint: remove one of the two

    error: import that cannot be done
      --> a.gabion.yml:59:5
    59 | to: gabion_data.b
       |     ^^^^^^^^^^^^^
       An object is imported as `gabion_data.b`, and another is moved there.
      --> a.gabion.yml:15:7: moved here
    hint: remove one of the two

    error: import that cannot be done
      --> a.gabion.yml:59:5
    59 | to: gabion_data.b
       |     ^^^^^^^^^^^^^
       Two objects are imported as `gabion_data.b`.
      --> a.gabion.yml:55:5: the first is here
    hint: remove one of the two

    error: missing key
      --> a.gabion.yml:62:7
    62 | type: import
       |       ^^^^^^
       An import document needs the key `id`.
    hint: add `id: …` (text)
    ");
}

#[test]
fn a_wrong_version_is_the_only_thing_reported() {
    let settings = "required_version: '>= 2'\n";
    assert_snapshot!(problems(&[("gabion.yml", settings), ("a.gabion.yml", "type: nothing\n")]), @r"
    error: wrong version of gabion
      --> gabion.yml:1:19
    1 | required_version: '>= 2'
      |                   ^^^^^^
       This is gabion 0.1.0, and the project requires >= 2.
    hint: install a version that the project allows
    ");
}
