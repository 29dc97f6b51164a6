//! What users of other tools type, answered with the command that gabion has for it.

use crate::args::Reflex;
use crate::failure::{Failure, Outcome};

fn other(name: &str, detail: &str, hint: &str) -> Outcome {
    Err(Failure::new(format!("gabion has no command `{name}`"))
        .detail(detail)
        .hint(hint))
}

/// Terraform's `refresh`.
pub(crate) fn refresh() -> Outcome {
    other(
        "refresh",
        "The world is read whenever a plan is made, and what is recorded changes only when you say so.",
        "see what was changed outside gabion:\n    gabion drift\nrecord such a change as it is:\n    gabion drift --accept ADDR",
    )
}

/// A command that is below `gabion state` here.
pub(crate) fn moved_to(name: &str, command: &str, args: &Reflex) -> Outcome {
    let rest: Vec<String> = args
        .rest
        .iter()
        .map(|word| crate::shell::shell_word(word))
        .collect();
    let rest = if rest.is_empty() {
        "ADDR".to_owned()
    } else {
        rest.join(" ")
    };
    other(
        name,
        "Marks are part of the state.",
        &format!("run this:\n    {command} {rest}"),
    )
}

/// Terraform's `workspace`.
pub(crate) fn workspace() -> Outcome {
    other(
        "workspace",
        "A separate copy of everything, with its own state, is a stack; it is there as soon as you name it.",
        "name it with each command:\n    gabion plan --stack NAME",
    )
}

/// Terraform's `force-unlock`.
pub(crate) fn force_unlock() -> Outcome {
    other(
        "force-unlock",
        "A lock whose process is gone is taken over at once, and one on another machine as soon as its heartbeat stands \
         still.",
        "wait for whoever holds it:\n    gabion apply --lock-timeout 5m\nonly if nothing runs any more:\n    gabion state unlock",
    )
}

/// dstack's `delete`.
pub(crate) fn delete() -> Outcome {
    other(
        "delete",
        "What is in no document is deleted by the next apply.",
        "remove its document and run:\n    gabion apply\nor delete one resource and what needs it:\n    gabion destroy --target ADDR",
    )
}

/// dstack's `stop`.
pub(crate) fn stop() -> Outcome {
    other(
        "stop",
        "A service runs for as long as its document is there.",
        "remove its document and run:\n    gabion apply\nor delete everything:\n    gabion destroy",
    )
}
