//! One machine makes way for another: when the new one counts, and when the old one is gone.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use gabion_engine::provider::Call;

use super::{Host, Hosts, lock};
use crate::generation::{later, succeeds};
use crate::reach::Away;
use crate::ssh::{self, SshAddress};

/// How often a machine is tried in the time after which it is taken to be gone.
const TRIES_UNTIL_GONE: u32 = 12;

/// A machine that is being met. Unless it was, its name is taken back when this is dropped, also in the middle of a call.
pub(crate) struct Meeting<'a> {
    hosts: &'a Hosts,
    name: String,
    host: Arc<Host>,
}

impl Meeting<'_> {
    /// Takes down that it was met: from now on the machines before it make way for it.
    pub(crate) fn met(self) {
        self.host.is_met.store(true, Ordering::Release);
    }
}

impl Drop for Meeting<'_> {
    fn drop(&mut self) {
        let mut known = lock(&self.hosts.inner.hosts);
        let is_it = known
            .get(&self.name)
            .is_some_and(|host| Arc::ptr_eq(host, &self.host));
        // Whoever uses the connection to it goes on with it.
        if is_it && !self.host.is_met.load(Ordering::Acquire) {
            known.remove(&self.name);
        }
    }
}

impl Hosts {
    /// Makes a machine known that is to be met now: it is reached by its name, and nothing makes way for it yet. One that is
    /// known already stays so, whatever comes of it.
    pub(crate) fn meet(&self, name: &str, address: SshAddress) -> Meeting<'_> {
        let mut hosts = lock(&self.inner.hosts);
        let before = hosts.get(name).cloned();
        let host = match before {
            Some(host) if *lock(&host.address) == address => host,
            before => {
                let is_met = before.is_some_and(|host| host.is_met.load(Ordering::Acquire));
                let host = Host::new(address, is_met);
                hosts.insert(name.to_owned(), Arc::clone(&host));
                host
            }
        };
        Meeting {
            hosts: self,
            name: name.to_owned(),
            host,
        }
    }

    /// Returns whether another machine has taken the place of this one: it is about to go, with all that is on it.
    #[must_use]
    pub fn is_succeeded(&self, name: &str) -> bool {
        self.successor(name).is_some()
    }

    /// Returns the last machine that was met and has taken the place of another.
    pub(super) fn successor(&self, name: &str) -> Option<Arc<Host>> {
        let later = later(name);
        let hosts = lock(&self.inner.hosts);
        let successors = hosts
            .range(later.clone()..)
            .take_while(|(other, _)| other.starts_with(&later))
            .filter(|(other, host)| succeeds(other, name) && host.is_met.load(Ordering::Acquire));
        let last = successors.reduce(|last, other| if succeeds(other.0, last.0) { other } else { last });
        last.map(|(_, host)| Arc::clone(host))
    }

    /// Says that a machine has ended, as whoever made it knows: when it makes way for another and cannot be reached, nobody
    /// waits for it to come back.
    pub fn note_ended(&self, name: &str) {
        lock(&self.inner.ended).insert(name.to_owned());
    }

    /// Returns for how long at most it is looked whether machines are gone that make way for others.
    #[must_use]
    pub fn patience(&self) -> Duration {
        let makes_way = self.names().iter().any(|name| self.is_succeeded(name));
        match makes_way {
            // The last try may take as long as the first.
            true => self.inner.limits.gone_after + 2 * ssh::START,
            false => Duration::ZERO,
        }
    }

    /// Returns whether another machine has taken the place of this one, which is not where it was any more: another machine
    /// is there, or nobody answers, and that for [`Limits::gone_after`] unless it is known to have ended. For so long it is
    /// tried again, or until the call is cancelled or has no time left: then it is not known to be gone.
    pub(crate) async fn made_way(&self, name: &str, call: Option<&Call>) -> bool {
        let gone_after = self.inner.limits.gone_after;
        let pause = gone_after / TRIES_UNTIL_GONE;
        let mut waiting = None;
        while self.is_succeeded(name) {
            match self.connect_to(name, pause).await.map_err(|none| none.away) {
                Ok(_) | Err(None) => return false,
                Err(Some(Away::Another)) => return true,
                Err(Some(Away::Silent)) => {}
            }
            if lock(&self.inner.ended).contains(name) || self.is_gone(name).await {
                return true;
            }
            let Some(call) = call else {
                tokio::time::sleep(pause).await;
                continue;
            };
            if waiting.is_none() {
                call.phase("see whether the machine is gone");
                waiting = Some(call.waiting());
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = tokio::time::sleep_until(call.deadline) => return false,
                () = call.cancel.cancelled() => return false,
            }
        }
        false
    }

    async fn is_gone(&self, name: &str) -> bool {
        let host = lock(&self.inner.hosts).get(name).cloned();
        match host {
            Some(host) => host.line.lock().await.reach.is_gone(self.inner.limits.gone_after),
            None => false,
        }
    }
}
