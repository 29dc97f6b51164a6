//! The agent's durable memory: one file, replaced as a whole.
//!
//! A change is in effect only once it is on disk, so that what the agent acknowledged survives its own crash.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use gabion_host::durable;
use gabion_host::process::ProcessIdentity;
use serde::{Deserialize, Serialize};

use crate::protocol::{AgentError, Certificate, Fence, Listener, Member, Route, Router, Stored, Upstream};
use crate::router_api::normal_url;

/// The format this build writes, and the newest it reads.
const FORMAT: u32 = 1;

/// Name of the file in the agent's directory.
const FILE: &str = "agent-state.json";

/// What the file holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Contents {
    format: u32,
    /// The highest lease epoch that changed something here.
    pub(crate) epoch: u64,
    /// The lineage of the state the agent belongs to, once known.
    #[serde(default)]
    pub(crate) lineage: Option<String>,
    pub(crate) listeners: BTreeMap<String, Stored<Listener>>,
    /// By gateway and service.
    pub(crate) routes: BTreeMap<String, BTreeMap<String, Stored<Route>>>,
    pub(crate) routers: BTreeMap<String, RouterRecord>,
    /// By router and name.
    pub(crate) members: BTreeMap<String, BTreeMap<String, Stored<Member>>>,
    /// By host name. What is got for them is in files of their own.
    #[serde(default)]
    pub(crate) certificates: BTreeMap<String, CertificateRecord>,
}

/// A host name that is to have a certificate, with what must be remembered about that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CertificateRecord {
    pub(crate) stored: Stored<Certificate>,
    /// The certificate that was got last.
    #[serde(default)]
    pub(crate) issued: Option<Issued>,
    /// The last attempt, if it failed.
    #[serde(default)]
    pub(crate) failed: Option<FailedAttempt>,
}

/// A certificate that was got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Issued {
    /// Its SHA-256.
    pub(crate) fingerprint: String,
    /// The directory of the authority that made it.
    pub(crate) directory: String,
}

/// An attempt to get a certificate that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FailedAttempt {
    pub(crate) reason: String,
    /// How many failed in a row.
    pub(crate) failures: u32,
    /// When the next is made, in seconds since 1970.
    pub(crate) next_attempt: u64,
    /// Whether the authority takes no more for now: then asking for it does not shorten the wait.
    pub(crate) is_limited: bool,
}

/// A router with what the keeper must remember about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RouterRecord {
    pub(crate) stored: Stored<Router>,
    /// The process that has had its workers registered; a different one starts empty.
    #[serde(default)]
    pub(crate) filled: Option<ProcessIdentity>,
}

impl Contents {
    fn empty() -> Self {
        Self {
            format: FORMAT,
            epoch: 0,
            lineage: None,
            listeners: BTreeMap::new(),
            routes: BTreeMap::new(),
            routers: BTreeMap::new(),
            members: BTreeMap::new(),
            certificates: BTreeMap::new(),
        }
    }

    /// Returns the members of a router.
    pub(crate) fn members_of(&self, router: &str) -> Vec<Member> {
        let members = self.members.get(router).into_iter().flat_map(BTreeMap::values);
        members.map(|stored| stored.object.clone()).collect()
    }

    /// Returns one member of a router.
    pub(crate) fn member(&self, router: &str, name: &str) -> Option<&Stored<Member>> {
        self.members.get(router)?.get(name)
    }

    /// Removes one member of a router.
    pub(crate) fn remove_member(&mut self, router: &str, name: &str) -> Option<Stored<Member>> {
        let members = self.members.get_mut(router)?;
        let removed = members.remove(name);
        if members.is_empty() {
            self.members.remove(router);
        }
        removed
    }

    /// Removes one member of a router, unless a successor has its name and this is not its URL.
    pub(crate) fn remove_leaving(
        &mut self,
        router: &str,
        name: &str,
        url: Option<&str>,
    ) -> Option<Stored<Member>> {
        let successor = self.member(router, name).zip(url);
        if successor.is_some_and(|(stored, url)| normal_url(&stored.object.url) != normal_url(url)) {
            return None;
        }
        self.remove_member(router, name)
    }

    /// Returns one route.
    pub(crate) fn route(&self, gateway: &str, service: &str) -> Option<&Stored<Route>> {
        self.routes.get(gateway)?.get(service)
    }

    /// Removes one route.
    pub(crate) fn remove_route(&mut self, gateway: &str, service: &str) -> Option<Stored<Route>> {
        let routes = self.routes.get_mut(gateway)?;
        let removed = routes.remove(service);
        if routes.is_empty() {
            self.routes.remove(gateway);
        }
        self.forget_left_router(removed.as_ref()?);
        removed
    }

    /// Puts a route in the place of the one of its name, if there is one.
    pub(crate) fn put_route(&mut self, route: Stored<Route>) {
        let routes = self.routes.entry(route.object.gateway.clone()).or_default();
        if let Some(before) = routes.insert(route.object.service.clone(), route) {
            self.forget_left_router(&before);
        }
    }

    /// Forgets the router of a route that is no more, unless its unit is on this machine, which tells when it is gone;
    /// another route uses it; or it has members here.
    fn forget_left_router(&mut self, left: &Stored<Route>) {
        let Upstream::Router { uid } = &left.object.upstream else {
            return;
        };
        let is_elsewhere = self
            .routers
            .get(uid)
            .is_some_and(|record| record.stored.object.unit_directory.is_none());
        if is_elsewhere && !self.members.contains_key(uid) {
            // One that is in use stays.
            let _ = self.remove_unused_router(uid);
        }
    }

    /// Removes a router with its members; not while routes go through it.
    pub(crate) fn remove_unused_router(&mut self, uid: &str) -> Result<(), AgentError> {
        let by = self.users_of_router(uid);
        if !by.is_empty() {
            return Err(AgentError::InUse {
                what: format!("router {uid}"),
                by,
            });
        }
        self.routers.remove(uid);
        self.members.remove(uid);
        Ok(())
    }

    /// Returns the routes that go through a router, in words.
    fn users_of_router(&self, uid: &str) -> Vec<String> {
        let through = |upstream: &Upstream| matches!(upstream, Upstream::Router { uid: used } if used == uid);
        let routes = self.all_routes().map(|stored| &stored.object);
        routes
            .filter(|route| through(&route.upstream))
            .map(|route| format!("route {}/{}", route.gateway, route.service))
            .collect()
    }

    /// Returns all routes.
    pub(crate) fn all_routes(&self) -> impl Iterator<Item = &Stored<Route>> {
        self.routes.values().flat_map(BTreeMap::values)
    }
}

/// Returns an object with the operation that writes it.
pub(crate) fn stored<T>(object: T, fence: &Fence) -> Stored<T> {
    Stored {
        object,
        operation: fence.operation.clone(),
        epoch: fence.epoch,
    }
}

/// The file and what is in it.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    contents: Contents,
}

impl Store {
    /// Reads the file, or begins an empty one.
    ///
    /// # Errors
    /// An unreadable file, and one of a newer format: neither is ever overwritten.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        let path = directory.join(FILE);
        let contents = match std::fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Contents::empty(),
            Err(error) => {
                return Err(io::Error::new(
                    error.kind(),
                    format!("{}: {error}", path.display()),
                ));
            }
        };
        Ok(Self { path, contents })
    }

    /// Returns what is stored.
    pub(crate) fn contents(&self) -> &Contents {
        &self.contents
    }

    /// Makes a change durable; nothing is changed when that fails.
    pub(crate) fn change<T>(
        &mut self,
        change: impl FnOnce(&mut Contents) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let mut next = self.contents.clone();
        let value = change(&mut next)?;
        if next != self.contents {
            let storage = |reason: String| AgentError::Storage { reason };
            let mut bytes = serde_json::to_vec_pretty(&next).map_err(|error| storage(error.to_string()))?;
            bytes.push(b'\n');
            durable::write_atomic(&self.path, &bytes, 0o600).map_err(|error| storage(error.to_string()))?;
            self.contents = next;
        }
        Ok(value)
    }
}

fn parse(path: &Path, bytes: &[u8]) -> io::Result<Contents> {
    #[derive(Deserialize)]
    struct Versioned {
        format: u32,
    }
    let damaged = |reason: String| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{}: {reason}", path.display()),
        )
    };
    let versioned: Versioned = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if versioned.format > FORMAT {
        return Err(damaged(format!(
            "format {} was written by a newer gabion; this one reads up to {FORMAT}",
            versioned.format
        )));
    }
    serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_changed_is_there_after_a_restart_and_newer_formats_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let mut store = Store::open(directory.path()).unwrap();
        store
            .change(|contents| {
                contents.epoch = 7;
                Ok(())
            })
            .unwrap();
        let refused: Result<(), AgentError> = store.change(|contents| {
            contents.epoch = 9;
            Err(AgentError::Unfenced)
        });
        assert!(refused.is_err());
        assert_eq!(Store::open(directory.path()).unwrap().contents().epoch, 7);
        let path = directory.path().join(FILE);
        std::fs::write(&path, br#"{"format": 2, "new": true}"#).unwrap();
        let error = Store::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("newer gabion"), "{error}");
        std::fs::write(&path, b"").unwrap();
        assert!(Store::open(directory.path()).is_err());
    }
}
