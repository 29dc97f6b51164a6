//! The container of a `host_unit`: what was asked for, and the words for what is there.

use std::collections::BTreeMap;

use gabion_engine::value::{AttributePath, Attributes, Value};

use super::reader::{NOT_HERE, Reader, given};
use crate::container::{ContainerMount, ContainerSettings, Credentials, Gpus, Network, Restart};
use crate::ports::PortRequest;

/// The runtimes that a unit can have.
pub(super) const PROCESS: &str = "process";
pub(super) const DOCKER: &str = "docker";
pub(super) const SYSTEMD: &str = "systemd";

/// The network that is the machine's.
const HOST_NETWORK: &str = "host";

/// The container that a unit should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ContainerInputs {
    pub(super) image: String,
    pub(super) settings: ContainerSettings,
}

/// Reads the container, if the unit runs in one.
pub(super) fn container(
    reader: &mut Reader,
    inputs: &Attributes,
    user: Option<&str>,
    ports: Option<&BTreeMap<String, PortRequest>>,
) -> Option<ContainerInputs> {
    let at = AttributePath::root("container");
    let runtime_at = AttributePath::root("runtime");
    let runtime = given(inputs, "runtime").map(|value| reader.plain(&runtime_at, value, "a runtime"));
    let asked = given(inputs, "container");
    match (runtime.as_deref(), asked) {
        (Some(NOT_HERE), _) => return None,
        (None | Some(PROCESS | SYSTEMD), None) => return None,
        (Some(DOCKER), Some(_)) => {}
        (Some(DOCKER), None) => {
            reader.problem(
                &runtime_at,
                "A unit that runs in a container needs an image.",
                "Add `container: {image: NAME:TAG}`.",
            );
            return None;
        }
        (None | Some(PROCESS | SYSTEMD), Some(_)) => reader.problem(
            &at,
            "Only the runtime `docker` has containers.",
            "Add `runtime: docker`, or remove `container`.",
        ),
        (Some(other), _) => reader.problem(
            &runtime_at,
            format!("There is no runtime `{other}`."),
            "Use `process`, `docker` or `systemd`.",
        ),
    }
    if given(inputs, "package").is_some() {
        reader.problem(
            &AttributePath::root("package"),
            "A package is installed on the machine, and a container does not see it.",
            "Use an image that has the program.",
        );
    }
    let entries = match asked? {
        Value::Map(entries) => entries,
        other => {
            reader.wrong(&at, other, "a map");
            return None;
        }
    };
    let image = match given(entries, "image") {
        Some(image) => reader.plain(&at.key("image"), image, "an image's name"),
        None => {
            reader.problem(&at, "A container needs an image.", "Add `image: NAME:TAG`.");
            NOT_HERE.to_owned()
        }
    };
    let image_fits =
        |text: &str| !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control());
    if !image_fits(&image) {
        reader.problem(
            &at.key("image"),
            format!("{image:?} does not name an image."),
            "Write `NAME:TAG`, `NAME@sha256:DIGEST`, or `sha256:ID` for one that is only on the machine.",
        );
    }
    let mut settings = ContainerSettings {
        user: user.map(str::to_owned),
        privileged: matches!(given(entries, "privileged"), Some(Value::Bool(true))),
        gpus: gpus(reader, &at, entries),
        shm_mib: mebibytes(reader, &at, entries, "shm_mib"),
        memory_mib: mebibytes(reader, &at, entries, "memory_mib"),
        cpu_millis: cpu_millis(reader, &at, entries),
        mounts: mounts(reader, &at, entries),
        network: network(reader, &at, entries),
        ports: inside_ports(reader, &at, entries),
        restart: restart(reader, &at, entries),
    };
    if let Some(ports) = ports {
        check_ports(reader, &at.key("ports"), &mut settings, ports);
    }
    Some(ContainerInputs { image, settings })
}

/// Reads what a registry asks for.
pub(super) fn registry_auth(reader: &mut Reader, inputs: &Attributes) -> Option<Credentials> {
    let at = AttributePath::root("registry_auth");
    let entries = match given(inputs, "registry_auth")? {
        Value::Map(entries) => entries,
        other => {
            reader.wrong(&at, other, "a map");
            return None;
        }
    };
    let mut text = |name: &str| match given(entries, name) {
        Some(value) => reader.secretable(&at.key(name), value),
        None => {
            reader.problem(
                &at,
                format!("`{name}` is missing."),
                "Give both `username` and `password`.",
            );
            String::new()
        }
    };
    Some(Credentials {
        username: text("username"),
        password: text("password"),
    })
}

fn gpus(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Option<Gpus> {
    let at = at.key("gpus");
    let text = reader.text(&at, given(entries, "gpus")?);
    let gpus = Gpus::parse(&text);
    if gpus.is_none() && text != NOT_HERE {
        reader.problem(
            &at,
            format!("{text:?} is not a number of accelerators."),
            "Write `all`, or a number from 1.",
        );
    }
    gpus
}

fn mebibytes(reader: &mut Reader, at: &AttributePath, entries: &Attributes, name: &str) -> Option<u64> {
    let at = at.key(name);
    let number = reader.whole(&at, given(entries, name)?)?;
    let size = u64::try_from(number)
        .ok()
        .filter(|size| (1..1 << 40).contains(size));
    if size.is_none() {
        reader.problem(
            &at,
            format!("{number} is not a size in MiB."),
            "Use a whole number from 1.",
        );
    }
    size
}

fn cpu_millis(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Option<u64> {
    let at = at.key("cpus");
    let cpus = match given(entries, "cpus")? {
        Value::Int(number) => *number as f64,
        Value::Float(number) => *number,
        other => {
            reader.wrong(&at, other, "a number");
            return None;
        }
    };
    if !(0.001..=65536.0).contains(&cpus) {
        reader.problem(
            &at,
            format!("{cpus} is not a number of processors."),
            "Use one such as 2 or 0.5.",
        );
        return None;
    }
    Some((cpus * 1000.0).round() as u64)
}

fn mounts(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Vec<ContainerMount> {
    let mut mounts: Vec<ContainerMount> = Vec::new();
    for (at, value) in reader.list(&at.key("mounts"), given(entries, "mounts")) {
        let Value::Map(entries) = value else {
            reader.wrong(&at, value, "a map");
            continue;
        };
        let mut path = |name: &str| {
            let at = at.key(name);
            let text = given(entries, name).map(|value| reader.plain(&at, value, "a path"));
            let text = text.unwrap_or_default();
            if text != NOT_HERE && (!text.starts_with('/') || text.contains('\0')) {
                reader.problem(
                    &at,
                    format!("{text:?} is not an absolute path."),
                    "Begin it with `/`.",
                );
            }
            text
        };
        let mount = ContainerMount {
            source: path("source"),
            target: path("target"),
            read_only: matches!(given(entries, "read_only"), Some(Value::Bool(true))),
        };
        let ours = mount.target == "/.gabion" || mount.target.starts_with("/.gabion/");
        if ours || mounts.iter().any(|other| other.target == mount.target) {
            reader.problem(
                &at.key("target"),
                format!("{} is taken.", mount.target),
                "Use another path; `/.gabion` is gabion's own.",
            );
        }
        mounts.push(mount);
    }
    mounts
}

fn network(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Network {
    let at = at.key("network");
    let Some(text) = given(entries, "network").map(|value| reader.plain(&at, value, "a network")) else {
        return Network::Own;
    };
    if text == HOST_NETWORK {
        return Network::Host;
    }
    if text != NOT_HERE {
        reader.problem(
            &at,
            format!("There is no network `{text}`."),
            "Use `host` for the machine's, or leave it out for one of its own.",
        );
    }
    Network::Own
}

fn inside_ports(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> BTreeMap<String, u16> {
    let path = at.key("ports");
    let mut ports = BTreeMap::new();
    for (name, value) in reader.map(&path, given(entries, "ports")) {
        let at = path.key(&name);
        let Some(number) = reader.whole(&at, value) else {
            continue;
        };
        match u16::try_from(number).ok().filter(|port| *port > 0) {
            Some(port) => {
                ports.insert(name, port);
            }
            None => reader.problem(&at, format!("{number} is not a port."), "Ports are 1 to 65535."),
        }
    }
    ports
}

/// Every port of the unit ends on one of the container's.
fn check_ports(
    reader: &mut Reader,
    at: &AttributePath,
    settings: &mut ContainerSettings,
    ports: &BTreeMap<String, PortRequest>,
) {
    if settings.network == Network::Host {
        if !settings.ports.is_empty() {
            reader.problem(
                at,
                "On the machine's own network a container has no ports of its own.",
                "Remove `ports` here; the program gets the unit's as `{ports.NAME}`.",
            );
        }
        return;
    }
    for name in settings.ports.keys().filter(|name| !ports.contains_key(*name)) {
        reader.problem(
            &at.key(name),
            format!("The unit has no port `{name}`."),
            "Add it to the unit's `ports`, or remove it here.",
        );
    }
    for (name, request) in ports {
        if settings.ports.contains_key(name) {
            continue;
        }
        match request {
            PortRequest::Exact(port) => {
                settings.ports.insert(name.clone(), *port);
            }
            PortRequest::Range(_) => reader.problem(
                at,
                format!("Nothing says on which port the program listens for `{name}`."),
                format!("Add it: `container: {{ports: {{{name}: 8000}}}}`."),
            ),
        }
    }
}

fn restart(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Restart {
    let at = at.key("restart");
    let Some(value) = given(entries, "restart") else {
        return Restart::No;
    };
    let text = reader.plain(&at, value, "a policy");
    let found = Restart::ALL.into_iter().find(|(name, _)| *name == text);
    if found.is_none() && text != NOT_HERE {
        reader.problem(
            &at,
            format!("There is no restart policy {text:?}."),
            "Use `no`, `on-failure` or `always`.",
        );
    }
    found.map(|(_, restart)| restart).unwrap_or_default()
}

/// Returns a container in the words of the schema.
pub(super) fn to_value(image: &str, settings: &ContainerSettings) -> Value {
    let whole = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    let mut entries = vec![("image", Value::string(image))];
    let mut set = |name: &'static str, value: Option<Value>| {
        entries.extend(value.map(|value| (name, value)));
    };
    set("privileged", settings.privileged.then(|| true.into()));
    set("gpus", settings.gpus.map(|gpus| Value::string(gpus.to_text())));
    set("shm_mib", settings.shm_mib.map(whole));
    set("memory_mib", settings.memory_mib.map(whole));
    set(
        "cpus",
        settings
            .cpu_millis
            .map(|millis| Value::Float(millis as f64 / 1000.0)),
    );
    let mounts = settings.mounts.iter().map(|mount| {
        let mut entries = vec![
            ("source", Value::string(&mount.source)),
            ("target", Value::string(&mount.target)),
        ];
        if mount.read_only {
            entries.push(("read_only", true.into()));
        }
        Value::map(entries)
    });
    set(
        "mounts",
        (!settings.mounts.is_empty()).then(|| Value::List(mounts.collect())),
    );
    set(
        "network",
        (settings.network == Network::Host).then(|| HOST_NETWORK.into()),
    );
    let ports = settings
        .ports
        .iter()
        .map(|(name, port)| (name.as_str(), Value::Int(i64::from(*port))));
    set("ports", (!settings.ports.is_empty()).then(|| Value::map(ports)));
    set(
        "restart",
        (settings.restart != Restart::No).then(|| settings.restart.name().into()),
    );
    Value::map(entries)
}
