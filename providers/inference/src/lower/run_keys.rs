//! What backends make of the keys that services and tasks share: which they carry out, which mean nothing on
//! one's own machine, and which they must refuse.
//!
//! The table for people is in `docs/from-dstack.md`; keys that are in no list here are carried out, or mean nothing where
//! there is one machine that costs nothing (`spot_policy`, `max_price`, `creation_policy`, `idle_duration`, `tags`,
//! `priority`, `backend_options`).

use std::cell::LazyCell;

use gabion_engine::config::Node;
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use serde_json::Value as Json;

use super::backend::{LOCAL, SSH, Usable};
use crate::document::run::RunFields;
use crate::grammar::mount::Mount;
use crate::grammar::repo::Repo;
use crate::term::{MapTerm, map_schema};

/// Keys that mean something in a container alone.
pub(super) const CONTAINER_KEYS: [&str; 6] = [
    "docker",
    "privileged",
    "entrypoint",
    "python",
    "nvcc",
    "registry_auth",
];

/// Returns why a key of [`CONTAINER_KEYS`] cannot be carried out, and the way out; `None` when it can.
pub(super) fn refused_of_container(key: &str, in_container: bool) -> Option<(String, String)> {
    let (why, hint) = match key {
        "docker" => (
            "starts a Docker daemon in an image of dstack's own, and gabion has no image of its own",
            "name an image that has one with `image`, and add `privileged: true`".to_owned(),
        ),
        "python" | "nvcc" => (
            "chooses an image of dstack's own, and gabion has none of its own",
            "name an image that has what is needed with `image`".to_owned(),
        ),
        _ if in_container => return None,
        "entrypoint" => (
            "is the program of an image, and without `image` there is none",
            "add `image`, or write the program as the first of `commands`".to_owned(),
        ),
        "registry_auth" => (
            "is for pulling an image, and without `image` there is none",
            "add `image`, or remove `registry_auth`".to_owned(),
        ),
        _ => (
            "is for containers, and without `image` programs are processes of the machine",
            format!("add `image`, or remove `{key}`"),
        ),
    };
    Some((format!("`{key}` {why}."), hint))
}

/// Keys that choose between machines.
const PLACE_KEYS: [&str; 6] = [
    "regions",
    "availability_zones",
    "instance_types",
    "reservation",
    "fleets",
    "instances",
];

/// Those of them that choose between the machines of fleets.
const FLEET_KEYS: [&str; 2] = ["fleets", "instances"];

/// Keys that no backend of this build has anything for, with why, and the way out.
const REFUSED_KEYS: [(&str, &str, &str); 3] = [
    (
        "dstack",
        "reaches the dstack server from inside, and gabion has no server",
        "remove `dstack`",
    ),
    (
        "utilization_policy",
        "watches accelerators, and gabion does not",
        "remove it, or limit the run with `max_duration`",
    ),
    (
        "schedule",
        "starts a run later, and between two commands nothing of gabion runs that could start one",
        "remove `schedule`, and have cron or CI run `gabion apply`; `--replace ADDRESS` runs a task again",
    ),
];

/// Keys that are carried out on the machine that runs gabion alone.
const LOCAL_KEYS: [&str; 3] = ["user", "volumes", "repos"];

/// Those of them that containers of every machine have.
const OF_CONTAINERS: [&str; 2] = ["user", "volumes"];

/// Reports keys of a document that a backend cannot carry out, where they say more than their absence would.
pub(super) fn check<T: MapTerm>(
    node: &Node,
    written: &serde_yaml::Value,
    backend: Usable,
    in_container: bool,
    problems: &mut Diagnostics,
) {
    let name = backend.name();
    let says_more = says_more::<T>(written);
    let mut refuse = |key: &str, why: String, hint: String| {
        if let Some((key, _)) = node.entry(key).filter(|_| says_more(key)) {
            problems.push(unsupported(&key.span, why, &hint));
        }
    };
    for key in CONTAINER_KEYS {
        if let Some((why, hint)) = refused_of_container(key, in_container) {
            refuse(key, why, hint);
        }
    }
    for key in PLACE_KEYS {
        let why = match backend {
            Usable::Ssh if FLEET_KEYS.contains(&key) => continue,
            Usable::Aws if !FLEET_KEYS.contains(&key) => continue,
            Usable::Aws => {
                format!("`{key}` chooses between machines that are there; backend `aws` makes its own.")
            }
            Usable::Ssh => format!("`{key}` chooses between machines to make; backend `{SSH}` makes none."),
            Usable::Local => format!(
                "`{key}` chooses between machines; backend `{LOCAL}` has one, the machine that runs gabion."
            ),
        };
        refuse(key, why, format!("remove `{key}`"));
    }
    for key in LOCAL_KEYS {
        if backend != Usable::Local && !(in_container && OF_CONTAINERS.contains(&key)) {
            let why = format!("Backend `{name}` of this build does not carry out `{key}` yet.");
            refuse(
                key,
                why,
                format!("remove `{key}`, or wait for the release that has it"),
            );
        }
    }
    for (key, what, hint) in REFUSED_KEYS {
        refuse(
            key,
            format!("Backend `{name}` cannot carry out `{key}`: it {what}."),
            hint.to_owned(),
        );
    }
}

/// Reports mounts and repositories that take more than what is on this machine anyway.
pub(super) fn check_places(run: &RunFields, node: &Node, directory: &str, problems: &mut Diagnostics) {
    let place = |key: &str, index: usize| {
        let (key, list) = node.entry(key)?;
        let item = list.as_list().and_then(|items| items.get(index));
        Some(item.map_or(&key.span, |item| &item.span))
    };
    for (index, mount) in run.volumes.iter().enumerate() {
        let (why, hint) = match mount {
            Mount::Instance(mount) if mount.optional || mount.instance_path == mount.path => continue,
            Mount::Instance(of) => (
                format!(
                    "`{mount}` shows a directory under another path, which takes a container; backend `{LOCAL}` runs processes, which see this machine's own paths."
                ),
                format!(
                    "write `{0}:{0}`, and use that path in `commands`",
                    of.instance_path
                ),
            ),
            Mount::Volume(_) => (
                format!("`{mount}` is a network volume, and backend `{LOCAL}` has none."),
                "use a directory of this machine under its own path: `/data:/data`".to_owned(),
            ),
        };
        if let Some(span) = place("volumes", index) {
            problems.push(unsupported(span, why, &hint));
        }
    }
    for (index, repo) in run.repos.iter().enumerate() {
        if is_project(repo, directory) {
            continue;
        }
        if let Some(span) = place("repos", index) {
            problems.push(unsupported(
                span,
                format!(
                    "Backend `{LOCAL}` checks nothing out: programs start in the project's own directory, with what is there."
                ),
                "remove `repos` and check it out yourself, or do so in `commands`; `.` alone means the project's directory",
            ));
        }
    }
}

/// Whether a repository is the project's own directory, just as it is, as the working directory.
fn is_project(repo: &Repo, directory: &str) -> bool {
    let here = |path: &str| matches!(path, "." | "./") || path == directory;
    repo.local_path.as_deref().is_some_and(here)
        && here(&repo.path)
        && repo.branch.is_none()
        && repo.hash.is_none()
}

/// Returns whether a key of a document, as it is understood, says more than its absence would.
pub(super) fn says_more<T: MapTerm>(written: &serde_yaml::Value) -> impl Fn(&str) -> bool + use<'_, T> {
    // Most documents have none of the keys that are asked for, and defaults are not cheap to write.
    let both = LazyCell::new(move || {
        (
            map_schema::<T>(),
            serde_json::to_value(written).unwrap_or(Json::Null),
        )
    });
    move |key| {
        let (defaults, written) = &*both;
        let value = &written[key];
        !value.is_null() && Some(value) != defaults["properties"][key].get("default")
    }
}

/// Words a key that cannot be carried out.
pub(super) fn unsupported(span: &Span, why: String, hint: &str) -> Diagnostic {
    Diagnostic::error("unsupported-key", "unsupported key")
        .detail(why)
        .at(span.clone())
        .hint(hint)
}
