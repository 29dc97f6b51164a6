//! A unit as it is on its machine.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    ImportRequest, ObjectState, ProviderError, ReadOutcome, ReadRequest, RecordedObject,
};
use gabion_engine::value::{AttributePath, Attributes, Secret, Value};
use serde::{Deserialize, Serialize};

use super::containers;
use super::error;
use super::reader::words;
use super::services;
use super::{AGENT_DIGEST, MAIN_PORT, url};
use crate::container::{self, Image, Look};
use crate::process::{ProcessIdentity, boot_id};
use crate::provider::HostConfig;
use crate::systemd;
use crate::unit::{LaunchRecord, Mark, Standing, Supervision, UnitDirectory, UnitError, UnitStatus, inspect};

/// Attributes of which the machine knows nothing.
pub(super) const UNREADABLE: [&str; 7] = [
    "machine",
    "package",
    "ports",
    "probes",
    "ready_timeout",
    "user",
    "registry_auth",
];

/// What the provider keeps for itself.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Private {
    /// The leased ports.
    pub(super) ports: BTreeMap<String, u16>,
    /// The last launch.
    pub(super) launch: Option<Launch>,
    /// The image that was chosen for its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) image: Option<Image>,
    /// Why a program that was meant to end did not end well, as the end of a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) trouble: Option<String>,
}

/// A launch, as it may be recorded: without the digest, in which secret values have a part.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Launch {
    operation: String,
    #[serde(flatten)]
    process: ProcessIdentity,
}

impl Launch {
    pub(super) fn of(mark: Mark) -> Self {
        Self {
            operation: mark.operation,
            process: mark.process,
        }
    }
}

impl Private {
    /// Reads private data; what is not ours is as good as none.
    pub(super) fn of(value: &serde_json::Value) -> Self {
        serde_json::from_value(value.clone()).unwrap_or_default()
    }

    pub(super) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Returns the attribute `port`.
    pub(super) fn port_value(&self) -> Value {
        port_value(&self.ports)
    }
}

fn port_value(ports: &BTreeMap<String, u16>) -> Value {
    if ports.is_empty() {
        return Value::Null;
    }
    Value::map(
        ports
            .iter()
            .map(|(name, port)| (name, Value::Int(i64::from(*port)))),
    )
}

/// Reads the units that are recorded.
pub(crate) fn read(config: &HostConfig, request: &ReadRequest) -> Vec<ReadOutcome> {
    request
        .objects
        .iter()
        .map(|object| match look(config, object) {
            Ok(Some(state)) => ReadOutcome::Present(state),
            Ok(None) => ReadOutcome::Absent,
            Err(error) => ReadOutcome::CannotTell {
                reason: error.to_string(),
            },
        })
        .collect()
}

/// Looks at one recorded unit; `None` when it is not there.
pub(super) fn look(config: &HostConfig, object: &RecordedObject) -> Result<Option<ObjectState>, UnitError> {
    let directory = directory(config, object)?;
    let seen = look_at(&directory)?;
    describe(&directory, object, &seen)
}

/// What those say whom gabion has a unit's program run by.
#[derive(Default)]
struct Seen {
    container: Option<Look>,
    service: Option<systemd::Look>,
}

/// Looks at the unit's container or service, if it has one.
async fn seen(directory: &UnitDirectory) -> Result<Seen, UnitError> {
    Ok(Seen {
        container: container::look(directory).await?,
        service: systemd::look(directory).await?,
    })
}

/// Looks at the unit's container or service, if it has one; on a thread that may wait.
fn look_at(directory: &UnitDirectory) -> Result<Seen, UnitError> {
    let found = directory.found();
    let is_process = |launch: &LaunchRecord| launch.container.is_none() && launch.service.is_none();
    if found.launch().is_ok_and(|launch| is_process(&launch)) {
        return Ok(Seen::default());
    }
    tokio::runtime::Handle::current().block_on(seen(&found))
}

/// Returns the directory of a recorded unit: its id names it, or its uid as long as the id is not known.
pub(super) fn directory(config: &HostConfig, object: &RecordedObject) -> Result<UnitDirectory, UnitError> {
    match &object.id {
        Some(id) => UnitDirectory::new(&config.data_root, id.as_str()),
        None => UnitDirectory::new(&config.data_root, &object.uid.to_string()),
    }
}

/// Describes a unit in the words of the schema.
///
/// What was recorded decides only what cannot be read, and whether an empty map is spelled out.
fn describe(
    directory: &UnitDirectory,
    recorded: &RecordedObject,
    seen: &Seen,
) -> Result<Option<ObjectState>, UnitError> {
    let (container, service) = (seen.container.as_ref(), seen.service.as_ref());
    // A unit whose removal was interrupted is there until it has ended; that it has left its place is not its description's matter.
    let found = &directory.found();
    let status = match inspect(found) {
        Ok(status) => Some(status),
        Err(UnitError::NotFound { .. }) => return Ok(None),
        // What cannot be understood differs from what should be there, and is put right.
        Err(UnitError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let launch = match found.launch() {
        Ok(launch) => Some(launch),
        Err(UnitError::NotFound { .. } | UnitError::Damaged { .. }) => None,
        Err(error) => return Err(error),
    };
    let asked = |name: &str| recorded.inputs.get(name);
    let mut attributes = Attributes::new();
    let mut set = |name: &str, value: Value| {
        if !value.is_null() {
            attributes.insert(name.into(), value);
        }
    };
    let keeps = status.as_ref().is_some_and(UnitStatus::is_running);
    // A keeper that waits for its next attempt has no container.
    let retries = match &status {
        Some(status) => matches!(standing_of(status, found)?, Standing::Retrying { .. }),
        None => false,
    };
    let trouble = container.filter(|_| keeps && !retries).and_then(Look::trouble);
    let trouble = trouble.or_else(|| service?.trouble.clone());
    let running = keeps && trouble.is_none();
    let supervision = launch.as_ref().and_then(|launch| launch.supervision.as_ref());
    let completes = supervision.is_some_and(|supervision| supervision.completes);
    set("id", name(directory));
    set("unit_dir", Value::string(directory.path().to_string_lossy()));
    if !completes {
        set("running", running.into());
        let ended = match &status {
            Some(_) if trouble.is_some() => trouble.map_or(Value::Null, Value::string),
            Some(UnitStatus::Exited { exit: None, .. })
                if service.is_some_and(|look| look.ended.is_some()) =>
            {
                service
                    .and_then(services::ended)
                    .map_or(Value::Null, Value::string)
            }
            Some(status) => ended(status, found)?,
            None => "its mark is damaged".into(),
        };
        set("ended", ended);
    }
    if let Some(supervision) = supervision {
        for (name, value) in supervised(supervision, asked("node")) {
            set(name, value);
        }
    }
    if let Some(launch) = &launch {
        let argv = launch.argv.iter().enumerate().map(|(index, text)| {
            let asked = asked("argv").and_then(Value::as_list);
            as_asked(text, asked.and_then(|argv| argv.get(index)))
        });
        let argv = containers::other_program(container).unwrap_or_else(|| Value::List(argv.collect()));
        // An image has a program of its own.
        if argv.as_list().is_some_and(|argv| !argv.is_empty()) {
            set("argv", argv);
        }
        set("env", env(found, launch, recorded, container)?);
        set(
            "working_dir",
            launch.working_dir.as_ref().map_or(Value::Null, Value::string),
        );
        set("role", launch.role.as_ref().map_or(Value::Null, Value::string));
        set("stop_timeout", seconds(launch.stop_milliseconds));
        set("port", port_value(&launch.ports));
        set(
            "url",
            url(launch
                .ports
                .get(MAIN_PORT)
                .map(|port| Value::Int(i64::from(*port)))
                .as_ref()),
        );
    }
    let spec = launch.as_ref().and_then(|launch| launch.container.as_ref());
    let in_container = spec.is_some();
    let of_systemd = launch.as_ref().and_then(|launch| launch.service.as_ref());
    if let Some(spec) = of_systemd {
        let uid = name(directory);
        for (name, value) in services::describe(
            uid.as_str().unwrap_or_default(),
            spec,
            supervision.is_some(),
            service,
            recorded,
        ) {
            set(name, value);
        }
    }
    // Whoever asked for a process gets the answer in the same words.
    if !in_container
        && of_systemd.is_none()
        && let Some(runtime) = asked("runtime")
    {
        set("runtime", runtime.clone());
    }
    if let Some(spec) = spec {
        for (name, value) in containers::describe(spec, container, recorded) {
            set(name, value);
        }
    }
    set("files", files(found, launch.as_ref(), recorded)?);
    if let Some(UnitStatus::Running { mark }) = &status
        && launch.as_ref().is_some_and(LaunchRecord::is_agent)
    {
        set(
            AGENT_DIGEST,
            mark.program.as_ref().map_or(Value::Null, Value::string),
        );
    }
    let mut private = Private::of(&recorded.private);
    if private.image.is_none() {
        private.image = launch
            .as_ref()
            .and_then(|launch| Some(launch.container.as_ref()?.image.clone()));
    }
    private.launch = status
        .as_ref()
        .and_then(UnitStatus::mark)
        .cloned()
        .map(Launch::of);
    private.trouble = match &status {
        Some(status) if completes => standing_of(status, found)?.trouble(),
        _ => None,
    };
    if private.ports.is_empty()
        && let Some(launch) = &launch
    {
        private.ports = launch.ports.clone();
    }
    Ok(Some(ObjectState {
        id: ObjectId::new(name(directory).as_str().unwrap_or_default()),
        attributes,
        private: private.to_value(),
        unreadable: UNREADABLE
            .iter()
            .filter(|name| !((in_container || of_systemd.is_some()) && **name == "user"))
            .map(AttributePath::root)
            .collect(),
    }))
}

fn name(directory: &UnitDirectory) -> Value {
    directory
        .path()
        .file_name()
        .map_or(Value::Null, |name| Value::string(name.to_string_lossy()))
}

fn standing_of(status: &UnitStatus, directory: &UnitDirectory) -> Result<Standing, UnitError> {
    let run = match status.mark() {
        Some(mark) => directory.run(mark)?,
        None => None,
    };
    Ok(Standing::of(status, run.as_ref()))
}

fn ended(status: &UnitStatus, directory: &UnitDirectory) -> Result<Value, UnitError> {
    Ok(match status {
        UnitStatus::Running { .. } => Value::Null,
        UnitStatus::NeverStarted => "it was never started".into(),
        UnitStatus::Rebooted { mark } => Value::string(format!(
            "the machine was restarted: its boot_id was {} and is {}",
            mark.process.boot_id,
            boot_id()?
        )),
        UnitStatus::Exited { .. } => match standing_of(status, directory)? {
            Standing::Exited { exit: Some(exit) } => Value::string(format!("it ended with {exit}")),
            Standing::Exited { exit: None } => "it ended; nobody saw how".into(),
            other => Value::string(format!(
                "it {}",
                other.trouble().unwrap_or_else(|| "ended".to_owned())
            )),
        },
    })
}

/// Returns what a supervisor was told, in the words of the schema; `asked` is the node as it was asked for.
fn supervised(supervision: &Supervision, asked: Option<&Value>) -> Vec<(&'static str, Value)> {
    let mut values = Vec::new();
    if supervision.completes {
        values.push(("completes", true.into()));
    }
    values.extend(
        supervision
            .retry_milliseconds
            .map(|time| ("retry_timeout", seconds(time))),
    );
    values.extend(
        supervision
            .max_milliseconds
            .map(|time| ("run_timeout", seconds(time))),
    );
    values.extend(supervision.node.as_ref().map(|node| {
        let mut entries = vec![
            ("run", Value::from(node.run.as_str())),
            ("rank", Value::Int(i64::from(node.rank))),
        ];
        let spelled_out = asked
            .and_then(Value::as_map)
            .is_some_and(|asked| asked.contains_key("ends_with_master"));
        if node.ends_with_master || spelled_out {
            entries.push(("ends_with_master", node.ends_with_master.into()));
        }
        ("node", Value::map(entries))
    }));
    values
}

fn seconds(milliseconds: u64) -> Value {
    if milliseconds.is_multiple_of(1000) {
        Value::Int(i64::try_from(milliseconds / 1000).unwrap_or(i64::MAX))
    } else {
        Value::Float(milliseconds as f64 / 1000.0)
    }
}

/// Returns a text in the type in which it was asked for: a reference to a port is a number, and the program gets its digits.
fn as_asked(text: &str, asked: Option<&Value>) -> Value {
    match asked {
        Some(value @ (Value::Int(_) | Value::Float(_) | Value::Bool(_))) if words(value) == text => {
            value.clone()
        }
        _ => Value::string(text),
    }
}

/// Reads the environment: plain values from the record, secret ones from their own file.
fn env(
    directory: &UnitDirectory,
    launch: &LaunchRecord,
    recorded: &RecordedObject,
    container: Option<&Look>,
) -> Result<Value, UnitError> {
    let secrets = match directory.secret_env() {
        Ok(secrets) => secrets,
        Err(UnitError::Damaged { .. }) => BTreeMap::new(),
        Err(error) => return Err(error),
    };
    let mut env = Attributes::new();
    for (name, value) in &launch.env {
        let asked = recorded
            .inputs
            .get("env")
            .and_then(Value::as_map)
            .and_then(|env| env.get(name.as_str()));
        env.insert(name.as_str().into(), as_asked(value, asked));
    }
    for name in &launch.secret_env {
        if let Some(value) = secrets.get(name) {
            env.insert(
                name.as_str().into(),
                Value::Secret(Secret::new(None, Value::string(value))),
            );
        }
    }
    env.extend(containers::other_env(container));
    Ok(or_absent(env, recorded, "env"))
}

/// Reads the unit's files: those it was written with and those that should be there. What the program itself left there is its own.
fn files(
    directory: &UnitDirectory,
    launch: Option<&LaunchRecord>,
    recorded: &RecordedObject,
) -> Result<Value, UnitError> {
    let mut names: BTreeSet<&str> = BTreeSet::new();
    if let Some(launch) = launch {
        names.extend(launch.files.keys().map(String::as_str));
    }
    if let Some(Value::Map(files)) = recorded.inputs.get("files") {
        names.extend(files.keys().map(|name| &**name));
    }
    let mut files = Attributes::new();
    for name in names {
        if let Some(content) = directory.file(name)? {
            files.insert(name.into(), Value::string(String::from_utf8_lossy(&content)));
        }
    }
    Ok(or_absent(files, recorded, "files"))
}

/// An empty map is the same as none, unless the configuration spelled it out.
fn or_absent(entries: Attributes, recorded: &RecordedObject, name: &str) -> Value {
    let spelled_out = recorded.inputs.get(name).is_some_and(|value| !value.is_null());
    if entries.is_empty() && !spelled_out {
        Value::Null
    } else {
        Value::Map(entries)
    }
}

/// Returns the state after a call, in which what cannot be read is what was asked for, defaults included.
pub(super) async fn achieved(
    directory: &UnitDirectory,
    recorded: &RecordedObject,
    planned: &Attributes,
) -> Result<ObjectState, ProviderError> {
    let seen = seen(directory).await.map_err(|error| error::unit(&error))?;
    let mut state = describe(directory, recorded, &seen)
        .map_err(|error| error::unit(&error))?
        .ok_or_else(|| error::vanished(directory))?;
    for path in std::mem::take(&mut state.unreadable) {
        let asked = path.first_key().and_then(|name| {
            let value = recorded.inputs.get(name).filter(|value| !value.is_null());
            Some((name, value.or_else(|| planned.get(name))?))
        });
        if let Some((name, value)) = asked {
            state.attributes.insert(name.into(), value.clone());
        }
    }
    Ok(state)
}

/// Reads a unit that is not recorded, by its uid.
pub(crate) fn import(config: &HostConfig, request: &ImportRequest) -> Result<ObjectState, ProviderError> {
    let directory =
        UnitDirectory::new(&config.data_root, request.id.as_str()).map_err(|error| error::unit(&error))?;
    let nothing = RecordedObject {
        uid: gabion_engine::address::Uid::from_uuid(uuid::Uuid::nil()),
        address: request.address.clone(),
        id: Some(request.id.clone()),
        inputs: Attributes::new(),
        attributes: Attributes::new(),
        private: serde_json::Value::Null,
    };
    let seen = look_at(&directory).map_err(|error| error::unit(&error))?;
    describe(&directory, &nothing, &seen)
        .map_err(|error| error::unit(&error))?
        .ok_or_else(|| error::vanished(&directory))
}
