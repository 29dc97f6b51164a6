//! Renderings of whole plans, reviewed as snapshots.

use gabion_engine::plan::Plan;

use super::catalogue::Catalogue;
use super::theme::Theme;
use super::view::PlanContext;
use super::{drift_markdown, fixture, plan_json_document, plan_markdown, plan_text};
use crate::json_schema;
use crate::wire::PlanJson;

/// Compares with `snapshots/render/NAME.snap`.
macro_rules! assert_rendering {
    ($name:expr, $text:expr) => {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/render"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.bind(|| insta::assert_snapshot!($name, $text));
    };
}

fn rendered(write: impl Fn(&mut String, &Plan, PlanContext<'_>) -> std::fmt::Result, plan: &Plan) -> String {
    let catalogue = Catalogue::default();
    let context = PlanContext {
        catalogue: &catalogue,
        digest: Some("sha256:ab12"),
        next: Some("gabion apply plan.gabion"),
        max_bytes: plan_markdown::MAX_BYTES,
    };
    let once = |plan: &Plan| {
        let mut text = String::new();
        write(&mut text, plan, context).unwrap();
        text
    };
    let text = once(plan);
    // A plan that was written and read back prints the same bytes.
    let copy: Plan = serde_json::from_str(&serde_json::to_string(plan).unwrap()).unwrap();
    if !text.contains("hunter2") {
        assert_eq!(once(&copy), text);
    }
    assert!(
        !text.contains('\u{1b}'),
        "an escape sequence of a value got through"
    );
    assert!(!text.contains("hunter2"), "a secret got through");
    text
}

fn text(out: &mut String, plan: &Plan, context: PlanContext<'_>) -> std::fmt::Result {
    plan_text::write_plan(out, plan, context, &Theme::plain())
}

fn markdown(out: &mut String, plan: &Plan, context: PlanContext<'_>) -> std::fmt::Result {
    plan_markdown::write_plan(out, plan, context)
}

fn json(out: &mut String, plan: &Plan, context: PlanContext<'_>) -> std::fmt::Result {
    plan_json_document::write_plan(out, plan, context)?;
    json_schema::check_plans([out.as_str()]);
    Ok(())
}

#[test]
fn everything_as_text() {
    assert_rendering!("plan_everything.txt", rendered(text, &fixture::everything()));
}

#[test]
fn nothing_as_text() {
    assert_rendering!("plan_nothing.txt", rendered(text, &fixture::nothing()));
}

#[test]
fn a_call_that_is_not_settled_is_no_end() {
    let mut plan = fixture::nothing();
    assert!(!plan.is_open());
    plan.unsettled = fixture::everything().unsettled;
    assert!(plan.is_open() && !plan.has_changes());
    let said = rendered(text, &plan);
    assert!(
        said.contains("nothing to do yet, 1 call not settled") && said.contains("Nothing to do yet."),
        "{said}"
    );
    let said = rendered(markdown, &plan);
    assert!(
        said.contains("1 call not settled") && !said.contains("✅"),
        "{said}"
    );
}

#[test]
fn everything_as_markdown() {
    assert_rendering!("plan_everything.md", rendered(markdown, &fixture::everything()));
}

#[test]
fn nothing_as_markdown() {
    assert_rendering!("plan_nothing.md", rendered(markdown, &fixture::nothing()));
}

#[test]
fn everything_as_json_reads_back_strictly() {
    let text = rendered(json, &fixture::everything());
    let wire: PlanJson = serde_json::from_str(&text).unwrap();
    assert_eq!(wire.resource_changes.len(), fixture::everything().changes.len());
    assert_eq!(serde_json::to_string_pretty(&wire).unwrap() + "\n", text);
    assert_rendering!("plan_everything.json", text);
}

#[test]
fn drift_as_markdown() {
    let mut out = String::new();
    let plan = fixture::everything();
    drift_markdown::write_drift(&mut out, &plan, &plan.drift, true).unwrap();
    assert_rendering!("drift.md", out);
}

#[test]
fn colour_only_adds_escape_sequences() {
    let plan = fixture::everything();
    let catalogue = Catalogue::default();
    let context = PlanContext {
        catalogue: &catalogue,
        digest: None,
        next: None,
        max_bytes: plan_markdown::MAX_BYTES,
    };
    let [mut plain, mut coloured] = [String::new(), String::new()];
    plan_text::write_plan(&mut plain, &plan, context, &Theme::plain()).unwrap();
    plan_text::write_plan(&mut coloured, &plan, context, &Theme::coloured()).unwrap();
    assert_ne!(plain, coloured);
    assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), plain);
}
