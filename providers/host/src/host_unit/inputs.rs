//! The inputs of a `host_unit`.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gabion_engine::provider::AttributeProblem;
use gabion_engine::value::{AttributePath, Attributes, Value};
use http::Method;
use nix::unistd;

use super::container_inputs::{self, ContainerInputs};
use super::reader::{Knowledge, NOT_HERE, Reader, given};
use super::service_inputs::{self, ServiceInputs};
use super::{MAIN_PORT, READY_SECONDS, STOP_SECONDS};
use crate::container::{self, Credentials};
use crate::ports::{PortRequest, parse_range};
use crate::probe::{Probe, ProbeRequest};
use crate::provider::HostConfig;
use crate::transport::Machines;
use crate::unit::{EnvValue, PlaceholderError, RunNode, Substitution, Supervision};

/// What a `host_unit` should be.
#[derive(Clone, Debug)]
pub(super) struct Inputs {
    pub(super) machine: String,
    pub(super) argv: Vec<String>,
    pub(super) env: BTreeMap<String, EnvValue>,
    pub(super) working_dir: Option<String>,
    pub(super) files: BTreeMap<String, String>,
    pub(super) ports: BTreeMap<String, PortRequest>,
    /// `NAME==VERSION`.
    pub(super) package: Option<String>,
    pub(super) probes: Vec<(ProbeTarget, Probe)>,
    pub(super) stop_timeout: Duration,
    pub(super) ready_timeout: Duration,
    pub(super) role: Option<String>,
    /// `USER` or `USER:GROUP`.
    pub(super) user: Option<String>,
    /// What the process beside the program does for it; `None` when nothing asks for one.
    pub(super) supervision: Option<Supervision>,
    /// The container that it runs in; `None` when it is a process of the machine.
    pub(super) container: Option<ContainerInputs>,
    /// The service of systemd that it is; `None` when it is none.
    pub(super) service: Option<ServiceInputs>,
    /// What the image's registry asks for.
    pub(super) registry_auth: Option<Credentials>,
}

/// Where a probe goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ProbeTarget {
    /// The port of that name.
    Port(String),
    /// A Unix socket below the unit's directory.
    Socket(String),
}

/// Reports what the schema cannot say.
pub(crate) fn validate(inputs: &Attributes, config: &HostConfig) -> Vec<AttributeProblem> {
    let (parsed, mut problems) = Inputs::parse(inputs, Knowledge::Partial);
    if parsed.machine != NOT_HERE && config.machines.get(&parsed.machine).is_none() {
        let known: Vec<&str> = config.machines.names().collect();
        problems.push(AttributeProblem {
            path: AttributePath::root("machine"),
            message: format!("No machine is named {:?}.", parsed.machine),
            hint: Some(format!("Machines: {}.", known.join(", "))),
        });
    }
    let as_process = parsed.container.is_none() && parsed.service.is_none();
    if let Some(user) = parsed
        .user
        .as_deref()
        .filter(|user| as_process && *user != NOT_HERE)
    {
        problems.extend(other_user(user));
    }
    if let Some(package) = parsed.package.filter(|package| package != NOT_HERE)
        && !config.packages.contains_key(&package)
    {
        problems.push(unknown_package(&package, config));
    }
    problems
}

/// Reports a user that is not the one that programs run as: gabion's own.
fn other_user(wanted: &str) -> Option<AttributeProblem> {
    let (uid, gid) = (unistd::geteuid(), unistd::getegid());
    let user = unistd::User::from_uid(uid).ok().flatten().map(|user| user.name);
    let group = unistd::Group::from_gid(gid)
        .ok()
        .flatten()
        .map(|group| group.name);
    let is = |wanted: &str, id: u32, name: &Option<String>| {
        wanted.trim().parse() == Ok(id) || name.as_deref() == Some(wanted)
    };
    let (wanted_user, wanted_group) = match wanted.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (wanted, None),
    };
    let same_group = wanted_group.is_none_or(|wanted| is(wanted, gid.as_raw(), &group));
    if is(wanted_user, uid.as_raw(), &user) && same_group {
        return None;
    }
    let own = user.unwrap_or_else(|| uid.to_string());
    Some(AttributeProblem {
        path: AttributePath::root("user"),
        message: format!(
            "Programs on this machine run as `{own}`, the user that gabion runs as; `{wanted}` is another."
        ),
        hint: Some(format!("Remove `user`, or run gabion as `{wanted_user}`.")),
    })
}

/// Words a package that there is no lock for.
pub(super) fn unknown_package(package: &str, config: &HostConfig) -> AttributeProblem {
    let known: Vec<&str> = config.packages.keys().map(String::as_str).collect();
    AttributeProblem {
        path: AttributePath::root("package"),
        message: format!("This build has no hash-checked lock for the package {package:?}."),
        hint: Some(if known.is_empty() {
            "It has a lock for no package at all.".to_owned()
        } else {
            format!("It has one for: {}.", known.join(", "))
        }),
    }
}

impl Inputs {
    /// Reads inputs; the result is of use only when there are no problems, or to look at a part that is known.
    pub(super) fn parse(inputs: &Attributes, knowledge: Knowledge) -> (Self, Vec<AttributeProblem>) {
        let mut reader = Reader::new(knowledge);
        let ports = ports(&mut reader, inputs);
        let ports_are_known = !matches!(given(inputs, "ports"), Some(Value::Unknown(_)));
        let user = text(&mut reader, inputs, "user", "a user");
        let container = container_inputs::container(
            &mut reader,
            inputs,
            user.as_deref(),
            ports_are_known.then_some(&ports),
        );
        let supervision = supervision(&mut reader, inputs);
        let service = is_service(inputs)
            .then(|| service_inputs::service(&mut reader, inputs, user.as_deref(), supervision.is_some()));
        if service.is_none() && given(inputs, "systemd").is_some() {
            reader.problem(
                &AttributePath::root("systemd"),
                "Only the runtime `systemd` has services.",
                "Add `runtime: systemd`, or remove `systemd`.",
            );
        }
        let parsed = Self {
            machine: text(&mut reader, inputs, "machine", "a machine's name")
                .unwrap_or_else(|| Machines::LOCAL.to_owned()),
            argv: argv(&mut reader, inputs, container.is_some()),
            env: env(&mut reader, inputs),
            working_dir: text(&mut reader, inputs, "working_dir", "a path"),
            files: files(&mut reader, inputs),
            package: text(&mut reader, inputs, "package", "a package's name"),
            probes: probes(&mut reader, inputs, ports_are_known.then_some(&ports)),
            ports,
            stop_timeout: seconds(&mut reader, inputs, "stop_timeout", STOP_SECONDS),
            ready_timeout: seconds(&mut reader, inputs, "ready_timeout", READY_SECONDS),
            role: text(&mut reader, inputs, "role", "a role"),
            user,
            supervision,
            container,
            service,
            registry_auth: container_inputs::registry_auth(&mut reader, inputs),
        };
        parsed.check_placeholders(&mut reader, ports_are_known);
        (parsed, reader.problems)
    }

    /// Checks that every placeholder stands for something.
    fn check_placeholders(&self, reader: &mut Reader, ports_are_known: bool) {
        let ports = self.ports.keys().map(|name| (name.clone(), 0)).collect();
        let substitution = match &self.container {
            Some(_) => container::substitution(&ports),
            None => Substitution {
                ports: &ports,
                unit_dir: Path::new("/"),
                package_dir: self.package.as_ref().map(|_| Path::new("/")),
                gabion: Path::new("/"),
            },
        };
        let argv = AttributePath::root("argv");
        let env = AttributePath::root("env");
        let working_dir = AttributePath::root("working_dir");
        let arguments = self
            .argv
            .iter()
            .enumerate()
            .map(|(index, text)| (argv.index(index), text));
        let variables = self.env.iter().filter_map(|(name, value)| match value {
            EnvValue::Plain(text) => Some((env.key(name), text)),
            EnvValue::Secret(_) => None,
        });
        let directory = self.working_dir.iter().map(|text| (working_dir.clone(), text));
        for (path, text) in arguments.chain(variables).chain(directory) {
            let result = substitution.apply(text);
            if !ports_are_known && matches!(result, Err(PlaceholderError::UnknownPort { .. })) {
                continue;
            }
            if let Err(error) = result {
                reader.problem(
                    &path,
                    format!("{error}."),
                    "Declare it, or leave the placeholder out.",
                );
            }
        }
        if let Some(text) = self.working_dir.as_deref().filter(|text| *text != NOT_HERE)
            && substitution
                .apply(text)
                .is_ok_and(|filled| !Path::new(&filled).is_absolute())
        {
            reader.problem(
                &working_dir,
                "The working directory is not absolute.",
                "Begin it with `/` or `{unit.dir}`.",
            );
        }
    }
}

fn is_service(inputs: &Attributes) -> bool {
    given(inputs, "runtime").and_then(Value::as_str) == Some(container_inputs::SYSTEMD)
}

fn text(reader: &mut Reader, inputs: &Attributes, name: &str, what: &str) -> Option<String> {
    given(inputs, name).map(|value| reader.plain(&AttributePath::root(name), value, what))
}

fn seconds(reader: &mut Reader, inputs: &Attributes, name: &str, default: u64) -> Duration {
    given(inputs, name).map_or(Duration::from_secs(default), |value| {
        reader.seconds(&AttributePath::root(name), value)
    })
}

fn supervision(reader: &mut Reader, inputs: &Attributes) -> Option<Supervision> {
    let supervision = Supervision {
        completes: matches!(given(inputs, "completes"), Some(Value::Bool(true))),
        retry_milliseconds: milliseconds(reader, inputs, "retry_timeout"),
        max_milliseconds: milliseconds(reader, inputs, "run_timeout"),
        node: node(reader, inputs),
    };
    (supervision != Supervision::default()).then_some(supervision)
}

fn milliseconds(reader: &mut Reader, inputs: &Attributes, name: &str) -> Option<u64> {
    let at = AttributePath::root(name);
    let seconds = reader.whole(&at, given(inputs, name)?)?;
    let milliseconds = u64::try_from(seconds)
        .ok()
        .filter(|seconds| *seconds > 0)
        .and_then(|seconds| seconds.checked_mul(1000));
    if milliseconds.is_none() {
        reader.problem(
            &at,
            format!("{seconds} is not a number of seconds to wait."),
            "Use a whole number from 1, or leave it out.",
        );
    }
    milliseconds
}

fn node(reader: &mut Reader, inputs: &Attributes) -> Option<RunNode> {
    let at = AttributePath::root("node");
    let entries = match given(inputs, "node")? {
        Value::Map(entries) => entries,
        other => {
            reader.wrong(&at, other, "a map");
            return None;
        }
    };
    let (Some(run), Some(rank)) = (given(entries, "run"), given(entries, "rank")) else {
        reader.problem(
            &at,
            "A node has the name of its run and a number there.",
            "Write `node: {run: NAME, rank: 0}`.",
        );
        return None;
    };
    let rank_at = at.key("rank");
    let number = reader.whole(&rank_at, rank)?;
    let rank = u32::try_from(number).ok();
    if rank.is_none() {
        reader.problem(
            &rank_at,
            format!("{number} is not the number of a node."),
            "Number the nodes from 0.",
        );
    }
    Some(RunNode {
        run: reader.plain(&at.key("run"), run, "the name of a run"),
        rank: rank?,
        ends_with_master: matches!(given(entries, "ends_with_master"), Some(Value::Bool(true))),
    })
}

fn argv(reader: &mut Reader, inputs: &Attributes, in_container: bool) -> Vec<String> {
    let path = AttributePath::root("argv");
    let value = given(inputs, "argv");
    let mut argv = Vec::new();
    for (at, value) in reader.list(&path, value) {
        let argument = reader.plain(
            &at,
            value,
            "an argument: every user of the machine can read those",
        );
        if argument.contains('\0') {
            reader.problem(
                &at,
                "The argument holds a NUL byte.",
                "Leave it out: no program could read past it.",
            );
        }
        argv.push(argument);
    }
    let empty = match value {
        // An image has a program of its own.
        None => !in_container,
        Some(Value::List(items)) => items.is_empty(),
        Some(_) => false,
    };
    if empty || argv.first().is_some_and(String::is_empty) {
        reader.problem(
            &path,
            "`argv` names no program.",
            "Put the program first: `argv: [python3, server.py]`.",
        );
    }
    argv
}

fn env(reader: &mut Reader, inputs: &Attributes) -> BTreeMap<String, EnvValue> {
    let path = AttributePath::root("env");
    let mut env = BTreeMap::new();
    for (name, value) in reader.map(&path, given(inputs, "env")) {
        let at = path.key(&name);
        if name.is_empty() || name.contains(['=', '\0']) {
            reader.problem(
                &at,
                format!("{name:?} cannot name an environment variable."),
                "Names have no `=` in them.",
            );
        }
        let text = reader.secretable(&at, value);
        if text.contains('\0') {
            reader.problem(
                &at,
                "The value holds a NUL byte.",
                "Leave it out: no program could read past it.",
            );
        }
        let value = if value.has_secret() {
            EnvValue::Secret(text)
        } else {
            EnvValue::Plain(text)
        };
        env.insert(name, value);
    }
    env
}

fn files(reader: &mut Reader, inputs: &Attributes) -> BTreeMap<String, String> {
    let path = AttributePath::root("files");
    let mut files = BTreeMap::new();
    for (name, value) in reader.map(&path, given(inputs, "files")) {
        let at = path.key(&name);
        reader.inner_path(&at, &name, "the unit's own directory");
        let content = reader.plain(
            &at,
            value,
            "a file's content: files are not kept apart as secrets are",
        );
        files.insert(name, content);
    }
    files
}

fn ports(reader: &mut Reader, inputs: &Attributes) -> BTreeMap<String, PortRequest> {
    let path = AttributePath::root("ports");
    let mut ports = BTreeMap::new();
    for (name, value) in reader.map(&path, given(inputs, "ports")) {
        let at = path.key(&name);
        let fits = name
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || matches!(character, '_' | '-'));
        if name.is_empty() || !fits {
            reader.problem(
                &at,
                format!("{name:?} cannot name a port."),
                "Use letters, digits, `_` and `-`.",
            );
        }
        let request = match value {
            Value::Map(entries) => port_request(reader, &at, entries),
            other => {
                reader.wrong(&at, other, "a map");
                None
            }
        };
        // A name whose number is not known yet is a name all the same, for the placeholders.
        ports.insert(name, request.unwrap_or(PortRequest::Range(1..=u16::MAX)));
    }
    ports
}

fn port_request(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Option<PortRequest> {
    match (given(entries, "range"), given(entries, "port")) {
        (Some(range), None) => {
            let at = at.key("range");
            let text = reader.plain(&at, range, "a range");
            let range = parse_range(&text);
            if range.is_none() && text != NOT_HERE {
                reader.problem(
                    &at,
                    format!("{text:?} is not a range of ports."),
                    "Write it as `20000-29999`.",
                );
            }
            range.map(PortRequest::Range)
        }
        (None, Some(port)) => {
            let at = at.key("port");
            let number = reader.whole(&at, port)?;
            let port = u16::try_from(number).ok().filter(|port| *port > 0);
            if port.is_none() {
                reader.problem(&at, format!("{number} is not a port."), "Ports are 1 to 65535.");
            }
            port.map(PortRequest::Exact)
        }
        _ => {
            reader.problem(
                at,
                "A port is either any free one of a range or a fixed one.",
                "Give either `range: 20000-29999` or `port: 8000`.",
            );
            None
        }
    }
}

fn probes(
    reader: &mut Reader,
    inputs: &Attributes,
    ports: Option<&BTreeMap<String, PortRequest>>,
) -> Vec<(ProbeTarget, Probe)> {
    let path = AttributePath::root("probes");
    let mut probes = Vec::new();
    for (at, value) in reader.list(&path, given(inputs, "probes")) {
        match value {
            Value::Map(entries) => {
                let target = probe_target(reader, &at, entries, ports);
                probes.push((target, probe(reader, &at, entries)));
            }
            other => reader.wrong(&at, other, "a map"),
        }
    }
    probes
}

fn probe_target(
    reader: &mut Reader,
    at: &AttributePath,
    entries: &Attributes,
    ports: Option<&BTreeMap<String, PortRequest>>,
) -> ProbeTarget {
    match (given(entries, "socket"), given(entries, "port")) {
        (Some(_), Some(_)) => {
            reader.problem(
                at,
                "A probe goes either to a port or to a socket.",
                "Leave one of `port` and `socket` out.",
            );
            ProbeTarget::Port(MAIN_PORT.to_owned())
        }
        (Some(socket), None) => {
            let at = at.key("socket");
            let path = reader.plain(&at, socket, "a path");
            reader.inner_path(&at, &path, "the unit's directory");
            ProbeTarget::Socket(path)
        }
        (None, port) => {
            let at_port = at.key("port");
            let name = port.map_or_else(
                || MAIN_PORT.to_owned(),
                |port| reader.plain(&at_port, port, "a port's name"),
            );
            if let Some(ports) = ports
                && name != NOT_HERE
                && !ports.contains_key(&name)
            {
                let known: Vec<&str> = ports.keys().map(String::as_str).collect();
                let known = if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                };
                reader.problem(
                    if port.is_some() { &at_port } else { at },
                    format!("The probe asks the port `{name}`, which the unit does not have."),
                    format!("Ports: {known}."),
                );
            }
            ProbeTarget::Port(name)
        }
    }
}

fn probe(reader: &mut Reader, at: &AttributePath, entries: &Attributes) -> Probe {
    let request = given(entries, "path").map(|path| {
        let at_path = at.key("path");
        let path = reader.plain(
            &at_path,
            path,
            "part of a path, which is shown when a probe fails",
        );
        if path != NOT_HERE && (!path.starts_with('/') || path.parse::<http::Uri>().is_err()) {
            reader.problem(
                &at_path,
                "This is not the path of a request.",
                "Begin with `/`, as in `/health`.",
            );
        }
        probe_request(reader, at, entries, path)
    });
    if request.is_none() {
        for name in ["method", "headers", "body"] {
            if given(entries, name).is_some() {
                reader.problem(
                    &at.key(name),
                    format!("A probe without a `path` only connects; it has no use for `{name}`."),
                    "Add `path`, as in `path: /health`.",
                );
            }
        }
    }
    let mut probe = Probe {
        request,
        ..Probe::connect()
    };
    if let Some(timeout) = given(entries, "timeout_seconds") {
        probe.timeout = reader.seconds(&at.key("timeout_seconds"), timeout);
    }
    if let Some(interval) = given(entries, "interval_seconds") {
        probe.interval = reader.seconds(&at.key("interval_seconds"), interval);
    }
    if let Some(ready_after) = given(entries, "ready_after") {
        let at = at.key("ready_after");
        if let Some(number) = reader.whole(&at, ready_after) {
            match u32::try_from(number) {
                Ok(count) if count > 0 => probe.ready_after = count,
                _ => reader.problem(
                    &at,
                    format!("{number} is not a number of tries."),
                    "Use a whole number from 1.",
                ),
            }
        }
    }
    probe
}

fn probe_request(
    reader: &mut Reader,
    at: &AttributePath,
    entries: &Attributes,
    path: String,
) -> ProbeRequest {
    let mut request = ProbeRequest::get(path);
    if let Some(method) = given(entries, "method") {
        let at = at.key("method");
        let name = reader.plain(&at, method, "a method").to_ascii_uppercase();
        match Method::from_bytes(name.as_bytes()) {
            Ok(method) => request.method = method,
            Err(_) if name == NOT_HERE => {}
            Err(_) => reader.problem(
                &at,
                format!("{name:?} is not an HTTP method."),
                "Use `GET` or `POST`.",
            ),
        }
    }
    let headers = at.key("headers");
    for (name, value) in reader.map(&headers, given(entries, "headers")) {
        let at = headers.key(&name);
        let value = reader.secretable(&at, value);
        if crate::http::HttpRequest::get("/").header(&name, &value).is_err() {
            reader.problem(
                &at,
                "This header cannot be sent.",
                "Look for odd characters in its name and value.",
            );
        }
        request.headers.insert(name, value);
    }
    request.body = given(entries, "body").map(|body| reader.secretable(&at.key("body"), body));
    request
}
