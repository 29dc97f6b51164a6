//! The machines of fleets that are reached over SSH: what each is called, what is known of it, and its resource.

use std::net::IpAddr;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{RecordedView, Survey};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::resource::{DocumentRef, Place, Resource};
use gabion_engine::value::{Attributes, Value};

use super::builder::{ResourceBuilder, address, reference};
use super::project::Placed;
use crate::document::fleet::{Blocks, Fleet};
use crate::document::ssh_config::{SshConfig, SshHost};

/// The resource type of such a machine.
const SSH_HOST: &str = "ssh_host";

/// A machine of a fleet.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// What resources call it: `FLEET/HOST`.
    pub(crate) name: String,
    /// Its fleet.
    pub(crate) fleet: String,
    /// Its number in the fleet.
    pub(crate) number: u32,
    /// Its host name or address.
    pub(crate) hostname: String,
    /// Into how many parts it is split.
    pub(crate) blocks: Blocks,
    /// What it is; `None` when nobody has looked.
    pub(crate) facts: Option<MachineFacts>,
    /// The address by which its neighbours reach it.
    pub(crate) private_address: Option<IpAddr>,
    /// What it is made of, if gabion makes it.
    pub(crate) made: Option<Made>,
    /// Where it is declared.
    pub(crate) span: Span,
}

/// What is known of a machine that gabion makes, before it is there.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// Its private address: a template.
    private_address: String,
    /// The resource that it is.
    instance: ResourceAddress,
    /// Whether one in its place works beside it before it goes.
    is_replaced_beside: bool,
    /// The rules of its network that let others in to its programs.
    let_in_by: Vec<ResourceAddress>,
}

/// What a machine is, as far as placing needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MachineFacts {
    pub(crate) arch: String,
    pub(crate) cpus: u32,
    pub(crate) memory_mib: u64,
    pub(crate) disk_gib: u64,
    pub(crate) gpus: Vec<GpuFacts>,
    pub(crate) addresses: Vec<String>,
    /// Whether it can run containers.
    pub(crate) has_containers: bool,
}

/// An accelerator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct GpuFacts {
    pub(crate) vendor: String,
    pub(crate) name: String,
    pub(crate) memory_mib: u64,
}

impl Machine {
    /// Returns a machine that gabion makes; its host name and private address are templates, known once it is made.
    pub(crate) fn made(
        name: &str,
        hostname: String,
        private_address: String,
        instance: &ResourceAddress,
        span: &Span,
    ) -> Self {
        Self {
            name: name.to_owned(),
            fleet: String::new(),
            number: 0,
            hostname,
            blocks: Blocks::Count(1),
            facts: None,
            private_address: None,
            made: Some(Made {
                private_address,
                instance: instance.clone(),
                is_replaced_beside: false,
                let_in_by: Vec::new(),
            }),
            span: span.clone(),
        }
    }

    /// Has a machine in its place work beside it before it goes: the programs of both are told apart.
    pub(crate) fn replaced_beside(mut self) -> Self {
        if let Some(made) = &mut self.made {
            made.is_replaced_beside = true;
        }
        self
    }

    /// Says which rules of its network let others in to its programs.
    pub(crate) fn let_in_by(mut self, rules: Vec<ResourceAddress>) -> Self {
        if let Some(made) = &mut self.made {
            made.let_in_by = rules;
        }
        self
    }

    /// Returns what must stand for others to reach its programs.
    pub(crate) fn ways_in(&self) -> &[ResourceAddress] {
        self.made.as_ref().map_or(&[], |made| &made.let_in_by)
    }

    /// Returns whether one in its place works beside it before it goes.
    pub(crate) fn is_replaced_beside(&self) -> bool {
        self.made.as_ref().is_some_and(|made| made.is_replaced_beside)
    }

    /// Returns what programs on it say in `machine`.
    pub(crate) fn id(&self) -> Value {
        match self.is_replaced_beside() {
            true => reference(&self.resource(), "id"),
            false => self.name.as_str().into(),
        }
    }

    /// Returns the address of its resource.
    pub(crate) fn resource(&self) -> ResourceAddress {
        address(SSH_HOST, &self.name)
    }

    /// Returns the address by which its neighbours reach it: a text or a template.
    pub(crate) fn neighbour_address(&self) -> Option<String> {
        let known = self.private_address.map(|address| address.to_string());
        known.or_else(|| Some(self.made.as_ref()?.private_address.clone()))
    }

    /// Has a program wait for the machine that it is on, and go with a machine that gabion makes.
    pub(crate) fn carry(&self, builder: ResourceBuilder, at: &Place) -> ResourceBuilder {
        let builder = builder.depends_on(self.resource(), at.clone());
        match &self.made {
            // Another type of the same machine takes a stop, and programs end with it.
            Some(made) => builder
                .replaced_with(&made.instance, "id")
                .replaced_with(&made.instance, "instance_type"),
            None => builder,
        }
    }
}

impl MachineFacts {
    pub(super) fn of(attributes: &Attributes) -> Option<Self> {
        let whole = |attributes: &Attributes, name: &str| {
            let number = attributes.get(name).and_then(Value::as_int)?;
            u64::try_from(number).ok()
        };
        let text = |attributes: &Attributes, name: &str| {
            let text = attributes.get(name).and_then(Value::as_str);
            text.unwrap_or_default().to_owned()
        };
        let list = |name: &str| attributes.get(name).and_then(Value::as_list).unwrap_or_default();
        Some(Self {
            arch: text(attributes, "arch"),
            cpus: u32::try_from(whole(attributes, "cpus")?).ok()?,
            memory_mib: whole(attributes, "memory_mib")?,
            disk_gib: whole(attributes, "disk_gib")?,
            gpus: list("gpus")
                .iter()
                .filter_map(Value::as_map)
                .map(|gpu| GpuFacts {
                    vendor: text(gpu, "vendor"),
                    name: text(gpu, "name"),
                    memory_mib: whole(gpu, "memory_mib").unwrap_or_default(),
                })
                .collect(),
            addresses: list("addresses")
                .iter()
                .filter_map(|address| address.as_str().map(str::to_owned))
                .collect(),
            has_containers: list("runtimes")
                .iter()
                .filter_map(Value::as_str)
                .any(|runtime| runtime == "docker" || runtime.starts_with("docker ")),
        })
    }
}

/// Returns the machines of all fleets, in the order of the documents, and reports those of which nothing can be known.
pub(crate) fn all(
    fleets: &[Placed<Fleet>],
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Vec<Machine> {
    let mut machines: Vec<Machine> = Vec::new();
    for (placed, config, host, number) in hosts(fleets) {
        let machine = machine(placed, config, host, number, recorded);
        if let Some(first) = machines.iter().find(|other| other.name == machine.name) {
            problems.push(
                Diagnostic::error("duplicate-host", "duplicate host")
                    .detail(format!("Two machines would be called `{}`.", machine.name))
                    .at(machine.span.clone())
                    .related(first.span.clone(), "the first one")
                    .hint("list each host once, or give both a `port` of their own"),
            );
            continue;
        }
        if let (None, Some(Err(failure))) = (&machine.facts, recorded.surveyed(&machine.resource())) {
            let problem = Diagnostic::error("unreachable-machine", "machine that cannot be reached")
                .detail(format!(
                    "{} Nothing is known of the machine yet, so nothing can be placed on it.",
                    failure.message
                ))
                .at(machine.span.clone());
            problems.push(match &failure.hint {
                Some(hint) => problem.hint(hint.clone()),
                None => problem,
            });
        }
        machines.push(machine);
    }
    machines
}

/// Returns the machines of which nothing is recorded.
pub(crate) fn surveys(fleets: &[Placed<Fleet>], recorded: &dyn RecordedView) -> Vec<Survey> {
    hosts(fleets)
        .map(|(placed, config, host, _)| {
            let address = address(SSH_HOST, &name(&placed.document, host));
            Survey {
                inputs: inputs(placed, config, host, recorded, &address),
                address,
            }
        })
        .collect()
}

/// Returns the resources of all machines.
pub(crate) fn resources(fleets: &[Placed<Fleet>], recorded: &dyn RecordedView) -> Vec<Resource> {
    hosts(fleets)
        .map(|(placed, config, host, _)| {
            let document: &DocumentRef = &placed.reference;
            let address = address(SSH_HOST, &name(&placed.document, host));
            let inputs = inputs(placed, config, host, recorded, &address);
            let mut builder = ResourceBuilder::new(address, document).at("hostname", &host.hostname.span);
            for (name, value) in inputs {
                builder = builder.input(&name, value);
            }
            builder.build()
        })
        .collect()
}

type Host<'a> = (&'a Placed<Fleet>, &'a SshConfig, &'a SshHost, u32);

fn hosts(fleets: &[Placed<Fleet>]) -> impl Iterator<Item = Host<'_>> {
    fleets.iter().flat_map(|placed| {
        let config = placed.document.ssh_config.as_ref().map(|config| &config.value);
        config.into_iter().flat_map(move |config| {
            (0..)
                .zip(&config.hosts)
                .map(move |(number, host)| (placed, config, host, number))
        })
    })
}

/// A host is called by its name; one with a port of its own, by both, since behind one address ports tell machines apart.
fn name(fleet: &Fleet, host: &SshHost) -> String {
    let hostname = &host.hostname.value;
    match host.port {
        Some(port) => format!("{}/{hostname}-{}", fleet.name.value, port.0),
        None => format!("{}/{hostname}", fleet.name.value),
    }
}

fn inputs(
    placed: &Placed<Fleet>,
    config: &SshConfig,
    host: &SshHost,
    recorded: &dyn RecordedView,
    address: &ResourceAddress,
) -> Attributes {
    let mut inputs = Attributes::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            inputs.insert(name.into(), value);
        }
    };
    let text = |text: &Option<String>, general: &Option<String>| {
        text.as_ref().or(general.as_ref()).map(Value::string)
    };
    let port = host.port.or(config.port);
    set("machine", Some(name(&placed.document, host).into()));
    set("hostname", Some(Value::string(&host.hostname.value)));
    set("port", port.map(|port| Value::Int(i64::from(port.0))));
    set("user", text(&host.user, &config.user));
    set("identity_file", text(&host.identity_file, &config.identity_file));
    let jump = host.proxy_jump.as_ref().or(config.proxy_jump.as_ref());
    set(
        "proxy_jump",
        jump.map(|jump| {
            let mut entries = vec![
                ("hostname", Value::string(&jump.hostname)),
                ("user", Value::string(&jump.user)),
                ("identity_file", Value::string(&jump.identity_file)),
            ];
            entries.extend(jump.port.map(|port| ("port", Value::Int(i64::from(port.0)))));
            Value::map(entries)
        }),
    );
    set(
        "internal_ip",
        host.internal_ip.as_ref().map(|ip| Value::string(&ip.value)),
    );
    let own_key = host.host_key.as_ref().map(|key| Value::string(&key.value));
    if own_key.is_none() && config.trust_on_first_use {
        set("trust_on_first_use", Some(true.into()));
        // The key that it showed first is the only one from then on.
        let known = recorded.attributes(address);
        let seen = recorded.surveyed(address).and_then(|survey| survey.as_ref().ok());
        let key = known
            .as_ref()
            .and_then(|attributes| attributes.get("host_key"))
            .or_else(|| seen.and_then(|attributes| attributes.get("host_key")));
        set("host_key", key.filter(|key| !key.is_null()).cloned());
    } else {
        set("host_key", own_key);
    }
    inputs
}

fn machine(
    placed: &Placed<Fleet>,
    config: &SshConfig,
    host: &SshHost,
    number: u32,
    recorded: &dyn RecordedView,
) -> Machine {
    let fleet = &placed.document;
    let name = name(fleet, host);
    let address = address(SSH_HOST, &name);
    let known = recorded.attributes(&address);
    let facts = known.as_ref().and_then(MachineFacts::of).or_else(|| {
        let survey = recorded.surveyed(&address)?.as_ref().ok()?;
        MachineFacts::of(survey)
    });
    let hostname = host.hostname.value.as_str();
    let network = config.network.as_ref().map(|network| network.value.as_str());
    let own = || facts.iter().flat_map(|facts| &facts.addresses);
    let private_address = match (&host.internal_ip, network) {
        (Some(address), _) => address.value.parse().ok(),
        (None, Some(network)) => own()
            .filter_map(|address| address.parse().ok())
            .find(|address| is_in(*address, network)),
        // Its name is an address of its own: whoever reaches it there reaches it as its neighbours do.
        (None, None) => hostname
            .parse()
            .ok()
            .filter(|_| own().any(|address| address == hostname)),
    };
    Machine {
        fleet: fleet.name.value.clone(),
        number,
        hostname: hostname.to_owned(),
        blocks: host.blocks.unwrap_or(fleet.blocks),
        facts,
        private_address,
        made: None,
        span: host.hostname.span.clone(),
        name,
    }
}

/// Returns whether an address is in a network such as `10.0.0.0/24`.
fn is_in(address: IpAddr, network: &str) -> bool {
    let (base, mask) = network.split_once('/').unwrap_or((network, ""));
    let Ok(base) = base.parse::<IpAddr>() else {
        return false;
    };
    let wide = |address: IpAddr| match address {
        IpAddr::V4(v4) => (u128::from(u32::from(v4)) << 96, 32),
        IpAddr::V6(v6) => (u128::from(v6), 128),
    };
    if base.is_ipv4() != address.is_ipv4() {
        return false;
    }
    let ((base, bits), (address, _)) = (wide(base), wide(address));
    let length = match (mask.parse::<u32>(), mask.parse::<std::net::Ipv4Addr>()) {
        (Ok(length), _) => length.min(bits),
        (_, Ok(mask)) => u32::from(mask).leading_ones(),
        _ => bits,
    };
    length == 0 || (base ^ address) >> (128 - length) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_in_a_network_or_not() {
        let cases = [
            ("10.88.7.11", "10.88.7.0/24", true),
            ("10.88.8.11", "10.88.7.0/24", false),
            ("10.88.8.11", "10.88.0.0/255.255.0.0", true),
            ("10.88.7.11", "10.88.7.11", true),
            ("fd00::7", "fd00::/8", true),
            ("fe00::7", "fd00::/8", false),
            ("10.88.7.11", "fd00::/8", false),
        ];
        for (address, network, expected) in cases {
            assert_eq!(
                is_in(address.parse().unwrap(), network),
                expected,
                "{address} {network}"
            );
        }
    }
}
