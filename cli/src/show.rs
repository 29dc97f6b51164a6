//! Printing a plan in the format that was asked for.

use gabion_engine::plan::Plan;
use gabion_engine::provider::ProviderRegistry;

use crate::args::{Format, Size};
use crate::context::Context;
use crate::render::catalogue::Catalogue;
use crate::render::view::PlanContext;
use crate::render::{plan_json_document, plan_markdown, plan_text};

/// Prints a plan as data.
pub(crate) fn print_plan(
    context: &Context,
    plan: &Plan,
    providers: &ProviderRegistry,
    saved: bool,
    next: Option<&str>,
    size: Size,
) {
    let catalogue = Catalogue::of(providers);
    let format = context.options.format;
    let digest = (saved || format == Format::Json).then(|| plan.digest());
    let view = PlanContext {
        catalogue: &catalogue,
        digest: digest.as_deref(),
        next,
        max_bytes: size.max_bytes,
    };
    let mut text = context.printer.data_writer();
    let written = match format {
        Format::Text => plan_text::write_plan(&mut text, plan, view, &context.printer.data_theme()),
        Format::Markdown => plan_markdown::write_plan(&mut text, plan, view),
        Format::Json => plan_json_document::write_plan(&mut text, plan, view),
    };
    // Printing keeps its failures to itself; a plan can always be JSON.
    debug_assert!(written.is_ok());
}
