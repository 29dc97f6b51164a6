//! Documents that gabion reads and cannot carry out yet.

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use crate::family::Documents;

/// What to do about a document that has nothing else to be done about it.
const LEAVE_OUT: &str = "plan the others alone with `-f FILE`, or move this one to a file whose name ends in neither `.dstack.yml` nor `.gabion.yml`";

/// Reports every document that a plan would have to leave out.
///
/// It is an error, so that no plan looks as if it were all: whoever keeps such documents beside others plans those
/// with `-f`.
pub(crate) fn check(read: &Documents, problems: &mut Diagnostics) {
    let mut refuse = |span: &Span, why: String, way_out: &str| {
        problems.push(
            Diagnostic::error("unsupported-document", "document that cannot be applied")
                .detail(why)
                .at(span.clone())
                .hint(way_out),
        );
    };
    for preset in &read.presets {
        refuse(
            &preset.type_span,
            "Presets are made by dstack's agents; gabion does not support making them.".to_owned(),
            LEAVE_OUT,
        );
    }
    for fleet in &read.fleets {
        if fleet.document.ssh_config.is_none() {
            let why = "This build cannot make machines yet; it uses those that are there, with `ssh_config`.";
            refuse(&fleet.type_span, why.to_owned(), LEAVE_OUT);
        }
    }
    for volume in &read.volumes {
        let why = format!(
            "This build has no volumes on `{}` yet.",
            volume.document.backend.value
        );
        refuse(&volume.type_span, why, LEAVE_OUT);
    }
}
