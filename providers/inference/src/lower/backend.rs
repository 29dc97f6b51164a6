//! Backends: where machines come from. This build has `local`, the machine that runs gabion, `ssh`, the machines of the
//! project's fleets with `ssh_config`, and `aws`, machines that gabion makes on EC2.

use gabion_engine::config::Purpose;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::aws::AWS;
use super::machines::Machine;
use super::project::Context;
use super::run_keys::unsupported;
use crate::document::backend::Backend;
use crate::document::profile::ProfileParams;

/// The backend whose only machine is the one that runs gabion; also that machine's name.
pub(crate) const LOCAL: &str = "local";

/// The backend of machines that are there already.
pub(crate) const SSH: &str = "ssh";

/// A backend that this build has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Usable {
    /// The machine that runs gabion.
    Local,
    /// Machines of fleets.
    Ssh,
    /// Machines that are made on EC2.
    Aws,
}

impl Usable {
    /// Returns its name in documents.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Local => LOCAL,
            Self::Ssh => SSH,
            Self::Aws => AWS,
        }
    }

    fn of(backend: Backend) -> Option<Self> {
        match backend {
            backend if backend.is_local() => Some(Self::Local),
            backend if backend.is_ssh() => Some(Self::Ssh),
            backend if backend.name() == AWS => Some(Self::Aws),
            _ => None,
        }
    }
}

/// Returns a backend if it can be used, reporting why not.
///
/// A backend that exists but is not in this build is a problem only when planning, and so is one without machines.
pub(crate) fn usable(
    name: &str,
    span: &Span,
    machines: &[Machine],
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<Usable> {
    let purpose = context.purpose;
    match Backend::find(name) {
        Some(backend) => match Usable::of(backend) {
            Some(Usable::Ssh) if machines.is_empty() => {
                // A fleet with an error may have some.
                if purpose == Purpose::Plan && !context.unread.may_have("fleet") {
                    problems.push(
                        Diagnostic::error("no-machines", "backend without machines")
                            .detail("No fleet of the project has machines that are reached over SSH.")
                            .at(span.clone())
                            .hint("add a document `type: fleet` with `ssh_config`"),
                    );
                }
                return None;
            }
            // What a region has is asked for a plan only.
            Some(Usable::Aws) if purpose != Purpose::Plan => return None,
            Some(usable) => return Some(usable),
            None if purpose == Purpose::Plan => problems.push(
                Diagnostic::error("unsupported-backend", "backend not in this build")
                    .detail(format!(
                        "This build has no {} backend; it has `{LOCAL}`, `{SSH}` and `{AWS}`.",
                        backend.title()
                    ))
                    .at(span.clone())
                    .hint(
                        "set the backend to `local`, `ssh` or `aws`, or plan with a build that has this one",
                    ),
            ),
            None => {}
        },
        // A document's own was refused when it was read.
        None => problems.push(
            Diagnostic::error("unknown-backend", "unknown backend")
                .detail(format!("There is no backend `{name}`."))
                .at(span.clone())
                .hint("use `local`, the machine that runs gabion, `ssh`, the machines of fleets, or `aws`"),
        ),
    }
    None
}

/// Returns the backend of a service or another run, reporting why there is none.
///
/// Named fleets say it; else the run's own `backends`, the first that can be used; without any, the project's.
pub(crate) fn of_run(
    profile: &ProfileParams,
    type_span: &Span,
    machines: &[Machine],
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<Usable> {
    if !profile.fleets.is_empty() {
        let known = |name: &str| machines.iter().any(|machine| machine.fleet == name);
        for fleet in &profile.fleets {
            let is_here = fleet.value.project.is_none();
            let may_be = known(&fleet.value.name) || context.unread.may_be("fleet", &fleet.value.name);
            if !(is_here && may_be) && context.purpose == Purpose::Plan {
                let mut names: Vec<&str> = machines.iter().map(|machine| machine.fleet.as_str()).collect();
                names.dedup();
                problems.push(
                    Diagnostic::error("unknown-fleet", "unknown fleet")
                        .detail(format!(
                            "The project has no fleet `{}` whose machines are reached over SSH.",
                            fleet.value
                        ))
                        .at(fleet.span.clone())
                        .hint(if names.is_empty() {
                            "add a document `type: fleet` with `ssh_config`".to_owned()
                        } else {
                            format!("it has: {}", names.join(", "))
                        }),
                );
            }
        }
        return Some(Usable::Ssh);
    }
    first_usable(&named(profile, type_span, context), machines, context, problems)
}

/// Returns the first backend that can be used, or reports why none can; without any it is the machine that runs gabion.
fn first_usable(
    named: &[(&str, &Span)],
    machines: &[Machine],
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<Usable> {
    if named.is_empty() {
        return Some(Usable::Local);
    }
    let mut cannot = Diagnostics::new();
    let found = named
        .iter()
        .find_map(|(name, span)| usable(name, span, machines, context, &mut cannot));
    if found.is_none() {
        problems.extend(cannot);
    }
    found
}

/// Returns the backends that a service or task may be on, in the order written: its own, else the project's.
fn named<'a>(
    profile: &'a ProfileParams,
    type_span: &'a Span,
    context: &'a Context,
) -> Vec<(&'a str, &'a Span)> {
    if profile.backends.is_empty() {
        let names = context.backends.iter();
        return names.map(|name| (name.as_str(), type_span)).collect();
    }
    let own = profile.backends.iter();
    own.map(|backend| (backend.value.name(), &backend.span)).collect()
}

/// Returns the backend of a task or a development environment, reporting why there is none.
pub(crate) fn of_task(
    profile: &ProfileParams,
    type_span: &Span,
    machines: &[Machine],
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<Usable> {
    if !profile.fleets.is_empty() {
        return of_run(profile, type_span, machines, context, problems);
    }
    let mut named = named(profile, type_span, context);
    let for_tasks = |name: &str| name != AWS;
    match named.iter().find(|(name, _)| !for_tasks(name)) {
        Some((_, span)) if !named.iter().any(|(name, _)| for_tasks(name)) => {
            if context.purpose == Purpose::Plan {
                problems.push(unsupported(
                    span,
                    format!("This build runs tasks and development environments on `{LOCAL}` and `{SSH}` only, not on `{AWS}`."),
                    &format!("add `backends: [{LOCAL}]`, or `backends: [{SSH}]` for the machines of fleets"),
                ));
            }
            return None;
        }
        _ => named.retain(|(name, _)| for_tasks(name)),
    }
    first_usable(&named, machines, context, problems)
}
