//! What appends to the log, and who uses it: the journal's own thread or task, or whoever commits where it is free.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::marker::Marker;
use super::{BUSY_PATIENCE, BUSY_PAUSE, JournalError, Stamp};
use crate::state::event::{Event, EventBody, RunStarted};
use crate::state::fold::FoldError;
use crate::state::folded::Folded;
use crate::state::snapshot::{Head, State};
use crate::state::store::{AppendHere, StateStore, StoreError};

/// How many events one append carries at most.
const LARGEST_APPEND: usize = 4096;

/// The writer, as a journal uses it. It ends once this is dropped and what was sent is written.
pub(super) struct WriterHandle {
    requests: mpsc::UnboundedSender<Request>,
    shared: Arc<Shared>,
}

/// A writer, which whoever commits may use where it is free; it is its own task's or thread's otherwise.
struct Shared {
    writer: Mutex<Writer>,
    /// How many requests were sent and are not carried out yet: they go before whatever comes later.
    sent: AtomicUsize,
}

impl WriterHandle {
    /// Commits in the order in which requests come, together with others.
    pub(super) async fn commit(&self, events: Uncommitted) -> Outcome {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Commit { events, reply })?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Commits on the calling thread what follows the state as it is; `None` when somebody would have to be waited for,
    /// and nothing was written.
    pub(super) fn commit_here(&self, folded: &Folded) -> Option<Outcome> {
        let mut writer = self.shared.writer.try_lock().ok()?;
        // What was sent is counted before anybody can have heard of it.
        if self.shared.sent.load(Ordering::SeqCst) > 0 {
            return None;
        }
        writer.commit_here(folded)
    }

    /// Writes what is left to write, after what was sent before.
    pub(super) async fn close(&self) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Close { reply })?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    fn send(&self, request: Request) -> Result<(), JournalError> {
        self.shared.sent.fetch_add(1, Ordering::SeqCst);
        self.requests.send(request).map_err(|_| JournalError::Closed)
    }
}

enum Request {
    Commit {
        events: Uncommitted,
        reply: Reply,
    },
    Close {
        reply: oneshot::Sender<Result<(), JournalError>>,
    },
}

/// What is to be committed.
pub(super) enum Uncommitted {
    Bodies(Vec<EventBody>),
    /// Folded already, after the state that was the newest then.
    Folded(Folded),
}

impl Uncommitted {
    fn len(&self) -> usize {
        match self {
            Self::Bodies(bodies) => bodies.len(),
            Self::Folded(folded) => folded.len(),
        }
    }
}

/// What appends: it alone changes the state.
pub(super) struct Writer {
    pub(super) store: Arc<dyn StateStore>,
    pub(super) state: State,
    pub(super) latest: Arc<RwLock<Arc<State>>>,
    pub(super) stamp: Arc<Stamp>,
    /// Whether the last event says that nothing more comes.
    pub(super) ended: bool,
    pub(super) marker: Option<Marker>,
    pub(super) failed: Option<Arc<StoreError>>,
    /// Whether nothing more is taken.
    pub(super) closed: bool,
    /// What appends on the thread that uses the writer, if the store has it.
    pub(super) here: Option<Arc<dyn AppendHere>>,
}

type Outcome = Result<Arc<State>, JournalError>;

type Reply = oneshot::Sender<Outcome>;

impl Shared {
    /// Carries out what is sent, until the journal is closed or gone.
    async fn run(self: Arc<Self>, mut requests: mpsc::UnboundedReceiver<Request>) {
        let mut held_back = None;
        loop {
            let first = match held_back.take() {
                Some(request) => request,
                None => match requests.recv().await {
                    Some(request) => request,
                    None => return,
                },
            };
            let mut group = Vec::new();
            let mut size = 0;
            let mut closing = None;
            let mut next = Some(first);
            while let Some(request) = next.take() {
                match request {
                    Request::Close { reply } => {
                        closing = Some(reply);
                        break;
                    }
                    Request::Commit { events, reply }
                        if size == 0 || size + events.len() <= LARGEST_APPEND =>
                    {
                        size += events.len();
                        group.push((events, reply));
                        next = requests.try_recv().ok();
                    }
                    too_much @ Request::Commit { .. } => held_back = Some(too_much),
                }
            }
            let mut writer = self.writer.lock().await;
            let committed = group.len();
            let answers = writer.commit(group).await;
            let ended = match &closing {
                Some(_) => Some(writer.finish().await),
                None => None,
            };
            self.sent.fetch_sub(committed, Ordering::SeqCst);
            drop(writer);
            for (reply, outcome) in answers {
                // Whoever asked may have gone; the commit stands all the same.
                let _unheard = reply.send(outcome);
            }
            if let (Some(reply), Some(ended)) = (closing, ended) {
                // Whoever asked may have gone.
                let _unheard = reply.send(ended);
                return;
            }
        }
    }
}

impl Writer {
    /// Begins to take requests: on a thread of its own where the store's work is that thread's, else as a task.
    pub(super) fn start(self) -> std::io::Result<WriterHandle> {
        let has_thread = self.here.is_some();
        let (requests, taken) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            writer: Mutex::new(self),
            sent: AtomicUsize::new(0),
        });
        let running = shared.clone().run(taken);
        let handle = WriterHandle { requests, shared };
        if !has_thread {
            tokio::spawn(running);
            return Ok(handle);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        std::thread::Builder::new()
            .name("gabion-log".to_owned())
            .spawn(move || runtime.block_on(running))?;
        Ok(handle)
    }

    /// Commits a group as one append; returns what each of its members is answered.
    async fn commit(&mut self, group: Vec<(Uncommitted, Reply)>) -> Vec<(Reply, Outcome)> {
        if let Some(error) = self.refusal() {
            let refused = |(_, reply)| (reply, Err(error.clone()));
            return group.into_iter().map(refused).collect();
        }
        let mut folded = Folded::new(self.state.clone());
        let mut answers = Vec::new();
        let mut replies = Vec::new();
        for (events, reply) in group {
            match self.add(&mut folded, events) {
                Ok(()) => replies.push(reply),
                Err(error) => answers.push((reply, Err(error.into()))),
            }
        }
        let outcome = self.append(folded).await;
        answers.extend(replies.into_iter().map(|reply| (reply, outcome.clone())));
        answers
    }

    /// Commits on the calling thread what follows the state as it is; `None` when somebody would have to be waited for,
    /// and nothing was written.
    fn commit_here(&mut self, folded: &Folded) -> Option<Outcome> {
        let here = self.here.clone()?;
        if !folded.follows(&self.state) {
            return None;
        }
        if let Some(error) = self.refusal() {
            return Some(Err(error));
        }
        if folded.is_empty() {
            return Some(Ok(self.latest()));
        }
        let appended = here.append_at_once(self.stamp.writer.epoch, folded)?;
        Some(self.appended(folded, appended))
    }

    /// Adds one commit to an append, whole or not at all.
    fn add(&self, folded: &mut Folded, events: Uncommitted) -> Result<(), FoldError> {
        let bodies = match events {
            Uncommitted::Bodies(bodies) => bodies,
            // Nothing was committed since it was begun.
            Uncommitted::Folded(ready) if folded.is_empty() && ready.follows(folded.before()) => {
                *folded = ready;
                return Ok(());
            }
            Uncommitted::Folded(ready) => ready.into_events().filter_map(unannounced).collect(),
        };
        let before = folded.len();
        for body in bodies {
            if let Err(error) = self.stamp.push(folded, body) {
                folded.truncate(before);
                return Err(error);
            }
        }
        Ok(())
    }

    async fn append(&mut self, folded: Folded) -> Outcome {
        if folded.is_empty() {
            return Ok(self.latest());
        }
        let folded = Arc::new(folded);
        let appended = self.append_when_free(&folded).await;
        self.appended(&folded, appended)
    }

    /// Takes in what became of an append.
    fn appended(&mut self, folded: &Folded, appended: Result<Head, StoreError>) -> Outcome {
        let appended = appended.and_then(|head| self.same_head(folded.after(), &head));
        if let Err(error) = appended {
            let error = Arc::new(error);
            self.failed = Some(error.clone());
            return Err(JournalError::Failed(error));
        }
        self.ended = folded
            .events()
            .last()
            .is_some_and(|last| last.event.body.is_last());
        self.state = folded.after().clone();
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(self.state.clone());
        if let (Some(marker), Some(head)) = (&self.marker, self.state.head()) {
            marker.heads.send_replace(Some(head));
        }
        Ok(self.latest())
    }

    fn latest(&self) -> Arc<State> {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Appends, and tries again for a while when another process keeps the store busy: nothing was written then, and what
    /// was done in the world waits to be written down.
    async fn append_when_free(&self, folded: &Arc<Folded>) -> Result<Head, StoreError> {
        let give_up = Instant::now() + BUSY_PATIENCE;
        loop {
            let epoch = self.stamp.writer.epoch;
            let appended = match &self.here {
                Some(store) => store.append_here(epoch, folded),
                None => self.store.append_folded(epoch, folded.clone()).await,
            };
            match appended {
                Err(StoreError::Busy { .. }) if Instant::now() < give_up => {
                    tokio::time::sleep(BUSY_PAUSE).await;
                }
                other => return other,
            }
        }
    }

    fn same_head(&self, folded: &State, head: &Head) -> Result<(), StoreError> {
        if folded.head().as_ref() == Some(head) {
            return Ok(());
        }
        Err(StoreError::Unreadable {
            location: self.store.location(),
            what: format!("event {}", head.sequence),
            why: "the store answers with another head than the one that was written".to_owned(),
        })
    }

    /// Returns whether the log says that the lease was taken; a run that writes nothing leaves no event.
    fn is_announced(&self) -> bool {
        self.state.epoch == self.stamp.writer.epoch
    }

    fn refusal(&self) -> Option<JournalError> {
        if self.closed {
            return Some(JournalError::Closed);
        }
        if let Some(error) = &self.failed {
            return Some(JournalError::Poisoned(error.clone()));
        }
        let mark = self.marker.as_ref()?.failure();
        mark.map(JournalError::HeadMark)
    }

    async fn finish(&mut self) -> Result<(), JournalError> {
        let refusal = self.refusal();
        self.closed = true;
        let ended = match refusal {
            Some(error) => Err(error),
            // Nothing may follow where the log was moved away.
            None if self.state.moved_to.is_some() => Ok(()),
            None if self.is_announced() && !self.ended => {
                let mut folded = Folded::new(self.state.clone());
                match self.add(&mut folded, Uncommitted::Bodies(vec![EventBody::LeaseReleased])) {
                    Ok(()) => self.append(folded).await.map(|_| ()),
                    Err(error) => Err(error.into()),
                }
            }
            None => Ok(()),
        };
        let marked = match self.marker.take() {
            Some(marker) => marker.finish().await.map_err(JournalError::HeadMark),
            None => Ok(()),
        };
        ended.and(marked)
    }
}

/// Returns what an event says beside that the lease was taken.
fn unannounced(event: Event) -> Option<EventBody> {
    match event.body {
        EventBody::LeaseTaken { .. } => None,
        EventBody::RunStarted(started) => Some(EventBody::RunStarted(RunStarted {
            host: None,
            ..started
        })),
        body => Some(body),
    }
}
