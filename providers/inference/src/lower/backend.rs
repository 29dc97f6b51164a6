//! Backends: where machines come from. This build has `local`, the machine that runs gabion.

use gabion_engine::config::Purpose;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span, did_you_mean};

use super::project::{Context, Placed};
use crate::document::service::Service;

/// The backend whose only machine is the one that runs gabion; also that machine's name.
pub(crate) const LOCAL: &str = "local";

/// Backends that dstack knows; real files name them, and this build has none of them.
const KNOWN: [(&str, &str); 24] = [
    ("amddevcloud", "AMD Developer Cloud"),
    ("aws", "AWS"),
    ("azure", "Azure"),
    ("cloudrift", "CloudRift"),
    ("crusoe", "Crusoe"),
    ("cudo", "Cudo"),
    ("datacrunch", "Verda"),
    ("daytona", "Daytona"),
    ("digitalocean", "DigitalOcean"),
    ("dstack", "dstack Sky"),
    ("gcp", "GCP"),
    ("hotaisle", "Hot Aisle"),
    ("jarvislabs", "JarvisLabs"),
    ("kubernetes", "Kubernetes"),
    ("lambda", "Lambda"),
    ("lium", "Lium"),
    ("nebius", "Nebius"),
    ("oci", "OCI"),
    ("runpod", "RunPod"),
    ("seeweb", "Seeweb"),
    ("slurm", "Slurm"),
    ("tensordock", "TensorDock"),
    ("vastai", "Vast.ai"),
    ("vultr", "Vultr"),
];

/// Returns whether a backend can be used, reporting why not.
///
/// A backend that exists but is not in this build is a problem only when planning.
pub(crate) fn is_usable(name: &str, span: &Span, purpose: Purpose, problems: &mut Diagnostics) -> bool {
    if name == LOCAL {
        return true;
    }
    match KNOWN.iter().find(|(known, _)| *known == name) {
        Some((_, title)) if purpose == Purpose::Plan => problems.push(
            Diagnostic::error("unsupported-backend", "backend not in this build")
                .detail(format!("This build has no {title} backend; it has `{LOCAL}`."))
                .at(span.clone())
                .hint("set the backend to `local`, or plan with a build that has this one"),
        ),
        Some(_) => {}
        None => {
            let near = did_you_mean(name, KNOWN.iter().map(|(known, _)| *known).chain([LOCAL]));
            problems.push(
                Diagnostic::error("unknown-backend", "unknown backend")
                    .detail(format!("There is no backend `{name}`."))
                    .at(span.clone())
                    .hint(match near {
                        Some(near) => format!("did you mean `{near}`?"),
                        None => "use `local`, the machine that runs gabion".to_owned(),
                    }),
            );
        }
    }
    false
}

/// Returns whether a service has a backend that can be used, reporting why not.
///
/// One of the service's own `backends` must do; without any, one of the project's.
pub(crate) fn of_service(service: &Placed<Service>, context: &Context, problems: &mut Diagnostics) -> bool {
    let own = &service.document.backends;
    if own.is_empty() {
        let names: Vec<&str> = context.backends.iter().map(String::as_str).collect();
        return match names.first() {
            None => true,
            Some(_) if names.contains(&LOCAL) => true,
            Some(first) => is_usable(first, &service.type_span, context.purpose, problems),
        };
    }
    if own.iter().any(|name| name.value == LOCAL) {
        return true;
    }
    for name in own {
        is_usable(&name.value, &name.span, context.purpose, problems);
    }
    false
}
