//! The container of a `host_unit`: chosen when it is made, and read back.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::provider::{Call, ErrorClass, ProviderError, RecordedObject};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::actual::Private;
use super::container_inputs::{ContainerInputs, DOCKER, to_value};
use super::error;
use super::inputs::Inputs;
use super::reader::Knowledge;
use crate::container::{ContainerError, ContainerSpec, Daemon, Image, Look, check_agent};
use crate::provider::HostConfig;
use crate::unit::UnitDirectory;

/// Returns the container of a unit that is about to be written: its image is on the machine then.
pub(super) async fn choose(
    config: &HostConfig,
    directory: &UnitDirectory,
    recorded: &RecordedObject,
    inputs: &Inputs,
    call: &Call,
) -> Result<Option<ContainerSpec>, ProviderError> {
    let Some(wanted) = &inputs.container else {
        return Ok(None);
    };
    let agent = config.containers.agent.clone().ok_or_else(|| {
        ProviderError::new(
            ErrorClass::Invalid,
            "The first process of a container is gabion's static agent, and this build has none here.",
        )
        .at(AttributePath::root("container"))
        .with_hint("Build it with `cargo xtask agent`, and put it beside `gabion`.")
    })?;
    let checked = agent.clone();
    tokio::task::spawn_blocking(move || check_agent(&checked))
        .await
        .map_err(|_| error::interrupted("the agent's program was looked at"))?
        .map_err(|problem| error::unit(&problem))?;
    let before = directory.launch().ok().and_then(|launch| launch.container);
    let daemon = match &before {
        // Where its container is.
        Some(before) => Daemon::connect(&before.socket).await,
        None => Daemon::first(&config.containers.sockets).await,
    };
    let daemon = daemon.map_err(|problem| error::container(&problem))?;
    let pinned = Private::of(&recorded.private)
        .image
        .or_else(|| before.map(|before| before.image))
        .filter(|image| image.name == wanted.image);
    let image = image(&daemon, wanted, pinned, inputs, call).await;
    Ok(Some(ContainerSpec {
        socket: daemon.socket().to_owned(),
        agent,
        image: image.map_err(|problem| error::container(&problem))?,
        settings: wanted.settings.clone(),
    }))
}

/// Has the image on the machine: the very one that was chosen before, if there is one.
async fn image(
    daemon: &Daemon,
    wanted: &ContainerInputs,
    pinned: Option<Image>,
    inputs: &Inputs,
    call: &Call,
) -> Result<Image, ContainerError> {
    let credentials = inputs.registry_auth.as_ref();
    let progress = |words: &str| call.phase(&format!("image: {words}"));
    let Some(pinned) = pinned else {
        if let Some(image) = daemon.image(&wanted.image).await? {
            return Ok(image);
        }
        call.phase("image");
        return daemon.pull(&wanted.image, credentials, &progress).await;
    };
    if daemon.image(&pinned.id).await?.is_some() {
        return Ok(pinned);
    }
    let gone = |reason: String| ContainerError::NoImage {
        image: wanted.image.clone(),
        reason,
    };
    let Some(digest) = &pinned.digest else {
        return Err(gone(format!(
            "it was {}, which was removed, and no registry has it",
            pinned.id
        )));
    };
    call.phase("image");
    let pulled = daemon.pull(digest, credentials, &progress).await?;
    if pulled.id != pinned.id {
        return Err(gone(format!("{digest} is {}, and was {}", pulled.id, pinned.id)));
    }
    Ok(pinned)
}

/// Describes a unit's container in the words of the schema: as its daemon has it, or as it was launched when there is
/// none. What is the same as was asked for is spelled in the same way.
pub(super) fn describe(
    spec: &ContainerSpec,
    look: Option<&Look>,
    recorded: &RecordedObject,
) -> Vec<(&'static str, Value)> {
    let seen = look.and_then(|look| look.seen.as_ref());
    let settings = seen.map_or(&spec.settings, |seen| &seen.settings);
    let id = seen.map_or(&spec.image.id, |seen| &seen.image_id);
    let name = if *id == spec.image.id {
        &spec.image.name
    } else {
        id
    };
    let asked = asked(&recorded.inputs);
    let mut without_user = settings.clone();
    without_user.user.clone_from(&spec.settings.user);
    let same = asked
        .as_ref()
        .is_some_and(|(asked, _)| asked.image == *name && asked.settings == without_user);
    let value = match asked {
        Some((_, value)) if same => value,
        _ => to_value(name, settings),
    };
    vec![
        ("runtime", DOCKER.into()),
        ("container", value),
        ("user", settings.user.as_ref().map_or(Value::Null, Value::string)),
        ("image_id", Value::string(id)),
        (
            "image_digest",
            match &spec.image.digest {
                Some(digest) if *id == spec.image.id => Value::string(digest),
                _ => Value::Null,
            },
        ),
        (
            "restarted",
            seen.and_then(|seen| seen.restarted.as_ref())
                .map_or(Value::Null, Value::string),
        ),
    ]
}

/// Returns the container that was asked for, and how it was spelled.
fn asked(inputs: &Attributes) -> Option<(ContainerInputs, Value)> {
    let value = inputs.get("container")?.clone();
    let (parsed, _) = Inputs::parse(inputs, Knowledge::Partial);
    Some((parsed.container?, value))
}

/// Returns the variables that a container has beside those that it was given.
pub(super) fn other_env(look: Option<&Look>) -> BTreeMap<Arc<str>, Value> {
    let seen = look.and_then(|look| look.seen.as_ref());
    seen.iter()
        .flat_map(|seen| &seen.other_env)
        .map(|(name, value)| (Arc::from(name.as_str()), Value::string(value)))
        .collect()
}

/// Returns what a container runs, if it is not the unit's own program.
pub(super) fn other_program(look: Option<&Look>) -> Option<Value> {
    let program = look?.seen.as_ref()?.other_program.as_ref()?;
    Some(Value::List(program.iter().map(Value::string).collect()))
}
