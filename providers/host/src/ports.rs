//! Which port belongs to whom, for all projects of a user on a machine.
//!
//! One file, changed under a lock and replaced atomically, so that two processes never lease the same port.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::durable;
use crate::process::ProcessIdentity;

/// The ports that are leased, in a file shared by all projects of a user.
#[derive(Clone, Debug)]
pub struct PortRegistry {
    path: PathBuf,
}

/// Who leases a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortOwner {
    /// The unit's uid.
    pub uid: String,
    /// For people: the resource's address and its project.
    pub label: String,
    /// The unit's directory. Once it is gone, and the process that leased the port as well, the lease may be taken over.
    pub directory: PathBuf,
}

/// Which port is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortRequest {
    /// Any of these.
    Range(RangeInclusive<u16>),
    /// This one and no other.
    Exact(u16),
}

/// A leased port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortLease {
    /// The unit's uid.
    pub owner: String,
    /// What the unit calls it.
    pub name: String,
    /// For people.
    pub label: String,
    /// The unit's directory.
    pub directory: PathBuf,
    /// The process that leased it, which may still be about to create the directory.
    pub leased_by: ProcessIdentity,
}

/// Why there is no lease.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    /// The one port that was asked for is somebody's.
    #[error("port {port} belongs to {} (unit {})", owner.label, owner.owner)]
    Leased {
        /// The port.
        port: u16,
        /// Whose it is.
        owner: PortLease,
    },
    /// The one port that was asked for is in use by a program that gabion does not know.
    #[error("port {port} is in use by a program that is not gabion's")]
    InUse {
        /// The port.
        port: u16,
    },
    /// No port of the range is free.
    #[error("no port of {}-{} is free: {leased} leased, {in_use} in use by other programs", range.start(), range.end())]
    Exhausted {
        /// The range.
        range: RangeInclusive<u16>,
        /// How many are leased.
        leased: usize,
        /// How many are bound by programs without a lease.
        in_use: usize,
    },
    /// The registry is not what gabion wrote.
    #[error("{}: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error("{source}")]
    Io {
        /// Its words; they name the path.
        #[from]
        source: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
struct RegistryFile {
    format: u32,
    leases: BTreeMap<u16, PortLease>,
}

const FORMAT: u32 = 1;

impl PortRegistry {
    /// Uses the registry at a path; it and its directory come to be with the first lease.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Leases a port; asking again for the same owner and name gives the same one.
    ///
    /// Of a range the candidates are tried in order from a place that depends on the owner, so that projects spread. A port that a program is bound to is passed over.
    pub fn lease(&self, owner: &PortOwner, name: &str, request: &PortRequest) -> Result<u16, PortError> {
        let lease = PortLease {
            owner: owner.uid.clone(),
            name: name.to_owned(),
            label: owner.label.clone(),
            directory: owner.directory.clone(),
            leased_by: ProcessIdentity::current()?,
        };
        self.change(|leases| {
            let own = leases
                .iter()
                .find(|(_, lease)| lease.owner == owner.uid && lease.name == name)
                .map(|(port, _)| *port);
            if let Some(port) = own {
                if request.admits(port) {
                    return Ok(port);
                }
                leases.remove(&port);
            }
            let port = choose(leases, &owner.uid, name, request)?;
            leases.insert(port, lease);
            Ok(port)
        })
    }

    /// Releases every port of an owner; returns them. None is fine.
    pub fn release(&self, uid: &str) -> Result<Vec<u16>, PortError> {
        if !self.path.exists() {
            return Ok(Vec::new());
        }
        self.change(|leases| {
            let released: Vec<u16> = leases
                .iter()
                .filter(|(_, lease)| lease.owner == uid)
                .map(|(port, _)| *port)
                .collect();
            leases.retain(|_, lease| lease.owner != uid);
            Ok(released)
        })
    }

    /// Returns all leases by port.
    pub fn leases(&self) -> Result<BTreeMap<u16, PortLease>, PortError> {
        match durable::read_optional(&self.path)? {
            None => Ok(BTreeMap::new()),
            Some(bytes) => {
                let file: RegistryFile =
                    serde_json::from_slice(&bytes).map_err(|error| self.damaged(error))?;
                if file.format > FORMAT {
                    return Err(self.damaged(format!(
                        "written by a newer gabion (format {}; this one knows {FORMAT})",
                        file.format
                    )));
                }
                Ok(file.leases)
            }
        }
    }

    fn damaged(&self, reason: impl ToString) -> PortError {
        PortError::Damaged {
            path: self.path.clone(),
            reason: reason.to_string(),
        }
    }

    fn change<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<u16, PortLease>) -> Result<T, PortError>,
    ) -> Result<T, PortError> {
        if let Some(parent) = self.path.parent() {
            durable::create_private_directory(parent)?;
        }
        let lock = durable::lock_file(&lock_path(&self.path))?;
        lock.lock()?;
        let before = self.leases()?;
        let mut leases = before.clone();
        leases.retain(|_, lease| !lease.is_stale());
        let result = change(&mut leases)?;
        if leases != before {
            let mut bytes = serde_json::to_vec_pretty(&RegistryFile {
                format: FORMAT,
                leases,
            })
            .map_err(|error| PortError::Io { source: error.into() })?;
            bytes.push(b'\n');
            durable::write_atomic(&self.path, &bytes, 0o600)?;
        }
        Ok(result)
    }
}

impl PortLease {
    /// Whether nobody can be using it any more.
    fn is_stale(&self) -> bool {
        let gone = matches!(self.directory.try_exists(), Ok(false));
        gone && !self.leased_by.is_alive()
    }
}

impl PortRequest {
    fn admits(&self, port: u16) -> bool {
        match self {
            Self::Range(range) => range.contains(&port),
            Self::Exact(exact) => *exact == port,
        }
    }
}

fn choose(
    leases: &BTreeMap<u16, PortLease>,
    uid: &str,
    name: &str,
    request: &PortRequest,
) -> Result<u16, PortError> {
    match request {
        PortRequest::Exact(port) => match leases.get(port) {
            Some(owner) => Err(PortError::Leased {
                port: *port,
                owner: owner.clone(),
            }),
            None if is_free(*port) => Ok(*port),
            None => Err(PortError::InUse { port: *port }),
        },
        PortRequest::Range(range) => {
            let mut leased = 0;
            let mut in_use = 0;
            for port in candidates(range, uid, name) {
                if leases.contains_key(&port) {
                    leased += 1;
                } else if is_free(port) {
                    return Ok(port);
                } else {
                    in_use += 1;
                }
            }
            Err(PortError::Exhausted {
                range: range.clone(),
                leased,
                in_use,
            })
        }
    }
}

/// Returns the range in order, rotated to a place that depends on the owner.
fn candidates(range: &RangeInclusive<u16>, uid: &str, name: &str) -> impl Iterator<Item = u16> {
    let (start, end) = (u32::from(*range.start()), u32::from(*range.end()));
    let count = (end + 1).saturating_sub(start);
    let hash = Sha256::digest(format!("{uid}/{name}"));
    let turn = u32::from_be_bytes([hash[0], hash[1], hash[2], hash[3]]) % count.max(1);
    (0..count).filter_map(move |step| u16::try_from(start + (turn + step) % count).ok())
}

/// Whether nothing listens there that would keep a program from listening, on loopback or everywhere.
fn is_free(port: u16) -> bool {
    let free = |address: Ipv4Addr| TcpListener::bind((address, port)).is_ok();
    port != 0 && free(Ipv4Addr::LOCALHOST) && free(Ipv4Addr::UNSPECIFIED)
}

/// Parses `20000-29999`.
pub fn parse_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (start, end) = text.split_once('-')?;
    let range = start.trim().parse::<u16>().ok()?..=end.trim().parse::<u16>().ok()?;
    (*range.start() > 0 && !range.is_empty()).then_some(range)
}

/// Returns the lock file's path, for whoever lists what is left behind.
#[must_use]
pub fn lock_path(registry: &Path) -> PathBuf {
    registry.with_extension("lock")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;

    /// A range of its own for each test, outside the kernel's for outgoing connections.
    fn owner(root: &Path, uid: &str) -> PortOwner {
        let directory = root.join(uid);
        std::fs::create_dir_all(&directory).unwrap();
        PortOwner {
            uid: uid.to_owned(),
            label: format!("host_unit.{uid}"),
            directory,
        }
    }

    #[test]
    fn a_lease_is_kept_until_released() {
        let root = tempfile::tempdir().unwrap();
        let registry = PortRegistry::new(root.path().join("r/ports.json"));
        let a = owner(root.path(), "a");
        let range = PortRequest::Range(21000..=21099);
        let http = registry.lease(&a, "http", &range).unwrap();
        let metrics = registry.lease(&a, "metrics", &range).unwrap();
        assert_ne!(http, metrics);
        assert_eq!(registry.lease(&a, "http", &range).unwrap(), http);
        assert_eq!(registry.leases().unwrap().len(), 2);
        let released: BTreeSet<u16> = registry.release("a").unwrap().into_iter().collect();
        assert_eq!(released, BTreeSet::from([http, metrics]));
        assert!(registry.release("a").unwrap().is_empty());
        assert!(registry.leases().unwrap().is_empty());
    }

    #[test]
    fn candidates_are_the_whole_range_and_owners_spread() {
        let range = 20000..=20999;
        let of = |uid| candidates(&range, uid, "http").collect::<Vec<_>>();
        let a = of("a");
        assert_eq!(a.len(), 1000);
        assert_eq!(
            a.iter().copied().collect::<BTreeSet<_>>(),
            range.clone().collect()
        );
        assert_eq!(a, of("a"));
        assert_ne!(a[0], of("b")[0]);
        assert_eq!(
            candidates(&(65535..=65535), "a", "b").collect::<Vec<_>>(),
            [65535]
        );
    }

    #[test]
    fn an_exact_port_that_is_taken_names_its_owner() {
        let root = tempfile::tempdir().unwrap();
        let registry = PortRegistry::new(root.path().join("ports.json"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let exact = PortRequest::Exact(port);
        let a = owner(root.path(), "a");
        let error = registry.lease(&a, "http", &exact).unwrap_err();
        assert!(matches!(error, PortError::InUse { .. }), "{error}");
        drop(listener);
        assert_eq!(registry.lease(&a, "http", &exact).unwrap(), port);
        let error = registry
            .lease(&owner(root.path(), "b"), "http", &exact)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("port {port} belongs to host_unit.a (unit a)")
        );
    }

    #[test]
    fn a_bound_port_is_passed_over_and_a_full_range_says_why() {
        let root = tempfile::tempdir().unwrap();
        let registry = PortRegistry::new(root.path().join("ports.json"));
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let range = PortRequest::Range(port..=port);
        let error = registry
            .lease(&owner(root.path(), "a"), "http", &range)
            .unwrap_err();
        assert!(
            matches!(
                error,
                PortError::Exhausted {
                    leased: 0,
                    in_use: 1,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn a_port_in_use_at_another_address_is_not_free() {
        let elsewhere = TcpListener::bind("127.0.0.2:0").unwrap();
        assert!(!is_free(elsewhere.local_addr().unwrap().port()));
    }

    #[test]
    fn a_lease_without_directory_and_process_is_taken_over() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ports.json");
        let registry = PortRegistry::new(&path);
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = probe.local_addr().unwrap().port();
        drop(probe);
        let a = owner(root.path(), "a");
        registry.lease(&a, "http", &PortRequest::Exact(port)).unwrap();
        std::fs::remove_dir(&a.directory).unwrap();
        let b = owner(root.path(), "b");
        // This process leased it and lives: its directory may be about to come.
        assert!(registry.lease(&b, "http", &PortRequest::Exact(port)).is_err());
        let mut leases = registry.leases().unwrap();
        leases.get_mut(&port).unwrap().leased_by.start_time += 1;
        let file = RegistryFile {
            format: FORMAT,
            leases,
        };
        std::fs::write(&path, serde_json::to_vec(&file).unwrap()).unwrap();
        assert_eq!(
            registry.lease(&b, "http", &PortRequest::Exact(port)).unwrap(),
            port
        );
    }

    #[test]
    fn leases_never_collide_between_threads() {
        let root = tempfile::tempdir().unwrap();
        let path = Arc::new(root.path().join("ports.json"));
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let path = Arc::clone(&path);
                let owner = owner(root.path(), &format!("u{number}"));
                std::thread::spawn(move || {
                    let registry = PortRegistry::new(path.as_path());
                    (0..5)
                        .map(|port| {
                            registry
                                .lease(&owner, &format!("p{port}"), &PortRequest::Range(22000..=22199))
                                .unwrap()
                        })
                        .collect::<Vec<u16>>()
                })
            })
            .collect();
        let all: Vec<u16> = threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap())
            .collect();
        assert_eq!(all.len(), 40);
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), 40);
        assert_eq!(PortRegistry::new(path.as_path()).leases().unwrap().len(), 40);
    }

    #[test]
    fn damage_and_newer_formats_are_named() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("ports.json");
        let registry = PortRegistry::new(&path);
        for content in ["{", r#"{"format": 2, "leases": {}}"#] {
            std::fs::write(&path, content).unwrap();
            let error = registry.leases().unwrap_err();
            assert!(matches!(error, PortError::Damaged { .. }), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), content);
        }
    }

    #[test]
    fn ranges_are_parsed() {
        assert_eq!(parse_range("20000-29999"), Some(20000..=29999));
        for text in ["", "1", "2-1", "0-5", "1-70000", "a-b"] {
            assert_eq!(parse_range(text), None, "{text}");
        }
    }
}
