//! Backends: where machines come from. This build has `local`, the machine that runs gabion.

use gabion_engine::config::Purpose;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::project::Context;
use crate::document::backend::Backend;
use crate::document::profile::ProfileParams;

/// The backend whose only machine is the one that runs gabion; also that machine's name.
pub(crate) const LOCAL: &str = "local";

/// Returns whether a backend can be used, reporting why not.
///
/// A backend that exists but is not in this build is a problem only when planning.
pub(crate) fn is_usable(name: &str, span: &Span, purpose: Purpose, problems: &mut Diagnostics) -> bool {
    match Backend::find(name) {
        Some(backend) if backend.is_local() => return true,
        Some(backend) if purpose == Purpose::Plan => problems.push(
            Diagnostic::error("unsupported-backend", "backend not in this build")
                .detail(format!(
                    "This build has no {} backend; it has `{LOCAL}`.",
                    backend.title()
                ))
                .at(span.clone())
                .hint("set the backend to `local`, or plan with a build that has this one"),
        ),
        Some(_) => {}
        // A document's own was refused when it was read.
        None => problems.push(
            Diagnostic::error("unknown-backend", "unknown backend")
                .detail(format!("There is no backend `{name}`."))
                .at(span.clone())
                .hint("use `local`, the machine that runs gabion"),
        ),
    }
    false
}

/// Returns whether a service or task has a backend that can be used, reporting why not.
///
/// One of its own `backends` must do; without any, one of the project's.
pub(crate) fn of_run(
    profile: &ProfileParams,
    type_span: &Span,
    context: &Context,
    problems: &mut Diagnostics,
) -> bool {
    let own = &profile.backends;
    if own.is_empty() {
        let names: Vec<&str> = context.backends.iter().map(String::as_str).collect();
        return match names.first() {
            None => true,
            Some(_) if names.contains(&LOCAL) => true,
            Some(first) => is_usable(first, type_span, context.purpose, problems),
        };
    }
    if own.iter().any(|name| name.value.is_local()) {
        return true;
    }
    for name in own {
        is_usable(name.value.name(), &name.span, context.purpose, problems);
    }
    false
}
