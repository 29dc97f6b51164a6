//! What routers ask of replica groups: that prefill and decode workers are where a router keeps them apart, and nowhere
//! else, and that the program of a router group is one that gabion can fill.

use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::backend::Usable;
use super::gateway::GatewayTarget;
use super::role::{BOOTSTRAP_VARIABLE, BootstrapPort, Part, word};
use crate::document::dialect::Member;
use crate::document::replica_group::GroupRole;
use crate::document::router::RouterKind;
use crate::document::service::Service;

/// Whether a service's router keeps prefill and decode workers apart.
enum Separation {
    /// It does, as is written here.
    Yes(Span),
    /// It does not; here it could be written, if there is a router.
    No(Option<Span>),
    /// A script starts it.
    Unknown,
}

/// The programs that a router group's commands are known to start.
const LAUNCHERS: [&str; 6] = [
    "smg",
    "amg",
    "sglang-router",
    "sglang_router.launch_router",
    "vllm-router",
    "vllm_router.launch_router",
];

/// How vLLM's router is told to keep them apart, which it has to be told of with its workers.
const SEPARATE_AT_START: &str = "--vllm-pd-disaggregation";

const SEPARATE: &str = "--pd-disaggregation";

/// Reports groups that do not go with their service's router.
pub(crate) fn check(
    service: &Service,
    backend: Usable,
    gateway: &GatewayTarget<'_>,
    problems: &mut Diagnostics,
) {
    check_kind(service, problems);
    let members = service.members();
    check_separate_at_start(&members, problems);
    let separation = separation(service, gateway, &members);
    let workers = || members.iter().filter(|member| member.router.is_none());
    let mut roles = Vec::new();
    for member in workers() {
        let part = Part::of(member);
        roles.extend(part.role());
        check_part(member, &part, &separation, problems);
    }
    if let Separation::Yes(span) = &separation {
        for (role, what) in [
            (GroupRole::Prefill, "read prompts"),
            (GroupRole::Decode, "write answers"),
        ] {
            // What the other groups are was asked for above.
            if !roles.contains(&role) && roles.len() == workers().count() {
                problems.push(
                    Diagnostic::error("missing-role", "replicas of one kind are missing")
                        .detail(format!(
                            "Prefill and decode are separate, and no replica group has the role `{role}`: nobody would {what}."
                        ))
                        .at(span.clone())
                        .hint(format!(
                            "add a group whose commands hold `--disaggregation-mode {role}`"
                        )),
                );
            }
        }
    }
    check_bootstrap_ports(workers(), backend, problems);
}

/// Refuses what gabion cannot fill with workers.
fn check_kind(service: &Service, problems: &mut Diagnostics) {
    let groups = service.groups();
    let routers = groups
        .iter()
        .flat_map(|groups| &groups.value.0)
        .filter_map(|group| group.router.as_ref());
    for router in routers.filter(|router| router.value.kind.value == RouterKind::Dynamo) {
        problems.push(
            Diagnostic::error("unsupported-key", "unsupported key")
                .detail(
                    "Dynamo's workers register themselves through etcd and NATS, which this build does not run yet.",
                )
                .at(router.value.kind.span.clone())
                .hint("use `router: {type: smg}` with engines that SGLang's router knows"),
        );
    }
}

/// Refuses a router that would have to be started anew for every worker that comes or goes.
fn check_separate_at_start(members: &[Member<'_>], problems: &mut Diagnostics) {
    let routers = members.iter().filter(|member| member.router.is_some());
    let asked = routers
        .filter_map(|member| word(member.commands, SEPARATE_AT_START))
        .next();
    let Some(command) = asked else { return };
    problems.push(
        Diagnostic::error("unsupported-key", "router that cannot be filled")
            .detail(
                "vLLM's router takes prefill and decode workers only when it starts, and gabion fills routers as workers come and go.",
            )
            .at(command.span.part_with(SEPARATE_AT_START))
            .hint("start SGLang's, which has workers of vLLM as well: `smg launch --pd-disaggregation`"),
    );
}

fn separation(service: &Service, gateway: &GatewayTarget<'_>, members: &[Member<'_>]) -> Separation {
    if let Some(router) = members.iter().find(|member| member.router.is_some()) {
        let commands = router.commands;
        let launched = LAUNCHERS
            .iter()
            .find_map(|launcher| Some((launcher, word(commands, launcher)?)));
        return match (word(commands, SEPARATE), launched) {
            (Some(command), _) => Separation::Yes(command.span.part_with(SEPARATE)),
            (None, Some((launcher, command))) => Separation::No(Some(command.span.part_with(launcher))),
            (None, None) => Separation::Unknown,
        };
    }
    let routing = service.routing(gateway.router.map(|router| &router.value));
    match routing.and_then(|routing| Some((routing.separates_prefill?, routing.span))) {
        Some((separates, _)) if separates.value => Separation::Yes(separates.span),
        Some((_, router)) => Separation::No(Some(router)),
        None => Separation::No(None),
    }
}

/// Reports a group whose part does not go with its router.
fn check_part(member: &Member<'_>, part: &Part, separation: &Separation, problems: &mut Diagnostics) {
    let place = || match member.commands.first() {
        Some(command) => command.span.clone(),
        None => member.replicas.span.clone(),
    };
    let group = member.name;
    let problem = match (part, separation) {
        (Part::Contradiction(role, commands), _) => {
            Diagnostic::error("contradicting-role", "two roles of one group")
                .detail(format!(
                    "`role` and the commands of the replica group `{group}` differ."
                ))
                .at(role.clone())
                .related(commands.clone(), "what the commands say")
                .hint("remove `role`: the commands say it")
        }
        (Part::Half(role, span), Separation::No(router)) => {
            let problem = Diagnostic::error("role-without-separation", "half a worker")
                .detail(format!(
                    "The replica group `{group}` has the role `{role}`, and nothing brings prefill and decode workers together: such a worker cannot answer by itself."
                ))
                .at(span.clone());
            match router {
                Some(router) => problem
                    .related(router.clone(), "the router")
                    .hint("separate them: `router: {type: sglang, pd_disaggregation: true}` of the service, or `--pd-disaggregation` in the commands of its router group"),
                None => problem.hint("give the service a router: `router: {type: sglang, pd_disaggregation: true}`"),
            }
        }
        (Part::Unsaid | Part::Whole(_) | Part::Unclear(_), Separation::Yes(router)) => {
            let (at, why) = match part {
                Part::Whole(span) => (span.clone(), "its commands say that it does both"),
                Part::Unclear(span) => (span.clone(), "its commands do not say which without being run"),
                _ => (place(), "its commands do not say which"),
            };
            Diagnostic::error("no-role", "role not known")
                .detail(format!(
                    "Prefill and decode are separate, so every replica of the group `{group}` does one of the two; {why}."
                ))
                .at(at)
                .related(router.clone(), "separate here")
                .hint("start the engine with `--disaggregation-mode prefill` or `decode`; when a script does that, add `role: prefill` or `role: decode` to the group")
        }
        _ => return,
    };
    problems.push(problem);
}

/// Reports bootstrap ports that cannot be told, and ones that several replicas of this machine would share: of others, each
/// takes one.
fn check_bootstrap_ports<'a>(
    members: impl Iterator<Item = &'a Member<'a>>,
    backend: Usable,
    problems: &mut Diagnostics,
) {
    let mut seen: Vec<(u16, u32, Span)> = Vec::new();
    for member in members.filter(|member| Part::of(member).role() == Some(GroupRole::Prefill)) {
        let (port, written) = match BootstrapPort::of(member.commands) {
            BootstrapPort::Leased => continue,
            BootstrapPort::Fixed(port, written) => (port, written),
            BootstrapPort::Unclear(span) => {
                problems.push(
                    Diagnostic::error("bad-bootstrap-port", "bootstrap port not known")
                        .detail(format!("`{}` is no port, and the router has to be told which one it is.", span.text()))
                        .at(span)
                        .hint(format!(
                            "write the number, or `${BOOTSTRAP_VARIABLE}`, the port that each replica is given"
                        )),
                );
                continue;
            }
        };
        let place = written.unwrap_or_else(|| member.replicas.span.clone());
        let before = seen.iter().filter(|(taken, ..)| *taken == port);
        let first = before.clone().map(|(.., place)| place.clone()).next();
        let count = before
            .map(|(_, count, _)| *count)
            .fold(member.replicas.value.max, u32::saturating_add);
        if count > 1 && backend == Usable::Local {
            let problem = Diagnostic::error("port-collision", "replicas would share one port")
                .detail(format!(
                    "All {count} prefill replicas would let decode workers fetch on port {port} of this machine."
                ))
                .at(place.clone())
                .hint(format!(
                    "pass the port that each replica is given: `--disaggregation-bootstrap-port ${BOOTSTRAP_VARIABLE}`"
                ));
            problems.push(match first {
                Some(first) => problem.related(first, "the first group"),
                None => problem,
            });
        }
        seen.push((port, member.replicas.value.max, place));
    }
}
