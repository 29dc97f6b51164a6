//! Which dialect a document is written in, and what both mean: one model of routers and replica groups.

use std::fmt;

use gabion_engine::config::Spanned;
use gabion_engine::diagnostic::Span;

use super::gateway::Gateway;
use super::replica_group::{GroupRole, ReplicaCount, ReplicaGroup};
use super::resources::Resources;
use super::router::{GatewayRouter, Policy, RouterKind, RouterPackage, ServiceRouter};
use super::scaling::Scaling;
use super::service::Service;
use super::task::AtLeastOne;
use crate::term::Text;

/// The name of the replica group of a service that has none.
pub const DEFAULT_GROUP: &str = "default";

/// A way to write routers and replica groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The router is the gateway's or the service's, with a `policy`: dstack 0.19.38 to 0.20.29.
    Seed,
    /// The router is a replica group: dstack 0.20.17 and later.
    Current,
    /// Nothing in it belongs to one of them alone.
    Either,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seed => {
                "the older form: the router is the gateway's or the service's (dstack 0.19.38 to 0.20.29)"
            }
            Self::Current => "today's form: replica groups under `groups` (dstack 0.21.3 and later)",
            Self::Either => "the same in every version of dstack",
        })
    }
}

impl Gateway {
    /// Returns the dialect that it is written in.
    pub fn dialect(&self) -> Dialect {
        match self.router {
            Some(_) => Dialect::Seed,
            None => Dialect::Either,
        }
    }
}

impl Service {
    /// Returns the dialect that it is written in.
    pub fn dialect(&self) -> Dialect {
        match (&self.router, &self.groups) {
            (Some(_), _) => Dialect::Seed,
            (None, Some(_)) => Dialect::Current,
            (None, None) => Dialect::Either,
        }
    }

    /// Returns the replica groups, also when all replicas are alike: then it is one, named [`DEFAULT_GROUP`].
    pub fn members(&self) -> Vec<Member<'_>> {
        let groups = match (&self.groups, &self.replicas) {
            (Some(groups), _) => Some(&groups.value),
            (None, Some(replicas)) => replicas.value.groups(),
            (None, None) => None,
        };
        if let Some(groups) = groups {
            return groups.0.iter().map(|group| self.member(group)).collect();
        }
        let count = self.count();
        let count =
            count.unwrap_or_else(|| Spanned::new(ReplicaCount { min: 1, max: 1 }, self.name.span.clone()));
        vec![Member {
            name: DEFAULT_GROUP,
            replicas: count,
            nodes: self.nodes.as_ref(),
            scaling: self.scaling.as_ref(),
            resources: &self.run.resources,
            commands: &self.commands,
            image: self.run.image.as_ref(),
            docker: self.run.docker,
            privileged: self.run.privileged,
            router: None,
            role: None,
        }]
    }

    fn member<'a>(&'a self, group: &'a ReplicaGroup) -> Member<'a> {
        Member {
            name: group.name(),
            replicas: group.replicas.clone(),
            nodes: group.nodes.as_ref(),
            scaling: group.scaling.as_ref(),
            resources: &group.resources,
            commands: &group.commands,
            image: group.image.as_ref().or(self.run.image.as_ref()),
            docker: group.docker.unwrap_or(self.run.docker),
            privileged: group.privileged.unwrap_or(self.run.privileged),
            router: group.router.as_ref().map(|router| router.value.kind.value),
            role: group.role.as_ref(),
        }
    }

    /// Returns the router: the service's own, in either form, else that of its gateway.
    pub fn routing(&self, gateway: Option<&GatewayRouter>) -> Option<Routing> {
        if let Some(router) = &self.router {
            return Some(Routing::of_service(&router.value, &router.span));
        }
        let in_group = self.members().into_iter().find_map(|member| {
            Some((
                member.name.to_owned(),
                member.router?,
                member.replicas.span.clone(),
            ))
        });
        if let Some((group, kind, span)) = in_group {
            return Some(Routing {
                kind,
                host: RouterHost::Group(group),
                policy: None,
                package: None,
                separates_prefill: None,
                span,
            });
        }
        gateway.map(Routing::of_gateway)
    }
}

/// Replicas of a service that are alike, with what holds for the whole service filled in.
#[derive(Clone, Debug)]
pub struct Member<'a> {
    /// The group's name.
    pub name: &'a str,
    /// How many.
    pub replicas: Spanned<ReplicaCount>,
    /// How many machines each spans, if that is said.
    pub nodes: Option<&'a Spanned<AtLeastOne>>,
    /// When there are more, and when fewer.
    pub scaling: Option<&'a Spanned<Scaling>>,
    /// What each needs.
    pub resources: &'a Resources,
    /// Shell commands.
    pub commands: &'a [Spanned<Text>],
    /// The container image.
    pub image: Option<&'a Spanned<Text>>,
    /// Whether commands can use Docker.
    pub docker: bool,
    /// Whether the container may do what the machine may.
    pub privileged: bool,
    /// The router that its replica is.
    pub router: Option<RouterKind>,
    /// What they do where prefill and decode are separate, if a key says so.
    pub role: Option<&'a Spanned<GroupRole>>,
}

impl Member<'_> {
    /// Returns how many machines each replica spans.
    pub fn nodes(&self) -> u32 {
        self.nodes.map_or(1, |nodes| nodes.value.0)
    }
}

/// Where a router runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RouterHost {
    /// Beside the gateway; gabion starts it.
    Gateway,
    /// It is the replica of this group; the group's commands start it.
    Group(String),
}

/// How a service's requests get from its gateway to its replicas.
#[derive(Clone, Debug, PartialEq)]
pub struct Routing {
    /// The program.
    pub kind: RouterKind,
    /// Where it runs.
    pub host: RouterHost,
    /// How it chooses a worker; `None` when the group's commands say.
    pub policy: Option<Spanned<Policy>>,
    /// Which of SGLang's packages gabion installs; `None` when the group's commands do, and of other routers.
    pub package: Option<RouterPackage>,
    /// Whether prefill and decode are separate; `None` when the group's commands say.
    pub separates_prefill: Option<Spanned<bool>>,
    /// Where it is written.
    pub span: Span,
}

impl Routing {
    fn of_service(router: &ServiceRouter, span: &Span) -> Self {
        Self {
            kind: router.router_type.kind(),
            host: RouterHost::Gateway,
            policy: Some(router.policy.clone()),
            package: router.router_type.package(router.package),
            separates_prefill: Some(router.pd_disaggregation.clone()),
            span: span.clone(),
        }
    }

    fn of_gateway(router: &GatewayRouter) -> Self {
        Self {
            kind: router.router_type.kind(),
            host: RouterHost::Gateway,
            policy: Some(router.policy.clone()),
            package: router.router_type.package(router.package),
            separates_prefill: Some(Spanned::new(false, router.policy.span.clone())),
            span: router.policy.span.clone(),
        }
    }
}
