//! A gateway on the local backend: a listener of this machine's agent.

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Spanned;
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::backend::LOCAL;
use super::builder::{ResourceBuilder, address, reference};
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
    /// Whether its backend is there; nothing is lowered for one that is not.
    pub(crate) usable: bool,
    /// The document that declares it; the loopback has none.
    pub(crate) document: Option<&'a DocumentRef>,
}

impl<'a> GatewayTarget<'a> {
    pub(crate) fn declared(gateway: &'a Gateway, document: &'a DocumentRef, usable: bool) -> Self {
        Self {
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
            usable: true,
            document: None,
        }
    }

    pub(crate) fn listener(&self) -> ResourceAddress {
        address("gateway_listener", self.name)
    }
}

/// Returns the listener of a gateway on this machine.
pub(crate) fn listener(target: &GatewayTarget<'_>, document: &DocumentRef) -> Resource {
    let agent = address("host_unit", &format!("agent/{LOCAL}"));
    let mut builder = ResourceBuilder::new(target.listener(), document)
        .input("agent", reference(&agent, "id"))
        .input("name", target.name)
        .input("machine", LOCAL)
        .input("ports", Value::map([("range", Value::from(PORT_RANGE))]));
    if let Some(domain) = target.domain {
        builder = builder.input("domain", &*domain.value).at("domain", &domain.span);
    }
    builder.build()
}
