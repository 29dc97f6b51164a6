//! Deletions from the files of an agent that does not run.
//!
//! What a dead agent held serves nobody, yet an agent that is started again would take it up. To destroy a project must
//! not need a living agent, so what it held is taken from its files, under the lock that keeps agents from starting.

use std::io;
use std::path::Path;

use crate::certificates::files::Files;
use crate::protocol::{AgentError, Fence};
use crate::serve::lock;
use crate::store::{Contents, Store};

/// What to delete; absent is fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Deletion {
    /// A listener with its routes, of which nothing is left to be served.
    Listener {
        /// Its name.
        name: String,
    },
    /// A certificate with its keys.
    Certificate {
        /// Its host name.
        host: String,
    },
    /// A route.
    Route {
        /// Its listener.
        gateway: String,
        /// Its service.
        service: String,
    },
    /// A membership.
    Member {
        /// The router's uid.
        router: String,
        /// The worker's name.
        name: String,
        /// The worker's URL: a successor under the same name stays.
        url: Option<String>,
    },
}

/// Why nothing was deleted.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The files cannot be read, or an agent runs after all (`AddrInUse`).
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The writer is not the newest, or the files cannot be written.
    #[error(transparent)]
    Refused(#[from] AgentError),
}

/// Deletes from the files in an agent's directory; blocks for as long as the disk takes.
///
/// # Errors
/// When an agent runs there, and what [`AgentError`] says.
pub fn delete(directory: &Path, fence: &Fence, deletion: &Deletion) -> Result<(), OfflineError> {
    if !directory.is_dir() {
        return Ok(());
    }
    let _lock = lock(directory)?;
    let mut store = Store::open(directory)?;
    store.change(|contents| {
        admit(contents, fence)?;
        match deletion {
            Deletion::Listener { name } => {
                contents.listeners.remove(name);
                contents.routes.remove(name);
            }
            Deletion::Certificate { host } => {
                contents.certificates.remove(host);
            }
            Deletion::Route { gateway, service } => {
                contents.remove_route(gateway, service);
            }
            Deletion::Member { router, name, url } => {
                contents.remove_leaving(router, name, url.as_deref());
            }
        }
        Ok(())
    })?;
    if let Deletion::Certificate { host } = deletion {
        let files = Files::new(directory);
        files.remove(host)?;
        if store.contents().certificates.is_empty() {
            files.remove_accounts()?;
        }
    }
    Ok(())
}

fn admit(contents: &mut Contents, fence: &Fence) -> Result<(), AgentError> {
    if let (Some(agent), Some(given)) = (&contents.lineage, &fence.lineage)
        && agent != given
    {
        let (agent, given) = (agent.clone(), given.clone());
        return Err(AgentError::WrongLineage { agent, given });
    }
    if fence.epoch < contents.epoch {
        let (given, highest) = (fence.epoch, contents.epoch);
        return Err(AgentError::StaleEpoch { given, highest });
    }
    contents.epoch = fence.epoch;
    Ok(())
}
