//! Gathering: reading everything about the real world that a plan may depend on, into one [`World`].
//!
//! Nothing is changed and no lease is taken. What cannot be read is reported as such and is never taken for gone: a
//! "not found" of an object younger than its type's consistency window is asked again until the window has passed.

pub mod data;
mod late;
pub(crate) mod look;
pub mod marks;
mod observe;
mod outside;
mod read;
mod selection;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::address::{ProviderName, ResourceAddress, ResourceType, Uid};
use crate::asking::ask;
use crate::provider::{ProviderError, ProviderRegistry, ReadOutcome};
use crate::resource::Configuration;
use crate::retry::RetryPolicy;
use crate::state::State;
use crate::state::event::Holder;
use crate::state::fingerprint::FingerprintKey;
use crate::world::{Refresh, World};

/// What to gather.
#[derive(Clone)]
pub struct GatherRequest<'a> {
    /// What is recorded.
    pub state: &'a State,
    /// What the configuration declares: its imports are read, its resources are what providers gather facts for, and a
    /// minimal refresh reads what it changes.
    pub configuration: &'a Configuration,
    /// The providers of the run.
    pub providers: &'a ProviderRegistry,
    /// How much to read.
    pub refresh: Refresh,
    /// Whether to look for objects that carry the project's mark and are in no record.
    pub unmanaged: bool,
    /// The live lease, if somebody else holds one: calls without a result are then in flight, and left alone.
    pub lease: Option<Holder>,
    /// The key that makes secrets comparable, if there is one.
    pub fingerprints: Option<&'a FingerprintKey>,
    /// The time now.
    pub now: Timestamp,
}

/// How to gather.
#[derive(Debug, Clone)]
pub struct GatherLimits {
    /// How many calls run at a time.
    pub parallelism: usize,
    /// How many objects one call reads at most.
    pub batch: usize,
    /// How long one call may take.
    pub call_timeout: Duration,
    /// When and how often a call is made again.
    pub retry: RetryPolicy,
}

impl Default for GatherLimits {
    fn default() -> Self {
        Self {
            parallelism: 10,
            batch: 100,
            call_timeout: Duration::from_secs(60),
            retry: RetryPolicy::default(),
        }
    }
}

/// Something that happened while gathering.
#[derive(Debug, Clone, PartialEq)]
pub enum GatherEvent {
    /// The reading began.
    Started {
        /// How many recorded objects are read.
        objects: usize,
        /// How many calls without a result are looked into.
        observations: usize,
    },
    /// Some objects were read.
    Read {
        /// How many so far.
        done: usize,
        /// Of how many.
        of: usize,
    },
    /// Objects that were not found are looked for again, because they may only not be visible yet.
    LookingAgain {
        /// Which.
        addresses: Vec<ResourceAddress>,
        /// For how much longer at most.
        within: Duration,
    },
    /// A call without a result is looked into.
    Observing {
        /// The object's address.
        address: ResourceAddress,
    },
    /// A call failed in a way that may pass; it is made again.
    Retried {
        /// What was asked.
        what: String,
        /// Why it failed.
        error: ProviderError,
        /// How long until the next try.
        delay: Duration,
    },
}

/// Whoever shows the progress of gathering. Called in order, from one task; must return quickly.
pub trait GatherObserver: Send {
    /// Takes one event.
    fn observe(&mut self, event: &GatherEvent);
}

impl GatherObserver for () {
    fn observe(&mut self, _: &GatherEvent) {}
}

/// Why no world could be gathered.
#[derive(Debug, thiserror::Error)]
pub enum GatherError {
    /// A provider could not gather the facts that planning needs.
    #[error("provider `{provider}` could not gather what planning needs: {error}")]
    Facts {
        /// The provider.
        provider: ProviderName,
        /// Why.
        #[source]
        error: ProviderError,
    },
    /// A provider could not list the objects that carry the project's mark.
    #[error("provider `{provider}` could not list this project's objects: {error}")]
    List {
        /// The provider.
        provider: ProviderName,
        /// Why.
        #[source]
        error: ProviderError,
    },
    /// No provider manages a recorded type.
    #[error("no provider in this build manages `{resource_type}`, which `{address}` is recorded with")]
    NoProvider {
        /// The type.
        resource_type: ResourceType,
        /// An object of that type.
        address: ResourceAddress,
    },
}

/// Reads the world.
///
/// # Errors
/// When a plan made from what was read would be wrong: facts are missing. An object that cannot be read is no error but
/// [`CannotTell`](crate::provider::ReadOutcome::CannotTell).
pub async fn gather(
    request: GatherRequest<'_>,
    limits: &GatherLimits,
    observer: &mut dyn GatherObserver,
) -> Result<World, GatherError> {
    check_providers(&request)?;
    let (events, mut heard) = mpsc::unbounded_channel();
    let calls = Calls::new(limits, events);
    let batches = read::batches(
        selection::selected(&request),
        request.providers,
        Some(request.now),
        limits.batch.max(1),
    );
    // While somebody holds the lease, they are in flight.
    let open = request.state.open_calls().filter(|_| request.lease.is_none());
    let observations = observe::requests(open, request.state, request.providers, Some(request.now));
    let objects = batches.iter().map(read::Batch::len).sum();
    observer.observe(&GatherEvent::Started {
        objects,
        observations: observations.len(),
    });

    let mut parts = JoinSet::new();
    for batch in batches {
        parts.spawn(read::read(batch, calls.clone()));
    }
    for observation in observations {
        parts.spawn(observe::observe(observation, calls.clone()));
    }
    for import in outside::imports(&request) {
        parts.spawn(outside::import(import, calls.clone()));
    }
    for facts in outside::facts_requests(&request) {
        parts.spawn(outside::facts(facts, calls.clone()));
    }
    for list in outside::list_requests(&request) {
        parts.spawn(outside::list(list, calls.clone()));
    }
    drop(calls);

    let mut world = World {
        refresh: request.refresh,
        lease: request.lease.clone(),
        ..World::unread(request.now)
    };
    let mut found = Vec::with_capacity(objects);
    let mut done = 0;
    loop {
        tokio::select! {
            biased;
            Some(event) = heard.recv() => observer.observe(&event),
            part = parts.join_next() => match part {
                None => break,
                Some(Ok(part)) => {
                    if let Part::Objects(read) = &part {
                        done += read.len();
                        observer.observe(&GatherEvent::Read { done, of: objects });
                    }
                    take(&request, &mut world, &mut found, part)?;
                }
                // Calls catch the panics of providers; what is left is a bug of the engine.
                Some(Err(error)) => std::panic::resume_unwind(error.into_panic()),
            },
        }
    }
    // All at once: a tree that grows object by object is half empty.
    world.objects = found.into_iter().collect();
    Ok(world)
}

fn check_providers(request: &GatherRequest<'_>) -> Result<(), GatherError> {
    match request.state.records().find(|record| {
        request
            .providers
            .provider(&record.address.resource_type)
            .is_none()
    }) {
        Some(record) => Err(GatherError::NoProvider {
            resource_type: record.address.resource_type.clone(),
            address: record.address.clone(),
        }),
        None => Ok(()),
    }
}

/// What one of the concurrent pieces of work found, not sealed yet.
enum Part {
    Objects(Vec<read::Read>),
    Observed(observe::Observed),
    Imported(outside::Imported),
    Facts(
        ProviderName,
        Result<BTreeMap<String, crate::value::Value>, ProviderError>,
    ),
    Listed(
        ProviderName,
        Result<crate::provider::Listed, ProviderError>,
        Vec<late::Late>,
    ),
}

/// Puts a piece into the world; here, and nowhere else, secrets are sealed.
fn take(
    request: &GatherRequest<'_>,
    world: &mut World,
    found: &mut Vec<(Uid, ReadOutcome)>,
    part: Part,
) -> Result<(), GatherError> {
    let sealer = crate::seal::Sealer::new(request.fingerprints);
    match part {
        Part::Objects(objects) => {
            let seal = |read: read::Read| read.seal(request.state, request.providers, sealer);
            found.extend(objects.into_iter().map(seal));
        }
        Part::Observed(observed) => {
            let (operation, observation) = observed.seal(request.state, request.providers, sealer);
            world.observations.insert(operation, observation);
        }
        Part::Imported(imported) => {
            let (address, result) = imported.seal(request, sealer);
            world.imports.insert(address, result);
        }
        Part::Facts(provider, Ok(facts)) => {
            let facts = facts
                .iter()
                .map(|(name, fact)| (name.clone(), sealer.value(fact)))
                .collect();
            world.facts.insert(provider, facts);
        }
        Part::Facts(provider, Err(error)) => return Err(GatherError::Facts { provider, error }),
        Part::Listed(provider, result, late) => {
            let late = late.into_iter().map(|late| late.seal(request, sealer));
            world.observations.extend(late);
            match result {
                Ok(listed) if request.unmanaged => {
                    outside::not_asked(&mut world.unasked, &provider, listed.unasked);
                    world
                        .unmanaged
                        .extend(outside::unmanaged(request, listed.objects));
                    world
                        .unmanaged
                        .sort_by(|a, b| (&a.resource_type, &a.id).cmp(&(&b.resource_type, &b.id)));
                }
                Err(error) if request.unmanaged => return Err(GatherError::List { provider, error }),
                Ok(_) | Err(_) => {}
            }
        }
    }
    Ok(())
}

/// How calls are made: bounded, with a time limit, again when that may help.
#[derive(Clone)]
struct Calls {
    limits: GatherLimits,
    slots: Arc<Semaphore>,
    events: mpsc::UnboundedSender<GatherEvent>,
}

impl Calls {
    fn new(limits: &GatherLimits, events: mpsc::UnboundedSender<GatherEvent>) -> Self {
        Self {
            limits: limits.clone(),
            slots: Arc::new(Semaphore::new(limits.parallelism.max(1))),
            events,
        }
    }

    /// Makes a call that changes nothing. A provider that panics or does not answer in time is an error.
    async fn make<T, F>(
        &self,
        what: &str,
        timeout: Duration,
        call: impl Fn() -> F,
    ) -> Result<T, ProviderError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, ProviderError>> + Send + 'static,
    {
        let deadline = Instant::now() + timeout;
        self.limits
            .retry
            .run(
                deadline,
                &CancellationToken::new(),
                || async {
                    let _slot = self.slots.acquire().await.expect("the slots are never closed");
                    ask(what, deadline, timeout, call()).await
                },
                |error, _, delay| {
                    // Nobody may be listening any more; that is no reason to stop.
                    self.tell(GatherEvent::Retried {
                        what: what.to_owned(),
                        error: error.clone(),
                        delay,
                    });
                },
            )
            .await
    }

    fn tell(&self, event: GatherEvent) {
        drop(self.events.send(event));
    }
}
