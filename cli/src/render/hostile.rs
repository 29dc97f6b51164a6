//! Values that try to be more than values stay values, in every format.

use std::path::Path;
use std::sync::Arc;

use gabion_engine::address::{ObjectId, ResourceAddress};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Cause, Drift, DriftKind, Note, Reason};
use gabion_engine::provider::Observation;
use gabion_engine::resource::{DocumentRef, Place};
use gabion_engine::value::{AttributePath, Value};
use gabion_engine::words;
use gabion_engine::world::NotAsked;
use proptest::prelude::*;
use quick_xml::events::Event;

use super::catalogue::Catalogue;
use super::repository::RepositoryPath;
use super::theme::Theme;
use super::view::PlanContext;
use super::{
    drift_junit, drift_markdown, drift_sarif, drift_text, fixture, github, graph, plan_json_document,
    plan_markdown, plan_text,
};

const PIECES: [&str; 48] = [
    "```",
    "````\n",
    "~~~",
    "`",
    "``",
    "</details>",
    "<details>",
    "</summary>",
    "<script>alert(1)</script>",
    "<img src=x>",
    "-->",
    "<!--",
    "--",
    "@org/team",
    "me@example.org",
    "#12",
    "GH-7",
    "org/repo#3",
    "https://x.example/",
    "www.x.example",
    "](http://x)",
    "![x](y)",
    "[^1]",
    "[ ] ",
    "|",
    "\\|",
    "\\",
    "\\\\",
    "\n",
    "\r\n",
    "\n\n# x\n",
    "\n---\n",
    "\n> [!NOTE]\n",
    "* a",
    "1. a",
    "**",
    "__",
    "~~",
    "$$",
    "$`x`$",
    "&lt;",
    "&#64;",
    "\u{1b}[31m",
    "\u{202e}",
    "\u{2028}",
    "\u{feff}",
    "\0",
    "\u{e0041}",
];

fn hostile_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => prop::sample::select(PIECES.to_vec()).prop_map(str::to_owned),
        1 => "[a-z ]{1,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 1..8).prop_map(|pieces| pieces.concat())
}

fn place(text: &str) -> Place {
    Place {
        file: text.into(),
        line: 1,
        column: 1,
        length: 0,
    }
}

fn name(text: &str) -> ResourceAddress {
    let fit: String = text
        .chars()
        .filter(|c| !words::is_unsafe(*c) && !c.is_whitespace() && !"\"'[]{}$".contains(*c))
        .collect();
    format!("gabion_data.x{fit}")
        .parse()
        .unwrap_or_else(|_| fixture::address("gabion_data.x"))
}

fn value(text: &str) -> Value {
    Value::map([
        (text, Value::string(text)),
        ("list", Value::List(vec![text.into(), Value::template(text)])),
        (
            "json",
            serde_json::json!({ text: [text] }).to_string().as_str().into(),
        ),
    ])
}

/// A plan in which everything happens and whatever people or providers can write is the text.
fn plan_of(text: &str) -> Plan {
    let mut plan = fixture::everything();
    plan.project = text.into();
    plan.basis.stack = Some(text.into());
    plan.basis.commit = Some(text.into());
    let document = DocumentRef::new(text.into(), text.into(), place(text));
    for change in &mut plan.changes {
        change.address = name(&format!("{}{text}", change.address.name));
        change.notes.push(text.to_owned());
        if let Some(declaration) = &mut change.declaration {
            Arc::make_mut(declaration).document = Some(document.clone());
        }
        if change.importing.is_some() {
            change.importing = Some(ObjectId::new(text));
        }
        if change.previous_address.is_some() {
            change.previous_address = Some(name(text));
        }
        for reason in &mut change.reasons {
            if let Reason::Undeclared(at) = reason {
                *at = Some(place(text));
            }
            if let Reason::CannotChangeInPlace(paths) = reason {
                paths.push(AttributePath::root(text));
            }
        }
        for (position, attribute) in change.attributes.iter_mut().enumerate() {
            let nested = AttributePath::root(text).key(text);
            if position == 0 {
                attribute.path = nested;
            }
            attribute.cause = Cause::Configuration(Some(place(text)));
            if !attribute.sensitive {
                attribute.before = Some(Box::new(text.into()));
                attribute.after = Some(value(text));
            }
        }
    }
    for drift in &mut plan.drift {
        drift.address = name(text);
        match &mut drift.kind {
            DriftKind::Changed(attributes) => {
                attributes[0].recorded = Some(text.into());
                attributes[0].actual = Some(value(text));
            }
            DriftKind::CannotTell { reason } => *reason = text.to_owned(),
            DriftKind::Vanished => {}
        }
    }
    for output in plan.outputs.values_mut() {
        output.after = Some(text.into());
    }
    plan.outputs.insert(text.into(), plan.outputs["base"].clone());
    plan.endpoints.insert(text.into(), text.into());
    plan.notes.push(Note {
        message: text.into(),
        place: Some(place(text)),
    });
    plan.left_out.push(name(text));
    for settlement in &mut plan.settlements {
        settlement.address = name(text);
        if let Observation::Present(state) = &mut settlement.observation {
            state.id = ObjectId::new(text);
        }
    }
    for ruling in plan.policy.iter_mut().flat_map(|report| &mut report.rulings) {
        ruling.rule = text.into();
        ruling.message = text.to_owned();
        ruling.place = place(text);
        ruling.address = ruling.address.as_ref().map(|_| name(text));
    }
    plan.unsettled[0].reason = text.to_owned();
    plan
}

/// Checks what is made of a text, and returns the plan as JSON.
fn check(text: &str) -> String {
    let plan = plan_of(text);
    let mut as_json = String::new();
    let catalogue = Catalogue::default();
    for max_bytes in [4_000, plan_markdown::MAX_BYTES] {
        let context = PlanContext {
            catalogue: &catalogue,
            digest: Some("sha256:ab12"),
            next: Some("gabion apply plan.gabion"),
            max_bytes,
        };
        let mut markdown = String::new();
        plan_markdown::write_plan(&mut markdown, &plan, context).unwrap();
        let faults = github::faults(&markdown);
        assert!(faults.is_empty(), "{text:?}:\n{}", faults.join("\n"));
        let mut terminal = String::new();
        plan_text::write_plan(&mut terminal, &plan, context, &Theme::plain()).unwrap();
        let got_through = terminal.chars().find(|c| *c != '\n' && words::is_unsafe(*c));
        assert_eq!(got_through, None, "{terminal:?}");
        let mut json = String::new();
        plan_json_document::write_plan(&mut json, &plan, context).unwrap();
        let _: crate::wire::PlanJson = serde_json::from_str(&json).unwrap();
        as_json = json;
    }
    check_graph(&plan);
    check_drift(&plan, text);
    as_json
}

/// Nothing that cannot be seen got through.
#[track_caller]
fn is_visible(text: &str) {
    let got_through = text.chars().find(|c| *c != '\n' && words::is_unsafe(*c));
    assert_eq!(got_through, None, "{text:?}");
}

fn check_graph(plan: &Plan) {
    let [page, picture] = graph::tests::page_and_picture(plan);
    for text in [&page, &picture] {
        is_visible(text);
        for (markup, most) in [
            ("<script", 2),
            ("<svg", 1),
            ("<style", 1),
            ("<img", 0),
            ("<!--", 0),
            ("<![", 0),
        ] {
            assert!(text.matches(markup).count() <= most, "{markup}\n{text}");
        }
    }
    let data = graph::tests::data_of(&page);
    assert_eq!(data["nodes"].as_array().unwrap().len(), plan.changes.len());
    xml_is_intact(&picture);
    let [dot, mermaid, json] = graph::tests::other_forms(plan);
    is_visible(&dot);
    is_visible(&mermaid);
    // A quote ends a label, and nothing else of a value is left that could.
    for line in mermaid.lines() {
        assert!(
            line.matches('"').count() % 2 == 0 && line.matches('"').count() <= 2,
            "{line}"
        );
    }
    let _: crate::wire::GraphJson = serde_json::from_str(&json).unwrap();
}

/// Drift says in every form what a plan says of it.
fn check_drift(plan: &Plan, text: &str) {
    let drift: Vec<&Drift> = plan.drift.iter().collect();
    let now = plan.basis.gathered_at;
    let mut terminal = String::new();
    drift_text::write_section(&mut terminal, &drift, now, &Theme::plain()).unwrap();
    is_visible(&terminal);
    let mut markdown = String::new();
    drift_markdown::write_drift(&mut markdown, plan, &plan.drift, true).unwrap();
    let faults = github::faults(&markdown);
    assert!(faults.is_empty(), "{text:?}:\n{}", faults.join("\n"));
    let objects: Vec<ResourceAddress> = plan.drift.iter().map(|drift| drift.address.clone()).collect();
    let unmanaged = [text.to_owned()];
    let not_asked = [NotAsked {
        part: text.to_owned(),
        why: text.to_owned(),
        ..fixture::not_asked()
    }];
    let junit = drift_junit::write(&drift_junit::Report {
        project: text,
        gathered_at: now,
        objects: &objects,
        drift: &plan.drift,
        unmanaged: &unmanaged,
        not_asked: &not_asked,
    });
    is_visible(&junit);
    let cases = xml_is_intact(&junit);
    assert_eq!(cases, objects.len() + 2, "{junit}");
    let repository = RepositoryPath::new(Path::new("."), None);
    let log = drift_sarif::log(
        &plan.drift,
        &unmanaged,
        &not_asked,
        now,
        &repository,
        "gabion.yml",
    );
    for result in log["runs"][0]["results"].as_array().unwrap() {
        let message = result["message"]["text"].as_str().unwrap();
        is_visible(message);
        // Services read `[text](link)` in messages.
        assert!(!message.contains("]("), "{message}");
    }
}

/// Returns how many test cases there are, once everything that is opened is closed.
fn xml_is_intact(text: &str) -> usize {
    let mut reader = quick_xml::Reader::from_str(text);
    let mut open = Vec::new();
    let mut cases = 0;
    loop {
        match reader.read_event().unwrap() {
            Event::Start(tag) => {
                for attribute in tag.attributes() {
                    attribute.unwrap();
                }
                cases += usize::from(tag.name().as_ref() == b"testcase");
                open.push(tag.name().as_ref().to_vec());
            }
            Event::End(tag) => assert_eq!(open.pop().as_deref(), Some(tag.name().as_ref())),
            Event::Empty(tag) => tag.attributes().for_each(|attribute| drop(attribute.unwrap())),
            Event::Comment(_) | Event::CData(_) | Event::PI(_) | Event::DocType(_) => panic!("{text}"),
            Event::Eof => break,
            _ => {}
        }
    }
    assert!(open.is_empty(), "{open:?}");
    cases
}

#[test]
fn each_hostile_piece_stays_a_value() {
    let plans: Vec<String> = PIECES
        .iter()
        .flat_map(|piece| [check(piece), check(&format!("a {piece} b"))])
        .collect();
    crate::json_schema::check_plans(plans.iter().map(String::as_str));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_mixture_of_them_does_too(text in hostile_text()) {
        check(&text);
    }
}
