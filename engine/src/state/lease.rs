//! Who may write: taking the lease, keeping it with a heartbeat, and knowing how long it lasts.
//!
//! A holder whose process is gone is replaced at once. Any other one is replaced only when its heartbeat stood still for
//! the lease's length while the observer watched, by the observer's own clock: clocks of machines need not agree. The
//! other side of that promise is [`Heartbeat::outlives`]: a holder starts nothing that could outlast the silence after
//! which others may replace it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::state::clock::Clock;
use crate::state::event::Holder;
use crate::state::process::{Liveness, Processes};
use crate::state::store::{LeaseGrant, LeaseRequest, LeaseSeen, LeaseView, StateStore, StoreError};

/// How long a holder may be silent, unless it asks for more.
pub const DEFAULT_LEASE_LENGTH: Duration = Duration::from_secs(30);

/// What is added to the longest deadline of the calls under way: time for an answer to be written down.
const MARGIN: Duration = Duration::from_secs(5);

/// How long to wait before a store that is busy is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How the lease is taken.
pub struct LeaseOptions {
    /// Who takes it.
    pub holder: Holder,
    /// How long the holder may be silent.
    pub length: Duration,
    /// How long to wait for another holder.
    pub timeout: Duration,
    /// Where local holders are looked for.
    pub processes: Processes,
}

/// A lease that was taken, and since when it surely lasts.
#[derive(Clone, Copy)]
pub struct Taken {
    /// Its epoch, greater than every one before.
    pub epoch: u64,
    /// Before it was asked for: whoever watches it saw it later.
    since: Moment,
}

/// Takes the lease, waiting for another holder up to the timeout.
///
/// # Errors
/// [`StoreError::Locked`] with the holder when the time is up, and whatever the store says.
pub async fn acquire(
    store: &dyn StateStore,
    options: &LeaseOptions,
    clock: &dyn Clock,
) -> Result<Taken, StoreError> {
    let give_up = Instant::now() + options.timeout;
    let mut watched: Option<(LeaseSeen, Instant)> = None;
    let mut replaces = None;
    let mut refused = None;
    loop {
        let request = LeaseRequest {
            holder: options.holder.clone(),
            length: options.length,
            at: clock.now(),
            replaces: replaces.take(),
        };
        let since = Moment::now();
        let view = match store.take_lease(request).await {
            Ok(LeaseGrant { epoch }) => return Ok(Taken { epoch, since }),
            Err(StoreError::Locked(view)) => view,
            // Somebody is in the middle of a write, a holder of the lease or not.
            Err(busy @ StoreError::Busy { .. }) => {
                let now = Instant::now();
                if now >= give_up {
                    return Err(busy);
                }
                tokio::time::sleep_until((now + BUSY_PAUSE).min(give_up)).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let seen = view.seen();
        let now = Instant::now();
        let since = match watched {
            Some((last, since)) if last == seen => since,
            _ => now,
        };
        watched = Some((seen, since));
        let silent_until = since + view.length;
        let may_be_replaced = now >= silent_until
            || options.processes.holder_liveness(&view.holder, store.is_local()) == Liveness::Gone;
        // One that was to be replaced and still stands is kept by a writer who is stuck, which can take its time.
        if may_be_replaced && refused != Some(seen) {
            (replaces, refused) = (Some(seen), Some(seen));
            continue;
        }
        if now >= give_up {
            return Err(StoreError::Locked(view));
        }
        let poll = (view.length / 10).clamp(Duration::from_millis(50), Duration::from_secs(1));
        let wake = match now < silent_until {
            true => (now + poll).min(silent_until),
            false => now + poll,
        };
        tokio::time::sleep_until(wake.min(give_up)).await;
        refused = None;
    }
}

/// Takes a lease away from its holder because a person says so, and leaves it free.
///
/// The holder's next write fails. What it sent before goes on, and is observed by the next run.
///
/// # Errors
/// [`StoreError::Locked`] when the lease has moved since `seen`: the holder is alive.
pub async fn unlock(
    store: &dyn StateStore,
    seen: &LeaseView,
    holder: Holder,
    clock: &dyn Clock,
) -> Result<(), StoreError> {
    let grant = store
        .take_lease(LeaseRequest {
            holder,
            length: seen.length,
            at: clock.now(),
            replaces: Some(seen.seen()),
        })
        .await?;
    store.release(grant.epoch).await
}

/// Where the heartbeat runs, and beside it what writes the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum HeartbeatMode {
    /// On a thread of its own, so that a busy program does not lose its lease. The journal has another one if its store
    /// can append [there](StateStore::on_this_thread), else a task.
    #[default]
    Thread,
    /// As a task of the caller's runtime, as the journal is then, for tests and simulations in virtual time.
    Task,
}

/// Renews a lease until it is stopped or lost.
pub struct Heartbeat {
    shared: Arc<Shared>,
}

struct Shared {
    base: Duration,
    status: Mutex<Status>,
    wake: Notify,
    /// Told to everybody whenever something in the status changed that somebody may wait for. (Those who wait go on in
    /// the order in which they came, so that the same run takes the same course.)
    changed: Notify,
}

struct Status {
    /// When the last renewal that succeeded began, or the taking of the lease, and how long it lasts.
    renewed: Moment,
    length: Duration,
    /// Until when each call under way may run.
    covers: BTreeMap<u64, Instant>,
    /// How many calls were covered so far.
    numbered: u64,
    lost: bool,
    stop: bool,
    /// Whether nothing is renewed any more, and nothing is under way.
    done: bool,
}

/// Keeps a lease from being shorter than one call needs. Once it is dropped, because the call has ended, the next renewal
/// asks only for what the calls that still run need.
#[must_use = "the lease is kept only as long as this is"]
pub struct Cover {
    shared: Arc<Shared>,
    number: u64,
}

impl Drop for Cover {
    fn drop(&mut self) {
        self.shared.status().covers.remove(&self.number);
    }
}

impl Status {
    /// Returns whether the lease surely lasts until then.
    fn outlives(&self, deadline: Instant) -> bool {
        let left = self.length.saturating_sub(self.renewed.elapsed());
        !self.lost && left >= deadline.saturating_duration_since(Instant::now())
    }
}

impl Shared {
    fn status(&self) -> std::sync::MutexGuard<'_, Status> {
        // Every change is a plain assignment.
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the status and tells everybody.
    fn change(&self, change: impl FnOnce(&mut Status)) {
        change(&mut self.status());
        self.changed.notify_waiters();
    }

    /// Waits until the status is as wanted.
    async fn wait_for(&self, wanted: impl Fn(&Status) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // From here on no change is missed.
            changed.as_mut().enable();
            if wanted(&self.status()) {
                return;
            }
            changed.await;
        }
    }
}

/// A moment by the runtime's clock and by one that goes on while the machine sleeps.
#[derive(Clone, Copy)]
struct Moment {
    instant: Instant,
    since_boot: Duration,
}

impl Moment {
    fn now() -> Self {
        Self {
            instant: Instant::now(),
            since_boot: clock_gettime(ClockId::CLOCK_BOOTTIME).map_or(Duration::ZERO, Duration::from),
        }
    }

    fn elapsed(&self) -> Duration {
        let now = Self::now();
        now.instant
            .saturating_duration_since(self.instant)
            .max(now.since_boot.saturating_sub(self.since_boot))
    }
}

impl Heartbeat {
    /// Starts to renew a lease that was taken for this length.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        store: Arc<dyn StateStore>,
        clock: Arc<dyn Clock>,
        taken: Taken,
        length: Duration,
        mode: HeartbeatMode,
    ) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            base: length,
            status: Mutex::new(Status {
                renewed: taken.since,
                length,
                covers: BTreeMap::new(),
                numbered: 0,
                lost: false,
                stop: false,
                done: false,
            }),
            wake: Notify::new(),
            changed: Notify::new(),
        });
        let ending = Ending(shared.clone());
        let beating = async move {
            let Ending(shared) = &ending;
            beat(store, clock, taken.epoch, shared).await;
        };
        match mode {
            HeartbeatMode::Task => {
                tokio::spawn(beating);
            }
            HeartbeatMode::Thread => {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                std::thread::Builder::new()
                    .name("gabion-lease".to_owned())
                    .spawn(move || runtime.block_on(beating))?;
            }
        }
        Ok(Self { shared })
    }

    /// Returns how long the lease lasts at least, each time that it is renewed.
    pub fn length(&self) -> Duration {
        self.shared.base
    }

    /// Returns whether the lease surely lasts until then, unless it is renewed before anyway.
    pub fn outlives(&self, deadline: Instant) -> bool {
        self.shared.status().outlives(deadline)
    }

    /// Asks that the lease last until then, at each renewal from now on.
    pub fn reserve(&self, deadline: Instant) -> Cover {
        let mut status = self.shared.status();
        status.numbered += 1;
        let number = status.numbered;
        status.covers.insert(number, deadline);
        Cover {
            shared: self.shared.clone(),
            number,
        }
    }

    /// Waits for a renewal that makes the lease last until then; something must be [reserved](Self::reserve) that does.
    ///
    /// Returns whether it does; not, when the lease is lost or the store cannot be written in time.
    pub async fn covers(&self, deadline: Instant) -> bool {
        if self.outlives(deadline) {
            return true;
        }
        self.shared.wake.notify_one();
        let settled = self
            .shared
            .wait_for(|status| status.outlives(deadline) || status.lost || status.done);
        tokio::select! {
            biased;
            () = settled => {}
            () = tokio::time::sleep_until(deadline) => {}
        }
        self.outlives(deadline)
    }

    /// Returns whether the lease was found to be another's.
    pub fn is_lost(&self) -> bool {
        self.shared.status().lost
    }

    /// Stops renewing and waits until nothing is under way.
    pub async fn stop(&self) {
        self.shared.status().stop = true;
        self.shared.wake.notify_one();
        self.shared.wait_for(|status| status.done).await;
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.shared.status().stop = true;
        self.shared.wake.notify_one();
    }
}

/// Says that nothing is renewed any more, however that ends.
struct Ending(Arc<Shared>);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.change(|status| status.done = true);
    }
}

async fn beat(store: Arc<dyn StateStore>, clock: Arc<dyn Clock>, epoch: u64, shared: &Shared) {
    let mut pause = shared.base / 4;
    loop {
        tokio::select! {
            biased;
            () = shared.wake.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        let started = Moment::now();
        let length = {
            let status = shared.status();
            if status.stop {
                return;
            }
            let longest = status.covers.values().max();
            let needed = longest
                .filter(|until| **until > started.instant)
                .map(|until| until.saturating_duration_since(started.instant) + MARGIN);
            needed.unwrap_or_default().max(shared.base)
        };
        pause = match store.renew(epoch, length, clock.now()).await {
            Ok(()) => {
                shared.change(|status| {
                    status.renewed = started;
                    status.length = length;
                });
                shared.base / 4
            }
            Err(StoreError::LostLease { .. }) => {
                shared.change(|status| status.lost = true);
                return;
            }
            // The lease goes on running out; trying again soon is all there is to do.
            Err(_) => shared.base / 20,
        };
    }
}
