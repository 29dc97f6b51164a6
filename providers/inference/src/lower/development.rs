//! A development environment: a task that does nothing but stay there, to be entered with `gabion attach`.

use gabion_engine::config::Spanned;
use gabion_engine::diagnostic::Diagnostics;

use super::project::Placed;
use super::run_keys::unsupported;
use crate::document::dev_environment::DevEnvironment;
use crate::document::task::{AtLeastOne, Task};
use crate::grammar::duration::Limit;
use crate::term::Text;

/// What a development environment does once it is set up: nothing, in whatever image, until it is stopped.
const STAY: &str = "exec tail -f /dev/null";

/// Returns a development environment as the task that it is.
pub(crate) fn as_task(placed: &Placed<DevEnvironment>) -> Placed<Task> {
    let environment = &placed.document;
    let span = &environment.name.span;
    let mut commands = environment.init.clone();
    commands.push(Spanned::new(Text::from(STAY), span.clone()));
    Placed {
        document: Task {
            run: environment.run.clone(),
            profile: environment.profile.clone(),
            name: environment.name.clone(),
            commands,
            ports: environment.ports.clone(),
            nodes: Some(Spanned::new(AtLeastOne(1), span.clone())),
            groups: None,
            single_branch: environment.single_branch,
        },
        node: placed.node.clone(),
        reference: placed.reference.clone(),
        type_span: placed.type_span.clone(),
    }
}

/// Reports what of a development environment this build cannot carry out on any backend.
pub(crate) fn check(placed: &Placed<DevEnvironment>, problems: &mut Diagnostics) {
    let environment = &placed.document;
    if let Some(version) = &environment.version {
        problems.push(unsupported(
            &version.span,
            "This build installs no server of an editor; editors install their own, of their own version, when they connect."
                .to_owned(),
            "remove `version`",
        ));
    }
    if environment.inactivity_duration.value != Limit::Off {
        problems.push(unsupported(
            &environment.inactivity_duration.span,
            "Nothing of this build watches who is connected to a development environment.".to_owned(),
            "remove `inactivity_duration`, or limit the environment with `max_duration`",
        ));
    }
}
