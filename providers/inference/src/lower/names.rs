//! Names in a project: which are allowed, that they are unique, and which gateway a service means.

use std::collections::BTreeMap;

use gabion_engine::config::{Purpose, bad_name, check_name};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Severity, Span, did_you_mean};

use super::gateway::GatewayTarget;
use super::project::{Context, LOOPBACK, Placed};
use crate::document::gateway::Gateway;
use crate::document::service::{GatewayChoice, Service};

/// Checks the names of gateways and services; returns whether all can be used in addresses.
///
/// That they are unique is checked for every document type alike.
pub(crate) fn check(
    gateways: &[Placed<Gateway>],
    services: &[Placed<Service>],
    problems: &mut Diagnostics,
) -> bool {
    let names = gateways
        .iter()
        .map(|gateway| ("gateway", &gateway.document.name))
        .chain(services.iter().map(|service| ("service", &service.document.name)));
    let mut good = true;
    for (kind, name) in names {
        if let Err(why) = check_name(&name.value) {
            good = false;
            problems.push(bad_name(kind, name, why));
        }
        if kind == "gateway" && name.value == LOOPBACK {
            good = false;
            problems.push(
                Diagnostic::error("reserved-name", "reserved name")
                    .detail(format!("`{LOOPBACK}` is the gateway of services that have none."))
                    .at(name.span.clone())
                    .hint("choose another name"),
            );
        }
    }
    let mut defaults = gateways.iter().filter(|gateway| gateway.document.default);
    if let Some(first) = defaults.next() {
        for other in defaults {
            problems.push(
                Diagnostic::error("two-defaults", "two default gateways")
                    .detail(format!(
                        "`{}` and `{}` both say `default: true`.",
                        first.document.name.value, other.document.name.value
                    ))
                    .at(other.document.name.span.clone())
                    .related(first.document.name.span.clone(), "the first one")
                    .hint("keep one `default: true`"),
            );
        }
    }
    good
}

/// Returns the gateway that a service means: the named one, else the default, else the only one, else this machine's
/// loopback; `None` after a problem, which may be one of a gateway's own document.
pub(crate) fn gateway_of<'a>(
    service: &Service,
    targets: &'a [GatewayTarget<'a>],
    loopback: &'a GatewayTarget<'a>,
    context: &Context,
    problems: &mut Diagnostics,
) -> Option<&'a GatewayTarget<'a>> {
    let unread = &context.unread;
    let names = || targets.iter().map(|target| target.name);
    let list = || {
        names()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let default = || targets.iter().find(|target| target.is_default);
    let problem = match (&service.gateway, targets) {
        (GatewayChoice::None, _) => return Some(loopback),
        (GatewayChoice::Named(name), _) => {
            let wanted = &name.value;
            let here = wanted.project.is_none();
            if let Some(target) = targets.iter().find(|target| here && target.name == wanted.name) {
                return Some(target);
            }
            if here && unread.may_be("gateway", &wanted.name) {
                return None;
            }
            let detail = match &wanted.project {
                None => format!("No document declares the gateway `{wanted}`."),
                Some(project) => format!(
                    "`{wanted}` is a gateway of the project `{project}`, and gabion uses those of one project."
                ),
            };
            Diagnostic::error("unknown-gateway", "unknown gateway")
                .detail(detail)
                .at(name.span.clone())
                .hint(match did_you_mean(&wanted.name, names()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None if targets.is_empty() => "add a document `type: gateway`".to_owned(),
                    None => format!("the project has {}", list()),
                })
        }
        (GatewayChoice::Default(span), _) => {
            if let Some(target) = default() {
                return Some(target);
            }
            if unread.may_have("gateway") {
                return None;
            }
            Diagnostic::error("no-default-gateway", "no default gateway")
                .detail("The service asks for the default gateway, and no gateway says `default: true`.")
                .at(span.clone())
                .hint("add `default: true` to a gateway, or name one here")
        }
        // It may be the one that is meant.
        (GatewayChoice::Any, [] | [_]) if unread.may_have("gateway") => return default(),
        (GatewayChoice::Any, []) => return Some(loopback),
        (GatewayChoice::Any, [only]) => return Some(only),
        (GatewayChoice::Any, _) => {
            if let Some(target) = default() {
                return Some(target);
            }
            if unread.may_have("gateway") {
                return None;
            }
            Diagnostic::error("ambiguous-gateway", "more than one gateway")
                .detail(format!(
                    "The service `{}` names no gateway, and there are several: {}.",
                    service.name.value,
                    list()
                ))
                .at(service.name.span.clone())
                .hint("add `gateway: NAME` to the service, or `default: true` to a gateway")
        }
    };
    // The gateway may be made elsewhere, as dstack's are; a plan needs it here.
    let severity = match (context.purpose, problem.code) {
        (Purpose::Validate, "unknown-gateway" | "no-default-gateway") => Severity::Warning,
        _ => problem.severity,
    };
    problems.push(Diagnostic { severity, ..problem });
    None
}

/// Returns the gateway of a project that a service means, if that is clear.
pub(crate) fn gateway_among<'a>(service: &Service, gateways: &'a [Placed<Gateway>]) -> Option<&'a Gateway> {
    let all = || gateways.iter().map(|placed| &placed.document);
    let default = || all().find(|gateway| gateway.default);
    match &service.gateway {
        GatewayChoice::None => None,
        GatewayChoice::Default(_) => default(),
        GatewayChoice::Named(name) => {
            let is_here = name.value.project.is_none();
            all().find(|gateway| is_here && gateway.name.value == name.value.name)
        }
        GatewayChoice::Any => match gateways {
            [only] => Some(&only.document),
            _ => default(),
        },
    }
}

/// Checks that no two services of one gateway serve the same model.
pub(crate) fn check_models<'a>(
    services: impl Iterator<Item = (&'a Service, &'a GatewayTarget<'a>)>,
    problems: &mut Diagnostics,
) {
    let mut seen: BTreeMap<(&str, &str), &Span> = BTreeMap::new();
    for (service, gateway) in services {
        let Some(model) = &service.model else { continue };
        let name = model.name.value.as_str();
        match seen.get(&(gateway.name, name)) {
            None => {
                seen.insert((gateway.name, name), &model.name.span);
            }
            Some(first) => problems.push(
                Diagnostic::error("model-taken", "two services serve one model")
                    .detail(format!(
                        "The model endpoint of gateway `{}` would have two services for `{name}`.",
                        gateway.name
                    ))
                    .at(model.name.span.clone())
                    .related((*first).clone(), "the first one")
                    .hint("give one of them another `model`, or another `gateway`"),
            ),
        }
    }
}
