//! What a document may not ask for: always, or of the local backend.

use gabion_engine::config::{Target, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

use super::backend::LOCAL;
use super::project::Context;
use crate::document::gateway::Gateway;
use crate::document::service::Service;

/// Reports what the local backend cannot do for a gateway.
pub(crate) fn gateway(gateway: &Gateway, problems: &mut Diagnostics) {
    for (key, span) in &gateway.machine_keys {
        problems.push(
            Diagnostic::error("unsupported-key", "unsupported key")
                .detail(format!(
                    "`{key}` needs a backend with machines of its own; `{LOCAL}` has none."
                ))
                .at(span.clone())
                .hint(format!("remove `{key}`")),
        );
    }
}

/// Reports what is wrong with a service on any backend.
pub(crate) fn service(service: &Service, problems: &mut Diagnostics) {
    for command in &service.commands {
        let holds_secret = Template::parse(&command.value).is_ok_and(|template| {
            template
                .references()
                .any(|reference| matches!(reference.target, Target::Environment(_) | Target::Secret(_)))
        });
        if holds_secret {
            problems.push(
                Diagnostic::error("secret-in-command", "secret in a command")
                    .detail("Every user of a machine can read the arguments of its programs.")
                    .at(command.span.clone())
                    .hint("put it into `env:` and use the shell's variable: `$NAME`"),
            );
        }
    }
    let replicas = &service.replicas;
    if replicas.value.min != replicas.value.max {
        problems.push(
            Diagnostic::error("unsupported-range", "range of replicas")
                .detail(format!(
                    "`replicas: {}` needs `scaling`, which this build does not have yet.",
                    replicas.value
                ))
                .at(replicas.span.clone())
                .hint("write one number"),
        );
    }
}

/// Reports what the local backend cannot do for a service.
pub(crate) fn service_on_local(service: &Service, context: &Context, problems: &mut Diagnostics) {
    if let Some(image) = &service.image {
        problems.push(
            Diagnostic::error("unsupported-key", "unsupported key")
                .detail(format!(
                    "`image` needs a container runtime; backend `{LOCAL}` runs processes."
                ))
                .at(image.span.clone())
                .hint("remove `image` and write `commands` that run on this machine"),
        );
    }
    if let Some(gpu) = service.resources.gpu.as_ref().filter(|gpu| gpu.value.is_needed()) {
        problems.push(
            Diagnostic::error("unmet-need", "resources not available")
                .detail(format!(
                    "`gpu: {}` cannot be met: backend `{LOCAL}` offers no accelerators.",
                    gpu.value
                ))
                .at(gpu.span.clone())
                .hint("remove `gpu`, or run the service on a backend that has some"),
        );
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
    if service.replicas.value.min.unwrap_or(0) > 1 && !uses_port(service) {
        problems.push(
            Diagnostic::error("port-collision", "replicas would share one port")
                .detail(format!(
                    "The commands never use `$PORT`, so all {} replicas would listen on port {} of this machine.",
                    service.replicas.value, service.port.value
                ))
                .at(service.port.span.clone())
                .related(service.replicas.span.clone(), "more than one replica")
                .hint("pass the port that each replica is given: `--port $PORT`"),
        );
    }
}

/// Returns whether the commands refer to the shell's variable `PORT`.
pub(crate) fn uses_port(service: &Service) -> bool {
    let ends = |rest: &str| !rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_');
    service.commands.iter().any(|command| {
        let text = &command.value;
        ["$PORT", "${PORT"].into_iter().any(|name| {
            text.match_indices(name)
                .any(|(at, found)| ends(&text[at + found.len()..]))
        })
    })
}

#[cfg(test)]
mod tests {
    use gabion_engine::config::{FromNode, parse_yaml};
    use gabion_engine::diagnostic::SourceFile;

    use super::*;

    #[test]
    fn the_variable_port_is_found_in_commands() {
        let cases = [
            ("serve --port $PORT", true),
            ("serve --port ${PORT}", true),
            ("serve --port ${PORT:-80}", true),
            ("serve --port $PORTS", false),
            ("serve --port 8000", false),
        ];
        for (command, expected) in cases {
            let text = format!("type: service\nname: qwen\nport: 8000\ncommands: ['{command}']\n");
            let (documents, mut problems) = parse_yaml(&SourceFile::new("a.dstack.yml", text));
            let service = Service::from_node(&documents[0], &mut problems).unwrap();
            assert_eq!(uses_port(&service), expected, "{command}");
        }
    }

    #[test]
    fn a_command_may_refer_to_resources_and_not_to_secrets() {
        let check = |command: &str| {
            let text = format!("type: service\nname: qwen\nport: 8000\ncommands: ['{command}']\n");
            let (documents, mut problems) = parse_yaml(&SourceFile::new("a.dstack.yml", text));
            let service_document = Service::from_node(&documents[0], &mut problems).unwrap();
            service(&service_document, &mut problems);
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
