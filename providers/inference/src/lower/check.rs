//! What a document may not ask for: always, or of the local backend.

use gabion_engine::config::{Node, Spanned, Target, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

use super::aws::AWS;
use super::backend::{LOCAL, SSH, Usable};
use super::container;
use super::files;
use super::gateway::GatewayTarget;
use super::program;
use super::project::{Context, Placed};
use super::role::uses_variable;
use super::run_keys::{self, CONTAINER_KEYS, refused_of_container, says_more, unsupported};
use crate::document::gateway::{Certificate, Gateway, MACHINE_KEYS};
use crate::document::model::ModelFormat;
use crate::document::service::{Https, Service};
use crate::term::Text;

/// Reports what a backend cannot do for a gateway.
pub(crate) fn gateway(gateway: &Placed<Gateway>, backend: Usable, problems: &mut Diagnostics) {
    let written = gateway.document.write();
    let says_more = says_more::<Gateway>(&written);
    let keys: Vec<&str> = match backend {
        Usable::Local => MACHINE_KEYS.into_iter().chain(["fleets"]).collect(),
        Usable::Ssh => {
            let keys = MACHINE_KEYS.into_iter().filter(|key| *key != "public_ip");
            keys.chain(["region"]).collect()
        }
        Usable::Aws => {
            if let Certificate::Acm(_) = gateway.document.certificate.value {
                problems.push(unsupported(
                    &gateway.document.certificate.span,
                    "Certificates of AWS Certificate Manager are used by load balancers, and this build makes none."
                        .to_owned(),
                    "write `certificate: {type: lets-encrypt}`, or `certificate: null` for plain HTTP",
                ));
            }
            vec!["load_balancer", "replicas", "fleets"]
        }
    };
    for key in keys {
        let Some((key, _)) = gateway.node.entry(key).filter(|_| says_more(key)) else {
            continue;
        };
        let why = match backend {
            Usable::Local => "needs a backend with machines of its own; `local` has none",
            Usable::Ssh => "is not for machines that are there already",
            Usable::Aws => "is not carried out by the backend `aws` of this build",
        };
        problems.push(unsupported(
            &key.span,
            format!("`{}` {why}.", key.name),
            &format!("remove `{}`", key.name),
        ));
    }
}

/// Reports a service that is to be reached by plain HTTP behind a gateway that speaks HTTPS.
pub(crate) fn https(service: &Service, gateway: &GatewayTarget<'_>, problems: &mut Diagnostics) {
    if gateway.https.is_some() && service.https.value == Https::Off {
        problems.push(unsupported(
            &service.https.span,
            format!(
                "The gateway `{}` speaks HTTPS, and does so for all of its services.",
                gateway.name
            ),
            "remove `https`, or write `certificate: null` on a gateway for plain HTTP",
        ));
    }
}

/// Reports what is wrong with a service on any backend.
pub(crate) fn service(service: &Service, gateway: Option<&GatewayTarget<'_>>, problems: &mut Diagnostics) {
    let members = service.members();
    for member in &members {
        commands(member.commands, problems);
    }
    let groups = service.groups();
    let in_group = groups
        .iter()
        .flat_map(|groups| &groups.value.0)
        .find_map(|group| group.router.as_ref());
    if let (Some(router), Some(of_gateway)) = (in_group, gateway.and_then(|gateway| gateway.router)) {
        problems.push(
            Diagnostic::error("mixed-dialects", "mixed dialects")
                .detail(format!(
                    "A replica group of `{}` is its router, as in today's form, and its gateway has a router for every service, as in the older one.",
                    service.name.value
                ))
                .at(router.span.clone())
                .related(of_gateway.span.clone(), "the gateway's router")
                .hint("remove one of the two, or write `gateway: false`"),
        );
    }
}

/// Reports secrets in commands.
pub(crate) fn commands(commands: &[Spanned<Text>], problems: &mut Diagnostics) {
    for command in commands.iter().filter(|command| holds_secret(&command.value)) {
        problems.push(
            Diagnostic::error("secret-in-command", "secret in a command")
                .detail("Every user of a machine can read the arguments of its programs.")
                .at(command.span.clone())
                .hint("put it into `env:` and use the shell's variable: `$NAME`"),
        );
    }
}

fn holds_secret(text: &str) -> bool {
    Template::parse(text).is_ok_and(|template| {
        template
            .references()
            .any(|reference| matches!(reference.target, Target::Environment(_) | Target::Secret(_)))
    })
}

/// Reports what a backend cannot do for a service.
pub(crate) fn service_on(
    placed: &Placed<Service>,
    backend: Usable,
    context: &Context,
    problems: &mut Diagnostics,
) {
    let service = &placed.document;
    check_keys(placed, backend, problems);
    let members = service.members();
    let directory = &context.project_directory;
    if members.iter().any(|member| member.image.is_some()) {
        container::check_run(&service.run, &placed.node, directory, problems);
    } else if backend == Usable::Local {
        run_keys::check_places(&service.run, &placed.node, directory, problems);
    }
    let is_here = backend == Usable::Local;
    files::read(&service.run, &placed.node, is_here, context, problems);
    check_groups(placed, backend, problems);
    check_retry(placed, problems);
    for member in &members {
        if let Some(image) = member.image.filter(|_| backend == Usable::Local) {
            container::check_local(image, context.local_runtime.as_ref(), problems);
        }
    }
    if let Some(model) = service
        .model
        .as_ref()
        .filter(|model| model.format.value == ModelFormat::Tgi)
    {
        problems.push(unsupported(
            &model.format.span,
            "The gateway of this build speaks the OpenAI API to engines, and not `tgi`.".to_owned(),
            "serve the model with an engine that has the OpenAI API: `format: openai`",
        ));
    }
    if service.auth.value && context.tokens.is_empty() {
        problems.push(
            Diagnostic::error("no-tokens", "no bearer tokens")
                .detail(format!(
                    "The service `{}` asks for a bearer token (`auth: true`, the default), and the project has none.",
                    service.name.value
                ))
                .at(service.auth.span.clone())
                .hint(
                    "set `auth: false` to serve without a token, or add one to gabion.yml:\n    \
                     secrets: {CLIENT_TOKEN: {env: CLIENT_TOKEN}}\n    \
                     tokens: {client: \"${{ secrets.CLIENT_TOKEN }}\"}",
                ),
        );
    }
    if backend == Usable::Local {
        check_port(service, problems);
    }
}

/// Reports that a gateway and replicas cannot reach each other.
pub(crate) fn reach(
    placed: &Placed<Service>,
    backend: Usable,
    gateway: Option<&GatewayTarget<'_>>,
    problems: &mut Diagnostics,
) {
    let Some(gateway) = gateway.filter(|gateway| gateway.usable) else {
        return;
    };
    let name = &placed.document.name;
    match (backend, gateway.machine) {
        (Usable::Ssh, None) => problems.push(
            Diagnostic::error("out-of-reach", "gateway that does not reach the replicas")
                .detail(format!(
                    "The replicas of `{}` are on machines of fleets, and its gateway `{}` is on the machine that runs gabion.",
                    name.value, gateway.name
                ))
                .at(name.span.clone())
                .hint(format!(
                    "add a gateway on one of the machines:\n    type: gateway\n    name: my-gateway\n    backend: {SSH}"
                )),
        ),
        (Usable::Local, Some(machine)) => {
            let backend = if machine.made.is_some() { AWS } else { SSH };
            problems.push(
                Diagnostic::error("out-of-reach", "gateway that does not reach the replicas")
                    .detail(format!(
                        "The replicas of `{}` are on the machine that runs gabion (backend `{LOCAL}`), and its gateway `{}` is on `{}`.",
                        name.value, gateway.name, machine.name
                    ))
                    .at(name.span.clone())
                    .hint(format!("add `backends: [{backend}]` to the service")),
            );
        }
        (Usable::Ssh, Some(machine)) if machine.made.is_some() => problems.push(
            Diagnostic::error("out-of-reach", "gateway that does not reach the replicas")
                .detail(format!(
                    "The replicas of `{}` are on machines of fleets, and its gateway `{}` is on AWS.",
                    name.value, gateway.name
                ))
                .at(name.span.clone())
                .hint(format!("add `backends: [{AWS}]` to the service, or give it a gateway on one of the machines")),
        ),
        (Usable::Aws, machine) if machine.is_none_or(|machine| machine.made.is_none()) => problems.push(
            Diagnostic::error("out-of-reach", "gateway that does not reach the replicas")
                .detail(format!(
                    "The replicas of `{}` are on AWS, in the region of their gateway, and its gateway `{}` is elsewhere.",
                    name.value, gateway.name
                ))
                .at(name.span.clone())
                .hint(format!(
                    "add a gateway there:\n    type: gateway\n    name: my-gateway\n    backend: {AWS}\n    region: eu-west-1"
                )),
        ),
        _ => {}
    }
}

/// Replicas that all listen on one port of one machine are a mistake.
fn check_port(service: &Service, problems: &mut Diagnostics) {
    let members = service.members();
    let fixed = || {
        members
            .iter()
            .filter(|member| !container::has_own_ports(member) && !uses_variable(member.commands, "PORT"))
    };
    let count: u32 = fixed()
        .map(|member| member.replicas.value.max.saturating_mul(member.nodes()))
        .fold(0, u32::saturating_add);
    let Some(last) = fixed().next_back().filter(|_| count > 1) else {
        return;
    };
    let is_several = fixed().any(|member| member.nodes() > 1);
    let (place, what) = match last.nodes.filter(|nodes| nodes.value.0 > 1) {
        Some(nodes) => (nodes.span.clone(), "more than one node"),
        None => (last.replicas.span.clone(), "more than one replica"),
    };
    problems.push(
        Diagnostic::error("port-collision", "replicas would share one port")
            .detail(format!(
                "The commands never use `$PORT`, so all {count} {} would listen on port {} of this machine.",
                if is_several { "programs" } else { "replicas" },
                service.port.value.0
            ))
            .at(service.port.span.clone())
            .related(place, what)
            .hint("pass the port that each replica is given: `--port $PORT`"),
    );
}

/// Nodes that live and die together are not started again one by one.
fn check_retry(placed: &Placed<Service>, problems: &mut Diagnostics) {
    let service = &placed.document;
    let members = service.members();
    let several = members
        .iter()
        .find_map(|member| member.nodes.filter(|nodes| nodes.value.0 > 1));
    let (Some(nodes), Some(_), Some((key, _))) = (
        several,
        program::retry_duration(&service.profile),
        placed.node.entry("retry"),
    ) else {
        return;
    };
    problems.push(
        unsupported(
            &key.span,
            format!(
                "The {} nodes of a replica live and die together, and a machine can start again its own program alone.",
                nodes.value.0
            ),
            "remove `retry`; the next `gabion apply` replaces a replica that has lost a node as a whole",
        )
        .related(nodes.span.clone(), "more than one node"),
    );
}

/// Keys of the whole service that a backend cannot carry out, where they say more than their absence would.
fn check_keys(placed: &Placed<Service>, backend: Usable, problems: &mut Diagnostics) {
    let written = placed.document.write();
    let in_container = placed
        .document
        .members()
        .iter()
        .any(|member| member.image.is_some());
    run_keys::check::<Service>(&placed.node, &written, backend, in_container, problems);
}

/// Returns what is written of a service's replica groups, in either form; nothing for a service without them.
pub(super) fn group_nodes(placed: &Placed<Service>) -> &[Node] {
    let has_groups =
        placed.document.groups.is_some() && placed.node.get("groups").is_some_and(|node| !node.is_null());
    let key = if has_groups { "groups" } else { "replicas" };
    placed.node.get(key).and_then(Node::as_list).unwrap_or_default()
}

/// Keys of replica groups that a backend cannot carry out.
fn check_groups(placed: &Placed<Service>, backend: Usable, problems: &mut Diagnostics) {
    let backend = backend.name();
    for node in group_nodes(placed) {
        let written = |key: &str| node.entry(key).filter(|(_, value)| !value.is_null());
        let in_container = placed.document.run.image.is_some() || written("image").is_some();
        for key in CONTAINER_KEYS {
            let refused = refused_of_container(key, in_container);
            let said = written(key).filter(|(_, value)| value.as_bool() != Some(false));
            if let (Some((key, _)), Some((why, hint))) = (said, refused) {
                problems.push(unsupported(&key.span, why, &hint));
            }
        }
        if let Some((key, _)) = written("reservation") {
            let (why, hint) = match backend {
                AWS => (
                    "This build takes one reservation for a whole service.".to_owned(),
                    "write `reservation` beside `name`",
                ),
                _ => (
                    format!("`reservation` is for machines in a cloud; backend `{backend}` has none there."),
                    "remove `reservation`",
                ),
            };
            problems.push(unsupported(&key.span, why, hint));
        }
    }
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::{FromNode, parse_yaml};
    use gabion_engine::diagnostic::SourceFile;

    use super::*;

    #[test]
    fn a_command_may_refer_to_resources_and_not_to_secrets() {
        let check = |command: &str| {
            let text = format!("type: service\nname: qwen\nport: 8000\ncommands: ['{command}']\n");
            let (documents, mut problems) = parse_yaml(&SourceFile::new("a.dstack.yml", text));
            let service_document = Service::from_node(&documents[0], &mut problems).unwrap();
            service(&service_document, None, &mut problems);
            problems.iter().map(|problem| problem.code).collect::<Vec<_>>()
        };
        assert_eq!(
            check("serve --peer ${{ host_unit.a.url }} --port $PORT"),
            Vec::<&str>::new()
        );
        assert_eq!(check("serve --token ${{ secrets.TOKEN }}"), ["secret-in-command"]);
        assert_eq!(check("serve --token ${{ env.TOKEN }}"), ["secret-in-command"]);
    }
}
