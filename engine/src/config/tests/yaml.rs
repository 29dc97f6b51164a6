use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::{NodeKind, parse_yaml};
use super::{node, yaml_problems};
use crate::diagnostic::SourceFile;

fn outline(text: &str) -> String {
    fn walk(node: &super::Node, depth: usize, out: &mut String) {
        let pad = "  ".repeat(depth);
        let alias = node
            .alias
            .as_ref()
            .map(|alias| format!(" via {alias:?}"))
            .unwrap_or_default();
        let mut line = |what: String| out.push_str(&format!("{pad}{what} {:?}{alias}\n", node.span));
        match &node.kind {
            NodeKind::List(items) => {
                line("list".into());
                items.iter().for_each(|item| walk(item, depth + 1, out));
            }
            NodeKind::Map(entries) => {
                line("map".into());
                for (key, value) in entries {
                    out.push_str(&format!("{pad}- {} {:?}\n", key.name, key.span));
                    walk(value, depth + 1, out);
                }
            }
            scalar => line(format!("{scalar:?}")),
        }
    }
    let mut out = String::new();
    let (documents, problems) = parse_yaml(&SourceFile::new("a", text));
    documents.iter().for_each(|document| walk(document, 0, &mut out));
    out + &problems.to_string()
}

#[test]
fn every_value_and_collection_has_its_place() {
    assert_snapshot!(outline("type: service\nports: [80, 'x'  ]\nmap:\n  a: |\n    one\n    two\n  b:\nlist:\n- x: 1\n- {y: 2.50, z: off}\n"), @r#"
    map a:1:1-1:14
    - type a:1:1-1:5
      String("service") a:1:7-1:14
    - ports a:2:1-2:6
      list a:2:8-2:19
        Int(80) a:2:9-2:11
        String("x") a:2:13-2:16
    - map a:3:1-3:4
      map a:3:1-3:4
      - a a:4:3-4:4
        String("one\ntwo\n") a:5:5-6:8
      - b a:7:3-7:4
        Null a:7:3-7:4
    - list a:8:1-8:5
      list a:8:1-8:5
        map a:9:3-9:7
        - x a:9:3-9:4
          Int(1) a:9:6-9:7
        map a:10:3-10:20
        - y a:10:4-10:5
          Float(2.5) a:10:7-10:11
        - z a:10:13-10:14
          String("off") a:10:16-10:19
    "#);
}

#[test]
fn aliases_and_merges_keep_both_places() {
    assert_snapshot!(outline("base: &base\n  cpu: 2\n  gpu: &gpu A100\nuse: *gpu\nmore:\n  <<: *base\n  cpu: 4\n"), @r#"
    map a:1:1-1:12
    - base a:1:1-1:5
      map a:1:1-1:5
      - cpu a:2:3-2:6
        Int(2) a:2:8-2:9
      - gpu a:3:3-3:6
        String("A100") a:3:13-3:17
    - use a:4:1-4:4
      String("A100") a:3:13-3:17 via a:4:6-4:10
    - more a:5:1-5:5
      map a:5:1-5:5
      - cpu a:7:3-7:6
        Int(4) a:7:8-7:9
      - gpu a:3:3-3:6
        String("A100") a:3:13-3:17 via a:6:7-6:12
    "#);
}

#[test]
fn scalars_read_as_core_schema_and_keep_their_text() {
    let check = |text: &str, kind: NodeKind, source: Option<&str>| {
        let value = node(&format!("a: {text}"));
        let value = value.get("a").unwrap();
        assert_eq!((&value.kind, value.text()), (&kind, source), "{text}");
    };
    let string = |text: &str| NodeKind::String(text.into());
    check("3.10", NodeKind::Float(3.1), Some("3.10"));
    check("off", string("off"), Some("off"));
    check("TRUE", NodeKind::Bool(true), Some("TRUE"));
    check("010", string("010"), Some("010"));
    check("1_000", string("1_000"), Some("1_000"));
    check("80:22", string("80:22"), Some("80:22"));
    check("0x10", NodeKind::Int(16), Some("0x10"));
    check("-5", NodeKind::Int(-5), Some("-5"));
    check("2026-11-22", string("2026-11-22"), Some("2026-11-22"));
    check("'5'", string("5"), Some("5"));
    check("!!str 5", string("5"), Some("5"));
    check(".inf", string(".inf"), Some(".inf"));
    check("~", NodeKind::Null, None);
    check("", NodeKind::Null, None);
    check("${{ a.b.c }}", string("${{ a.b.c }}"), Some("${{ a.b.c }}"));
}

#[test]
fn empty_documents_are_left_out() {
    for text in ["", "# nothing\n", "---\n", "---\n---\n\n", "\u{feff}", "~"] {
        let (documents, problems) = parse_yaml(&SourceFile::new("a", text));
        assert!(
            documents.is_empty() && problems.is_empty(),
            "{text:?}: {problems}"
        );
    }
    let (documents, _) = parse_yaml(&SourceFile::new("a", "a: 1\n---\n---\nb: 2\n...\n"));
    assert_eq!(documents.len(), 2);
}

#[test]
fn all_duplicate_keys_are_reported_with_both_places() {
    assert_snapshot!(yaml_problems("a: 1\nb:\n- x: 1\n  x: 2\na: 3\n---\nq: {r: 1, r: 1}\n"), @r"
    error: duplicate key
      --> a.gabion.yml:4:3
    4 |   x: 2
      |   ^
       The key `x` is already set in this map.
      --> a.gabion.yml:3:3: first set here
    hint: remove one of the two

    error: duplicate key
      --> a.gabion.yml:5:1
    5 | a: 3
      | ^
       The key `a` is already set in this map.
      --> a.gabion.yml:1:1: first set here
    hint: remove one of the two

    error: duplicate key
      --> a.gabion.yml:7:11
    7 | q: {r: 1, r: 1}
      |           ^
       The key `r` is already set in this map.
      --> a.gabion.yml:7:5: first set here
    hint: remove one of the two
    ");
}

#[test]
fn broken_syntax_says_where_and_what_to_do() {
    let broken = [
        "a: b: c",
        "a:\n\tb: 1",
        "a: \"open\nb: 2",
        "a: [1, 2",
        "a: 1\n b: 2",
        "- a\nb: c",
        "a: @x",
        "a: *nope",
        "a: !foo x",
        "a: &a [*a]",
        "%TAG\na",
        "? {a: 1}\n: 2",
        "<<: 5\n",
        "n: 99999999999999999999",
        "n: 18446744073709551615",
    ];
    let all: Vec<String> = broken
        .iter()
        .map(|text| yaml_problems(text).to_string())
        .collect();
    assert_snapshot!(all.join("\n"), @r"
    error: invalid YAML
      --> a.gabion.yml:1:5
    1 | a: b: c
      |     ^
       The file is not valid YAML here: mapping values are not allowed in this context.
    hint: check the indentation; a text that holds `: ` needs quotes

    error: invalid YAML
      --> a.gabion.yml:2:2
    2 |  b: 1
      |  ^
       The file is not valid YAML here: tabs disallowed within this context (block indentation).
    hint: indent with spaces: YAML forbids tabs for indentation

    error: invalid YAML
      --> a.gabion.yml:2:1
    2 | b: 2
      | ^
       The file is not valid YAML here: invalid indentation in multiline quoted scalar.
    hint: close the quotes

    error: invalid YAML
      --> a.gabion.yml:1:4
    1 | a: [1, 2
      |    ^
       The file is not valid YAML here: unclosed bracket '['.
    hint: close the bracket, or quote the text if the bracket is part of it

    error: invalid YAML
      --> a.gabion.yml:2:3
    2 |  b: 2
      |   ^
       The file is not valid YAML here: mapping values are not allowed in this context.
    hint: check the indentation; a text that holds `: ` needs quotes

    error: invalid YAML
      --> a.gabion.yml:2:1
    2 | b: c
      | ^
       The file is not valid YAML here: while parsing a block collection, did not find expected '-' indicator.
    hint: check the indentation: entries of one list or map start in the same column

    error: invalid YAML
      --> a.gabion.yml:1:4
    1 | a: @x
      |    ^
       The file is not valid YAML here: unexpected character: '@'.
    hint: quote the text: YAML reserves some characters at the beginning of a value

    error: unknown anchor
      --> a.gabion.yml:1:4
    1 | a: *nope
      |    ^
       No anchor (`&name`) before this place in the document has this name.
    hint: define the anchor first, or quote the text if it only begins with `*`

    error: unsupported tag
      --> a.gabion.yml:1:9
    1 | a: !foo x
      |         ^
       The tag `!foo` means nothing to gabion.
    hint: remove the tag, or quote the text if it only begins with `!`

    error: alias within itself
      --> a.gabion.yml:1:8
    1 | a: &a [*a]
      |        ^^
       This alias stands inside the value that it names, so it would never end.
    hint: remove the alias

    error: invalid YAML
      --> a.gabion.yml:1:1
    1 | %TAG
      | ^
       The file is not valid YAML here: while scanning a tag, did not find expected '!'.
    hint: look at this line and the one before it: indentation, quotes and brackets

    error: key that is no text
      --> a.gabion.yml:1:3
    1 | ? {a: 1}
      |   ^
       A map's keys are texts or numbers.
    hint: quote the key, or write the value as a list

    error: merge of something that is no map
      --> a.gabion.yml:1:5
    1 | <<: 5
      |     ^
       `<<` takes a map, or a list of maps, whose keys are added to this one.
    hint: give it an alias of a map: `<<: *name`

    error: number too large
      --> a.gabion.yml:1:4
    1 | n: 99999999999999999999
      |    ^^^^^^^^^^^^^^^^^^^^
       This whole number does not fit into 64 bits.
    hint: quote it if it is text

    error: number too large
      --> a.gabion.yml:1:4
    1 | n: 18446744073709551615
      |    ^^^^^^^^^^^^^^^^^^^^
       This whole number does not fit into 64 bits.
    hint: quote it if it is text
    ");
}

#[test]
fn a_broken_document_is_one_problem_whatever_separates_it() {
    let check = |text: &str, expected: &[&str], line: usize| {
        let (documents, problems) = parse_yaml(&SourceFile::new("a", text));
        let names = documents.iter().filter_map(|document| document.get("a")?.text());
        assert_eq!(names.collect::<Vec<_>>(), expected, "{text}");
        let lines: Vec<usize> = problems
            .iter()
            .map(|problem| problem.primary.as_ref().unwrap().position().line)
            .collect();
        assert_eq!(lines, [line], "{text}");
    };
    let broken = "a: @x\n";
    check(&format!("a: 1\n---\n{broken}---\na: 3\n"), &["1", "3"], 3);
    check(&format!("%YAML 1.2\n---\na: 1\n---\n{broken}"), &["1"], 5);
    check(
        &format!("# one\n%YAML 1.2\n\n---\n{broken}---\na: 2\n"),
        &["2"],
        5,
    );
    check(
        &format!("a: 1\n...\n%YAML 1.2\n---\n{broken}...\n# end\n"),
        &["1"],
        5,
    );
    check(
        &format!("--- # one\na: 1\n...\n---\n{broken}---\n%a: 3\n").replace("%a", "a"),
        &["1", "3"],
        5,
    );
}

#[test]
fn alias_bombs_deep_nests_and_huge_scalars_are_refused_quickly() {
    let mut bomb = "a: &a [x,x,x,x,x,x,x,x,x]\n".to_owned();
    for (name, of) in "bcdefghijkl".chars().zip("abcdefghijk".chars()) {
        bomb += &format!("{name}: &{name} [{}]\n", vec![format!("*{of}"); 9].join(","));
    }
    let huge = format!("port: 80\ndata: {}\n", "x".repeat(10_000_000));
    let deep = format!("a: {}", "[".repeat(20_000));
    let nested = "- ".repeat(20_000);
    let all: Vec<String> = [&*bomb, &huge, &deep, &nested]
        .map(|text| yaml_problems(text).to_string())
        .into();
    assert_snapshot!(all.join("\n"), @r"
    error: aliases expand to too much
      --> a.gabion.yml:6:8
    6 | f: &f [*e,*e,*e,*e,*e,*e,*e,*e,*e]
      |        ^^
       The aliases of this file expand to more than 100000 values; this one goes beyond.
      --> a.gabion.yml:5:7: defined here
    hint: write the values out, or nest fewer aliases in each other

    error: value too large
      --> a.gabion.yml:2:7
    2 | data: xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
      |       ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
       This text has 10000000 bytes; a value may have up to 1048576.
    hint: put large data into a file that the program reads

    error: nested too deep
      --> a.gabion.yml:1:259
    1 | …[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[…
      |                                                                                  ^
       Lists and maps may nest 64 deep.
    hint: this is rarely meant: look for a missing closing bracket

    error: nested too deep
      --> a.gabion.yml:1:129
    1 | …- - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - - …
      |                                                                                  ^
       Lists and maps may nest 64 deep.
    hint: this is rarely meant: look for a missing closing bracket
    ");
}

#[test]
fn parts_of_strings_are_found_in_every_style() {
    let check = |yaml: &str, wanted: &str, expected: &str| {
        let root = node(yaml);
        let value = root.get("a").unwrap();
        let text = value.as_str().unwrap();
        let start = text.rfind(wanted).unwrap();
        let span = value.part(start, start + wanted.len());
        assert_eq!(
            (format!("{span}"), span.text()),
            (format!("a.gabion.yml:{expected}"), wanted),
            "{yaml}"
        );
    };
    check("a: x ${{ q }} y", "${{ q }}", "1:6");
    check("a: '${{ q }} ${{ q }}'", "${{ q }}", "1:14");
    check("a: |\n  one\n  two ${{ q }}\n", "${{ q }}", "3:7");
    check("a: >-\n  one\n  two\n\n  ${{ q }}\n", "${{ q }}", "5:3");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_never_panics_and_every_error_has_a_place(text in "\\PC{0,80}|[ -~\n\t]{0,120}|[a-c:&*<\\-\\[\\]{},#!|>'\" \n]{0,120}") {
        let (documents, problems) = parse_yaml(&SourceFile::new("a", text));
        for problem in &problems {
            prop_assert!(problem.primary.is_some() && problem.hint.is_some(), "{problem}");
        }
        for document in &documents {
            visit(document);
        }
    }
}

fn visit(node: &super::Node) {
    let _ = (
        node.text(),
        node.as_bool(),
        node.span.position(),
        node.part(0, 1),
        node.describe(),
    );
    match &node.kind {
        NodeKind::List(items) => items.iter().for_each(visit),
        NodeKind::Map(entries) => entries.iter().for_each(|(key, value)| {
            let _ = key.span.text();
            visit(value);
        }),
        _ => {}
    }
}
