use insta::assert_snapshot;
use proptest::prelude::*;

use super::super::{EvaluateError, Reference, Resolved, Target, Template};
use crate::value::{Secret, TemplateText, Value};

fn references(text: &str) -> Vec<String> {
    let template = Template::parse(text).unwrap_or_else(|errors| panic!("{text}: {errors:?}"));
    assert_eq!(template.to_string(), text);
    template
        .references()
        .map(|reference| {
            let kind = match reference.target {
                Target::Environment(_) => "environment",
                Target::Secret(_) => "secret",
                Target::Resource(_) => "resource",
                Target::Data(_) => "data",
                Target::Scope(_) => "scope",
            };
            format!(
                "{kind} {} | {} | {}",
                reference.target,
                reference.path,
                &text[reference.range.clone()]
            )
        })
        .collect()
}

#[test]
fn references_of_every_form_parse() {
    let check = |text: &str, expected: &[&str]| assert_eq!(references(text), expected, "{text}");
    check("plain $HOME ${X} $$ $", &[]);
    check(
        "${{ env.HF_TOKEN }}",
        &["environment env.HF_TOKEN |  | env.HF_TOKEN"],
    );
    check("${{secrets.a-b}}", &["secret secrets.a-b |  | secrets.a-b"]);
    check(
        "${{ data.aws_vpc.main.id }}",
        &["data data.aws_vpc.main | id | data.aws_vpc.main.id"],
    );
    check(
        "http://${{ host_unit.qwen/default/0.address }}:${{ host_unit.qwen/default/0.ports.http[0].x }}/",
        &[
            "resource host_unit.qwen/default/0 | address | host_unit.qwen/default/0.address",
            "resource host_unit.qwen/default/0 | ports.http[0].x | host_unit.qwen/default/0.ports.http[0].x",
        ],
    );
    check(
        r#"${{ aws_route53_record["*.example.com"].fqdn }}"#,
        &[
            r#"resource aws_route53_record["*.example.com"] | fqdn | aws_route53_record["*.example.com"].fqdn"#,
        ],
    );
    check(
        r#"${{ a.b["odd key"] }}"#,
        &[r#"resource a.b | ["odd key"] | a.b["odd key"]"#],
    );
    check(
        "${{ vars.size }} $${{ not.this }}",
        &["scope vars | size | vars.size"],
    );
    check(
        "${{ groups[0].nodes[1].IP }}",
        &["scope groups | [0].nodes[1].IP | groups[0].nodes[1].IP"],
    );
}

#[test]
fn bad_expressions_say_what_is_wrong_and_where() {
    let texts = [
        "${{ }}",
        "${{",
        "a ${{ env.X",
        "${{ env }}",
        "${{ secrets.a.b }}",
        "${{ Aws.x.y }}",
        "${{ a.b..c }}",
        "${{ a.b[x] }}",
        "${{ a[\"b }}",
        "${{ a.b c }}",
        "${{ a.b + 1 }} and ${{ ü }}",
        "${{ a. }}",
    ];
    let mut out = String::new();
    for text in texts {
        for error in Template::parse(text).unwrap_err() {
            let at = text[..error.range.start].chars().count();
            let width = text[error.range.clone()].chars().count().max(1);
            out += &format!("{text}\n{}{} {error}\n", " ".repeat(at), "^".repeat(width));
        }
    }
    assert_snapshot!(out, @r#"
    ${{ }}
    ^^^^^^ This expression is empty.
    ${{
    ^^^ This expression does not end.
    a ${{ env.X
      ^^^ This expression does not end.
    ${{ env }}
        ^^^ This reference names nothing.
    ${{ secrets.a.b }}
        ^^^^^^^^^^^ `secrets.a` is a text and has no attributes.
    ${{ Aws.x.y }}
        ^^^ `Aws` is not a resource type: it must start with a lower-case letter.
    ${{ a.b..c }}
            ^ Expected a name, found `.`.
    ${{ a.b[x] }}
           ^^ Brackets take a position or a quoted name.
    ${{ a["b }}
         ^^^^^^ This quoted name does not end.
    ${{ a.b c }}
            ^ Expected `}}`: an expression is one reference.
    ${{ a.b + 1 }} and ${{ ü }}
            ^ Expected `}}`: an expression is one reference.
    ${{ a.b + 1 }} and ${{ ü }}
                           ^ Expected a name, found `ü`.
    ${{ a. }}
          ^ Expected a name.
    "#);
}

fn scope(reference: &Reference) -> Resolved {
    match reference.to_string().as_str() {
        "env.TOKEN" | "secrets.token" => Resolved::Known(Value::string("hunter2")),
        "a.b.port" => Resolved::Known(Value::Int(8000)),
        "a.b.list" => Resolved::Known(Value::List(vec![Value::Int(1)])),
        "a.b.partly" => Resolved::Known(Value::List(vec![Value::unknown()])),
        "a.b.sealed" => Resolved::Known(Value::Secret(Secret::sealed(None, None))),
        "a.b.later" => Resolved::Unknown,
        _ => Resolved::Missing,
    }
}

#[test]
fn evaluation_keeps_types_unknowns_and_secrets() {
    let check = |text: &str, expected: Value| {
        let value = Template::parse(text).unwrap().evaluate(&scope).unwrap();
        assert_eq!(value, expected, "{text}");
        value
    };
    check("plain", Value::string("plain"));
    check("", Value::string(""));
    check("$${{ a }}", Value::string("${{ a }}"));
    check("${{ a.b.port }}", Value::Int(8000));
    check("${{ a.b.list }}", Value::List(vec![Value::Int(1)]));
    check(":${{ a.b.port }}/", Value::string(":8000/"));
    check("${{ a.b.later }}", Value::template("${{ a.b.later }}"));
    check("${{ a.b.partly }}", Value::template("${{ a.b.partly }}"));
    check(
        "${{ env.TOKEN }}:${{ a.b.later }}",
        Value::template("${{ env.TOKEN }}:${{ a.b.later }}"),
    );
    for text in ["${{ env.TOKEN }}", "Bearer ${{ secrets.token }}"] {
        let Value::Secret(secret) = Template::parse(text).unwrap().evaluate(&scope).unwrap() else {
            panic!("{text} is not secret");
        };
        assert_eq!(secret.template, Some(TemplateText::new(text)));
        assert!(secret.expose().unwrap().as_str().unwrap().ends_with("hunter2"));
    }
    let sealed = check(
        "x${{ a.b.sealed }}",
        Value::Secret(Secret::sealed(
            Some(TemplateText::new("x${{ a.b.sealed }}")),
            None,
        )),
    );
    assert!(matches!(sealed, Value::Secret(secret) if secret.expose().is_none()));
}

#[test]
fn evaluation_fails_by_name() {
    let fail = |text: &str| Template::parse(text).unwrap().evaluate(&scope).unwrap_err();
    assert!(matches!(fail("${{ a.b.nope }}"), EvaluateError::Missing { .. }));
    assert_eq!(
        fail("x ${{ a.b.list }}").to_string(),
        "`a.b.list` is a list or map and cannot stand within a text"
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text_parses_or_names_a_place(text in "\\PC{0,40}|([$]|[{]{2}|[}]{2}|[a-c.\"\\\\ \\[\\]0é]|env[.]X){0,30}") {
        match Template::parse(&text) {
            Ok(template) => prop_assert_eq!(template.to_string(), text),
            Err(errors) => for error in errors {
                prop_assert!(text.get(error.range.clone()).is_some(), "{error:?}");
            },
        }
    }
}
