//! The YAML library's places and errors in our terms.

use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::{Error, Location};

use super::yaml::{MAX_ALIAS_EXPANSION, MAX_DEPTH, MAX_FILE_BYTES, Part};
use crate::diagnostic::{Diagnostic, Position, Span};

/// The span of a place that the library names.
pub(super) fn span(part: &Part<'_>, location: &Location) -> Span {
    let file = part.file;
    let range = location.span();
    let whole = |value: u64| usize::try_from(value).unwrap_or(usize::MAX);
    if let (Some(offset), Some(length)) = (range.byte_offset(), range.byte_len()) {
        let start = part.range.start.saturating_add(whole(offset)).min(part.range.end);
        let end = start.saturating_add(whole(length)).min(part.range.end);
        if file.text().is_char_boundary(start) && file.text().is_char_boundary(end) {
            return Span::new(file, start, end);
        }
    }
    // Errors of the scanner have a line and a column only.
    let position = Position {
        line: part.lines.saturating_add(whole(location.line()).max(1)),
        column: whole(location.column()).max(1),
    };
    let start = file.offset(position);
    let width = file.text()[start..]
        .chars()
        .next()
        .filter(|c| !matches!(c, '\n' | '\r'))
        .map_or(0, char::len_utf8);
    Span::new(file, start, start + width)
}

/// The diagnostic of an error of the library.
pub(super) fn diagnose(part: &Part<'_>, error: &Error) -> Diagnostic {
    let error = error.without_snippet();
    let place = error
        .location()
        .map_or_else(|| Span::of_file(part.file), |location| span(part, &location));
    let base = match error {
        Error::AliasError { error: inner, .. } if !is_expansion(inner) => return diagnose_alias(part, error, inner),
        error if is_expansion(error) => Diagnostic::error("alias-expansion", "aliases expand to too much")
            .detail(format!(
                "The aliases of this file expand to more than {MAX_ALIAS_EXPANSION} values; this one goes beyond."
            ))
            .hint("write the values out, or nest fewer aliases in each other"),
        Error::Budget { breach: BudgetBreach::Depth { .. }, .. } => too_deep(),
        Error::Budget { .. } => Diagnostic::error("file-too-large", "file too large")
            .detail(format!(
                "The file holds more than gabion reads from one file ({MAX_FILE_BYTES} bytes, 10 million values)."
            ))
            .hint("split the file; all files of the project directory are read"),
        Error::RecursiveReferencesRequireWeakTypes { .. } => Diagnostic::error("recursive-alias", "alias within itself")
            .detail("This alias stands inside the value that it names, so it would never end.")
            .hint("remove the alias"),
        Error::UnknownAnchor { .. } => Diagnostic::error("unknown-anchor", "unknown anchor")
            .detail("No anchor (`&name`) before this place in the document has this name.")
            .hint("define the anchor first, or quote the text if it only begins with `*`"),
        Error::UnsupportedTag { tag, .. } => Diagnostic::error("unsupported-tag", "unsupported tag")
            .detail(format!("The tag `{tag}` means nothing to gabion."))
            .hint("remove the tag, or quote the text if it only begins with `!`"),
        error => syntax(error),
    };
    let mut diagnostic = base.at(place.clone());
    if let Some(locations) = error.locations() {
        let defined = span(part, &locations.defined_location);
        if defined.start != place.start && locations.defined_location.line() > 0 {
            diagnostic = diagnostic.related(defined, "defined here");
        }
    }
    diagnostic
}

fn diagnose_alias(part: &Part<'_>, outer: &Error, inner: &Error) -> Diagnostic {
    let diagnostic = diagnose(part, inner);
    match outer.location() {
        Some(location) => {
            let used = span(part, &location);
            if diagnostic.primary.as_ref() == Some(&used) {
                diagnostic
            } else {
                diagnostic.related(used, "used here")
            }
        }
        None => diagnostic,
    }
}

/// Tells whether a file holds more than is read of one.
pub(super) fn is_too_much(error: &Error) -> bool {
    let error = error.without_snippet();
    is_expansion(error)
        || matches!(error, Error::Budget { breach, .. } if !matches!(breach, BudgetBreach::Depth { .. }))
}

fn is_expansion(error: &Error) -> bool {
    match error {
        Error::AliasError { error, .. } => is_expansion(error),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => true,
        Error::Budget { breach, .. } => matches!(
            breach,
            BudgetBreach::Aliases { .. }
                | BudgetBreach::Anchors { .. }
                | BudgetBreach::AliasAnchorRatio { .. }
                | BudgetBreach::RecordedAnchorEvents { .. }
                | BudgetBreach::RecordedAnchorBytes { .. }
        ),
        _ => false,
    }
}

fn too_deep() -> Diagnostic {
    Diagnostic::error("nested-too-deep", "nested too deep")
        .detail(format!("Lists and maps may nest {MAX_DEPTH} deep."))
        .hint("this is rarely meant: look for a missing closing bracket")
}

/// A syntax error; the library's words, with a hint for the mistakes that people make.
fn syntax(error: &Error) -> Diagnostic {
    let text = error.to_string();
    let message = text.split(" at line ").next().unwrap_or(&text).replace('`', "'");
    let says = |part: &str| message.contains(part);
    if says("recursion limit") {
        return too_deep();
    }
    let hint = if says("tabs") {
        "indent with spaces: YAML forbids tabs for indentation"
    } else if says("mapping values are not allowed") {
        "check the indentation; a text that holds `: ` needs quotes"
    } else if says("bracket") || says("flow") {
        "close the bracket, or quote the text if the bracket is part of it"
    } else if says("quoted scalar") {
        "close the quotes"
    } else if says("unexpected character") {
        "quote the text: YAML reserves some characters at the beginning of a value"
    } else if says("block collection") || says("indentation") {
        "check the indentation: entries of one list or map start in the same column"
    } else {
        "look at this line and the one before it: indentation, quotes and brackets"
    };
    Diagnostic::error("yaml-syntax", "invalid YAML")
        .detail(format!("The file is not valid YAML here: {message}."))
        .hint(hint)
}
