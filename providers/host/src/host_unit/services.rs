//! The service of a `host_unit`: chosen when it is made, run, and read back.

use std::time::Duration;

use gabion_engine::provider::{ProviderError, RecordedObject};
use gabion_engine::value::{AttributePath, Value};

use super::error;
use super::inputs::Inputs;
use super::reader::Knowledge;
use super::service_inputs::{default_restart, to_value};
use crate::provider::HostConfig;
use crate::systemd::{self, Look, ServiceSpec, service_name};
use crate::unit::{Fence, UnitDirectory, UnitError};

/// Returns the service of a unit that is about to be written: in the manager that has it already, if one has.
pub(super) fn choose(
    config: &HostConfig,
    directory: &UnitDirectory,
    inputs: &Inputs,
) -> Result<Option<ServiceSpec>, ProviderError> {
    let Some(wanted) = &inputs.service else {
        return Ok(None);
    };
    let before = directory.launch().ok().and_then(|launch| launch.service);
    let asked = wanted.scope.or_else(|| before.map(|before| before.scope));
    let scope = systemd::choose_scope(asked, config.systemd.sudo.as_ref())
        .map_err(|problem| error::systemd(&problem).at(AttributePath::root("runtime")))?;
    Ok(Some(wanted.in_scope(scope)))
}

/// Puts the unit file of a unit that is written in its place; a unit without a service is fine.
pub(super) async fn place(
    config: &HostConfig,
    directory: &UnitDirectory,
    fence: &Fence,
) -> Result<(), UnitError> {
    let sudo = config.systemd.sudo.as_ref();
    Ok(systemd::place(directory, &config.shim, sudo, fence).await?)
}

/// Has systemd start another build of an agent from now on, when it starts the unit; a unit without a service is fine.
pub(super) async fn place_build(
    config: &HostConfig,
    directory: &UnitDirectory,
    fence: &Fence,
) -> Result<(), UnitError> {
    let sudo = config.systemd.sudo.as_ref();
    Ok(systemd::place_build(directory, &config.shim, sudo, fence).await?)
}

/// Has systemd run a unit's program, if the unit is a service; returns whether it is.
pub(super) async fn start(
    config: &HostConfig,
    directory: &UnitDirectory,
    fence: &Fence,
) -> Result<bool, UnitError> {
    if directory.launch()?.service.is_none() {
        return Ok(false);
    }
    systemd::start(directory, config.systemd.sudo.as_ref(), fence).await?;
    Ok(true)
}

/// Has systemd stop a unit's program before anything else does; a unit without a service is fine.
pub(super) async fn stop(
    config: &HostConfig,
    directory: &UnitDirectory,
    fence: &Fence,
    grace: Duration,
) -> Result<(), UnitError> {
    if directory.launch().is_ok_and(|launch| launch.service.is_some()) {
        crate::unit::admit(directory, fence)?;
        systemd::stop(directory, config.systemd.sudo.as_ref(), grace).await?;
    }
    Ok(())
}

/// Takes away the service of a unit that is deleted, also when its directory is gone; a unit without one is fine.
pub(super) async fn discard(
    config: &HostConfig,
    directory: &UnitDirectory,
    recorded: &RecordedObject,
    fence: &Fence,
    grace: Duration,
) -> Result<(), UnitError> {
    let found = directory.found();
    let spec = match found.launch() {
        Ok(launch) => launch.service,
        Err(_) => {
            let (inputs, _) = Inputs::parse(&recorded.inputs, Knowledge::Partial);
            let recorded_scope = recorded.attributes.get("systemd").and_then(scope_of);
            inputs.service.map(|service| {
                let scope = service.scope.or(recorded_scope);
                service.in_scope(scope.unwrap_or(systemd::Scope::System))
            })
        }
    };
    let Some(spec) = spec else {
        return Ok(());
    };
    if found.exists() {
        crate::unit::admit(&found, fence)?;
    }
    let uid = directory.path().file_name().unwrap_or_default().to_string_lossy();
    Ok(systemd::discard(&uid, spec.scope, config.systemd.sudo.as_ref(), grace).await?)
}

fn scope_of(value: &Value) -> Option<systemd::Scope> {
    let name = value.as_map()?.get("scope")?.as_str()?;
    systemd::Scope::ALL
        .into_iter()
        .find_map(|(known, scope)| (known == name).then_some(scope))
}

/// Whether a unit's service, if it is one, is as it should be. That somebody else started it is taken note of.
pub(super) async fn keeps_its_service(directory: &UnitDirectory) -> Result<bool, UnitError> {
    match systemd::look(directory).await? {
        None => Ok(true),
        Some(look) if look.is_as_written() => {
            systemd::settle(directory).await?;
            Ok(true)
        }
        Some(_) => Ok(false),
    }
}

/// Describes a unit's service in the words of the schema. What is the same as was asked for is spelled in the same way.
pub(super) fn describe(
    uid: &str,
    spec: &ServiceSpec,
    supervised: bool,
    look: Option<&Look>,
    recorded: &RecordedObject,
) -> Vec<(&'static str, Value)> {
    let asked = recorded.inputs.get("systemd").cloned().unwrap_or_default();
    let (parsed, _) = Inputs::parse(&recorded.inputs, Knowledge::Partial);
    let same = match parsed.service {
        Some(service) => service.is_met_by(spec),
        // Nobody has asked for anything yet; what is by itself so goes without saying.
        None => spec.scope == systemd::Scope::System && spec.restart == default_restart(supervised),
    };
    let text = |text: Option<&String>| text.map_or(Value::Null, Value::string);
    vec![
        ("runtime", super::container_inputs::SYSTEMD.into()),
        ("systemd", if same { asked } else { to_value(spec) }),
        ("user", text(spec.user.as_ref())),
        (
            "service",
            Value::string(format!("{} ({})", service_name(uid), spec.scope)),
        ),
        (
            "service_changed",
            text(look.and_then(|look| look.edited.as_ref())),
        ),
        ("restarted", text(look.and_then(|look| look.restarted.as_ref()))),
    ]
}

/// Says how the program of a service ended, in a sentence's words.
pub(super) fn ended(look: &Look) -> Option<String> {
    let (exit, next) = look.ended?;
    Some(match next {
        Some(next) => format!("it ended with {exit}; {next}"),
        None => format!("it ended with {exit}"),
    })
}
