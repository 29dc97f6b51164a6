//! The other end of the conversation, on the machine: does there what the providers do here.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use gabion_agent::access::Agents;
use gabion_engine::address::{ObjectId, OperationId, ResourceType};
use gabion_engine::provider::{
    Call, CallSink, ErrorClass, Listed, Provider, ProviderError, ProviderRegistry,
};
use gabion_engine::words::sentence;
use gabion_gateway::{GatewayConfig, GatewayProvider};
use gabion_host::beside::{self, Beside, Piece};
use gabion_host::package::{Ecosystem, PackageSpec, PackageStore};
use gabion_host::ports::PortRegistry;
use gabion_host::transport::{BoxedStream, Machines};
use gabion_host::unit::{self, LogPosition, LogQuery, LogText, UnitDirectory};
use gabion_host::{
    AgentBuilds, AgentConfig, ContainerConfig, HostConfig, HostProvider, SystemdConfig, durable,
};
use gabion_router::RouterProvider;
use gabion_router::packages::Package;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::exposed::Exposed;
use crate::facts::Facts;
use crate::frame;
use crate::protocol::{
    Answer, Circumstances, Directories, Event, FromAgent, Hello, ListedForm, OLDEST_PROTOCOL, Octets,
    PROTOCOL, Request, ToAgent, Welcome,
};
use crate::streams::{self, PIECE, Streams, lost};
use crate::units;

/// How long nobody may be heard of before the agent stops what it does: the network is cut, and a later run of gabion may
/// be at work already.
pub(crate) const SILENCE: Duration = Duration::from_secs(20);

/// The most bytes of a log that are read at once.
const MOST_OF_LOG: u64 = 16 << 20;

/// How long what is under way may take to come to a rest once nobody waits for it.
const WIND_DOWN: Duration = Duration::from_secs(2);

/// What the agent on a machine is told by its program.
#[derive(Clone, Debug)]
pub struct AgentSettings {
    /// Where gabion's things are.
    pub directories: Directories,
    /// The command that becomes a unit's program.
    pub shim: Vec<String>,
    /// The variables that programs get below their own.
    pub base_env: BTreeMap<String, String>,
    /// The Python that package environments are made with.
    pub python: String,
    /// Where containers come from.
    pub containers: ContainerConfig,
    /// How services of systemd are made.
    pub systemd: SystemdConfig,
    /// What agents are to run, for plans.
    pub builds: AgentBuilds,
    /// The agent's version, for people.
    pub version: String,
}

/// Makes the providers of what runs on machines, for one machine that is this one.
#[must_use]
pub fn providers(settings: &AgentSettings, project: &str, machines: Machines) -> ProviderRegistry {
    let directories = &settings.directories;
    let ports = PortRegistry::new(&directories.ports);
    let agents = Agents::new(machines.clone(), &directories.root);
    let gateway = GatewayConfig {
        data_root: directories.root.clone(),
        ports: ports.clone(),
        machines: machines.clone(),
        project: project.to_owned(),
    };
    let host = HostConfig {
        data_root: directories.root.clone(),
        package_store: PackageStore {
            cache_root: directories.cache.clone(),
            python: settings.python.clone(),
            timeout: Duration::from_secs(600),
        },
        packages: packages(),
        ports,
        shim: settings.shim.clone(),
        base_env: settings.base_env.clone(),
        containers: settings.containers.clone(),
        systemd: settings.systemd.clone(),
        agents: Some(AgentConfig {
            upgrade: Arc::new(agents.clone()),
            builds: settings.builds.clone(),
        }),
        machines,
        project: project.to_owned(),
    };
    let mut registry = ProviderRegistry::default();
    registry.register(Arc::new(HostProvider::new(host)));
    registry.register(Arc::new(RouterProvider::new(agents)));
    registry.register(Arc::new(GatewayProvider::new(gateway)));
    registry
}

/// Returns the packages that there is a lock for.
#[must_use]
pub fn packages() -> BTreeMap<String, PackageSpec> {
    Package::ALL
        .into_iter()
        .map(|package| {
            let spec = PackageSpec {
                ecosystem: Ecosystem::Pypi,
                name: package.name().to_owned(),
                version: package.version().to_owned(),
                requirements: package.lock().to_owned(),
            };
            (package.pin(), spec)
        })
        .collect()
}

/// Answers on a connection until its other end is gone or silent.
///
/// # Errors
/// When what comes is not the protocol.
pub async fn converse<R, W>(settings: AgentSettings, mut reader: R, mut writer: W) -> io::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let hello = match frame::read(&mut reader).await? {
        Some(ToAgent::Hello(hello)) => hello,
        Some(_) => return Err(io::Error::other("the other end does not greet")),
        None => return Ok(()),
    };
    if hello.protocol < OLDEST_PROTOCOL {
        let why = format!(
            "the agent {} speaks protocol {OLDEST_PROTOCOL} to {PROTOCOL}, and this gabion {}",
            settings.version, hello.protocol
        );
        return frame::write(&mut writer, &FromAgent::Refused(why)).await;
    }
    let protocol = PROTOCOL.min(hello.protocol);
    let welcome = Welcome {
        protocol,
        version: settings.version.clone(),
    };
    frame::write(&mut writer, &FromAgent::Welcome(welcome)).await?;

    let (outgoing, mut queue) = mpsc::channel::<FromAgent>(64);
    let speaking = tokio::spawn(async move {
        while let Some(message) = queue.recv().await {
            if frame::write(&mut writer, &message).await.is_err() {
                return;
            }
        }
    });
    let desk = Desk::new(settings, &hello, protocol, outgoing);
    let outcome = loop {
        match tokio::time::timeout(SILENCE, frame::read(&mut reader)).await {
            // Nobody is there any more.
            Err(_) | Ok(Ok(None)) => break Ok(()),
            Ok(Err(error)) => break Err(error),
            Ok(Ok(Some(message))) => desk.take(message).await,
        }
    };
    desk.wind_down().await;
    drop(desk);
    speaking.abort();
    outcome
}

/// What is under way, by its number.
struct Desk {
    settings: Arc<AgentSettings>,
    /// What both sides speak.
    protocol: u32,
    providers: ProviderRegistry,
    outgoing: mpsc::Sender<FromAgent>,
    cancels: Arc<Mutex<BTreeMap<u64, CancellationToken>>>,
    answers: Answers,
    streams: Streams,
    tasks: tokio_util::task::TaskTracker,
}

/// Who waits for an acknowledgement.
type Answers = Arc<Mutex<BTreeMap<u64, oneshot::Sender<Option<ProviderError>>>>>;

impl Desk {
    fn new(
        mut settings: AgentSettings,
        hello: &Hello,
        protocol: u32,
        outgoing: mpsc::Sender<FromAgent>,
    ) -> Self {
        let machines = Machines::here(&hello.machine);
        settings.systemd.sudo.clone_from(&hello.sudo);
        Self {
            providers: providers(&settings, &hello.project, machines),
            settings: Arc::new(settings),
            protocol,
            outgoing,
            cancels: Arc::default(),
            answers: Arc::default(),
            streams: Streams::default(),
            tasks: tokio_util::task::TaskTracker::new(),
        }
    }

    async fn take(&self, message: ToAgent) {
        match message {
            ToAgent::Hello(_) => {}
            ToAgent::Ping => {
                let _ = self.outgoing.send(FromAgent::Pong).await;
            }
            ToAgent::Cancel { id } => {
                if let Some(cancel) = lock(&self.cancels).get(&id) {
                    cancel.cancel();
                }
            }
            ToAgent::Data { id, bytes } => {
                // One that was closed here meanwhile is told to be.
                self.streams.take(id, bytes.0);
            }
            ToAgent::Acknowledge { id, error } => {
                if !self.streams.taken(id)
                    && let Some(waiter) = lock(&self.answers).remove(&id)
                {
                    let _ = waiter.send(error);
                }
            }
            ToAgent::Ask { id, request } => {
                let cancel = CancellationToken::new();
                lock(&self.cancels).insert(id, cancel.clone());
                let work = Work {
                    settings: Arc::clone(&self.settings),
                    protocol: self.protocol,
                    providers: self.providers.clone(),
                    streams: self.streams.clone(),
                    line: Line {
                        id,
                        outgoing: self.outgoing.clone(),
                        answers: Arc::clone(&self.answers),
                    },
                    cancel,
                };
                let cancels = Arc::clone(&self.cancels);
                let outgoing = self.outgoing.clone();
                self.tasks.spawn(async move {
                    let result = work.answer(request).await;
                    lock(&cancels).remove(&id);
                    let _ = outgoing.send(FromAgent::Done { id, result }).await;
                });
            }
        }
    }

    /// Has what is under way come to a rest.
    async fn wind_down(&self) {
        for cancel in lock(&self.cancels).values() {
            cancel.cancel();
        }
        lock(&self.answers).clear();
        self.streams.close();
        self.tasks.close();
        // What takes longer ends with the process: all of it may be cut off at any moment.
        let _ = tokio::time::timeout(WIND_DOWN, self.tasks.wait()).await;
    }
}

/// The way back of one request.
#[derive(Clone)]
struct Line {
    id: u64,
    outgoing: mpsc::Sender<FromAgent>,
    answers: Answers,
}

impl Line {
    fn tell(&self, event: Event) {
        let message = FromAgent::Event { id: self.id, event };
        // Progress that nobody has room for is no loss.
        let _ = self.outgoing.try_send(message);
    }

    /// Sends an event that must not be left out.
    async fn send(&self, event: Event) -> Result<(), ProviderError> {
        let message = FromAgent::Event { id: self.id, event };
        self.outgoing.send(message).await.map_err(|_| lost())
    }

    /// Sends an event and waits until it is acknowledged.
    async fn tell_and_wait(&self, event: Event) -> Result<(), ProviderError> {
        let (sender, acknowledged) = oneshot::channel();
        lock(&self.answers).insert(self.id, sender);
        self.send(event).await?;
        match acknowledged.await {
            Ok(None) => Ok(()),
            Ok(Some(error)) => Err(error),
            Err(_) => Err(lost()),
        }
    }
}

#[async_trait]
impl CallSink for Line {
    async fn checkpoint(
        &self,
        _: OperationId,
        id: ObjectId,
        private: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.tell_and_wait(Event::Checkpoint { id, private }).await
    }

    fn phase(&self, _: OperationId, phase: &str) {
        self.tell(Event::Phase(phase.to_owned()));
    }

    fn waiting(&self, _: OperationId, waits: bool) {
        self.tell(Event::Waiting(waits));
    }
}

/// One request.
struct Work {
    settings: Arc<AgentSettings>,
    protocol: u32,
    providers: ProviderRegistry,
    streams: Streams,
    line: Line,
    cancel: CancellationToken,
}

impl Work {
    async fn answer(&self, request: Request) -> Result<Answer, ProviderError> {
        match request {
            Request::Read(request) => {
                let provider = self.provider(&request.resource_type)?;
                provider
                    .read(request)
                    .await
                    .map(|read| Answer::Read(Exposed::of(read)))
            }
            Request::Create(request, circumstances) => {
                let request = request.into_body();
                let provider = self.provider(&request.resource_type)?;
                let call = self.call(circumstances);
                let made = within(&call, provider.create(request, &call)).await?;
                Ok(Answer::State(Exposed::of(made)))
            }
            Request::Update(request, circumstances) => {
                let request = request.into_body();
                let provider = self.provider(&request.object.address.resource_type)?;
                let call = self.call(circumstances);
                let changed = within(&call, provider.update(request, &call)).await?;
                Ok(Answer::State(Exposed::of(changed)))
            }
            Request::Delete(request, circumstances) => {
                let provider = self.provider(&request.object.address.resource_type)?;
                let call = self.call(circumstances);
                within(&call, provider.delete(request, &call)).await?;
                Ok(Answer::Deleted)
            }
            Request::Observe(request) => {
                let provider = self.provider(&request.object.address.resource_type)?;
                let observed = provider.observe(request).await?;
                Ok(Answer::Observed(Exposed::of(observed)))
            }
            Request::List(provider, request) => {
                let known = self.providers.providers();
                let provider = known
                    .into_iter()
                    .find(|known| known.schema().name.as_str() == provider);
                let listed = match provider {
                    Some(provider) => provider.list(request).await?,
                    None => Listed::default(),
                };
                Ok(Answer::Listed(ListedForm::of(listed, self.protocol)))
            }
            Request::Facts => {
                let search_path = self.settings.base_env.get("PATH").map_or("", String::as_str);
                Ok(Answer::Facts(
                    Facts::read(
                        &self.settings.directories.root,
                        search_path,
                        &self.settings.containers.sockets,
                    )
                    .await,
                ))
            }
            Request::Leave => {
                let settings = Arc::clone(&self.settings);
                blocking(move || leave(&settings)).await.map(Answer::Left)
            }
            Request::Units(units) => {
                let directories = units.iter().map(|uid| self.unit(uid));
                let directories = directories.collect::<Result<Vec<_>, _>>()?;
                Ok(Answer::Units(units::views(directories).await))
            }
            Request::Tail { unit, lines } => {
                let directory = self.unit(&unit)?;
                blocking(move || unit::tail(&directory, lines, MOST_OF_LOG))
                    .await
                    .map(Answer::Text)
            }
            Request::Log {
                unit,
                lines,
                since_milliseconds,
            } => {
                let directory = self.unit(&unit)?;
                let since = since_milliseconds.map(Duration::from_millis);
                let query = LogQuery { lines, since };
                let found = blocking(move || unit::read_log(&directory, query, MOST_OF_LOG)).await?;
                let LogText { text, is_timed, end } = found;
                Ok(Answer::Log { text, is_timed, end })
            }
            Request::Dial { unit, port } => {
                let stream = beside::dial(&self.unit(&unit)?, port).await;
                self.connect(stream.map_err(failed)?).await
            }
            Request::Beside { unit, argv } => {
                let command = beside::run_beside(&self.unit(&unit)?, &argv).await;
                self.attend(command.map_err(failed)?).await
            }
            Request::Traffic { agent } => {
                self.unit(&agent)?;
                let agents = Agents::new(Machines::local(), &self.settings.directories.root);
                let counted = agents.counted(Machines::LOCAL, &agent).await?;
                Ok(Answer::Traffic(Box::new(counted)))
            }
            Request::Follow { unit, from } => {
                let from = from.map_or(LogPosition::End, LogPosition::At);
                let mut follower = unit::follow(&self.unit(&unit)?, from);
                loop {
                    let bytes = tokio::select! {
                        bytes = follower.next() => bytes.map_err(failed)?,
                        () = self.cancel.cancelled() => return Ok(Answer::Text(String::new())),
                    };
                    for piece in bytes.chunks(64 << 10) {
                        self.line.tell_and_wait(Event::Log(piece.to_vec())).await?;
                    }
                }
            }
        }
    }

    /// Passes on what goes over a connection, until both sides are done with it.
    async fn connect(&self, stream: BoxedStream) -> Result<Answer, ProviderError> {
        let mut end = self.streams.open(self.line.id);
        self.line.send(Event::Opened).await?;
        let room = Arc::clone(&end.room);
        let (mut from, mut to) = tokio::io::split(stream);
        let outward = async {
            let mut bytes = vec![0; PIECE];
            loop {
                if !has_room(&room).await {
                    return;
                }
                // A connection that breaks off is at its end.
                let count = from.read(&mut bytes).await.unwrap_or(0);
                let event = Event::Data(Octets(bytes[..count].to_vec()));
                if self.line.send(event).await.is_err() || count == 0 {
                    return;
                }
            }
        };
        let inward = streams::feed(&mut end.incoming, &mut to, || self.taken());
        tokio::select! {
            ((), ()) = async { tokio::join!(outward, inward) } => Ok(Answer::Closed),
            () = self.cancel.cancelled() => Ok(Answer::Closed),
        }
    }

    /// Passes on what a command reads and says, until it has ended.
    async fn attend(&self, command: Beside) -> Result<Answer, ProviderError> {
        let mut end = self.streams.open(self.line.id);
        self.line.send(Event::Opened).await?;
        let room = Arc::clone(&end.room);
        let Beside {
            mut input,
            mut output,
            guard: _guard,
        } = command;
        let inward = async {
            streams::feed(&mut end.incoming, &mut input, || self.taken()).await;
            // A pipe is at its end when nobody holds it.
            drop(input);
            std::future::pending::<()>().await;
        };
        let outward = async {
            while let Some(piece) = output.recv().await {
                let event = match piece {
                    Piece::Ended(exit) => return Ok(Answer::Ended(exit)),
                    Piece::Output(bytes) => Event::Data(Octets(bytes)),
                    Piece::Error(bytes) => Event::Errors(Octets(bytes)),
                };
                if !has_room(&room).await {
                    break;
                }
                self.line.send(event).await?;
            }
            Err(ProviderError::new(
                ErrorClass::Uncertain,
                "How the command ended is not known: the program's container may have been stopped.",
            ))
        };
        tokio::select! {
            outcome = outward => outcome,
            () = inward => Err(lost()),
            () = self.cancel.cancelled() => Err(lost()),
        }
    }

    async fn taken(&self) {
        // A lost connection ends all of it anyway.
        let _ = self.line.send(Event::Taken).await;
    }

    fn provider(&self, resource_type: &ResourceType) -> Result<Arc<dyn Provider>, ProviderError> {
        self.providers.provider(resource_type).cloned().ok_or_else(|| {
            ProviderError::new(
                ErrorClass::Invalid,
                format!("The agent on the machine does not manage `{resource_type}`."),
            )
        })
    }

    fn unit(&self, uid: &str) -> Result<UnitDirectory, ProviderError> {
        UnitDirectory::new(&self.settings.directories.root, uid)
            .map_err(|error| failed(io::Error::other(error)))
    }

    fn call(&self, circumstances: Circumstances) -> Call {
        let remaining = Duration::from_millis(circumstances.remaining_milliseconds);
        let far = Duration::from_secs(7 * 24 * 3600);
        Call {
            operation: circumstances.operation,
            uid: circumstances.uid,
            address: circumstances.address,
            lineage: circumstances.lineage,
            epoch: circumstances.epoch,
            deadline: Instant::now() + remaining.min(far),
            cancel: self.cancel.clone(),
            sink: Arc::new(self.line.clone()),
        }
    }
}

/// Waits until another piece may be sent; `false` when none may any more.
async fn has_room(room: &Semaphore) -> bool {
    room.acquire().await.map(SemaphorePermit::forget).is_ok()
}

/// A call that outlives its deadline is given up here too, so that nothing goes on behind a run that has moved on.
async fn within<T>(
    call: &Call,
    work: impl Future<Output = Result<T, ProviderError>>,
) -> Result<T, ProviderError> {
    tokio::time::timeout_at(call.deadline, work)
        .await
        .unwrap_or_else(|_| {
            Err(ProviderError::new(
                ErrorClass::Uncertain,
                "The call was not done when its time was up.",
            ))
        })
}

/// Takes away what gabion has put here. Returns what is left because units are left.
fn leave(settings: &AgentSettings) -> io::Result<Vec<String>> {
    let directories = &settings.directories;
    let units = unit::list(&directories.root).map_err(io::Error::other)?;
    if !units.is_empty() {
        return Ok(units.into_iter().map(|unit| unit.uid).collect());
    }
    durable::remove_directory(&directories.root)?;
    Ok(Vec::new())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, ProviderError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(failed),
        Err(error) => Err(failed(io::Error::other(error))),
    }
}

fn failed(error: io::Error) -> ProviderError {
    ProviderError::new(ErrorClass::Transient, sentence(&error.to_string()))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
