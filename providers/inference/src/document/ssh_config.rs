//! `ssh_config` of a fleet: machines that are there already, reached by SSH.

use std::collections::BTreeSet;
use std::net::IpAddr;

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::fleet::Blocks;
use crate::grammar::host_name::HostName;
use crate::grammar::port::Port;
use crate::term::{Term, excerpt, map_schema, map_type, plain_map, read_map, write_map};

map_type! {
    /// A machine that others are reached through.
    pub struct ProxyJump: "SSH proxy" {
        /// Its host name or address.
        hostname: HostName,
        /// Its SSH port, 22 if not given.
        port: Option<Port> = None,
        /// The user to log in as.
        user: String,
        /// The file of the private key.
        identity_file: String,
    }
}

plain_map!(ProxyJump, "a map of `hostname`, `user` and `identity_file`");

map_type! {
    /// A machine of a fleet.
    pub struct SshHost: "SSH host" {
        /// Its host name or address.
        hostname: Spanned<HostName>,
        /// Its SSH port; the fleet's if not given.
        port: Option<Port> = None,
        /// The user to log in as; the fleet's if not given.
        user: Option<String> = None,
        /// The file of the private key; the fleet's if not given.
        identity_file: Option<String> = None,
        /// The machine that it is reached through; the fleet's if not given.
        proxy_jump: Option<ProxyJump> = None,
        /// Its private address, for its neighbours.
        internal_ip: Option<Spanned<String>> = None,
        /// Into how many parts it is split; the fleet's if not given.
        blocks: Option<Blocks> = None,
        /// The public key that it is known by, as `known_hosts` has it: `ssh-ed25519 AAAA…`. gabion's own.
        host_key: Option<Spanned<String>> = None,
    }
    check SshHost::check;
}

impl SshHost {
    fn check(&self, map: &mut MapReader<'_>) {
        let Some(address) = &self.internal_ip else { return };
        let why = match address.value.parse::<IpAddr>() {
            Ok(parsed) if is_private(parsed) => return,
            Ok(_) => "is public, and neighbours reach each other by private addresses",
            Err(_) => "is no IP address",
        };
        map.problems().push(bad_address(address, why));
    }
}

fn bad_address(address: &Spanned<String>, why: &str) -> Diagnostic {
    Diagnostic::error("bad-address", "bad address")
        .detail(format!("`{}` {why}.", excerpt(&address.value)))
        .at(address.span.clone())
        .hint("such as `10.0.0.7`")
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = v4.octets()[0] == 192 && v4.octets()[1] == 0 && v4.octets()[2] == 0;
            v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_documentation() || shared
        }
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// Hosts are written as a name alone or as a map.
impl FromNode for SshHost {
    fn expected() -> String {
        "a host name, or a map with `hostname`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            return read_map(node, problems);
        }
        Some(Self {
            hostname: Spanned::from_node(node, problems)?,
            port: None,
            user: None,
            identity_file: None,
            proxy_jump: None,
            internal_ip: None,
            blocks: None,
            host_key: None,
        })
    }
}

impl Term for SshHost {
    fn write(&self) -> Yaml {
        write_map(self)
    }

    fn schema() -> Json {
        json!({
            "anyOf": [HostName::schema(), map_schema::<Self>()],
            "title": "host",
            "examples": ["10.0.0.7", {"hostname": "10.0.0.7", "user": "ubuntu"}],
        })
    }
}

map_type! {
    /// Machines that are there already, reached by SSH.
    pub struct SshConfig: "SSH configuration" {
        /// The user to log in as.
        user: Option<String> = None,
        /// The SSH port, 22 if not given.
        port: Option<Port> = None,
        /// The file of the private key.
        identity_file: Option<String> = None,
        /// The machine that they are reached through.
        proxy_jump: Option<ProxyJump> = None,
        /// The machines.
        hosts: Vec<SshHost>,
        /// The private network by which they reach each other: `10.0.0.0/24`.
        network: Option<Spanned<String>> = None,
        /// Whether the key that a machine shows at first is taken without a comparison, and recorded. Without it, a machine is known by its `host_key`, else by your own `known_hosts`. gabion's own.
        trust_on_first_use: bool = false,
    }
    check SshConfig::check;
}

plain_map!(SshConfig, "a map of `user`, `identity_file` and `hosts`");

impl SshConfig {
    fn check(&self, map: &mut MapReader<'_>) {
        let mut seen = BTreeSet::new();
        for host in &self.hosts {
            let name = &host.hostname;
            // Behind a forwarding address, ports tell machines apart.
            if !seen.insert((name.value.as_str(), host.port)) {
                map.problems().push(
                    Diagnostic::error("duplicate-host", "duplicate host")
                        .detail(format!("`{}` is listed already.", name.value))
                        .at(name.span.clone())
                        .hint("list each host once"),
                );
            }
            for (key, missing) in [
                ("user", self.user.is_none() && host.user.is_none()),
                (
                    "identity_file",
                    self.identity_file.is_none() && host.identity_file.is_none(),
                ),
            ] {
                if missing {
                    map.problems().push(
                        Diagnostic::error("missing-key", "missing key")
                            .detail(format!(
                                "The host `{}` has no `{key}`, and `ssh_config` neither.",
                                name.value
                            ))
                            .at(name.span.clone())
                            .hint(format!("add `{key}: …` to `ssh_config`")),
                    );
                }
            }
        }
        self.check_addresses(map);
    }

    /// Private addresses are given for all hosts, for none, or by the network.
    fn check_addresses(&self, map: &mut MapReader<'_>) {
        let addresses: Vec<&Spanned<String>> = self
            .hosts
            .iter()
            .filter_map(|host| host.internal_ip.as_ref())
            .collect();
        if let (Some(network), Some(address)) = (&self.network, addresses.first()) {
            map.problems().push(
                Diagnostic::error("exclusive-keys", "keys that exclude each other")
                    .detail(
                        "`network` finds the hosts' private addresses, and `internal_ip` says one of them.",
                    )
                    .at(address.span.clone())
                    .related(network.span.clone(), "the network")
                    .hint("remove one of the two"),
            );
        } else if let Some(host) = self
            .hosts
            .iter()
            .find(|host| !addresses.is_empty() && host.internal_ip.is_none())
        {
            map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail("Some hosts have an `internal_ip`, and this one has none.")
                    .at(host.hostname.span.clone())
                    .hint("add it to all hosts, or to none"),
            );
        }
        if let Some(network) = &self.network {
            let good = network_address(&network.value);
            if good != Some(true) {
                let why = match good {
                    None => "is no network such as `10.0.0.0/24`",
                    Some(_) => "is a public network, and hosts reach each other by private addresses",
                };
                map.problems()
                    .push(bad_address(network, why).hint("such as `10.0.0.0/24`"));
            }
        }
    }
}

/// Returns whether a network is private; `None` when it is no network.
fn network_address(text: &str) -> Option<bool> {
    let (address, mask) = match text.split_once('/') {
        Some((address, mask)) => (address.parse::<IpAddr>().ok()?, Some(mask)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match mask {
        None => bits,
        Some(mask) => match mask.parse::<u32>() {
            Ok(length) => length,
            // A netmask, as IPv4 has them.
            Err(_) => u32::from(mask.parse::<std::net::Ipv4Addr>().ok()?).leading_ones(),
        },
    };
    if length > bits {
        return None;
    }
    let least = match address {
        IpAddr::V4(v4) => match v4.octets() {
            [10 | 127, ..] => 8,
            [172, ..] => 12,
            _ => 16,
        },
        IpAddr::V6(_) => 7,
    };
    Some(is_private(address) && length >= least)
}
