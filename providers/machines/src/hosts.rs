//! The machines of a project that are reached over SSH, and the connections to them.

mod makes_way;
mod moving_address;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gabion_agent::metrics::Snapshot;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_host::beside::Beside;
use gabion_host::systemd::Sudo;
use gabion_host::transport::BoxedStream;
use gabion_host::unit::{LogQuery, LogText};
use tokio::process::Child;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::facts::{Facts, now_milliseconds};
use crate::generation::shared_name;
use crate::program::{AgentProgram, BUILD_HINT, ProgramSource};
use crate::protocol::{Answer, Hello, PROTOCOL, Request, UnitView};
use crate::reach::{Away, NoConnection, Reach, Rests};
use crate::session::{Exchange, Session};
use crate::ssh::{SshAddress, SshError, Trust};
use crate::streams;

/// How machines are reached.
#[derive(Clone, Debug)]
pub struct Limits {
    /// How many connections there are at a time; one that nobody uses makes way for another.
    pub held: usize,
    /// How many of them are being made at a time: each takes a good part of a processor for the exchange of keys.
    pub made: usize,
    /// For how long a machine that could not be reached is not tried again.
    pub rests: Rests,
    /// For how long nobody has to answer, from the first failure to the last one, where a machine was that makes way for
    /// another: then it is taken to be gone, with all that was on it. Before, it may serve clients whom a lost packet or a
    /// restart of its SSH server does not concern.
    pub gone_after: Duration,
}

/// For how long nobody has to answer where a machine was until it is taken to be gone.
pub const GONE_AFTER: Duration = Duration::from_secs(60);

impl Default for Limits {
    fn default() -> Self {
        Self {
            held: 64,
            made: 8,
            rests: Rests::default(),
            gone_after: GONE_AFTER,
        }
    }
}

/// After so long a connection that is being made waits for the network and not for a processor: another may begin.
const BUSY: Duration = Duration::from_secs(2);

/// So long a connection may take to show that it still leads to its machine, where an address may have moved meanwhile.
const ANSWERS: Duration = Duration::from_secs(3);

/// The machines that are reached over SSH.
#[derive(Clone)]
pub struct Hosts {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Mutex<Settings>,
    program: tokio::sync::OnceCell<AgentProgram>,
    limits: Limits,
    slots: Arc<Semaphore>,
    making: Semaphore,
    /// Heard when somebody does not use a connection any more.
    freed: Arc<Notify>,
    hosts: Mutex<BTreeMap<String, Arc<Host>>>,
    /// Machines that are to be made: they have no address yet.
    expected: Mutex<BTreeSet<String>>,
    /// Machines that ended, as others know.
    ended: Mutex<BTreeSet<String>>,
}

#[derive(Clone, Default)]
struct Settings {
    project: String,
    /// What relative key files are relative to.
    base: PathBuf,
    program: ProgramSource,
    /// How root is become on machines; `None` means never.
    sudo: Option<SudoSource>,
}

/// Finds out how root is become, or says why that is not known.
pub type SudoSource = Arc<dyn Fn() -> Result<Sudo, String> + Send + Sync>;

/// One machine.
struct Host {
    address: Mutex<SshAddress>,
    line: tokio::sync::Mutex<Line>,
    /// Whether it is known to be the machine of its name, and not only being met.
    is_met: AtomicBool,
    /// How many use its connection, or are about to.
    users: AtomicUsize,
}

impl Host {
    fn new(address: SshAddress, is_met: bool) -> Arc<Self> {
        Arc::new(Self {
            address: Mutex::new(address),
            line: tokio::sync::Mutex::default(),
            is_met: AtomicBool::new(is_met),
            users: AtomicUsize::new(0),
        })
    }
}

/// The way to one machine.
#[derive(Default)]
struct Line {
    live: Option<Arc<Live>>,
    reach: Reach,
}

/// One user of a machine's connection: as long as there are any, it is not closed for another's sake.
struct Use {
    host: Arc<Host>,
    freed: Arc<Notify>,
}

impl Use {
    fn of(host: &Arc<Host>, freed: &Arc<Notify>) -> Self {
        host.users.fetch_add(1, Ordering::AcqRel);
        Self {
            host: Arc::clone(host),
            freed: Arc::clone(freed),
        }
    }
}

impl Drop for Use {
    fn drop(&mut self) {
        self.host.users.fetch_sub(1, Ordering::AcqRel);
        self.freed.notify_waiters();
    }
}

/// A connection in use.
pub(crate) struct Held {
    live: Arc<Live>,
    _use: Use,
}

impl std::ops::Deref for Held {
    type Target = Live;

    fn deref(&self) -> &Live {
        &self.live
    }
}

/// An open connection.
pub(crate) struct Live {
    session: Session,
    /// The key by which the machine was known, where gabion has to know it.
    host_key: Option<String>,
    /// Whether the way there is one that ends when the address that is to lead there does.
    is_passing: bool,
    _child: Child,
    _slot: OwnedSemaphorePermit,
}

impl Live {
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }
}

impl Default for Hosts {
    fn default() -> Self {
        Self::with_limits(Limits::default())
    }
}

impl std::fmt::Debug for Hosts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(lock(&self.inner.hosts).keys()).finish()
    }
}

impl Hosts {
    /// Returns no machines yet, to be reached within limits.
    #[must_use]
    pub fn with_limits(limits: Limits) -> Self {
        Self {
            inner: Arc::new(Inner {
                settings: Mutex::default(),
                program: tokio::sync::OnceCell::new(),
                slots: Arc::new(Semaphore::new(limits.held.max(1))),
                making: Semaphore::new(limits.made.max(1)),
                freed: Arc::default(),
                limits,
                hosts: Mutex::default(),
                expected: Mutex::default(),
                ended: Mutex::default(),
            }),
        }
    }

    /// Says whose machines they are, and where the agent's program is. Nothing is connected.
    pub fn configure(&self, project: &str, base: PathBuf, program: ProgramSource) {
        let mut settings = lock(&self.inner.settings);
        settings.project = project.to_owned();
        settings.base = base;
        settings.program = program;
    }

    /// Says how root is become on the machines, for connections that are made from now on; `None` means never.
    ///
    /// It is asked for when a connection is made, and not before.
    pub fn allow_sudo(&self, sudo: Option<SudoSource>) {
        lock(&self.inner.settings).sudo = sudo;
    }

    /// Makes a machine known by its name, or known by another address; its connection is kept if the address is the same.
    pub fn declare(&self, name: &str, address: SshAddress) {
        let mut hosts = lock(&self.inner.hosts);
        match hosts.get(name) {
            Some(host) if *lock(&host.address) == address => host.is_met.store(true, Ordering::Release),
            // Whoever uses the connection to the old address goes on with it.
            _ => drop(hosts.insert(name.to_owned(), Host::new(address, true))),
        }
    }

    /// Makes a machine known unless it is already.
    pub fn declare_unless_known(&self, name: &str, address: SshAddress) {
        let is_known = lock(&self.inner.hosts).contains_key(name);
        if !is_known {
            self.declare(name, address);
        }
    }

    /// Makes a machine known that is to be made: what is planned may be on it, and nothing reaches it before it is
    /// declared with its address.
    pub fn expect(&self, name: &str) {
        lock(&self.inner.expected).insert(name.to_owned());
    }

    /// Returns whether a machine is known by this name.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        lock(&self.inner.hosts).contains_key(name) || lock(&self.inner.expected).contains(shared_name(name))
    }

    /// Returns the names of those that have an address, sorted.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        lock(&self.inner.hosts).keys().cloned().collect()
    }

    /// Returns the file of the agent's program, if there is one.
    #[must_use]
    pub fn program_path(&self) -> Option<PathBuf> {
        lock(&self.inner.settings).program.path()
    }

    /// Finds the agent's program.
    ///
    /// # Errors
    /// A sentence that says where it was looked for.
    pub fn check_program(&self) -> Result<(), String> {
        let settings = lock(&self.inner.settings).clone();
        settings.program.find().map(|_| ())
    }

    /// Returns what a machine is, and the host key that it was met with where it is gabion that has to know it.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub async fn facts(&self, name: &str) -> Result<(Facts, Option<String>), ProviderError> {
        let live = self.connection(name).await?;
        let asked = now_milliseconds();
        match live.session.ask(Request::Facts).await {
            Ok(Answer::Facts(mut facts)) => {
                facts.compare_clocks(asked);
                Ok((facts, live.host_key.clone()))
            }
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Takes away what gabion has put on a machine. Returns the units that are in the way, if there are any.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub async fn leave(&self, name: &str) -> Result<Vec<String>, ProviderError> {
        let live = self.connection(name).await?;
        match live.session.ask(Request::Leave).await {
            Ok(Answer::Left(units)) => Ok(units),
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Returns how programs are, in the order of their units' uids.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub async fn units(&self, name: &str, uids: Vec<String>) -> Result<Vec<UnitView>, ProviderError> {
        let live = self.connection(name).await?;
        match live.session.ask(Request::Units(uids)).await {
            Ok(Answer::Units(views)) => Ok(views),
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Returns what the gateways of an agent have counted, by the uid of its unit.
    ///
    /// # Errors
    /// When the machine or the agent cannot be reached, or the program there is too old to tell.
    pub async fn counted(&self, name: &str, agent: &str) -> Result<Snapshot, ProviderError> {
        let live = self.connection(name).await?;
        needs(WITH_TRAFFIC, name, &live)?;
        let request = Request::Traffic {
            agent: agent.to_owned(),
        };
        match live.session.ask(request).await {
            Ok(Answer::Traffic(counted)) => Ok(*counted),
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Returns the last lines of a unit's log.
    ///
    /// # Errors
    /// When the machine cannot be reached, or the log cannot be read.
    pub async fn tail(&self, name: &str, unit: String, lines: usize) -> Result<String, ProviderError> {
        let live = self.connection(name).await?;
        match live.session.ask(Request::Tail { unit, lines }).await {
            Ok(Answer::Text(text)) => Ok(text),
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Returns what is wanted of a unit's log.
    ///
    /// # Errors
    /// When the machine cannot be reached, or the log cannot be read.
    pub async fn log(&self, name: &str, unit: String, query: LogQuery) -> Result<LogText, ProviderError> {
        let live = self.connection(name).await?;
        if let (
            ..WITH_STREAMS,
            LogQuery {
                lines: Some(lines),
                since: None,
            },
        ) = (live.session.protocol(), query)
        {
            drop(live);
            let text = self.tail(name, unit, lines).await?;
            return Ok(LogText {
                text,
                is_timed: true,
                end: None,
            });
        }
        needs(WITH_STREAMS, name, &live)?;
        let since = query.since.map(|since| since.as_millis());
        let request = Request::Log {
            unit,
            lines: query.lines,
            since_milliseconds: since.map(|since| u64::try_from(since).unwrap_or(u64::MAX)),
        };
        match live.session.ask(request).await {
            Ok(Answer::Log { text, is_timed, end }) => Ok(LogText { text, is_timed, end }),
            Ok(_) => Err(unexpected(name)),
            Err(error) => Err(on(name, error)),
        }
    }

    /// Connects to a port of a unit's program: of its container's own loopback address, or of the machine's.
    ///
    /// # Errors
    /// When the machine cannot be reached, or nothing listens there.
    pub async fn dial(&self, name: &str, unit: String, port: u16) -> Result<BoxedStream, ProviderError> {
        let live = self.connection(name).await?;
        needs(WITH_STREAMS, name, &live)?;
        let exchange = live.session.start(Request::Dial { unit, port }).await;
        streams::connection(name, exchange.map_err(|error| on(name, error))?, live).await
    }

    /// Runs a command beside a unit's program.
    ///
    /// # Errors
    /// When the machine cannot be reached, or the command cannot be started.
    pub async fn run_beside(
        &self,
        name: &str,
        unit: String,
        argv: Vec<String>,
    ) -> Result<Beside, ProviderError> {
        let live = self.connection(name).await?;
        needs(WITH_STREAMS, name, &live)?;
        let exchange = live.session.start(Request::Beside { unit, argv }).await;
        streams::beside(name, exchange.map_err(|error| on(name, error))?, live).await
    }

    /// Follows a unit's log from a byte on, or from its present end.
    ///
    /// # Errors
    /// When the machine cannot be reached.
    pub async fn follow(
        &self,
        name: &str,
        unit: String,
        from: Option<u64>,
    ) -> Result<RemoteLog, ProviderError> {
        let live = self.connection(name).await?;
        let exchange = live
            .session
            .start(Request::Follow { unit, from })
            .await
            .map_err(|error| on(name, error))?;
        Ok(RemoteLog {
            machine: name.to_owned(),
            exchange,
            _held: live,
        })
    }

    /// Returns the connection to a machine, made if there is none. A machine that is away is tried once for all who ask
    /// meanwhile, and not again before it has rested.
    pub(crate) async fn connection(&self, name: &str) -> Result<Held, ProviderError> {
        Ok(self.connect_to(name, Duration::MAX).await?)
    }

    /// Connects to a machine; one that is away has rested for no longer than is said.
    async fn connect_to(&self, name: &str, rest_at_most: Duration) -> Result<Held, NoConnection> {
        let host = lock(&self.inner.hosts).get(name).cloned().ok_or_else(|| {
            let why = match self.knows(name) {
                true => format!("Machine `{name}` is not made yet: it has no address."),
                false => format!("No machine is named `{name}`."),
            };
            ProviderError::new(ErrorClass::Invalid, why)
        })?;
        let user = Use::of(&host, &self.inner.freed);
        let mut line = host.line.lock().await;
        let held = |live: &Arc<Live>, user| Held {
            live: Arc::clone(live),
            _use: user,
        };
        if let Some(live) = line.live.as_ref().filter(|live| live.session.is_alive()) {
            // What an address that moved led to is not told of that.
            let may_have_moved = live.is_passing || self.is_succeeded(name);
            if !may_have_moved || live.session.answers(ANSWERS).await {
                return Ok(held(live, user));
            }
        }
        // A dead connection gives its place back first.
        line.live = None;
        let rests = &self.inner.limits.rests;
        if let Some(why) = line.reach.refusal(Instant::now(), rests, rest_at_most) {
            return Err(why.clone());
        }
        let slot = self.slot().await;
        let address = lock(&host.address).clone();
        match self.make(name, &address, slot).await {
            Ok(live) => {
                if let (Trust::FirstUse, Some(key)) = (&address.trust, &live.host_key) {
                    // From here on it is this key and no other.
                    lock(&host.address).trust = Trust::Key(key.clone());
                }
                line.reach.reached();
                let live = line.live.insert(Arc::new(live));
                Ok(held(live, user))
            }
            Err(why) => {
                line.reach.failed(Instant::now(), why.clone());
                Err(why)
            }
        }
    }

    /// Waits for a place among the connections; one that nobody uses makes way.
    async fn slot(&self) -> OwnedSemaphorePermit {
        loop {
            // Before the look, so that nothing that happens after it is missed.
            let mut freed = pin!(self.inner.freed.notified());
            freed.as_mut().enable();
            if let Ok(slot) = Arc::clone(&self.inner.slots).try_acquire_owned() {
                return slot;
            }
            if self.close_one() {
                continue;
            }
            tokio::select! {
                slot = Arc::clone(&self.inner.slots).acquire_owned() => {
                    return slot.expect("the places are never closed");
                }
                () = freed => {}
            }
        }
    }

    /// Closes a connection that nobody uses, if there is one.
    fn close_one(&self) -> bool {
        let hosts: Vec<Arc<Host>> = lock(&self.inner.hosts).values().cloned().collect();
        hosts.iter().any(|host| {
            host.users.load(Ordering::Acquire) == 0
                && host
                    .line
                    .try_lock()
                    .is_ok_and(|mut line| line.live.take().is_some())
        })
    }

    /// Makes a connection, with others only as far as the processors have time for it.
    async fn make(
        &self,
        name: &str,
        address: &SshAddress,
        slot: OwnedSemaphorePermit,
    ) -> Result<Live, NoConnection> {
        let busy = self.inner.making.acquire().await;
        let mut making = pin!(self.connect(name, address, slot));
        tokio::select! {
            made = &mut making => return made,
            () = tokio::time::sleep(BUSY) => drop(busy),
        }
        making.await
    }

    async fn connect(
        &self,
        name: &str,
        address: &SshAddress,
        slot: OwnedSemaphorePermit,
    ) -> Result<Live, NoConnection> {
        let settings = lock(&self.inner.settings).clone();
        let source = settings.program.clone();
        let found = self
            .inner
            .program
            .get_or_try_init(|| async {
                tokio::task::spawn_blocking(move || source.find())
                    .await
                    .unwrap_or_else(|error| Err(error.to_string()))
            })
            .await;
        let program = found
            .map_err(|why| ProviderError::new(ErrorClass::Invalid, why).with_hint(BUILD_HINT))?
            .clone();
        let (connected, is_passing) = self
            .connect_either_way(name, address, &program, &settings.base)
            .await?;
        let sudo = match settings.sudo {
            None => None,
            // A secret may be what a command says.
            Some(source) => match tokio::task::spawn_blocking(move || source()).await {
                Ok(Ok(sudo)) => Some(sudo),
                Ok(Err(why)) => return Err(on(name, ProviderError::new(ErrorClass::Denied, why)).into()),
                Err(error) => {
                    return Err(
                        on(name, ProviderError::new(ErrorClass::Transient, error.to_string())).into(),
                    );
                }
            },
        };
        let hello = Hello {
            protocol: PROTOCOL,
            project: settings.project,
            machine: name.to_owned(),
            sudo,
        };
        let session = Session::open(connected.reader, connected.writer, hello)
            .await
            .map_err(|error| {
                ProviderError::new(
                    ErrorClass::Transient,
                    format!("Machine `{name}` cannot be used: {error}."),
                )
            })?;
        Ok(Live {
            session,
            host_key: connected.host_key,
            is_passing,
            _child: connected.child,
            _slot: slot,
        })
    }
}

/// The log of a program on a machine, as it grows.
pub struct RemoteLog {
    machine: String,
    exchange: Exchange,
    _held: Held,
}

impl RemoteLog {
    /// Waits for what comes next.
    ///
    /// # Errors
    /// When the machine cannot be reached any more.
    pub async fn next(&mut self) -> Result<Vec<u8>, ProviderError> {
        use crate::protocol::Event;
        use crate::session::Next;
        loop {
            match self.exchange.next().await {
                Ok(Next::Event(Event::Log(bytes))) => {
                    self.exchange.acknowledge(None).await;
                    return Ok(bytes);
                }
                Ok(Next::Event(_)) => {}
                Ok(Next::Done(_)) => return Err(unexpected(&self.machine)),
                Err(error) => return Err(on(&self.machine, error)),
            }
        }
    }
}

/// The first protocol with streams.
const WITH_STREAMS: u32 = 3;

/// The first protocol that tells what gateways count.
const WITH_TRAFFIC: u32 = 4;

/// Refuses what an older agent does not know.
fn needs(protocol: u32, name: &str, live: &Live) -> Result<(), ProviderError> {
    if live.session.protocol() >= protocol {
        return Ok(());
    }
    let why = format!(
        "The agent's program that is put on machine `{name}` is of an older gabion, which cannot do this."
    );
    Err(ProviderError::new(ErrorClass::Invalid, why).with_hint(BUILD_HINT))
}

/// Words that a machine cannot be reached.
fn unreachable(name: &str, address: &SshAddress, error: &SshError) -> NoConnection {
    let away = match error {
        // Its address may lead to another machine by now, which has another key. With a machine on the way it may be the
        // address of that one.
        SshError::KeyChanged { .. } if address.proxy_jump.is_none() => Some(Away::Another),
        error => error.is_away().then_some(Away::Silent),
    };
    let class = match error {
        SshError::Invalid { .. } => ErrorClass::Invalid,
        SshError::KeyChanged { .. } | SshError::KeyUnknown { .. } | SshError::Denied { .. } => {
            ErrorClass::Denied
        }
        // The connection itself was tried with patience; what is wrong on the machine does not pass.
        SshError::Agent { .. } => ErrorClass::Invalid,
        SshError::Unreachable { .. } | SshError::Here(_) => ErrorClass::Transient,
    };
    let whereto = match address.port {
        Some(port) => format!("{}, port {port}", address.hostname),
        None => address.hostname.clone(),
    };
    let message = format!("Machine `{name}` ({whereto}) cannot be reached: {error}.");
    let answer = ProviderError::new(class, message);
    let error = match error.hint(address) {
        Some(hint) => answer.with_hint(hint),
        None => answer,
    };
    NoConnection { away, error }
}

/// Names the machine in an error that came from it.
pub(crate) fn on(name: &str, mut error: ProviderError) -> ProviderError {
    error.message = format!("On machine `{name}`: {}", error.message);
    error
}

pub(crate) fn unexpected(name: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::Uncertain,
        format!("The agent on machine `{name}` answered something else than was asked."),
    )
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
