//! An address that moves to a machine: how the machine is reached before, and when the address has come.
//!
//! What takes the place of another machine may have the address of that from some time on: until then it is reached by its
//! own, which is gone afterwards. Whom a connection has found it is known by its key.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::provider::Call;

use super::{Host, Hosts, NoConnection, lock, unreachable};
use crate::generation::shared_name;
use crate::program::AgentProgram;
use crate::ssh::{self, Connected, Jump, SshAddress, SshError};

/// How long an address may take to lead to another machine, once whoever has it said that it does.
const COMES: Duration = Duration::from_secs(60);

/// The pause between two looks at where it leads.
const PAUSE: Duration = Duration::from_secs(1);

impl Hosts {
    /// Connects to a machine at the address that leads to it, or else in its other way. Returns whether the way is one that
    /// ends when the address comes.
    pub(super) async fn connect_either_way(
        &self,
        name: &str,
        address: &SshAddress,
        program: &AgentProgram,
        base: &Path,
    ) -> Result<(Connected, bool), NoConnection> {
        let error = match ssh::connect(address, program, base).await {
            Ok(connected) => return Ok((connected, false)),
            Err(error) => error,
        };
        let other = Some(()).filter(|()| error.is_away());
        let Some(other) = other.and_then(|()| self.other_way(name, address)) else {
            return Err(unreachable(name, address, &error));
        };
        match ssh::connect(&other, program, base).await {
            Ok(connected) => Ok((connected, true)),
            Err(of_other)
                if matches!(error, SshError::KeyChanged { .. }) && self.leads_to_another(address) =>
            {
                Err(unreachable(name, &other, &of_other))
            }
            // Whoever is at the address now is nobody that is known, and an address that it had at its start may be anybody's.
            Err(of_other) => {
                let mut none = unreachable(name, address, &error);
                let by = entry(&other).hostname;
                let failed = format!(" The other way to it, by {by}, failed too: {of_other}.");
                none.error.message.push_str(&failed);
                Err(none)
            }
        }
    }

    /// Returns whether another machine that is known is where the way to a machine leads.
    fn leads_to_another(&self, address: &SshAddress) -> bool {
        let entry = entry(address);
        lock(&self.inner.hosts).values().any(|host| {
            let other = lock(&host.address);
            let is_there =
                other.proxy_jump.is_none() && other.hostname == entry.hostname && other.port == entry.port;
            is_there && other.trust.key().is_some() && other.trust.key() != entry.key
        })
    }

    /// Returns another way to a machine, while the address that leads to it, or to the machine on the way, leads to another
    /// one. A machine that makes way for another has none: its address has moved.
    fn other_way(&self, name: &str, address: &SshAddress) -> Option<SshAddress> {
        if self.is_succeeded(name) {
            return None;
        }
        if let Some(own) = by_own_address(address) {
            return Some(own);
        }
        let jump = address.proxy_jump.as_ref()?;
        let hosts: Vec<(String, Arc<Host>)> = lock(&self.inner.hosts)
            .iter()
            .map(|(name, host)| (name.clone(), Arc::clone(host)))
            .collect();
        let (on_the_way, host) = hosts.into_iter().find(|(_, host)| {
            let on_the_way = lock(&host.address);
            on_the_way.hostname == jump.hostname
                && on_the_way.port == jump.port
                && on_the_way.trust.key().is_some()
                && on_the_way.trust.key() == jump.host_key.as_ref()
        })?;
        let jump = match self.successor(&on_the_way) {
            // What is about to go with it has it as its way to the last, and another one is there by now.
            Some(successor) => {
                let address = lock(&successor.address).clone();
                Jump {
                    host_key: Some(address.trust.key()?.clone()),
                    hostname: address.hostname,
                    port: address.port,
                    user: address.user,
                    identity_file: address.identity_file,
                }
            }
            None => Jump {
                hostname: lock(&host.address).own_hostname.clone()?,
                ..jump.clone()
            },
        };
        Some(SshAddress {
            proxy_jump: Some(jump),
            ..address.clone()
        })
    }

    /// Waits until an address that was moved leads to the machine that was met at its own before, and goes on with that one
    /// at the address; for a minute at most. Nobody is waited for where none was.
    pub async fn arrive(&self, hostname: &str, call: &Call) {
        let hosts: Vec<(String, Arc<Host>)> = lock(&self.inner.hosts)
            .iter()
            .map(|(name, host)| (name.clone(), Arc::clone(host)))
            .collect();
        for (name, host) in hosts {
            let address = lock(&host.address).clone();
            let comes = address.hostname == hostname && address.own_hostname.is_some();
            if comes && !self.is_succeeded(&name) {
                call.phase(&format!("wait until {hostname} leads to {}", shared_name(&name)));
                let _waiting = call.waiting();
                tokio::select! {
                    () = self.arrive_at(&name, &host, address) => {}
                    () = tokio::time::sleep(COMES) => {}
                    () = tokio::time::sleep_until(call.deadline) => {}
                    () = call.cancel.cancelled() => {}
                }
            }
        }
    }

    async fn arrive_at(&self, name: &str, host: &Host, address: SshAddress) {
        let only = SshAddress {
            own_hostname: None,
            ..address
        };
        // Whoever asks something of it meanwhile waits.
        let mut line = host.line.lock().await;
        line.live = None;
        loop {
            let slot = self.slot().await;
            if let Ok(live) = self.make(name, &only, slot).await {
                line.reach.reached();
                line.live = Some(Arc::new(live));
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Where the way to a machine begins.
struct Entry<'a> {
    hostname: &'a str,
    port: Option<u16>,
    /// What whoever is there is known by.
    key: Option<&'a String>,
}

fn entry(address: &SshAddress) -> Entry<'_> {
    match &address.proxy_jump {
        Some(jump) => Entry {
            hostname: &jump.hostname,
            port: jump.port,
            key: jump.host_key.as_ref(),
        },
        None => Entry {
            hostname: &address.hostname,
            port: address.port,
            key: address.trust.key(),
        },
    }
}

/// Returns how a machine is reached by its own address, if it has one.
fn by_own_address(address: &SshAddress) -> Option<SshAddress> {
    let hostname = address.own_hostname.clone()?;
    Some(SshAddress {
        hostname,
        own_hostname: None,
        ..address.clone()
    })
}
