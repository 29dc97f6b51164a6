//! The routing table: which request belongs to which route, and which upstream is next.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use tokio::sync::Semaphore;

use super::flight::{Flight, FlightDeck, FlightKey};
use super::limits::Limits;
use super::path::below_prefix;
use super::rate::RateLimits;
use crate::certificates::served::Served;
use crate::keeper::RouterHealth;
use crate::metrics::{Metrics, ServiceStats};
use crate::protocol::{Member, Route, Router, Upstream, WorkerType, pool_id};
use crate::router_api::split_url;

/// What names a route.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RouteKey {
    pub(crate) gateway: String,
    pub(crate) service: String,
}

/// A program that a request can be sent to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl Target {
    /// Returns `host:port`, IPv6 addresses in brackets.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// Returns the place a URL names.
    pub(crate) fn of_url(url: &str) -> Option<Self> {
        let (host, port) = split_url(url)?;
        Some(Self {
            name: url.to_owned(),
            host,
            port,
        })
    }

    /// Returns the place a router serves at.
    pub(crate) fn of_router(router: &Router) -> Self {
        Self {
            name: router.address.clone(),
            host: router.host.clone(),
            port: router.port,
        }
    }
}

/// A route as requests use it.
#[derive(Debug)]
pub(crate) struct RouteEntry {
    pub(crate) key: RouteKey,
    pub(crate) route: Route,
    pub(crate) stats: Arc<ServiceStats>,
    pub(crate) rates: Arc<RateLimits>,
    digests: Vec<[u8; 32]>,
    cursor: Arc<AtomicUsize>,
}

impl RouteEntry {
    /// Returns whether a token is one of the route's; takes the same time for every wrong one.
    pub(crate) fn accepts(&self, token: &str) -> bool {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let found = self
            .digests
            .iter()
            .fold(Choice::from(0), |found, known| found | known.ct_eq(&digest));
        found.into()
    }

    /// Returns whether a request with this token may use the route.
    pub(crate) fn admits(&self, token: Option<&str>) -> bool {
        !self.route.auth.required || token.is_some_and(|token| self.accepts(token))
    }
}

#[derive(Debug)]
struct RouterEntry {
    target: Target,
    health: Arc<RouterHealth>,
    members: Vec<Target>,
    /// Whether each member can answer a request by itself.
    members_are_whole: bool,
    cursor: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Table {
    domains: BTreeMap<String, Option<String>>,
    routes: BTreeMap<RouteKey, Arc<RouteEntry>>,
    routers: BTreeMap<String, RouterEntry>,
    /// The replicas of each service without a router.
    pools: BTreeMap<String, Vec<Target>>,
}

impl Table {
    /// Returns the replicas of a route without a router.
    fn pool(&self, key: &RouteKey) -> &[Target] {
        self.pools
            .get(&pool_id(&key.gateway, &key.service))
            .map_or(&[], Vec::as_slice)
    }
}

/// Where a request belongs.
#[derive(Debug)]
pub(crate) enum Resolution {
    /// To one service; `rest` is the path below its prefix, `cut` the prefix when it is to be cut off.
    Service {
        entry: Arc<RouteEntry>,
        rest: String,
        cut: Option<String>,
    },
    /// To whatever model its body names.
    ModelEndpoint,
    /// To nothing, on the host of the model endpoint: only services and models are reachable there.
    Forbidden,
    /// To nothing.
    Nothing,
}

/// An upstream that was picked for a request; the request is in flight from here on.
#[derive(Debug)]
pub(crate) struct Pick {
    pub(crate) target: Target,
    pub(crate) flight: Flight,
    /// The router, when that was picked; told when it does not accept connections.
    pub(crate) router: Option<Arc<RouterHealth>>,
}

/// What the table is made from.
#[derive(Debug, Default)]
pub(crate) struct TableSource {
    /// Domain by gateway.
    pub(crate) domains: BTreeMap<String, Option<String>>,
    pub(crate) routes: Vec<Route>,
    /// Routers with their health and members.
    pub(crate) routers: Vec<(Router, Arc<RouterHealth>, Vec<Member>)>,
    /// The members of each [pool](pool_id).
    pub(crate) pools: Vec<(String, Vec<Member>)>,
}

/// Everything that listeners share.
#[derive(Debug)]
pub(crate) struct Plane {
    table: RwLock<Table>,
    pub(crate) deck: Arc<FlightDeck>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) limits: Limits,
    /// Certificates of host names.
    pub(crate) served: Arc<Served>,
    /// Bytes of bodies that may still be read whole.
    pub(crate) buffers: Arc<Semaphore>,
}

impl Plane {
    /// Returns a data plane without routes.
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            table: RwLock::default(),
            deck: Arc::new(FlightDeck::default()),
            metrics: Arc::new(Metrics::default()),
            limits,
            served: Arc::default(),
            buffers: Arc::new(Semaphore::new(limits.buffered_bodies)),
        }
    }

    /// Returns the host names of a gateway's routes, unless the gateway has a domain.
    pub(crate) fn hosts_without_domain(&self, gateway: &str) -> Option<BTreeSet<String>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        if matches!(table.domains.get(gateway), Some(Some(_))) {
            return None;
        }
        let routes = table.routes.values().filter(|entry| entry.key.gateway == gateway);
        Some(
            routes
                .flat_map(|entry| entry.route.hosts.iter().cloned())
                .collect(),
        )
    }

    /// Swaps the whole table at once. A request that is picked an upstream later only sees the new one.
    pub(crate) fn swap(&self, source: TableSource) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = Table {
            domains: source.domains,
            pools: source
                .pools
                .into_iter()
                .map(|(pool, members)| (pool, targets(&members)))
                .collect(),
            ..Table::default()
        };
        for route in source.routes {
            let key = RouteKey {
                gateway: route.gateway.clone(),
                service: route.service.clone(),
            };
            let cursor = table
                .routes
                .get(&key)
                .map(|entry| Arc::clone(&entry.cursor))
                .unwrap_or_default();
            let digests = route
                .auth
                .token_digests
                .values()
                .filter_map(|digest| parse_digest(digest))
                .collect();
            let stats = self.metrics.service(&key.gateway, &key.service);
            let counted = table.routes.get(&key).map(|entry| &entry.rates);
            let rates = match counted.filter(|rates| rates.are(&route.rate_limits)) {
                Some(rates) => Arc::clone(rates),
                None => Arc::new(RateLimits::new(&route.rate_limits)),
            };
            let entry = RouteEntry {
                key: key.clone(),
                route,
                stats,
                rates,
                digests,
                cursor,
            };
            next.routes.insert(key, Arc::new(entry));
        }
        for (router, health, members) in source.routers {
            let cursor = table
                .routers
                .get(&router.uid)
                .map(|entry| Arc::clone(&entry.cursor))
                .unwrap_or_default();
            let entry = RouterEntry {
                target: Target::of_router(&router),
                health,
                members_are_whole: members
                    .iter()
                    .all(|member| member.worker_type == WorkerType::Regular),
                members: targets(&members),
                cursor,
            };
            next.routers.insert(router.uid, entry);
        }
        *table = next;
    }

    /// Returns where a request with this host (lower case, without port) and canonical path belongs.
    pub(crate) fn resolve(&self, gateway: &str, host: &str, path: &str) -> Resolution {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut best: Option<(usize, &Arc<RouteEntry>, &str)> = None;
        for entry in table.routes.values().filter(|entry| entry.key.gateway == gateway) {
            let route = &entry.route;
            if !route.hosts.is_empty() && !route.hosts.iter().any(|known| known == host) {
                continue;
            }
            let (length, rest) = match &route.path_prefix {
                Some(prefix) => match below_prefix(path, prefix) {
                    Some(rest) => (prefix.len(), rest),
                    None => continue,
                },
                None if route.hosts.is_empty() => continue,
                None => (0, path),
            };
            if best.is_none_or(|(longest, ..)| length > longest) {
                best = Some((length, entry, rest));
            }
        }
        if let Some((_, entry, rest)) = best {
            let prefix = entry
                .route
                .path_prefix
                .as_deref()
                .map(|prefix| prefix.trim_end_matches('/'));
            let cut = prefix.filter(|prefix| entry.route.strip_prefix && !prefix.is_empty());
            return Resolution::Service {
                entry: Arc::clone(entry),
                rest: rest.to_owned(),
                cut: cut.map(str::to_owned),
            };
        }
        let at_model_endpoint = match table.domains.get(gateway) {
            Some(Some(domain)) => host.strip_prefix("gateway.").is_some_and(|rest| rest == domain),
            Some(None) => true,
            None => false,
        };
        match path {
            _ if !at_model_endpoint => Resolution::Nothing,
            _ if path.starts_with("/v1/") => Resolution::ModelEndpoint,
            "/" => Resolution::Nothing,
            _ if path.starts_with("/services/") => Resolution::Nothing,
            _ => Resolution::Forbidden,
        }
    }

    /// Returns the routes of a gateway that serve a model, in the order of their services.
    pub(crate) fn model_routes(&self, gateway: &str) -> Vec<Arc<RouteEntry>> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        table
            .routes
            .values()
            .filter(|entry| entry.key.gateway == gateway && entry.route.model.is_some())
            .map(Arc::clone)
            .collect()
    }

    /// Returns whether any service of a gateway takes this token.
    pub(crate) fn is_token(&self, gateway: &str, token: &str) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut routes = table.routes.values().filter(|entry| entry.key.gateway == gateway);
        routes.any(|entry| entry.accepts(token))
    }

    /// Picks the next upstream of a route, leaving out what was tried. The pick and the count of what is in flight are
    /// one step with respect to [`Plane::swap`]: a drain that began after a swap misses no request.
    pub(crate) fn pick(&self, key: &RouteKey, tried: &[Target]) -> Option<Pick> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let entry = table.routes.get(key)?;
        let (target, router) = match &entry.route.upstream {
            Upstream::Replicas(replicas) => {
                let targets: Vec<Target> = replicas
                    .iter()
                    .map(|replica| Target {
                        name: replica.name.clone(),
                        host: replica.host.clone(),
                        port: replica.port,
                    })
                    .collect();
                (next(&targets, &entry.cursor, tried)?, None)
            }
            Upstream::Pool => (next(table.pool(key), &entry.cursor, tried)?, None),
            Upstream::Router { uid } => {
                let router = table.routers.get(uid)?;
                if !tried.contains(&router.target) && router.health.is_usable() {
                    (router.target.clone(), Some(Arc::clone(&router.health)))
                } else if router.members_are_whole {
                    let target = next(&router.members, &router.cursor, tried)?;
                    ServiceStats::count(&entry.stats.direct);
                    (target, None)
                } else {
                    return None;
                }
            }
        };
        let flight = self.deck.take_up(key, &target, &entry.stats);
        Some(Pick {
            target,
            flight,
            router,
        })
    }

    /// Returns whether a route has no replicas at all, up or down.
    pub(crate) fn has_no_replicas(&self, key: &RouteKey) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.routes.get(key) else {
            return false;
        };
        match &entry.route.upstream {
            Upstream::Replicas(replicas) => replicas.is_empty(),
            Upstream::Pool => table.pool(key).is_empty(),
            Upstream::Router { uid } => table
                .routers
                .get(uid)
                .is_some_and(|router| router.members.is_empty()),
        }
    }

    /// Returns whether the route, as it is now, can send requests to an upstream.
    pub(crate) fn uses(&self, flight: &FlightKey) -> bool {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = table.routes.get(&flight.route) else {
            return false;
        };
        match &entry.route.upstream {
            Upstream::Replicas(replicas) => replicas.iter().any(|replica| {
                let target = Target {
                    name: String::new(),
                    host: replica.host.clone(),
                    port: replica.port,
                };
                target.authority() == flight.upstream
            }),
            Upstream::Pool => {
                let mut pool = table.pool(&flight.route).iter();
                pool.any(|target| target.authority() == flight.upstream)
            }
            Upstream::Router { uid } => table.routers.get(uid).is_some_and(|router| {
                router.target.authority() == flight.upstream
                    || router
                        .members
                        .iter()
                        .any(|member| member.authority() == flight.upstream)
            }),
        }
    }
}

/// Returns where the members of a router or pool serve.
fn targets(members: &[Member]) -> Vec<Target> {
    let of_member = |member: &Member| Target::of_url(&member.url);
    members.iter().filter_map(of_member).collect()
}

/// Returns the next target round-robin that was not tried.
fn next(targets: &[Target], cursor: &AtomicUsize, tried: &[Target]) -> Option<Target> {
    if targets.is_empty() {
        return None;
    }
    let start = cursor.fetch_add(1, Ordering::Relaxed);
    (0..targets.len())
        .map(|step| &targets[start.wrapping_add(step) % targets.len()])
        .find(|target| !tried.contains(target))
        .cloned()
}

/// Returns a SHA-256 digest from its hexadecimal form.
pub(crate) fn parse_digest(text: &str) -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    hex::decode_to_slice(text, &mut digest).ok()?;
    Some(digest)
}
