//! A gateway: a listener of its machine's agent.

use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Spanned;
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::acme::{self, Https};
use super::backend::LOCAL;
use super::builder::{ResourceBuilder, address, reference};
use super::machines::Machine;
use super::program::text;
use super::project::LOOPBACK;
use crate::document::gateway::Gateway;
use crate::document::router::GatewayRouter;
use crate::term::Text;

/// The ports that local gateways are leased from.
const PORT_RANGE: &str = "8080-8999";

/// A gateway as services see it.
#[derive(Debug, Clone)]
pub(crate) struct GatewayTarget<'a> {
    pub(crate) name: &'a str,
    pub(crate) domain: Option<&'a Spanned<Text>>,
    pub(crate) router: Option<&'a Spanned<GatewayRouter>>,
    pub(crate) is_default: bool,
    /// The machine that it is on; `None` for the one that runs gabion.
    pub(crate) machine: Option<&'a Machine>,
    /// Whether anybody who reaches its machine may reach it, or only the machine's neighbours.
    pub(crate) is_public: bool,
    /// How long names may lead to a machine of it after another one has taken its place; `None` where its address stays.
    pub(crate) linger: Option<Duration>,
    /// How it speaks HTTPS, unless it speaks plain HTTP.
    pub(crate) https: Option<Https<'a>>,
    /// Whether its backend is there; nothing is lowered for one that is not.
    pub(crate) usable: bool,
    /// The document that declares it; the loopback has none.
    pub(crate) document: Option<&'a DocumentRef>,
}

impl<'a> GatewayTarget<'a> {
    pub(crate) fn declared(
        gateway: &'a Gateway,
        document: &'a DocumentRef,
        machine: Option<&'a Machine>,
        https: Option<Https<'a>>,
        usable: bool,
    ) -> Self {
        Self {
            machine,
            https,
            linger: None,
            is_public: gateway.public_ip,
            name: &gateway.name.value,
            domain: gateway.domain.as_ref(),
            router: gateway.router.as_ref(),
            is_default: gateway.default,
            usable,
            document: Some(document),
        }
    }

    /// The gateway of services without one.
    pub(crate) fn loopback() -> Self {
        Self {
            name: LOOPBACK,
            domain: None,
            router: None,
            is_default: false,
            machine: None,
            is_public: false,
            linger: None,
            https: None,
            usable: true,
            document: None,
        }
    }

    /// Returns what resources call its machine.
    pub(crate) fn machine_name(&self) -> &str {
        self.machine.map_or(LOCAL, |machine| &machine.name)
    }

    /// Returns what the programs of its machine say in `machine`.
    pub(crate) fn machine_id(&self) -> Value {
        self.machine.map_or_else(|| LOCAL.into(), Machine::id)
    }

    /// Returns the agent of its machine.
    pub(crate) fn agent(&self) -> ResourceAddress {
        agent_of(self.machine)
    }

    pub(crate) fn listener(&self) -> ResourceAddress {
        address("gateway_listener", self.name)
    }

    /// Returns the certificate without which a service cannot be reached.
    pub(crate) fn certificate(&self, service: &str) -> Option<ResourceAddress> {
        self.https.as_ref()?;
        Some(acme::certificate_of(self.name, service))
    }
}

/// Returns the agent of a machine; `None` is the one that runs gabion.
pub(crate) fn agent_of(machine: Option<&Machine>) -> ResourceAddress {
    let machine = machine.map_or(LOCAL, |machine| &machine.name);
    address("host_unit", &format!("agent/{machine}"))
}

/// Returns the ports of a gateway: the usual ones on a machine that is made for it.
fn ports(target: &GatewayTarget<'_>) -> Vec<(&'static str, Value)> {
    let is_made = target.machine.is_some_and(|machine| machine.made.is_some());
    if let Some(https) = &target.https {
        let [secure, plain] = https.ports(is_made, PORT_RANGE);
        return vec![("ports", secure), ("http_ports", plain)];
    }
    let ports = Value::map([match is_made {
        true => ("port", Value::Int(i64::from(acme::HTTP))),
        false => ("range", Value::from(PORT_RANGE)),
    }]);
    vec![("ports", ports)]
}

/// Returns the listener of a gateway.
pub(crate) fn listener(target: &GatewayTarget<'_>, document: &DocumentRef) -> Resource {
    let mut builder = ResourceBuilder::new(target.listener(), document)
        .input("agent", reference(&target.agent(), "id"))
        .input("name", target.name)
        .input("machine", target.machine_id())
        .inputs(ports(target));
    if let Some(machine) = target.machine {
        builder = match machine.neighbour_address().filter(|_| !target.is_public) {
            Some(address) => builder.input("address", text(&address)),
            None => builder
                .input("address", "0.0.0.0")
                .input("host", text(&machine.hostname)),
        };
    }
    if let Some(domain) = target.domain {
        builder = builder.input("domain", &*domain.value).at("domain", &domain.span);
    }
    builder.build()
}
