//! Values that try to be more than values stay values, in every format.

use gabion_engine::address::{ObjectId, ResourceAddress};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Cause, DriftKind, Note, Reason};
use gabion_engine::provider::Observation;
use gabion_engine::resource::{DocumentRef, Place};
use gabion_engine::value::{AttributePath, Value};
use gabion_engine::words;
use proptest::prelude::*;

use super::catalogue::Catalogue;
use super::theme::Theme;
use super::view::PlanContext;
use super::{fixture, github, plan_json, plan_markdown, plan_text};

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
    let document = DocumentRef {
        document_type: text.into(),
        name: text.into(),
        place: place(text),
    };
    for change in &mut plan.changes {
        change.address = name(&format!("{}{text}", change.address.name));
        change.notes.push(text.to_owned());
        if let Some(declaration) = &mut change.declaration {
            declaration.document = Some(document.clone());
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
                attribute.before = Some(text.into());
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
        plan_json::write_plan(&mut json, &plan, context).unwrap();
        let _: crate::wire::PlanJson = serde_json::from_str(&json).unwrap();
        as_json = json;
    }
    as_json
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
