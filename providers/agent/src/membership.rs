//! Brings a worker into a router and out of it again, whatever the router does meanwhile.

use std::time::Duration;

use tokio::time::Instant;

use crate::gateway::flight::FlightDeck;
use crate::gateway::plane::Target;
use crate::protocol::{AgentError, Deregistration, DrainBasis, Member, Router, RouterDeparture, Worker};
use crate::router_api::{Addition, Job, RouterApi, normal_url};
use crate::worker_load::{Load, worker_load};

/// How often a router's progress is asked for.
const POLL: Duration = Duration::from_millis(100);

/// How often a leaving worker's load is asked for.
const LOAD_POLL: Duration = Duration::from_millis(250);

/// How often in a row a worker must say that it has nothing left: its gauges lag behind what it does.
const QUIET_POLLS: u32 = 3;

/// Says whether the operation may still change something; asked before each change.
pub(crate) type Permit<'a> = &'a (dyn Fn() -> Result<(), AgentError> + Send + Sync);

/// Makes sure that a router has a worker, as the membership says, and that it is healthy.
///
/// A worker that is there already is success; one with another type, port or label is removed and added anew.
pub(crate) async fn ensure_registered(
    router: &Router,
    member: &Member,
    deadline: Instant,
    permit: Permit<'_>,
) -> Result<Worker, AgentError> {
    let started = Instant::now();
    let api = RouterApi::new(router);
    let url = normal_url(&member.url);
    let mut job: Option<String> = None;
    let timed_out = |state: &str| AgentError::RouterTimedOut {
        address: router.address.clone(),
        worker: member.name.clone(),
        action: "register".to_owned(),
        seconds: whole_seconds(deadline.saturating_duration_since(started)),
        state: state.to_owned(),
    };
    loop {
        let found = api.workers().await?.into_iter().find(|worker| worker.url == url);
        let state = match found {
            Some(worker) if leaving(&worker) => {
                "the router is still removing an earlier registration".to_owned()
            }
            Some(worker) if !api.matches(&worker, member) => {
                permit()?;
                api.remove(&worker.id).await?;
                job = None;
                "the router has it with another type or other labels".to_owned()
            }
            Some(worker) if worker.healthy => return Ok(worker),
            Some(worker) => match worker.status {
                Some(status) => format!("the router has it as `{status}`, not healthy"),
                None => "the router has it as not healthy".to_owned(),
            },
            None => match &job {
                None => {
                    permit()?;
                    match api.add(member).await? {
                        Addition::Accepted(id) => job = Some(id),
                        Addition::Present => {}
                    }
                    "the router has accepted it".to_owned()
                }
                Some(id) => match api.job(id).await? {
                    Job::Running => "the router is still connecting to it".to_owned(),
                    // It lost a race against another registration of the same URL, which the next look finds.
                    Job::Failed(reason) if reason.contains("already exists") => reason,
                    Job::Failed(reason) => {
                        return Err(AgentError::RouterRefused {
                            address: router.address.clone(),
                            worker: member.name.clone(),
                            reason,
                        });
                    }
                },
            },
        };
        if Instant::now() >= deadline {
            return Err(timed_out(&state));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Makes sure that a router has let go of a worker.
pub(crate) async fn ensure_removed(
    router: &Router,
    name: &str,
    url: &str,
    deadline: Instant,
    permit: Permit<'_>,
) -> Result<RouterDeparture, AgentError> {
    let started = Instant::now();
    let api = RouterApi::new(router);
    let url = normal_url(url);
    let mut departure = RouterDeparture::Absent;
    loop {
        let Some(worker) = api.workers().await?.into_iter().find(|worker| worker.url == url) else {
            return Ok(departure);
        };
        if !leaving(&worker) {
            permit()?;
            api.remove(&worker.id).await?;
        }
        departure = RouterDeparture::Removed;
        if Instant::now() >= deadline {
            return Err(AgentError::RouterTimedOut {
                address: router.address.clone(),
                worker: name.to_owned(),
                action: "remove".to_owned(),
                seconds: whole_seconds(deadline.saturating_duration_since(started)),
                state: format!(
                    "the router still has it as `{}`",
                    worker.status.as_deref().unwrap_or("present")
                ),
            });
        }
        tokio::time::sleep(POLL).await;
    }
}

fn leaving(worker: &Worker) -> bool {
    worker.status.as_deref() == Some("draining")
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs_f64().round() as u64).unwrap_or(u32::MAX)
}

/// Waits until a worker that gets no more requests has none left.
///
/// A worker that does not tell its load is waited for by what the gateway knows: its own requests to the worker, and
/// those to the router that began before the router let go of it.
pub(crate) async fn await_drained(
    deck: &FlightDeck,
    router: Option<&Router>,
    url: &str,
    departure: RouterDeparture,
    wait: Duration,
) -> Deregistration {
    let report = |basis, drained, remaining| Deregistration {
        router: departure,
        basis,
        drained,
        remaining,
    };
    if wait.is_zero() {
        return report(DrainBasis::NotWaited, false, None);
    }
    let deadline = Instant::now() + wait;
    let worker = Target::of_url(url).map(|target| target.authority());
    let router = router.map(|router| Target::of_router(router).authority());
    let horizon = deck.horizon();
    let to_worker = || deck.count(|key| Some(&key.upstream) == worker.as_ref());
    let through_router = || deck.count_before(horizon, |key| Some(&key.upstream) == router.as_ref());
    let mut quiet = 0;
    loop {
        let in_flight = to_worker();
        let (basis, remaining) = match worker_load(url).await {
            Load::Requests(requests) => (DrainBasis::WorkerLoad, requests.max(in_flight)),
            Load::Gone => return report(DrainBasis::WorkerGone, true, Some(0)),
            Load::Unknown => (DrainBasis::InFlight, in_flight + through_router()),
        };
        quiet = if remaining == 0 { quiet + 1 } else { 0 };
        if quiet >= QUIET_POLLS {
            return report(basis, true, Some(0));
        }
        if Instant::now() >= deadline {
            return report(basis, false, Some(remaining));
        }
        tokio::time::sleep(LOAD_POLL).await;
    }
}
