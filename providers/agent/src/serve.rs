//! Puts the agent together and runs it.

use std::fs::{File, TryLockError};
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use gabion_host::durable::create_private_directory;
use gabion_host::unit::UnitDirectory;
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admin;
use crate::agent::Agent;
use crate::certificates::{Clock, renewal};
use crate::client::SOCKET_NAME;
use crate::gateway::Limits;
use crate::handover::{self, Inheritance, Shared};
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
    /// Whether it succeeds an agent that runs, and that is at the other end of standard input.
    pub takes_over: bool,
    /// Where systemd hears which process is that of a service.
    pub notify_socket: Option<PathBuf>,
}

/// How long requests may finish that an agent had begun before another build took over.
const DRAIN: Duration = Duration::from_secs(600);

/// How long an agent that has handed over may take to say so.
const LAST_WORDS: Duration = Duration::from_secs(10);

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
            takes_over: false,
            notify_socket: None,
        }
    }
}

/// Runs an agent until `shutdown` completes, then lets running requests finish within the grace period; or until another
/// build has taken over, then for ten minutes at most.
///
/// # Errors
/// Another agent in the same directory, unreadable or newer files, a socket that cannot be made; of a successor, that its
/// predecessor did not hand over. A listener that cannot be bound is not among them: it is tried again, and the status says
/// so.
pub async fn serve(mut options: ServeOptions, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    create_private_directory(&options.directory)?;
    if options.lineage.is_none() {
        // An agent that is no unit has no record; that is how it is run by hand.
        let launch = UnitDirectory::at(&options.directory).launch();
        options.lineage = launch.ok().map(|launch| launch.project);
    }
    let mut shutdown = pin!(shutdown);
    if options.takes_over {
        let (agent, admin, inheritance) = tokio::select! {
            taken = take_over(options) => taken?,
            () = &mut shutdown => return Ok(()),
        };
        return run(agent, admin, shutdown, async move {
            inheritance.accepting().await;
        })
        .await;
    }
    let lock = lock(&options.directory)?;
    let socket_path = options.directory.join(SOCKET_NAME);
    let agent = Arc::new(Agent::open(options)?);
    let admin = admin::bind(&socket_path).await?;
    share(&agent, lock, &admin)?;
    run(agent, admin, shutdown, std::future::ready(())).await
}

/// Becomes an agent that could serve at once what its predecessor serves; returns when that wants it to.
async fn take_over(options: ServeOptions) -> io::Result<(Arc<Agent>, UnixListener, Inheritance)> {
    let mut inheritance = handover::receive().await?;
    let (lock, admin) = (inheritance.lock.try_clone()?, inheritance.admin.try_clone()?);
    let prepared = Agent::open(options).and_then(|agent| {
        // Connections over TLS come as soon as any.
        renewal::serve_held(&agent);
        admin.set_nonblocking(true)?;
        Ok((Arc::new(agent), UnixListener::from_std(admin)?))
    });
    let (agent, admin) = match prepared {
        Ok(prepared) => prepared,
        Err(error) => {
            inheritance.refuse(&error).await;
            return Err(error);
        }
    };
    share(&agent, lock, &admin)?;
    inheritance.prove(&agent).await?;
    agent.adopt(std::mem::take(&mut inheritance.listeners)).await?;
    Ok((agent, admin, inheritance))
}

/// Keeps what a successor will share.
fn share(agent: &Agent, lock: std::fs::File, admin: &UnixListener) -> io::Result<()> {
    let admin = admin.as_fd().try_clone_to_owned()?;
    drop(agent.share(Some(Shared { lock, admin })));
    Ok(())
}

async fn run(
    agent: Arc<Agent>,
    admin: UnixListener,
    mut shutdown: Pin<&mut impl Future<Output = ()>>,
    begun: impl Future<Output = ()>,
) -> io::Result<()> {
    let grace = agent.options.grace;
    let mut background = tokio::task::JoinSet::new();
    background.spawn(admin::serve(Arc::clone(&agent), admin));
    background.spawn(keeper::keep(Arc::clone(&agent)));
    background.spawn(Arc::clone(&agent).keep_listening());
    background.spawn(renewal::keep(Arc::clone(&agent)));
    if let Some(data_root) = agent.options.data_root.clone() {
        background.spawn(keeper::rotate_logs(data_root));
    }
    begun.await;

    tokio::select! {
        () = shutdown.as_mut() => {}
        () = agent.handed_over.cancelled() => {
            agent.stopping.cancel();
            drop(agent.share(None));
            background.shutdown().await;
            renewal::stop(&agent).await;
            leave(&agent, shutdown).await;
            return Ok(());
        }
    }
    agent.stopping.cancel();
    // Nobody else begins here before this one has ended.
    let _lock = agent.share(None).map(|shared| shared.lock);
    background.shutdown().await;
    renewal::stop(&agent).await;
    drop(std::fs::remove_file(agent.options.directory.join(SOCKET_NAME)));
    let deadline = Instant::now() + grace;
    agent.stop_all(deadline).await;
    agent.tasks.close();
    // Operations have deadlines of their own; what is longer than the grace is found unfinished by whoever asked for it.
    drop(tokio::time::timeout_at(deadline, agent.tasks.wait()).await);
    Ok(())
}

/// Finishes what the agent had begun before its successor took over. Told to end meanwhile, it has its grace like any other.
async fn leave(agent: &Arc<Agent>, shutdown: Pin<&mut impl Future<Output = ()>>) {
    let hurried = CancellationToken::new();
    let finishing = async {
        let deadline = Instant::now() + DRAIN;
        let retiring = agent.retire_all(deadline, &hurried);
        agent.tasks.close();
        agent.conversations.close();
        let words = async {
            let spoken = Instant::now() + LAST_WORDS;
            drop(tokio::time::timeout_at(spoken, agent.tasks.wait()).await);
            drop(tokio::time::timeout_at(spoken, agent.conversations.wait()).await);
        };
        tokio::join!(retiring, words);
    };
    let mut finishing = pin!(finishing);
    tokio::select! {
        () = &mut finishing => return,
        () = shutdown => hurried.cancel(),
    }
    drop(tokio::time::timeout(agent.options.grace, finishing).await);
}

/// Makes sure that no agent runs in a directory, for as long as the returned value, or a copy of its descriptor in another
/// process, lives.
pub(crate) fn lock(directory: &Path) -> io::Result<File> {
    let path = directory.join("agent.lock");
    let file = std::fs::OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let reason = format!("{}: another agent holds it", path.display());
            Err(io::Error::new(io::ErrorKind::AddrInUse, reason))
        }
        Err(TryLockError::Error(error)) => Err(error),
    }
}
