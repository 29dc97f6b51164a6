//! Documents that gabion reads and cannot carry out yet.

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::backend::LOCAL;
use crate::family::Documents;

/// Reports every document that a plan would have to leave out.
///
/// It is an error, so that no plan looks as if it were all: whoever keeps such documents beside others plans those
/// with `-f`.
pub(crate) fn check(read: &Documents, problems: &mut Diagnostics) {
    let mut refuse = |span: &Span, why: String| {
        problems.push(
            Diagnostic::error("unsupported-document", "document that cannot be applied")
                .detail(why)
                .at(span.clone())
                .hint("plan the others alone with `-f FILE`, or move this one to a file whose name ends in neither `.dstack.yml` nor `.gabion.yml`"),
        );
    };
    for preset in &read.presets {
        refuse(
            &preset.type_span,
            "Presets are made by dstack's agents; gabion does not support making them.".to_owned(),
        );
    }
    for fleet in &read.fleets {
        let why = match &fleet.document.ssh_config {
            Some(_) => "This build cannot use machines that are reached by SSH yet.".to_owned(),
            None => format!(
                "This build cannot make machines yet; its backend `{LOCAL}` has one, the machine that runs gabion."
            ),
        };
        refuse(&fleet.type_span, why);
    }
    for volume in &read.volumes {
        let why = format!(
            "This build has no volumes on `{}` yet.",
            volume.document.backend.value
        );
        refuse(&volume.type_span, why);
    }
    for environment in &read.dev_environments {
        let why = format!("Backend `{LOCAL}` of this build cannot run development environments yet.");
        refuse(&environment.type_span, why);
    }
    for task in &read.tasks {
        refuse(
            &task.type_span,
            format!("Backend `{LOCAL}` of this build cannot run tasks yet."),
        );
    }
}
