//! Puts the agent together and runs it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use gabion_host::durable::create_private_directory;
use gabion_host::unit::UnitDirectory;
use nix::fcntl::{Flock, FlockArg};
use tokio::time::Instant;

use crate::admin;
use crate::agent::Agent;
use crate::certificates::{Clock, renewal};
use crate::client::SOCKET_NAME;
use crate::gateway::Limits;
use crate::keeper;

/// How an agent is to run.
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Its own directory (that of its unit): state file, lock and admin socket.
    pub directory: PathBuf,
    /// The machine's data root, below which units have their logs; `None` rotates none.
    pub data_root: Option<PathBuf>,
    /// The lineage it belongs to; without one it takes that of its unit, or else of its first writer.
    pub lineage: Option<String>,
    /// Limits of the data plane.
    pub limits: Limits,
    /// How long running requests may finish when the agent stops.
    pub grace: Duration,
    /// The clock by which certificates are judged.
    pub clock: Clock,
}

impl ServeOptions {
    /// Returns the defaults for an agent in a directory; that of a unit tells the data root as well.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        let directory = directory.into();
        let units = directory
            .parent()
            .filter(|units| units.file_name().is_some_and(|name| name == "units"));
        Self {
            data_root: units.and_then(Path::parent).map(Path::to_owned),
            directory,
            lineage: None,
            limits: Limits::default(),
            grace: Duration::from_secs(50),
            clock: Clock::default(),
        }
    }
}

/// Runs an agent until `shutdown` completes, then lets running requests finish within the grace period.
///
/// # Errors
/// Another agent in the same directory, unreadable or newer files, a socket that cannot be made. A listener that cannot be
/// bound is not among them: it is tried again, and the status says so.
pub async fn serve(mut options: ServeOptions, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    create_private_directory(&options.directory)?;
    let _lock = lock(&options.directory)?;
    if options.lineage.is_none() {
        // An agent that is no unit has no record; that is how it is run by hand.
        let launch = UnitDirectory::at(&options.directory).launch();
        options.lineage = launch.ok().map(|launch| launch.project);
    }
    let socket_path = options.directory.join(SOCKET_NAME);
    let grace = options.grace;
    let data_root = options.data_root.clone();
    let agent = Arc::new(Agent::open(options)?);
    let socket = admin::bind(&socket_path).await?;

    let mut background = tokio::task::JoinSet::new();
    background.spawn(admin::serve(Arc::clone(&agent), socket));
    background.spawn(keeper::keep(Arc::clone(&agent)));
    background.spawn(Arc::clone(&agent).keep_listening());
    background.spawn(renewal::keep(Arc::clone(&agent)));
    if let Some(data_root) = data_root {
        background.spawn(keeper::rotate_logs(data_root));
    }

    shutdown.await;
    agent.stopping.cancel();
    background.shutdown().await;
    renewal::stop(&agent).await;
    drop(std::fs::remove_file(&socket_path));
    let deadline = Instant::now() + grace;
    agent.stop_all(deadline).await;
    agent.tasks.close();
    // Operations have deadlines of their own; what is longer than the grace is found unfinished by whoever asked for it.
    drop(tokio::time::timeout_at(deadline, agent.tasks.wait()).await);
    Ok(())
}

/// Makes sure that no agent runs in a directory, for as long as the returned value lives.
pub(crate) fn lock(directory: &Path) -> io::Result<Flock<std::fs::File>> {
    let path = directory.join("agent.lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| {
        let reason = format!("{}: another agent holds it ({errno})", path.display());
        io::Error::new(io::ErrorKind::AddrInUse, reason)
    })
}
