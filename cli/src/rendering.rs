//! Plans as gabion prints them, for a program that has a plan and shows it itself.

use gabion_engine::plan::Plan;
use gabion_engine::provider::ProviderRegistry;

use crate::render::catalogue::Catalogue;
use crate::render::theme::Theme;
use crate::render::view::PlanContext;
use crate::render::{plan_json_document, plan_markdown, plan_text};

/// A form of a plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlanForm {
    /// For a terminal, without colour.
    Text,
    /// For a review, in at most so many bytes.
    Markdown {
        /// How many; what is left out is counted at the end.
        max_bytes: usize,
    },
    /// For programs: Terraform's form of a plan, with one key more.
    Json,
}

/// Returns a plan in a form. The providers say what their resource types are called elsewhere, and what of them is secret.
pub fn plan(plan: &Plan, providers: &ProviderRegistry, form: PlanForm) -> String {
    let catalogue = Catalogue::of(providers);
    let context = PlanContext {
        catalogue: &catalogue,
        digest: None,
        next: None,
        max_bytes: match form {
            PlanForm::Markdown { max_bytes } => max_bytes,
            PlanForm::Text | PlanForm::Json => usize::MAX,
        },
    };
    let mut text = String::new();
    let written = match form {
        PlanForm::Text => plan_text::write_plan(&mut text, plan, context, &Theme::plain()),
        PlanForm::Markdown { .. } => plan_markdown::write_plan(&mut text, plan, context),
        PlanForm::Json => plan_json_document::write_plan(&mut text, plan, context),
    };
    // Writing to a text cannot fail, and a plan can always be JSON.
    debug_assert!(written.is_ok());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn every_form_is_one_that_its_readers_understand() {
        let (everything, providers) = (fixture::everything(), ProviderRegistry::default());
        let of = |form| plan(&everything, &providers, form);
        assert!(of(PlanForm::Text).contains("\nPlan: "));
        let json: crate::wire::PlanJson = serde_json::from_str(&of(PlanForm::Json)).unwrap();
        assert_eq!(json.format_version, "1.2");
        let max_bytes = 4_000;
        let markdown = of(PlanForm::Markdown { max_bytes });
        assert!(
            markdown.len() <= max_bytes && markdown.contains('|'),
            "{markdown}"
        );
        assert!(of(PlanForm::Markdown { max_bytes: 1 << 20 }).len() > markdown.len());
    }
}
