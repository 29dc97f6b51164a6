//! The agent's heart: what it holds, and every operation on it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use gabion_host::process::ProcessIdentity;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::certificates::files::Files;
use crate::certificates::renewal::Certificates;
use crate::gateway::listener::RunningListener;
use crate::gateway::plane::{Plane, TableSource};
use crate::handover::Shared;
use crate::keeper::{self, RouterHealth};
use crate::protocol::{AgentError, Fence, Listener, Member, Router, Status, Upstream, pool_id};
use crate::serve::ServeOptions;
use crate::store::{Contents, Store};

/// Everything that one agent process shares.
#[derive(Debug)]
pub(crate) struct Agent {
    pub(crate) options: ServeOptions,
    pub(crate) plane: Arc<Plane>,
    pub(crate) certificates: Certificates,
    pub(crate) keeper_wake: Arc<Notify>,
    pub(crate) stopping: CancellationToken,
    pub(crate) tasks: TaskTracker,
    /// Connections of administrators.
    pub(crate) conversations: TaskTracker,
    /// Held for reading by each change that was asked for, for writing by a handover.
    pub(crate) turns: tokio::sync::RwLock<()>,
    /// Cancelled when a successor has taken over.
    pub(crate) handed_over: CancellationToken,
    /// What a successor shares, for as long as the agent serves.
    shared: Mutex<Option<Shared>>,
    memory: Mutex<Memory>,
    listeners: tokio::sync::Mutex<BTreeMap<String, RunningListener>>,
    not_listening: Mutex<BTreeMap<String, String>>,
    member_locks: Mutex<BTreeMap<(String, String), MemberLock>>,
}

/// Serialises changes of one worker's registration.
pub(crate) type MemberLock = Arc<tokio::sync::Mutex<()>>;

/// What changes together under one lock: the store, and what the data plane and the keeper see of it.
#[derive(Debug)]
struct Memory {
    store: Store,
    /// A successor reads the files, or has them.
    frozen: bool,
    healths: BTreeMap<String, Arc<RouterHealth>>,
}

/// The listeners at work, by name.
pub(crate) type Listening<'a> = tokio::sync::MutexGuard<'a, BTreeMap<String, RunningListener>>;

impl Agent {
    /// Reads the agent's files; starts nothing.
    pub(crate) fn open(options: ServeOptions) -> io::Result<Self> {
        let store = Store::open(&options.directory)?;
        if let (Some(stored), Some(given)) = (&store.contents().lineage, &options.lineage)
            && stored != given
        {
            let reason = format!(
                "{} belongs to lineage {stored}, not {given}",
                options.directory.display()
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, reason));
        }
        let plane = Arc::new(Plane::new(options.limits));
        let certificates = Certificates::new(Files::new(&options.directory), options.clock.clone());
        let agent = Self {
            options,
            plane,
            certificates,
            keeper_wake: Arc::new(Notify::new()),
            stopping: CancellationToken::new(),
            tasks: TaskTracker::new(),
            conversations: TaskTracker::new(),
            turns: tokio::sync::RwLock::default(),
            handed_over: CancellationToken::new(),
            shared: Mutex::default(),
            memory: Mutex::new(Memory {
                store,
                frozen: false,
                healths: BTreeMap::new(),
            }),
            listeners: tokio::sync::Mutex::default(),
            not_listening: Mutex::default(),
            member_locks: Mutex::default(),
        };
        agent.publish(&mut agent.memory());
        Ok(agent)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads from what is stored.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Contents) -> T) -> T {
        read(self.memory().store.contents())
    }

    /// Makes a change durable and lets data plane and keeper see it, in one step.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&mut Contents) -> Result<T, AgentError> + Send + 'static,
    ) -> Result<T, AgentError> {
        let agent = Arc::clone(self);
        let changed = tokio::task::spawn_blocking(move || {
            let mut memory = agent.memory();
            if memory.frozen {
                return Err(AgentError::ShuttingDown);
            }
            let value = memory.store.change(change)?;
            agent.publish(&mut memory);
            Ok(value)
        });
        changed.await.unwrap_or_else(|error| {
            Err(AgentError::Storage {
                reason: error.to_string(),
            })
        })
    }

    /// Keeps what a successor shares, or gives it up.
    pub(crate) fn share(&self, shared: Option<Shared>) -> Option<Shared> {
        let mut kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut kept, shared)
    }

    /// Returns what a successor shares, while the agent serves.
    pub(crate) fn shared(&self) -> io::Result<Option<Shared>> {
        let kept = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        kept.as_ref().map(Shared::try_clone).transpose()
    }

    /// Returns whether nothing may be changed.
    pub(crate) fn is_frozen(&self) -> bool {
        self.memory().frozen
    }

    /// Has nothing change any more, or again.
    pub(crate) fn freeze(&self, frozen: bool) {
        self.memory().frozen = frozen;
    }

    /// Serves on the sockets of a predecessor, which has them by name and port. A listener of which one is missing is bound
    /// like any other; a socket that nobody wants is closed.
    pub(crate) async fn adopt(
        &self,
        mut sockets: BTreeMap<(String, u16), std::net::TcpListener>,
    ) -> io::Result<()> {
        let mut listeners = self.listeners.lock().await;
        for listener in self.read(|contents| contents.listeners.clone()).into_values() {
            let listener = listener.object;
            let mut take = |port| sockets.remove(&(listener.name.clone(), port));
            let plain = listener.http_port.map(&mut take);
            let (Some(main), false) = (take(listener.port), plain.as_ref().is_some_and(Option::is_none))
            else {
                continue;
            };
            let running = RunningListener::adopt(Arc::clone(&self.plane), &listener, main, plain.flatten())?;
            listeners.insert(listener.name, running);
        }
        Ok(())
    }

    /// Stops all listeners at once, because a successor has them, and lets requests finish until the deadline.
    /// Hurried, silent connections are closed at once.
    pub(crate) async fn retire_all(&self, deadline: Instant, hurried: &CancellationToken) {
        let running = std::mem::take(&mut *self.listeners.lock().await);
        let ends = running
            .into_values()
            .map(|running| running.retire(deadline, hurried.clone()));
        futures_util::future::join_all(ends).await;
    }

    /// Lets data plane and keeper see what is stored.
    fn publish(&self, memory: &mut Memory) {
        let contents = memory.store.contents();
        memory.healths.retain(|uid, _| contents.routers.contains_key(uid));
        let mut routers = Vec::new();
        for (uid, record) in &contents.routers {
            let router = &record.stored.object;
            let fresh = || Arc::new(RouterHealth::new(router, Arc::clone(&self.keeper_wake)));
            let health = memory.healths.entry(uid.clone()).or_insert_with(fresh);
            if !health.watches(router) {
                *health = fresh();
            }
            routers.push((router.clone(), Arc::clone(health), contents.members_of(uid)));
        }
        let hosts = contents.certificates.iter();
        let hosts = hosts.map(|(host, record)| (host.clone(), record.stored.object.gateway.clone()));
        self.plane.served.set_hosts(hosts.collect());
        self.plane.swap(TableSource {
            domains: contents
                .listeners
                .iter()
                .map(|(name, stored)| (name.clone(), stored.object.domain.clone()))
                .collect(),
            pools: contents
                .all_routes()
                .filter(|stored| matches!(stored.object.upstream, Upstream::Pool))
                .map(|stored| {
                    let pool = pool_id(&stored.object.gateway, &stored.object.service);
                    let members = contents.members_of(&pool);
                    (pool, members)
                })
                .collect(),
            routes: contents
                .all_routes()
                .map(|stored| stored.object.clone())
                .collect(),
            routers,
        });
    }

    /// Admits a writer: not of an older epoch, not of another lineage. A newer epoch is durable before anything is done
    /// in its name.
    pub(crate) async fn admit(self: &Arc<Self>, fence: &Fence) -> Result<(), AgentError> {
        let bound = self.options.lineage.clone();
        let known = self.read(|contents| (contents.lineage.clone().or(bound.clone()), contents.epoch));
        if let (Some(agent), Some(given)) = (&known.0, &fence.lineage)
            && agent != given
        {
            return Err(AgentError::WrongLineage {
                agent: agent.clone(),
                given: given.clone(),
            });
        }
        self.check_epoch(fence)?;
        if fence.epoch == known.1 && (fence.lineage.is_none() || fence.lineage == known.0) {
            return Ok(());
        }
        let (epoch, lineage) = (fence.epoch, fence.lineage.clone().or(bound));
        self.change(move |contents| {
            contents.epoch = contents.epoch.max(epoch);
            contents.lineage = contents.lineage.take().or(lineage);
            Ok(())
        })
        .await?;
        self.check_epoch(fence)
    }

    /// Refuses a writer whose lease was taken over.
    pub(crate) fn check_epoch(&self, fence: &Fence) -> Result<(), AgentError> {
        let highest = self.read(|contents| contents.epoch);
        if fence.epoch < highest {
            return Err(AgentError::StaleEpoch {
                given: fence.epoch,
                highest,
            });
        }
        Ok(())
    }

    /// Like [`Agent::change`], for a writer that is still the newest.
    pub(crate) async fn change_as<T: Send + 'static>(
        self: &Arc<Self>,
        fence: &Fence,
        change: impl FnOnce(&mut Contents) -> Result<T, AgentError> + Send + 'static,
    ) -> Result<T, AgentError> {
        let given = fence.epoch;
        self.change(move |contents| {
            if given < contents.epoch {
                return Err(AgentError::StaleEpoch {
                    given,
                    highest: contents.epoch,
                });
            }
            change(contents)
        })
        .await
    }

    /// Returns the lock that serialises changes of one worker's registration.
    pub(crate) fn member_lock(&self, router: &str, name: &str) -> MemberLock {
        let mut locks = self.member_locks.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever waits for a lock holds a reference to it.
        locks.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(locks.entry((router.to_owned(), name.to_owned())).or_default())
    }

    pub(crate) fn router_uids(&self) -> Vec<String> {
        self.read(|contents| contents.routers.keys().cloned().collect())
    }

    pub(crate) fn router(&self, uid: &str) -> Option<(Router, Option<ProcessIdentity>)> {
        self.read(|contents| {
            let record = contents.routers.get(uid)?;
            Some((record.stored.object.clone(), record.filled.clone()))
        })
    }

    pub(crate) fn members_of(&self, router: &str) -> Vec<Member> {
        self.read(|contents| contents.members_of(router))
    }

    pub(crate) fn member(&self, router: &str, name: &str) -> Option<Member> {
        self.read(|contents| contents.member(router, name).map(|stored| stored.object.clone()))
    }

    pub(crate) fn health(&self, uid: &str) -> Option<Arc<RouterHealth>> {
        self.memory().healths.get(uid).cloned()
    }

    /// Remembers that a router's process has its workers.
    pub(crate) async fn note_filled(
        self: &Arc<Self>,
        uid: &str,
        process: ProcessIdentity,
    ) -> Result<(), AgentError> {
        let uid = uid.to_owned();
        self.change(move |contents| {
            if let Some(record) = contents.routers.get_mut(&uid) {
                record.filled = Some(process);
            }
            Ok(())
        })
        .await
    }

    /// Forgets a router with its members, unless a route uses it; says whether it did.
    pub(crate) async fn forget_router(self: &Arc<Self>, uid: &str) -> bool {
        let uid = uid.to_owned();
        let forgotten = self.change(move |contents| contents.remove_unused_router(&uid));
        forgotten.await.is_ok()
    }

    /// Returns the listeners at work. While they are held nobody binds or stops one.
    pub(crate) async fn listening(&self) -> Listening<'_> {
        self.listeners.lock().await
    }

    /// Binds a listener, replacing one of that name at another address.
    pub(crate) async fn bind(
        &self,
        listeners: &mut Listening<'_>,
        listener: &Listener,
    ) -> Result<(), AgentError> {
        if listeners
            .get(&listener.name)
            .is_some_and(|running| running.is_at(listener))
        {
            return Ok(());
        }
        let started = RunningListener::start(Arc::clone(&self.plane), listener).await;
        let mut failures = self.failures();
        match started {
            Ok(running) => {
                failures.remove(&listener.name);
                drop(failures);
                if let Some(old) = listeners.insert(listener.name.clone(), running) {
                    self.tasks.spawn(old.stop(Instant::now() + self.options.grace));
                }
                Ok(())
            }
            Err(error) => {
                let reason = error.source.to_string();
                if !listeners.contains_key(&listener.name) {
                    let address = SocketAddr::new(listener.address, error.port);
                    failures.insert(listener.name.clone(), format!("{address}: {reason}"));
                }
                Err(AgentError::Bind {
                    name: listener.name.clone(),
                    address: listener.address,
                    port: error.port,
                    reason,
                })
            }
        }
    }

    /// Ends a listener that was only just bound.
    pub(crate) fn unbind(&self, listeners: &mut Listening<'_>, name: &str) {
        self.failures().remove(name);
        if let Some(running) = listeners.remove(name) {
            self.tasks.spawn(running.stop(Instant::now()));
        }
    }

    /// Stops a listener and waits for its requests until the deadline.
    pub(crate) async fn stop_listening(&self, name: &str, deadline: Instant) {
        let running = self.listeners.lock().await.remove(name);
        self.failures().remove(name);
        if let Some(running) = running {
            running.stop(deadline).await;
        }
    }

    /// Has the connections of a listener end with their next answers.
    pub(crate) async fn let_go(&self, name: &str) {
        if let Some(running) = self.listeners.lock().await.get(name) {
            running.let_go();
        }
    }

    /// Stops all listeners at once and waits for their requests until the deadline.
    pub(crate) async fn stop_all(&self, deadline: Instant) {
        let running = std::mem::take(&mut *self.listeners.lock().await);
        let stops = running.into_values().map(|running| running.stop(deadline));
        futures_util::future::join_all(stops).await;
    }

    /// Binds the listeners that should listen and do not, again and again: the port may have been in use at the start.
    pub(crate) async fn keep_listening(self: Arc<Self>) {
        loop {
            for name in self.read(|contents| contents.listeners.keys().cloned().collect::<Vec<_>>()) {
                let mut listeners = self.listeners.lock().await;
                // Looked up under the lock: one that was deleted meanwhile is not bound again.
                let wanted = self.read(|contents| contents.listeners.get(&name).cloned());
                if let Some(wanted) = wanted {
                    // The reason is kept for the status.
                    drop(self.bind(&mut listeners, &wanted.object).await);
                }
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
    }

    fn failures(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        self.not_listening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how the agent is.
    pub(crate) fn status(&self) -> Status {
        let not_listening = self.failures().clone();
        let in_flight = self.plane.deck.count(|_| true);
        let memory = self.memory();
        let contents = memory.store.contents();
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            protocol: crate::protocol::PROTOCOL_VERSION,
            lineage: contents.lineage.clone().or_else(|| self.options.lineage.clone()),
            epoch: contents.epoch,
            pid: std::process::id(),
            not_listening,
            listeners: contents.listeners.len(),
            routes: contents.all_routes().count(),
            routers: contents.routers.len(),
            members: contents.members.values().map(BTreeMap::len).sum(),
            in_flight,
            router_states: memory
                .healths
                .iter()
                .map(|(uid, health)| (uid.clone(), health.state()))
                .collect(),
        }
    }

    /// Looks at a router now, so that what follows goes through it as soon as it can.
    pub(crate) async fn look_at(self: &Arc<Self>, uid: &str) {
        keeper::look(self, uid).await;
    }
}
