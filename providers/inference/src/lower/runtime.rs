//! What runs programs that are in no container: processes, or services of systemd where the settings of a backend say so.

use std::collections::BTreeSet;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Purpose, RecordedView};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::value::{AttributePath, Value};

use super::backend::{LOCAL, SSH};

/// Which backends say that programs are services of systemd, and where.
#[derive(Debug, Default)]
pub(crate) struct Services {
    /// The machine that runs gabion.
    pub(crate) local: Option<Span>,
    /// Machines of fleets.
    pub(crate) ssh: Option<Span>,
}

/// Has programs run by systemd where that is said. `fleet` are the machines of fleets.
pub(crate) fn choose(
    lowered: &mut Lowered,
    services: &Services,
    fleet: &BTreeSet<ResourceAddress>,
    purpose: Purpose,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) {
    let mut without: BTreeSet<String> = BTreeSet::new();
    for resource in &mut lowered.resources {
        let is_unit = resource.address.resource_type.as_str() == "host_unit";
        // What is meant to end has nothing of a service: it is not started with the machine.
        let ends = resource.inputs.get("completes").and_then(Value::as_bool) == Some(true);
        if !is_unit || ends || resource.inputs.contains_key("runtime") {
            continue;
        }
        let Some(machine) = resource.inputs.get("machine").and_then(Value::as_str) else {
            continue;
        };
        let host = super::builder::address("ssh_host", machine);
        let span = match machine {
            LOCAL => services.local.as_ref(),
            _ => services.ssh.as_ref().filter(|_| fleet.contains(&host)),
        };
        let Some(span) = span else { continue };
        if machine != LOCAL && has_systemd(&host, recorded) == Some(false) {
            without.insert(machine.to_owned());
        }
        resource.inputs.insert("runtime".into(), "systemd".into());
        resource
            .places
            .insert(AttributePath::root("runtime"), span.place());
    }
    let Some(span) = services.ssh.as_ref().filter(|_| purpose == Purpose::Plan) else {
        return;
    };
    for machine in without {
        problems.push(
            Diagnostic::error("no-systemd", "machine without systemd")
                .detail(format!(
                    "The backend `{SSH}` runs programs as services of systemd, and `{machine}` is run by something else."
                ))
                .at(span.clone())
                .hint("remove `runtime: systemd`, or take the machine out of its fleet"),
        );
    }
}

/// Whether a machine is run by systemd; `None` when nothing is known of it.
fn has_systemd(host: &ResourceAddress, recorded: &dyn RecordedView) -> Option<bool> {
    let surveyed = recorded
        .surveyed(host)
        .and_then(|found| found.as_ref().ok())
        .cloned();
    let facts = recorded.attributes(host).or(surveyed)?;
    let runtimes = facts.get("runtimes").and_then(Value::as_list)?;
    Some(runtimes.iter().any(|runtime| runtime.as_str() == Some("systemd")))
}
