//! The operations of the admin protocol.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::agent::Agent;
use crate::certificates::operations::{delete_certificate, list_certificates, put_certificate};
use crate::gateway::plane::parse_digest;
use crate::gateway::rate;
use crate::handover::{Order, hand_over};
use crate::keeper::router_process;
use crate::membership::{await_drained, ensure_registered, ensure_removed};
use crate::protocol::{
    AdminRequest, AdminResponse, AgentError, Deregistration, DrainBasis, Fence, Listener, Member, Operation,
    Route, Router, RouterDeparture, Upstream, Worker, WorkerType, check_protocol, pool_id,
};
use crate::router_api::{RouterApi, split_url};
use crate::store::{CertificateRecord, RouterRecord, stored};

/// Does what a request asks for.
pub(crate) async fn execute(agent: &Arc<Agent>, request: AdminRequest) -> Result<AdminResponse, AgentError> {
    check_protocol(request.protocol)?;
    if !request.operation.is_mutating() {
        return read(agent, request.operation).await;
    }
    let fence = request.fence.ok_or(AgentError::Unfenced)?;
    if agent.stopping.is_cancelled() {
        return Err(AgentError::ShuttingDown);
    }
    agent.admit(&fence).await?;
    // It runs on when the asker goes away: a change that was begun is ended, within its own deadlines.
    let agent = Arc::clone(agent);
    let tasks = agent.tasks.clone();
    let work = tasks.spawn(async move {
        if let Operation::HandOver {
            program,
            digest,
            ready_seconds,
        } = request.operation
        {
            let order = Order {
                program,
                digest,
                patience: seconds(ready_seconds),
            };
            let pid = hand_over(&agent, order, &fence).await?;
            return Ok(AdminResponse::HandedOver { pid });
        }
        let _turn = agent.turns.read().await;
        if agent.handed_over.is_cancelled() {
            return Err(AgentError::ShuttingDown);
        }
        mutate(&agent, request.operation, fence).await
    });
    work.await.unwrap_or_else(|error| {
        Err(AgentError::Storage {
            reason: error.to_string(),
        })
    })
}

async fn read(agent: &Arc<Agent>, operation: Operation) -> Result<AdminResponse, AgentError> {
    Ok(match operation {
        Operation::GetListener { name } => {
            AdminResponse::Listener(agent.read(|contents| contents.listeners.get(&name).cloned()))
        }
        Operation::ListListeners => {
            AdminResponse::Listeners(agent.read(|contents| contents.listeners.values().cloned().collect()))
        }
        Operation::GetRoute { gateway, service } => {
            AdminResponse::Route(agent.read(|contents| contents.route(&gateway, &service).cloned()))
        }
        Operation::ListRoutes => {
            AdminResponse::Routes(agent.read(|contents| contents.all_routes().cloned().collect()))
        }
        Operation::GetRouter { uid } => AdminResponse::Router(
            agent.read(|contents| contents.routers.get(&uid).map(|record| record.stored.clone())),
        ),
        Operation::ListRouters => AdminResponse::Routers(agent.read(|contents| {
            contents
                .routers
                .values()
                .map(|record| record.stored.clone())
                .collect()
        })),
        Operation::GetMember { router, name } => {
            AdminResponse::Member(agent.read(|contents| contents.member(&router, &name).cloned()))
        }
        Operation::ListMembers { router } => AdminResponse::Members(agent.read(|contents| {
            let wanted = |uid: &String| router.as_ref().is_none_or(|router| router == uid);
            let members = contents.members.iter().filter(|(uid, _)| wanted(uid));
            members
                .flat_map(|(_, members)| members.values().cloned())
                .collect()
        })),
        Operation::ListCertificates => list_certificates(agent).await?,
        Operation::ListWorkers { router } => AdminResponse::Workers(list_workers(agent, &router).await?),
        Operation::Snapshot => AdminResponse::Snapshot(agent.plane.metrics.snapshot()),
        _ => AdminResponse::Status(agent.status()),
    })
}

async fn mutate(agent: &Arc<Agent>, operation: Operation, fence: Fence) -> Result<AdminResponse, AgentError> {
    match operation {
        Operation::PutListener(listener) => put_listener(agent, listener, fence).await,
        Operation::DeleteListener { name, drain_seconds } => {
            delete_listener(agent, name, seconds(drain_seconds), fence).await
        }
        Operation::LetGo { gateway } => {
            agent.change_as(&fence, |_| Ok(())).await?;
            agent.let_go(&gateway).await;
            Ok(AdminResponse::Done)
        }
        Operation::PutRoute { route, drain_seconds } => {
            put_route(agent, route, seconds(drain_seconds), fence).await
        }
        Operation::DeleteRoute {
            gateway,
            service,
            drain_seconds,
        } => delete_route(agent, gateway, service, seconds(drain_seconds), fence).await,
        Operation::PutRouter(router) => put_router(agent, router, fence).await,
        Operation::DeleteRouter { uid } => delete_router(agent, uid, fence).await,
        Operation::PutMember(member) => {
            put_member(agent, member, &fence).await?;
            Ok(AdminResponse::Done)
        }
        Operation::PutReplica {
            gateway,
            service,
            name,
            url,
        } => put_replica(agent, pool_member(&gateway, &service, name, url), fence).await,
        Operation::DeleteReplica {
            gateway,
            service,
            name,
            url,
            drain_seconds,
        } => {
            let leaving = pool_member(&gateway, &service, name, url);
            delete_replica(agent, leaving, seconds(drain_seconds), fence)
                .await
                .map(AdminResponse::Deregistered)
        }
        Operation::PutCertificate(certificate) => put_certificate(agent, certificate, fence).await,
        Operation::DeleteCertificate { host } => delete_certificate(agent, host, fence).await,
        Operation::DeleteMember { router, name } => {
            agent
                .change_as(&fence, move |contents| {
                    contents.remove_member(&router, &name);
                    Ok(AdminResponse::Done)
                })
                .await
        }
        Operation::RegisterMember {
            member,
            timeout_seconds,
        } => register_member(agent, member, seconds(timeout_seconds), fence)
            .await
            .map(AdminResponse::Registered),
        Operation::DeregisterMember {
            router,
            name,
            url,
            timeout_seconds,
            drain_seconds,
        } => {
            let leave = Leave {
                router,
                name,
                url,
                timeout: seconds(timeout_seconds),
                drain: seconds(drain_seconds),
            };
            deregister_member(agent, leave, fence)
                .await
                .map(AdminResponse::Deregistered)
        }
        _ => Err(invalid("this operation changes nothing")),
    }
}

fn seconds(seconds: u32) -> Duration {
    Duration::from_secs(u64::from(seconds))
}

fn invalid(reason: impl Into<String>) -> AgentError {
    AgentError::Invalid {
        reason: reason.into(),
    }
}

async fn put_listener(
    agent: &Arc<Agent>,
    listener: Listener,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    if listener.name.is_empty() || listener.port == 0 {
        return Err(invalid("a listener needs a name and a port"));
    }
    if listener.http_port == Some(0) || listener.http_port == Some(listener.port) {
        return Err(invalid("a listener's second port is another one"));
    }
    let ports = |listener: &Listener| [Some(listener.port), listener.http_port];
    let clash = |one: &Listener, other: &Listener| {
        let taken = ports(other);
        one.address == other.address
            && ports(one)
                .into_iter()
                .flatten()
                .any(|port| taken.contains(&Some(port)))
    };
    // Held until it is durable: whoever keeps the listeners binds what is durable.
    let mut listening = agent.listening().await;
    let taken = agent.read(|contents| {
        let mut others = contents.listeners.values().map(|stored| &stored.object);
        others
            .find(|other| other.name != listener.name && clash(&listener, other))
            .cloned()
    });
    if let Some(other) = taken {
        let what = format!("{}:{}", listener.address, listener.port);
        return Err(AgentError::Conflict {
            what,
            by: format!("gateway `{}`", other.name),
        });
    }
    // First bound, then durable: what cannot be bound is not promised. When writing fails the port is let go again.
    agent.bind(&mut listening, &listener).await?;
    let name = listener.name.clone();
    let written = agent
        .change_as(&fence.clone(), move |contents| {
            contents
                .listeners
                .insert(listener.name.clone(), stored(listener, &fence));
            Ok(AdminResponse::Done)
        })
        .await;
    if written.is_err() {
        let before = agent.read(|contents| contents.listeners.get(&name).map(|stored| stored.object.clone()));
        match before {
            Some(before) => agent.bind(&mut listening, &before).await?,
            None => agent.unbind(&mut listening, &name),
        }
    }
    written
}

async fn delete_listener(
    agent: &Arc<Agent>,
    name: String,
    drain: Duration,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    let removed = name.clone();
    agent
        .change_as(&fence, move |contents| {
            let routes = contents
                .routes
                .get(&name)
                .map(|routes| routes.keys().cloned().collect::<Vec<_>>());
            let of_it = |record: &&CertificateRecord| record.stored.object.gateway == name;
            let certificates = contents.certificates.values().filter(of_it);
            let by = routes.into_iter().flatten();
            let by: Vec<String> = by
                .chain(certificates.map(|record| format!("the certificate of {}", record.stored.object.host)))
                .collect();
            if !by.is_empty() {
                return Err(AgentError::InUse {
                    what: format!("gateway `{name}`"),
                    by,
                });
            }
            contents.listeners.remove(&name);
            Ok(())
        })
        .await?;
    agent.stop_listening(&removed, Instant::now() + drain).await;
    Ok(AdminResponse::Done)
}

fn check_route(route: &Route) -> Result<(), AgentError> {
    if route.service.is_empty() {
        return Err(invalid("a route needs a service"));
    }
    if route
        .hosts
        .iter()
        .any(|host| host.is_empty() || host.to_ascii_lowercase() != *host)
    {
        return Err(invalid("host names of a route are lower case"));
    }
    let well_formed = |prefix: &String| prefix.starts_with('/') && prefix.ends_with('/');
    if route
        .path_prefix
        .as_ref()
        .is_some_and(|prefix| !well_formed(prefix))
    {
        return Err(invalid("a route's path prefix begins and ends with a slash"));
    }
    if route.hosts.is_empty() && route.path_prefix.is_none() && route.model.is_none() {
        return Err(invalid("a route needs a host, a path prefix or a model"));
    }
    if !route.model_prefix.starts_with('/') || route.paths.extra.iter().any(|path| !path.starts_with('/')) {
        return Err(invalid("paths of a route begin with a slash"));
    }
    if let Some(problem) = route.rate_limits.iter().find_map(rate::problem) {
        return Err(invalid(problem));
    }
    for (label, digest) in &route.auth.token_digests {
        if parse_digest(digest).is_none() {
            return Err(invalid(format!(
                "the digest of token `{label}` is not a SHA-256 in hexadecimal"
            )));
        }
    }
    Ok(())
}

async fn put_route(
    agent: &Arc<Agent>,
    route: Route,
    drain: Duration,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    check_route(&route)?;
    if let Upstream::Router { uid } = &route.upstream {
        // So that the first request already goes where later ones will.
        agent.look_at(uid).await;
    }
    let (gateway, service) = (route.gateway.clone(), route.service.clone());
    agent
        .change_as(&fence.clone(), move |contents| {
            if !contents.listeners.contains_key(&route.gateway) {
                return Err(AgentError::UnknownListener { name: route.gateway });
            }
            if let Upstream::Router { uid } = &route.upstream
                && !contents.routers.contains_key(uid)
            {
                return Err(AgentError::UnknownRouter { uid: uid.clone() });
            }
            contents.put_route(stored(route, &fence));
            Ok(())
        })
        .await?;
    drain_unused(agent, &gateway, &service, drain).await
}

async fn delete_route(
    agent: &Arc<Agent>,
    gateway: String,
    service: String,
    drain: Duration,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    let key = (gateway.clone(), service.clone());
    agent
        .change_as(&fence, move |contents| {
            contents.remove_route(&gateway, &service);
            Ok(())
        })
        .await?;
    drain_unused(agent, &key.0, &key.1, drain).await
}

/// Waits for the requests of a route on upstreams that it no longer uses.
async fn drain_unused(
    agent: &Arc<Agent>,
    gateway: &str,
    service: &str,
    wait: Duration,
) -> Result<AdminResponse, AgentError> {
    let plane = &agent.plane;
    let unused = |key: &crate::gateway::flight::FlightKey| {
        key.route.gateway == gateway && key.route.service == service && !plane.uses(key)
    };
    Ok(AdminResponse::Drained(
        plane.deck.drain(unused, Instant::now() + wait).await,
    ))
}

async fn put_router(agent: &Arc<Agent>, router: Router, fence: Fence) -> Result<AdminResponse, AgentError> {
    if router.uid.is_empty() || router.host.is_empty() || router.port == 0 {
        return Err(invalid("a router needs a uid, a host and a port"));
    }
    let uid = router.uid.clone();
    agent
        .change_as(&fence.clone(), move |contents| {
            let filled = contents
                .routers
                .get(&router.uid)
                .and_then(|record| record.filled.clone());
            let record = RouterRecord {
                stored: stored(router, &fence),
                filled,
            };
            contents.routers.insert(record.stored.object.uid.clone(), record);
            Ok(())
        })
        .await?;
    agent.look_at(&uid).await;
    Ok(AdminResponse::Done)
}

async fn delete_router(agent: &Arc<Agent>, uid: String, fence: Fence) -> Result<AdminResponse, AgentError> {
    agent
        .change_as(&fence, move |contents| {
            contents.remove_unused_router(&uid)?;
            Ok(AdminResponse::Done)
        })
        .await
}

fn check_member(member: &Member) -> Result<(), AgentError> {
    if member.name.is_empty() || split_url(&member.url).is_none() {
        return Err(invalid("a worker needs a name and a URL with host and port"));
    }
    if member.worker_type == WorkerType::Prefill && member.bootstrap_port.is_none() {
        return Err(invalid("a prefill worker needs its bootstrap port"));
    }
    Ok(())
}

async fn put_member(agent: &Arc<Agent>, member: Member, fence: &Fence) -> Result<Router, AgentError> {
    check_member(&member)?;
    let fence = fence.clone();
    agent
        .change_as(&fence.clone(), move |contents| {
            let Some(record) = contents.routers.get(&member.router) else {
                return Err(AgentError::UnknownRouter { uid: member.router });
            };
            let router = record.stored.object.clone();
            let members = contents.members.entry(member.router.clone()).or_default();
            members.insert(member.name.clone(), stored(member, &fence));
            Ok(router)
        })
        .await
}

/// Returns a replica of a pool as a member of it.
fn pool_member(gateway: &str, service: &str, name: String, url: String) -> Member {
    Member {
        router: pool_id(gateway, service),
        name,
        url,
        worker_type: WorkerType::Regular,
        bootstrap_port: None,
        model_id: None,
        labels: BTreeMap::new(),
    }
}

async fn put_replica(agent: &Arc<Agent>, replica: Member, fence: Fence) -> Result<AdminResponse, AgentError> {
    check_member(&replica)?;
    agent
        .change_as(&fence.clone(), move |contents| {
            let pool = contents.members.entry(replica.router.clone()).or_default();
            pool.insert(replica.name.clone(), stored(replica, &fence));
            Ok(AdminResponse::Done)
        })
        .await
}

async fn delete_replica(
    agent: &Arc<Agent>,
    leaving: Member,
    drain: Duration,
    fence: Fence,
) -> Result<Deregistration, AgentError> {
    let url = leaving.url.clone();
    agent
        .change_as(&fence, move |contents| {
            Ok(contents.remove_leaving(&leaving.router, &leaving.name, Some(&leaving.url)))
        })
        .await?;
    Ok(await_drained(
        &agent.plane.deck,
        None,
        &url,
        RouterDeparture::RouterUnknown,
        drain,
    )
    .await)
}

async fn register_member(
    agent: &Arc<Agent>,
    member: Member,
    timeout: Duration,
    fence: Fence,
) -> Result<Worker, AgentError> {
    let deadline = Instant::now() + timeout;
    check_member(&member)?;
    crate::worker_role::check(&member).await?;
    let lock = agent.member_lock(&member.router, &member.name);
    let guard = lock.lock().await;
    // Durable first: when the router dies between now and the answer, the keeper goes on.
    let router = put_member(agent, member.clone(), &fence).await?;
    if router_process(&router).is_err() {
        return Err(AgentError::RouterDown {
            address: router.address,
        });
    }
    let worker = ensure_registered(&router, &member, deadline, &|| agent.check_epoch(&fence)).await?;
    drop(guard);
    agent.look_at(&member.router).await;
    Ok(worker)
}

/// What is to leave, and how long each part may take.
struct Leave {
    router: String,
    name: String,
    url: Option<String>,
    timeout: Duration,
    drain: Duration,
}

async fn deregister_member(
    agent: &Arc<Agent>,
    leave: Leave,
    fence: Fence,
) -> Result<Deregistration, AgentError> {
    let deadline = Instant::now() + leave.timeout;
    let lock = agent.member_lock(&leave.router, &leave.name);
    let guard = lock.lock().await;
    let (uid, name, leaving) = (leave.router.clone(), leave.name.clone(), leave.url.clone());
    // Durable first: from here on neither keeper nor data plane sends anything there.
    let member = agent
        .change_as(&fence, move |contents| {
            // A replacement that came first has taken the name: it stays, and only the worker at the old URL leaves.
            Ok(contents.remove_leaving(&uid, &name, leaving.as_deref()))
        })
        .await?;
    let url = member.map(|stored| stored.object.url).or(leave.url);
    let Some(url) = url else {
        // Neither we nor the asker know where it is, so nobody can have it under this name.
        return Ok(Deregistration {
            router: RouterDeparture::Absent,
            basis: DrainBasis::NotWaited,
            drained: true,
            remaining: None,
        });
    };
    let router = agent.router(&leave.router).map(|(router, _)| router);
    let departure = match &router {
        None => RouterDeparture::RouterUnknown,
        Some(router) if router_process(router).is_err() => RouterDeparture::RouterDown,
        Some(router) => {
            let permit = || agent.check_epoch(&fence);
            match ensure_removed(router, &leave.name, &url, deadline, &permit).await {
                // It may have died while we asked.
                Err(AgentError::RouterUnreachable { .. }) if router_process(router).is_err() => {
                    RouterDeparture::RouterDown
                }
                departure => departure?,
            }
        }
    };
    drop(guard);
    Ok(await_drained(&agent.plane.deck, router.as_ref(), &url, departure, leave.drain).await)
}

async fn list_workers(agent: &Arc<Agent>, uid: &str) -> Result<Vec<Worker>, AgentError> {
    let Some((router, _)) = agent.router(uid) else {
        return Err(AgentError::UnknownRouter { uid: uid.to_owned() });
    };
    if router_process(&router).is_err() {
        return Err(AgentError::RouterDown {
            address: router.address,
        });
    }
    RouterApi::new(&router).workers().await
}
