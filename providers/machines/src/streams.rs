//! Bytes in both directions within a conversation: a connection to a program's port, or a command's standard streams.
//!
//! Each side may send a number of pieces before the other has taken any, so that one that is slow holds up neither the
//! conversation nor much memory.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_host::beside::{Beside, Piece};
use gabion_host::transport::BoxedStream;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::task::AbortOnDropHandle;

use crate::hosts::{Held, on};
use crate::protocol::{Answer, Event, Octets};
use crate::session::{Exchange, Next};

/// How many pieces may be under way in one direction.
pub(crate) const WINDOW: usize = 16;

/// The most bytes of one piece.
pub(crate) const PIECE: usize = 32 << 10;

/// The streams of a conversation that are open at the agent's end, by the number of their request.
#[derive(Clone, Default)]
pub(crate) struct Streams(Arc<Mutex<BTreeMap<u64, Entry>>>);

struct Entry {
    incoming: mpsc::UnboundedSender<Vec<u8>>,
    room: Arc<Semaphore>,
}

/// One stream at the agent's end. Dropping it closes it.
pub(crate) struct StreamEnd {
    id: u64,
    all: Streams,
    pub(crate) incoming: mpsc::UnboundedReceiver<Vec<u8>>,
    pub(crate) room: Arc<Semaphore>,
}

impl Streams {
    /// Opens the stream of a request.
    pub(crate) fn open(&self, id: u64) -> StreamEnd {
        let (sender, incoming) = mpsc::unbounded_channel();
        let room = Arc::new(Semaphore::new(WINDOW));
        let entry = Entry {
            incoming: sender,
            room: Arc::clone(&room),
        };
        self.lock().insert(id, entry);
        StreamEnd {
            id,
            all: self.clone(),
            incoming,
            room,
        }
    }

    /// Hands on what has come. Returns whether there is such a stream.
    pub(crate) fn take(&self, id: u64, bytes: Vec<u8>) -> bool {
        self.lock()
            .get(&id)
            .is_some_and(|entry| entry.incoming.send(bytes).is_ok())
    }

    /// Makes room for another piece. Returns whether there is such a stream.
    pub(crate) fn taken(&self, id: u64) -> bool {
        let all = self.lock();
        let entry = all.get(&id);
        // More than the window is nothing that the other side has taken.
        if let Some(entry) = entry.filter(|entry| entry.room.available_permits() < WINDOW) {
            entry.room.add_permits(1);
        }
        entry.is_some()
    }

    /// Closes all: what waits for more hears of the end.
    pub(crate) fn close(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for StreamEnd {
    fn drop(&mut self) {
        self.all.lock().remove(&self.id);
    }
}

/// Makes a stream of an exchange with the agent at a program's port.
pub(crate) async fn connection(
    machine: &str,
    mut exchange: Exchange,
    held: Held,
) -> Result<BoxedStream, ProviderError> {
    opened(machine, &mut exchange).await?;
    let (ours, theirs) = tokio::io::duplex(2 * PIECE);
    tokio::spawn(async move {
        let _held = held;
        pump(exchange, theirs).await;
    });
    Ok(Box::new(ours))
}

/// Makes a command of an exchange with the agent that runs it.
pub(crate) async fn beside(
    machine: &str,
    mut exchange: Exchange,
    held: Held,
) -> Result<Beside, ProviderError> {
    opened(machine, &mut exchange).await?;
    let (input, theirs) = tokio::io::duplex(2 * PIECE);
    let (sender, output) = mpsc::channel(WINDOW);
    let guard = tokio::spawn(async move {
        let _held = held;
        pump_command(exchange, theirs, sender).await;
    });
    Ok(Beside {
        input: Box::new(input),
        output,
        guard: Some(AbortOnDropHandle::new(guard)),
    })
}

/// Waits until the other end is there.
async fn opened(machine: &str, exchange: &mut Exchange) -> Result<(), ProviderError> {
    match exchange.next().await {
        Ok(Next::Event(Event::Opened)) => Ok(()),
        Ok(_) => Err(crate::hosts::unexpected(machine)),
        Err(error) => Err(on(machine, error)),
    }
}

/// What this side sends: nothing while the other side has a window full.
struct Outgoing<R> {
    from: R,
    buffer: Vec<u8>,
    room: usize,
    is_open: bool,
}

impl<R: AsyncRead + Unpin> Outgoing<R> {
    fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; PIECE],
            room: WINDOW,
            is_open: true,
        }
    }

    /// Waits for the next piece; for ever when there can be none now.
    ///
    /// # Cancellation
    /// Safe: what was read is returned.
    async fn next(&mut self) -> Vec<u8> {
        if !self.is_open || self.room == 0 {
            return std::future::pending().await;
        }
        // A broken pipe is an end as well.
        let count = self.from.read(&mut self.buffer).await.unwrap_or(0);
        self.room -= 1;
        self.is_open = count > 0;
        self.buffer[..count].to_vec()
    }
}

async fn pump(mut exchange: Exchange, stream: DuplexStream) {
    let (from, mut to) = tokio::io::split(stream);
    let mut outgoing = Outgoing::new(from);
    loop {
        tokio::select! {
            next = exchange.next() => match next {
                Ok(Next::Event(Event::Taken)) => outgoing.room += 1,
                Ok(Next::Event(Event::Data(Octets(bytes)))) => {
                    let written = if bytes.is_empty() { to.shutdown().await } else { to.write_all(&bytes).await };
                    if written.is_err() {
                        return;
                    }
                    exchange.acknowledge(None).await;
                }
                Ok(Next::Event(_)) => {}
                Ok(Next::Done(_)) | Err(_) => {
                    let _ = to.shutdown().await;
                    return;
                }
            },
            bytes = outgoing.next() => exchange.send(bytes).await,
        }
    }
}

async fn pump_command(mut exchange: Exchange, input: DuplexStream, output: mpsc::Sender<Piece>) {
    let mut outgoing = Outgoing::new(input);
    loop {
        tokio::select! {
            next = exchange.next() => {
                let piece = match next {
                    Ok(Next::Event(Event::Taken)) => {
                        outgoing.room += 1;
                        continue;
                    }
                    Ok(Next::Event(Event::Data(Octets(bytes)))) => Piece::Output(bytes),
                    Ok(Next::Event(Event::Errors(Octets(bytes)))) => Piece::Error(bytes),
                    Ok(Next::Event(_)) => continue,
                    Ok(Next::Done(Answer::Ended(exit))) => Piece::Ended(exit),
                    Ok(Next::Done(_)) | Err(_) => return,
                };
                let is_end = matches!(piece, Piece::Ended(_));
                if output.send(piece).await.is_err() || is_end {
                    return;
                }
                exchange.acknowledge(None).await;
            }
            bytes = outgoing.next() => exchange.send(bytes).await,
        }
    }
}

/// Hands what comes for a stream to its program, until there is no more or the program takes no more. `taken` is called
/// after each piece.
pub(crate) async fn feed<F>(
    incoming: &mut mpsc::UnboundedReceiver<Vec<u8>>,
    to: &mut (impl AsyncWrite + Unpin),
    mut taken: impl FnMut() -> F,
) where
    F: Future<Output = ()>,
{
    while let Some(bytes) = incoming.recv().await {
        // A program that reads no more is told by its own end.
        let written = if bytes.is_empty() {
            to.shutdown().await
        } else {
            to.write_all(&bytes).await
        };
        let is_end = bytes.is_empty();
        taken().await;
        if is_end || written.is_err() {
            return;
        }
    }
}

/// The other side is gone, or will be soon.
pub(crate) fn lost() -> ProviderError {
    ProviderError::new(ErrorClass::Uncertain, "The connection to gabion was lost.")
}
