//! Which machines reach which replica of a service, and where.
//!
//! A router sends requests to workers, and the agent beside it asks each what it is before it registers it; without a
//! router the gateway does. A router that is a replica group has a machine of its own, on which the gateway reaches it. Decode
//! workers fetch from the host at which the router knows a prefill worker. A replica that shares its machine with all who
//! talk to it is reached on loopback, every other one at its machine's private address.

use gabion_engine::diagnostic::Diagnostic;

use super::gateway::GatewayTarget;
use super::machines::Machine;
use super::nodes;
use super::role::{self, Part};
use crate::document::dialect::Member;
use crate::document::replica_group::GroupRole;

/// Where who is that talks to a service's replicas.
#[derive(Debug)]
pub(crate) struct Peers<'a> {
    gateway: Option<&'a Machine>,
    /// That of the router: the gateway's, unless it is a replica group.
    router: Option<&'a Machine>,
    decoders: Vec<&'a Machine>,
}

impl<'a> Peers<'a> {
    /// Finds those of a service. `placed` are its groups with the paths of their replicas, `machine` tells where one is.
    pub(crate) fn of(
        placed: &[(Member<'_>, Vec<String>)],
        gateway: &GatewayTarget<'a>,
        machine: impl Fn(&str) -> Option<&'a Machine>,
    ) -> Self {
        let on = |wanted: &dyn Fn(&Member<'_>) -> bool| {
            let groups = placed.iter().filter(|(member, _)| wanted(member));
            let paths =
                groups.flat_map(|(member, paths)| paths.iter().flat_map(|path| nodes::ranks(member, path)));
            paths.filter_map(|path| machine(&path)).collect::<Vec<_>>()
        };
        let in_group = on(&|member| member.router.is_some());
        Self {
            gateway: gateway.machine,
            router: in_group.first().copied().or(gateway.machine),
            decoders: on(&|member| Part::of(member).role() == Some(GroupRole::Decode)),
        }
    }

    /// Returns the machine that sends requests to a replica: the gateway's to a router, the router's to a worker.
    pub(crate) fn client(&self, member: &Member<'_>) -> Option<&'a Machine> {
        match member.router {
            Some(_) => self.gateway,
            None => self.router,
        }
    }

    /// Whether a replica is reached at its machine's private address.
    pub(crate) fn are_away(&self, member: &Member<'_>, machine: &Machine) -> bool {
        let is_away = |other: &&Machine| other.name != machine.name;
        self.client(member).iter().any(is_away) || self.fetchers(member).iter().any(is_away)
    }

    /// Returns the machines whose programs fetch from a replica: those of decode workers, from a prefill worker.
    fn fetchers(&self, member: &Member<'_>) -> &[&'a Machine] {
        match Part::of(member).role() {
            Some(GroupRole::Prefill) => &self.decoders,
            _ => &[],
        }
    }

    /// Returns the problem of a prefill worker that listens on loopback while decode workers on other machines fetch from it.
    /// SGLang's engines listen there unless they are told.
    pub(crate) fn check_listening(&self, member: &Member<'_>, machine: &Machine) -> Option<Diagnostic> {
        let decoder = self
            .fetchers(member)
            .iter()
            .find(|other| other.name != machine.name)?;
        let mode = role::flag(member.commands, "--disaggregation-mode");
        let hosts = role::flag(member.commands, "--host");
        let loopback = hosts
            .iter()
            .find(|host| ["127.0.0.1", "localhost", "::1"].contains(&host.value));
        let (span, why) = match (loopback, hosts.is_empty(), mode.first()) {
            (Some(host), ..) => (&host.span, "its commands have it listen on loopback"),
            (None, true, Some(mode)) => (
                &mode.span,
                "an engine that is given no `--host` listens on loopback",
            ),
            _ => return None,
        };
        Some(
            Diagnostic::error("out-of-reach", "prefill worker that decode workers do not reach")
                .detail(format!(
                    "Decode workers on `{}` fetch from the prefill worker on `{}`, and {why}.",
                    decoder.name, machine.name
                ))
                .at(span.clone())
                .hint("have it listen on the machine's addresses: `--host 0.0.0.0`"),
        )
    }
}
