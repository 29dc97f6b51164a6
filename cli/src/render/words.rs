//! The words for actions, reasons and verdicts, the same in every format.

use gabion_engine::plan::Mode;
use gabion_engine::plan::change::{Action, Change, DriftVerdict, Reason, Summary};
use gabion_engine::plan::policy::Ruling;
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::state::store::StoreWarning;
use gabion_engine::value::AttributePath;
pub(crate) use gabion_engine::words::plain;

/// Returns the symbol of an action, as Terraform's users know it.
pub(crate) fn symbol(action: Action) -> &'static str {
    match action {
        Action::NoOp => " ",
        Action::Create => "+",
        Action::Update => "~",
        Action::Replace(ReplaceOrder::DeleteThenCreate) => "-/+",
        Action::Replace(ReplaceOrder::CreateThenDelete) => "+/-",
        Action::Delete => "-",
        Action::Forget => "#",
    }
}

/// Returns an action as one word.
pub(crate) fn action(action: Action) -> &'static str {
    match action {
        Action::NoOp => "as it is",
        Action::Create => "create",
        Action::Update => "update",
        Action::Replace(_) => "replace",
        Action::Delete => "destroy",
        Action::Forget => "forget",
    }
}

/// Returns the word for what is done to an object.
pub(crate) fn verb(change: &Change) -> String {
    let mut words: Vec<String> = Vec::new();
    match change.action {
        Action::NoOp => {}
        Action::Create => words.push("create".into()),
        Action::Update if change.attributes.is_empty() => words.push("finish".into()),
        Action::Update => words.push("update".into()),
        Action::Replace(ReplaceOrder::DeleteThenCreate) => words.push("replace, old one goes first".into()),
        Action::Replace(ReplaceOrder::CreateThenDelete) => words.push("replace, new one comes first".into()),
        Action::Delete if change.deposed && change.reasons.contains(&Reason::TurnedUp) => {
            words.push("destroy what turned up late".into());
        }
        Action::Delete if change.deposed => words.push("destroy what a replacement left".into()),
        Action::Delete => words.push("destroy".into()),
        Action::Forget => words.push("forget, the object stays".into()),
    }
    if change.unprotects {
        words.push("no longer protected".into());
    }
    if let Some(id) = &change.importing {
        words.push(format!("import {}", plain(id.as_str())));
    }
    if let Some(previous) = &change.previous_address {
        words.push(format!("moved from {previous}"));
    }
    words.join(", ")
}

/// Returns a reason as a clause that follows "because"; `None` when the action says it already.
pub(crate) fn reason(reason: &Reason) -> Option<String> {
    Some(match reason {
        Reason::New | Reason::Changed | Reason::Imported | Reason::Destroy => return None,
        Reason::Vanished => "it was recorded and is no longer there".into(),
        Reason::Drifted => "it was changed outside gabion".into(),
        Reason::CannotChangeInPlace(paths) => format!("{} cannot be changed in place", path_list(paths)),
        Reason::Tainted => "it was marked for replacement with `gabion state taint`".into(),
        Reason::TurnedUp => "it turned up late: an earlier run had given up its creation".into(),
        Reason::Incomplete => "an earlier run did not finish it".into(),
        Reason::Undeclared(None) => "no document declares it any more".into(),
        Reason::Undeclared(Some(place)) => format!("a `removed` document says so ({place})"),
        Reason::Surplus(document) => {
            format!(
                "{} {} no longer asks for it",
                plain(&document.document_type),
                plain(&document.name)
            )
        }
        Reason::Requested => "`--replace` asks for it".into(),
        Reason::TriggeredBy(address) => {
            format!("its `replace_triggered_by` names {address}, which changes")
        }
        Reason::DependencyReplaced(address) => format!("it depends on {address}, which is replaced"),
        Reason::Deposed => "its replacement has taken its address".into(),
        Reason::DeletedWith(address) => format!("it goes with {address}"),
    })
}

/// Returns paths as "`a`, `b` and 3 more".
pub(crate) fn path_list(paths: &[AttributePath]) -> String {
    const SHOWN: usize = 4;
    let mut text = String::new();
    for (position, path) in paths.iter().take(SHOWN).enumerate() {
        if position > 0 {
            text.push_str(if position + 1 == paths.len() {
                " and "
            } else {
                ", "
            });
        }
        text.push_str(&format!("`{}`", plain(&path.to_string())));
    }
    if paths.len() > SHOWN {
        text.push_str(&format!(" and {} more", paths.len() - SHOWN));
    }
    text
}

/// Returns what a rule objects to, on one line: the rule, the resource, the message and the rule's place.
pub(crate) fn ruling(ruling: &Ruling) -> String {
    let about = match &ruling.address {
        Some(address) => format!(" {address}:"),
        None => String::new(),
    };
    format!(
        "{}:{about} {} ({})",
        plain(&ruling.rule),
        plain(&ruling.message),
        ruling.place
    )
}

/// Returns what becomes of a drifted attribute, as a clause.
pub(crate) fn verdict(verdict: DriftVerdict) -> &'static str {
    match verdict {
        DriftVerdict::Reverted => "will be put back",
        DriftVerdict::Accepted => "will be kept",
        DriftVerdict::Ignored => "ignored, as its lifecycle says",
        DriftVerdict::CannotTell => "cannot be compared",
    }
}

/// Returns "1 word" or "3 words".
pub(crate) fn count(number: usize, word: &str) -> String {
    let ending = match (number, word) {
        (1, _) => "",
        (_, word) if word.ends_with('s') => "es",
        _ => "s",
    };
    format!("{number} {word}{ending}")
}

/// Returns each kind of change with its number: the main four always, the others when there are any.
pub(crate) fn summary_parts(summary: &Summary) -> Vec<(usize, &'static str)> {
    let rare = [
        (summary.forget, "forget"),
        (summary.moved, "move"),
        (summary.import, "import"),
    ];
    let mut parts = vec![
        (summary.create, "create"),
        (summary.update, "update"),
        (summary.replace, "replace"),
        (summary.destroy, "destroy"),
    ];
    parts.extend(rare.into_iter().filter(|(number, _)| *number > 0));
    parts
}

/// Returns the summary as "2 to create, 0 to update, …".
pub(crate) fn summary_line(summary: &Summary, mode: Mode) -> String {
    let parts: Vec<String> = summary_parts(summary)
        .into_iter()
        .filter(|(number, word)| mode == Mode::Apply || *number > 0 || *word == "destroy")
        .map(|(number, word)| format!("{number} to {word}"))
        .collect();
    parts.join(", ")
}

/// Returns what a store could not do by itself, since when, and what that costs.
pub(crate) fn store_warning(warning: &StoreWarning) -> String {
    let since = match warning.since {
        Some(at) => format!("serial {} ({at:.0})", warning.serial),
        None => format!("serial {}", warning.serial),
    };
    plain(&format!(
        "{} That is so since {since}. {}",
        warning.what, warning.cost
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warning_of_a_store_says_since_when_and_what_it_costs() {
        let warning = StoreWarning {
            what: "Nothing could be deleted: the service refused access.".to_owned(),
            serial: 12,
            since: Some(jiff::Timestamp::UNIX_EPOCH),
            cost: "It stays.".to_owned(),
            hint: String::new(),
        };
        assert_eq!(
            store_warning(&warning),
            "Nothing could be deleted: the service refused access. That is so since serial 12 (1970-01-01T00:00:00Z). It stays."
        );
    }

    #[test]
    fn words_are_counted() {
        assert_eq!(count(1, "resource"), "1 resource");
        assert_eq!(count(0, "resource"), "0 resources");
        assert_eq!(count(2, "pass"), "2 passes");
    }

    #[test]
    fn long_path_lists_are_cut() {
        let paths: Vec<AttributePath> = ["a", "b", "c", "d", "e"]
            .iter()
            .map(AttributePath::root)
            .collect();
        assert_eq!(path_list(&paths[..2]), "`a` and `b`");
        assert_eq!(path_list(&paths), "`a`, `b`, `c`, `d` and 1 more");
    }
}
