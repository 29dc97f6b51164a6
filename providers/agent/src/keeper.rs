//! Watches the routers of this machine and gives each new process of one its workers back.
//!
//! Only a changed process triggers that: a worker somebody removed from a running router stays removed. Nothing else is
//! put right here, and nothing is started.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gabion_host::process::ProcessIdentity;
use gabion_host::unit::{UnitDirectory, list, rotate_if_larger};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::agent::Agent;
use crate::protocol::{Member, Router, RouterState};
use crate::router_api::RouterApi;

/// How often each router is looked at.
const TICK: Duration = Duration::from_millis(500);

/// How often logs are looked at.
const ROTATION_TICK: Duration = Duration::from_secs(30);

/// How long one attempt to give a worker back may take; requests go around the router meanwhile.
const ATTEMPT: Duration = Duration::from_secs(4);

/// How long workers that could not be given back are tried again.
const PERSISTENCE: Duration = Duration::from_secs(600);

/// The longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// How many workers of one router are registered at once.
const WIDTH: usize = 16;

/// What the keeper and the data plane share about one router.
#[derive(Debug)]
pub(crate) struct RouterHealth {
    router: Router,
    mark: Option<PathBuf>,
    seen: Mutex<Seen>,
    wake: Arc<Notify>,
    /// One look at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Seen {
    state: RouterState,
    /// The mark as it was when the state was found.
    stamp: Option<Stamp>,
    /// The process that is being given its workers, or has been, except for those that fail.
    filling: Option<ProcessIdentity>,
    filled_once: bool,
}

/// Tells one version of the mark from another without reading it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Stamp {
    fn of(path: Option<&Path>) -> Option<Self> {
        let metadata = std::fs::metadata(path?).ok()?;
        Some(Self {
            inode: metadata.ino(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        })
    }
}

impl RouterHealth {
    /// Begins to watch a router.
    pub(crate) fn new(router: &Router, wake: Arc<Notify>) -> Self {
        Self {
            router: router.clone(),
            mark: router
                .unit_directory
                .as_ref()
                .map(|directory| directory.join("mark.json")),
            seen: Mutex::new(Seen {
                state: RouterState::Starting,
                stamp: None,
                filling: None,
                filled_once: false,
            }),
            wake,
            turn: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns whether this is about the router as it is described now. What it is called does not matter.
    pub(crate) fn watches(&self, router: &Router) -> bool {
        let address = router.address.clone();
        Router {
            address,
            ..self.router.clone()
        } == *router
    }

    /// Returns whether requests may go through the router.
    ///
    /// A process that was started since the keeper looked has written a new mark before it could listen, so a fresh and
    /// empty router is never mistaken for the one before it.
    pub(crate) fn is_usable(&self) -> bool {
        let stamp = {
            let seen = self.seen();
            if seen.state != RouterState::Ready {
                return false;
            }
            seen.stamp
        };
        stamp == Stamp::of(self.mark.as_deref())
    }

    /// Takes the router out of use until the keeper has looked at it again: it does not accept connections.
    pub(crate) fn suspect(&self) {
        let mut seen = self.seen();
        if seen.state == RouterState::Ready {
            seen.state = RouterState::Starting;
        }
        drop(seen);
        self.wake.notify_one();
    }

    /// Returns what is known.
    pub(crate) fn state(&self) -> RouterState {
        self.seen().state
    }

    fn set(&self, state: RouterState, stamp: Option<Stamp>) {
        let mut seen = self.seen();
        seen.state = state;
        seen.stamp = stamp;
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns the running process of a router: `Err` when it is gone, `Ok(None)` when nothing on this machine tells.
pub(crate) fn router_process(router: &Router) -> Result<Option<ProcessIdentity>, ()> {
    let Some(directory) = &router.unit_directory else {
        return Ok(None);
    };
    match UnitDirectory::at(directory).mark() {
        Ok(Some(mark)) if mark.process.is_alive() => Ok(Some(mark.process)),
        _ => Err(()),
    }
}

/// Returns whether a router's unit was removed from the machine; then it never comes back.
fn unit_is_gone(router: &Router) -> bool {
    let Some(directory) = &router.unit_directory else {
        return false;
    };
    directory.parent().is_some_and(Path::is_dir) && !directory.exists()
}

/// Looks after all routers until cancelled.
pub(crate) async fn keep(agent: Arc<Agent>) {
    loop {
        let mut looks = JoinSet::new();
        for uid in agent.router_uids() {
            let agent = Arc::clone(&agent);
            looks.spawn(async move { look(&agent, &uid).await });
        }
        looks.join_all().await;
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            () = agent.keeper_wake.notified() => {}
        }
    }
}

/// Looks at one router and says how it is; begins to fill it when its process is a new one.
pub(crate) async fn look(agent: &Arc<Agent>, uid: &str) {
    let Some(health) = agent.health(uid) else { return };
    let _turn = health.turn.lock().await;
    let Some((router, filled)) = agent.router(uid) else {
        return;
    };
    if unit_is_gone(&router) && agent.forget_router(uid).await {
        return;
    }
    let stamp = Stamp::of(health.mark.as_deref());
    let Ok(process) = router_process(&router) else {
        return health.set(RouterState::Down, stamp);
    };
    let api = RouterApi::new(&router);
    if !api.is_alive().await {
        return health.set(RouterState::Starting, stamp);
    }
    let nobody_waits = agent.members_of(uid).is_empty();
    if let Some(process) = process.clone().filter(|_| nobody_waits && process != filled) {
        // Nothing to give back. When this cannot be written it is found again at the next look.
        drop(agent.note_filled(uid, process).await);
    } else if process != filled {
        let (begin, filled_once) = {
            let mut seen = health.seen();
            let begin = seen.filling != process;
            if begin {
                seen.filling = process.clone();
                seen.filled_once = false;
            }
            (begin, seen.filled_once)
        };
        if begin && let Some(process) = process {
            let (agent, health) = (Arc::clone(agent), Arc::clone(&health));
            let tasks = agent.tasks.clone();
            tasks.spawn(fill(agent, health, router, process));
            return;
        }
        if !filled_once {
            return health.set(RouterState::Filling, stamp);
        }
    }
    let state = if api.is_ready().await {
        RouterState::Ready
    } else {
        RouterState::NotReady
    };
    health.set(state, stamp);
}

/// Registers all members of a router with its new process; those that fail are tried again for a while.
async fn fill(agent: Arc<Agent>, health: Arc<RouterHealth>, router: Router, process: ProcessIdentity) {
    health.set(RouterState::Filling, Stamp::of(health.mark.as_deref()));
    let give_up = Instant::now() + PERSISTENCE;
    let mut pause = Duration::from_secs(1);
    let mut waiting = agent.members_of(&router.uid);
    loop {
        waiting = attempt(&agent, &router, &process, waiting).await;
        let still_it = health.seen().filling.as_ref() == Some(&process);
        if !still_it || agent.stopping.is_cancelled() {
            return;
        }
        health.seen().filled_once = true;
        agent.keeper_wake.notify_one();
        if waiting.is_empty() || Instant::now() >= give_up {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = agent.stopping.cancelled() => return,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    // When it cannot be written the next agent fills the router again, which changes nothing in it.
    drop(agent.note_filled(&router.uid, process).await);
    agent.keeper_wake.notify_one();
}

/// Registers members side by side and returns those that could not be.
async fn attempt(
    agent: &Arc<Agent>,
    router: &Router,
    process: &ProcessIdentity,
    members: Vec<Member>,
) -> Vec<Member> {
    let room = Arc::new(Semaphore::new(WIDTH));
    let mut attempts = JoinSet::new();
    for member in members {
        let (agent, router, process, room) = (
            Arc::clone(agent),
            router.clone(),
            process.clone(),
            Arc::clone(&room),
        );
        attempts.spawn(async move {
            let _permit = room.acquire().await;
            let lock = agent.member_lock(&member.router, &member.name);
            let _guard = lock.lock().await;
            // It may have left since, and the process may have changed again.
            let current = agent.member(&member.router, &member.name);
            if current.as_ref() != Some(&member) || router_process(&router) != Ok(Some(process)) {
                return None;
            }
            let deadline = Instant::now() + ATTEMPT;
            match crate::membership::ensure_registered(&router, &member, deadline, &|| Ok(())).await {
                Ok(_) => None,
                Err(_) => Some(member),
            }
        });
    }
    let mut failed: Vec<Member> = attempts.join_all().await.into_iter().flatten().collect();
    failed.sort_by(|left, right| left.name.cmp(&right.name));
    failed
}

/// Rotates the logs of all units below a data root until cancelled.
pub(crate) async fn rotate_logs(data_root: PathBuf) {
    loop {
        let root = data_root.clone();
        let rotation = tokio::task::spawn_blocking(move || {
            for unit in list(&root).into_iter().flatten() {
                // A supervisor looks after its unit's log itself.
                if let Ok(launch) = unit.launch
                    && launch.supervision.is_none()
                {
                    // A log that cannot be rotated now is tried again at the next tick.
                    drop(rotate_if_larger(&unit.directory, launch.log));
                }
            }
        });
        drop(rotation.await);
        tokio::time::sleep(ROTATION_TICK).await;
    }
}
