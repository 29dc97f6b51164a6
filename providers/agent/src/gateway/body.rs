//! Bodies on their way through: limits on what clients send, and the answer with everything that hangs on it.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tokio_util::task::AbortOnDropHandle;

use super::error::Refusal;
use super::flight::Flight;
use super::meter::Meter;
use crate::metrics::ServiceStats;

/// Any error of a body.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of an answer to a client.
pub(crate) type AnswerBody = UnsyncBoxBody<Bytes, BoxError>;

/// What a client's body may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BodyLimits {
    /// Its size in bytes.
    pub(crate) size: u64,
    /// The longest silence.
    pub(crate) idle: Duration,
    /// Bytes per second on average, over the time spent waiting beyond `idle`.
    pub(crate) rate: u64,
}

/// What became of a client's body, as far as the other side of the exchange needs to know.
#[derive(Debug, Default)]
pub(crate) struct BodyProgress {
    received: Mutex<Option<Instant>>,
    failure: Mutex<Option<Refusal>>,
}

impl BodyProgress {
    /// Returns when the last byte arrived, if it did.
    pub(crate) fn received(&self) -> Option<Instant> {
        *self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns why the body ended early, if it did.
    pub(crate) fn failure(&self) -> Option<Refusal> {
        self.failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn complete(&self) {
        self.received
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_with(Instant::now);
    }

    fn fail(&self, refusal: Refusal) -> BoxError {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(refusal.clone());
        Box::new(refusal)
    }
}

/// A client's body under its limits.
#[derive(Debug)]
pub(crate) struct ClientBody {
    inner: Incoming,
    limits: BodyLimits,
    progress: Arc<BodyProgress>,
    bytes: u64,
    waited: Duration,
    waiting_since: Option<Instant>,
    timer: Pin<Box<Sleep>>,
}

impl ClientBody {
    /// Puts a body under limits.
    pub(crate) fn new(inner: Incoming, limits: BodyLimits) -> (Self, Arc<BodyProgress>) {
        let progress = Arc::new(BodyProgress::default());
        if inner.is_end_stream() {
            progress.complete();
        }
        let body = Self {
            inner,
            limits,
            progress: Arc::clone(&progress),
            bytes: 0,
            waited: Duration::ZERO,
            waiting_since: None,
            timer: Box::pin(tokio::time::sleep(limits.idle)),
        };
        (body, progress)
    }

    /// Returns how long the client may keep us waiting from now on.
    fn allowance(&self) -> Duration {
        let earned = Duration::from_secs(self.bytes / self.limits.rate.max(1));
        (self.limits.idle + earned)
            .saturating_sub(self.waited)
            .min(self.limits.idle)
    }
}

impl Body for ClientBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                if this.waiting_since.is_none() {
                    let now = Instant::now();
                    this.waiting_since = Some(now);
                    let deadline = now + this.allowance();
                    this.timer.as_mut().reset(deadline);
                }
                ready!(this.timer.as_mut().poll(cx));
                Poll::Ready(Some(Err(this.progress.fail(Refusal::BodyTooSlow))))
            }
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(since) = this.waiting_since.take() {
                    this.waited += since.elapsed();
                }
                let Ok(data) = frame.into_data() else {
                    // Trailers end here: nothing behind us reads them.
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                };
                this.bytes += data.len() as u64;
                if this.bytes > this.limits.size {
                    return Poll::Ready(Some(Err(this
                        .progress
                        .fail(Refusal::BodyTooLarge(this.limits.size)))));
                }
                if this.inner.is_end_stream() {
                    this.progress.complete();
                }
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
            Poll::Ready(Some(Err(_))) => Poll::Ready(Some(Err(this.progress.fail(Refusal::BodyBroken)))),
            Poll::Ready(None) => {
                this.progress.complete();
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The connection to an upstream; it ends with this value.
pub(crate) type UpstreamTask = AbortOnDropHandle<()>;

/// An upstream's answer while it passes.
///
/// It keeps the request in flight and the upstream's connection open; dropping it ends both.
#[derive(Debug)]
pub(crate) struct UpstreamBody {
    inner: Incoming,
    meter: Option<Meter>,
    stats: Arc<ServiceStats>,
    handed_out: Option<Instant>,
    idle_limit: Duration,
    last_read: Instant,
    timer: Pin<Box<Sleep>>,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
    is_cut: CancellationToken,
    ended: bool,
    failed: bool,
    _flight: Flight,
    _connection: UpstreamTask,
    _breaker: AbortOnDropHandle<()>,
}

/// An answer's companions.
#[derive(Debug)]
pub(crate) struct Passage {
    pub(crate) meter: Option<Meter>,
    pub(crate) stats: Arc<ServiceStats>,
    pub(crate) idle_limit: Duration,
    pub(crate) flight: Flight,
    pub(crate) connection: UpstreamTask,
    /// Ends the client's connection.
    pub(crate) hang_up: CancellationToken,
}

impl UpstreamBody {
    /// Lets an answer pass.
    pub(crate) fn new(inner: Incoming, passage: Passage) -> Self {
        let cut: CancellationToken = passage.flight.cut_token();
        // While the client takes nothing nobody polls this body: only its connection can be ended.
        let (breaking, hang_up) = (cut.clone(), passage.hang_up);
        let breaker = tokio::spawn(async move {
            breaking.cancelled().await;
            hang_up.cancel();
        });
        Self {
            inner,
            meter: passage.meter,
            stats: passage.stats,
            handed_out: None,
            idle_limit: passage.idle_limit,
            last_read: Instant::now(),
            timer: Box::pin(tokio::time::sleep(passage.idle_limit)),
            cut: Box::pin(cut.clone().cancelled_owned()),
            is_cut: cut,
            ended: false,
            failed: false,
            _flight: passage.flight,
            _connection: passage.connection,
            _breaker: AbortOnDropHandle::new(breaker),
        }
    }

    fn fail(&mut self, reason: &'static str) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        self.failed = true;
        Poll::Ready(Some(Err(reason.into())))
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        if let (Some(handed_out), Some(meter)) = (this.handed_out.take(), &mut this.meter) {
            meter.exclude(handed_out.elapsed());
        }
        if this.cut.as_mut().poll(cx).is_ready() {
            ServiceStats::count(&this.stats.cut);
            return this.fail("cut at the end of a drain");
        }
        match Pin::new(&mut this.inner).poll_frame(cx) {
            Poll::Pending => {
                while this.timer.as_mut().poll(cx).is_ready() {
                    let deadline = this.last_read + this.idle_limit;
                    if deadline <= Instant::now() {
                        ServiceStats::count(&this.stats.upstream_failures);
                        return this.fail("the upstream went silent");
                    }
                    this.timer.as_mut().reset(deadline);
                }
                Poll::Pending
            }
            Poll::Ready(Some(Ok(frame))) => {
                let now = Instant::now();
                this.last_read = now;
                if let (Some(meter), Some(data)) = (&mut this.meter, frame.data_ref()) {
                    meter.read(data, now);
                    this.handed_out = Some(Instant::now());
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(Some(Err(error))) => {
                ServiceStats::count(&this.stats.upstream_failures);
                this.failed = true;
                Poll::Ready(Some(Err(error.into())))
            }
            Poll::Ready(None) => {
                this.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for UpstreamBody {
    fn drop(&mut self) {
        if let Some(meter) = &mut self.meter {
            meter.finish();
        }
        if !self.ended && !self.failed && !self.inner.is_end_stream() {
            ServiceStats::count(if self.is_cut.is_cancelled() {
                &self.stats.cut
            } else {
                &self.stats.aborted
            });
        }
    }
}

/// Counts a request as aborted unless it got as far as an answer.
#[derive(Debug)]
pub(crate) struct AbortCounter {
    stats: Arc<ServiceStats>,
    answered: AtomicBool,
}

impl AbortCounter {
    /// Starts before the upstream is asked.
    pub(crate) fn new(stats: Arc<ServiceStats>) -> Self {
        Self {
            stats,
            answered: AtomicBool::new(false),
        }
    }

    /// Notes that there is an answer, of whatever kind.
    pub(crate) fn answered(&self) {
        self.answered.store(true, Ordering::Relaxed);
    }
}

impl Drop for AbortCounter {
    fn drop(&mut self) {
        if !self.answered.load(Ordering::Relaxed) {
            ServiceStats::count(&self.stats.aborted);
        }
    }
}
