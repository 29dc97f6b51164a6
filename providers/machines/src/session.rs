//! One conversation with the agent on a machine, from gabion's side.

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gabion_engine::provider::{Call, Effect, ErrorClass, ProviderError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::frame;
use crate::protocol::{
    Answer, Circumstances, Event, FromAgent, Hello, OLDEST_PROTOCOL, Octets, PROTOCOL, Request, ToAgent,
    Welcome,
};

/// How often the agent hears that somebody is there.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(5);

/// How long the agent may take for its first word.
const GREETING: Duration = Duration::from_secs(30);

type Waiters = Arc<Mutex<BTreeMap<u64, mpsc::UnboundedSender<Heard>>>>;

/// What is heard of one request.
enum Heard {
    Event(Event),
    Done(Result<Answer, ProviderError>),
}

/// A conversation. Dropping it ends it.
pub(crate) struct Session {
    outgoing: mpsc::Sender<ToAgent>,
    waiters: Waiters,
    next: AtomicU64,
    /// What both sides speak.
    protocol: u32,
    alive: Arc<AtomicBool>,
    /// Heard whenever the other end says anything.
    heard: Arc<Notify>,
    _tasks: [AbortOnDropHandle<()>; 3],
}

impl Session {
    /// Greets the agent at the other end.
    ///
    /// # Errors
    /// When nobody answers, or not in this protocol.
    pub(crate) async fn open<R, W>(mut reader: R, mut writer: W, hello: Hello) -> io::Result<Self>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let greeting = async {
            frame::write(&mut writer, &ToAgent::Hello(hello)).await?;
            frame::read(&mut reader).await
        };
        let answer = tokio::time::timeout(GREETING, greeting).await.map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                format!("its agent did not answer within {} s", GREETING.as_secs()),
            )
        })??;
        let protocol = match answer {
            Some(FromAgent::Welcome(Welcome { protocol, .. }))
                if (OLDEST_PROTOCOL..=PROTOCOL).contains(&protocol) =>
            {
                protocol
            }
            Some(FromAgent::Welcome(Welcome { protocol, version })) => {
                return Err(io::Error::other(format!(
                    "its agent {version} speaks protocol {protocol}, and this gabion {OLDEST_PROTOCOL} to {PROTOCOL}"
                )));
            }
            Some(FromAgent::Refused(why)) => return Err(io::Error::other(why)),
            Some(_) => return Err(io::Error::other("its agent does not greet")),
            None => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "its agent ended at once",
                ));
            }
        };
        let waiters = Waiters::default();
        let alive = Arc::new(AtomicBool::new(true));
        let heard = Arc::<Notify>::default();
        let (outgoing, queue) = mpsc::channel(64);
        let speaking = tokio::spawn(speak(writer, queue, Arc::clone(&alive)));
        let listening = tokio::spawn(listen(
            reader,
            Arc::clone(&waiters),
            Arc::clone(&alive),
            Arc::clone(&heard),
        ));
        let pinging = tokio::spawn(ping(outgoing.clone()));
        Ok(Self {
            outgoing,
            waiters,
            next: AtomicU64::new(1),
            protocol,
            alive,
            heard,
            _tasks: [speaking, listening, pinging].map(AbortOnDropHandle::new),
        })
    }

    /// Returns the protocol that both sides speak.
    pub(crate) fn protocol(&self) -> u32 {
        self.protocol
    }

    /// Returns whether the other end was still there when it was last heard of.
    pub(crate) fn is_alive(&self) -> bool {
        self.alive.load(Ordering::Acquire)
    }

    /// Asks whether the other end is there, and waits for a word of it, but for no longer than this.
    pub(crate) async fn answers(&self, within: Duration) -> bool {
        let mut heard = pin!(self.heard.notified());
        heard.as_mut().enable();
        let answer = async {
            if self.outgoing.send(ToAgent::Ping).await.is_ok() {
                heard.await;
            }
        };
        tokio::time::timeout(within, answer).await.is_ok() && self.is_alive()
    }

    /// Asks something that changes nothing.
    ///
    /// # Errors
    /// What the agent answers; [`ErrorClass::Transient`] when the connection is lost.
    pub(crate) async fn ask(&self, request: Request) -> Result<Answer, ProviderError> {
        let mut exchange = self.start(request).await?;
        loop {
            match exchange.next().await? {
                Next::Done(answer) => return Ok(answer),
                Next::Event(_) => {}
            }
        }
    }

    /// Makes a call that changes the machine. Phases, checkpoints and waiting are passed on, and so is that the call is
    /// cancelled.
    ///
    /// # Errors
    /// What the agent answers. When the connection is lost, an uncertain error that says what was going on.
    pub(crate) async fn call(&self, request: Request, call: &Call) -> Result<Answer, ProviderError> {
        let mut exchange = self.start(request).await?;
        let mut phase = "beginning".to_owned();
        let mut waiting = None;
        let mut told = false;
        loop {
            let next = tokio::select! {
                next = exchange.next() => next,
                () = call.cancel.cancelled(), if !told => {
                    told = true;
                    exchange.cancel().await;
                    continue;
                }
            };
            match next {
                Ok(Next::Done(answer)) => return Ok(answer),
                Ok(Next::Event(Event::Phase(now))) => {
                    call.phase(&now);
                    phase = now;
                }
                Ok(Next::Event(Event::Waiting(true))) => waiting = Some(call.waiting()),
                Ok(Next::Event(Event::Waiting(false))) => waiting = None,
                Ok(Next::Event(Event::Checkpoint { id, private })) => {
                    let written = call.checkpoint(&id, &private).await;
                    exchange.acknowledge(written.clone().err()).await;
                    written?;
                }
                Ok(Next::Event(
                    Event::Log(_) | Event::Opened | Event::Data(_) | Event::Errors(_) | Event::Taken,
                )) => {}
                Err(error) if exchange.lost => {
                    drop(waiting);
                    return Err(ProviderError {
                        class: ErrorClass::Uncertain,
                        effect: Effect::Unknown,
                        message: format!(
                            "{} It was at the step `{phase}`; whether that was done is not known.",
                            error.message
                        ),
                        hint: Some(
                            "when the machine is reachable again, run the command again: it looks before it does anything"
                                .to_owned(),
                        ),
                        ..error
                    });
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends a request whose events the caller wants to hear.
    pub(crate) async fn start(&self, request: Request) -> Result<Exchange, ProviderError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, heard) = mpsc::unbounded_channel();
        lock(&self.waiters).insert(id, sender);
        let exchange = Exchange {
            id,
            heard,
            outgoing: self.outgoing.clone(),
            waiters: Arc::clone(&self.waiters),
            lost: false,
        };
        if !self.is_alive() || self.outgoing.send(ToAgent::Ask { id, request }).await.is_err() {
            return Err(ProviderError::new(
                ErrorClass::Transient,
                "The connection to the machine is lost. Nothing was asked of it.",
            ));
        }
        Ok(exchange)
    }
}

/// What comes next of a request.
pub(crate) enum Next {
    Event(Event),
    Done(Answer),
}

/// A request under way. Dropping it tells the agent that nobody waits any more.
pub(crate) struct Exchange {
    id: u64,
    heard: mpsc::UnboundedReceiver<Heard>,
    outgoing: mpsc::Sender<ToAgent>,
    waiters: Waiters,
    /// Whether the connection was lost before the answer came.
    lost: bool,
}

impl Exchange {
    /// Waits for what comes next.
    pub(crate) async fn next(&mut self) -> Result<Next, ProviderError> {
        match self.heard.recv().await {
            Some(Heard::Event(event)) => Ok(Next::Event(event)),
            Some(Heard::Done(result)) => result.map(Next::Done),
            None => {
                self.lost = true;
                Err(ProviderError::new(
                    ErrorClass::Transient,
                    "The connection to the machine was lost.",
                ))
            }
        }
    }

    /// Lets the agent go on after an event that waits for this.
    pub(crate) async fn acknowledge(&self, error: Option<ProviderError>) {
        // A lost connection is told by `next`.
        let _ = self
            .outgoing
            .send(ToAgent::Acknowledge { id: self.id, error })
            .await;
    }

    /// Sends bytes of a stream; none of them at its end.
    pub(crate) async fn send(&self, bytes: Vec<u8>) {
        // A lost connection is told by `next`.
        let bytes = Octets(bytes);
        let _ = self.outgoing.send(ToAgent::Data { id: self.id, bytes }).await;
    }

    async fn cancel(&self) {
        let _ = self.outgoing.send(ToAgent::Cancel { id: self.id }).await;
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if lock(&self.waiters).remove(&self.id).is_some() {
            // A full queue means a connection that does not move; the agent hears of that by itself.
            let _ = self.outgoing.try_send(ToAgent::Cancel { id: self.id });
        }
    }
}

async fn speak(
    mut writer: impl AsyncWrite + Send + Unpin,
    mut queue: mpsc::Receiver<ToAgent>,
    alive: Arc<AtomicBool>,
) {
    while let Some(message) = queue.recv().await {
        if frame::write(&mut writer, &message).await.is_err() {
            alive.store(false, Ordering::Release);
            return;
        }
    }
}

async fn listen(
    mut reader: impl AsyncRead + Send + Unpin,
    waiters: Waiters,
    alive: Arc<AtomicBool>,
    heard: Arc<Notify>,
) {
    while let Ok(Some(message)) = frame::read::<FromAgent>(&mut reader).await {
        heard.notify_waiters();
        match message {
            FromAgent::Event { id, event } => {
                if let Some(waiter) = lock(&waiters).get(&id) {
                    let _ = waiter.send(Heard::Event(event));
                }
            }
            FromAgent::Done { id, result } => {
                if let Some(waiter) = lock(&waiters).remove(&id) {
                    let _ = waiter.send(Heard::Done(result));
                }
            }
            FromAgent::Welcome(_) | FromAgent::Refused(_) | FromAgent::Pong => {}
        }
    }
    alive.store(false, Ordering::Release);
    heard.notify_waiters();
    // Whoever waits hears the end of the channel.
    lock(&waiters).clear();
}

async fn ping(outgoing: mpsc::Sender<ToAgent>) {
    loop {
        tokio::time::sleep(HEARTBEAT).await;
        if outgoing.send(ToAgent::Ping).await.is_err() {
            return;
        }
    }
}

/// Returns the circumstances of a call as they travel.
pub(crate) fn circumstances(call: &Call) -> Circumstances {
    Circumstances {
        operation: call.operation,
        uid: call.uid,
        address: call.address.clone(),
        lineage: call.lineage,
        epoch: call.epoch,
        remaining_milliseconds: u64::try_from(call.remaining().as_millis()).unwrap_or(u64::MAX),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
