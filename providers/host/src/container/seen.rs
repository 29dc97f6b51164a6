//! A unit's container as its daemon has it.

use std::collections::BTreeMap;

use bollard::models::{ContainerInspectResponse, MountType, RestartPolicyNameEnum};

use super::daemon::{Daemon, FIRST_USER, UID, container_name, first_process};
use super::error::ContainerError;
use super::keeper::ContainerRecord;
use super::layout::{INSIDE, Layout};
use super::spec::{ContainerMount, ContainerSettings, ContainerSpec, Gpus, Network, Restart};
use crate::unit::UnitDirectory;

/// Docker's own size of shared memory.
const DEFAULT_SHM: i64 = 64 << 20;

/// What is there of a unit's container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// The container; `None` when there is none.
    pub(crate) seen: Option<Seen>,
}

/// A container that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether it is the one that the unit's keeper made.
    pub(crate) ours: bool,
    /// Whether its program runs.
    pub(crate) running: bool,
    /// Whether its program is held.
    pub(crate) paused: bool,
    /// When it was started, if not by its keeper.
    pub(crate) restarted: Option<String>,
    /// The image that it was made from, by its id.
    pub(crate) image_id: String,
    /// What it is.
    pub(crate) settings: ContainerSettings,
    /// What it runs, if not the unit's own first process.
    pub(crate) other_program: Option<Vec<String>>,
    /// Variables that neither the image nor the unit has.
    pub(crate) other_env: BTreeMap<String, String>,
}

impl Look {
    /// Says what is wrong with the container while its keeper runs, in a sentence's words.
    pub(crate) fn trouble(&self) -> Option<String> {
        let Some(seen) = &self.seen else {
            return Some("its container is gone".to_owned());
        };
        if !seen.ours {
            return Some("its container was replaced by another one".to_owned());
        }
        if seen.paused {
            return Some("its container is paused".to_owned());
        }
        (!seen.running).then(|| "its container does not run".to_owned())
    }

    /// Whether the container is what its unit's record says.
    pub(crate) fn is_as_asked(&self, spec: &ContainerSpec) -> bool {
        self.trouble().is_none()
            && self.seen.as_ref().is_some_and(|seen| {
                seen.image_id == spec.image.id
                    && seen.settings == spec.settings
                    && seen.other_program.is_none()
                    && seen.other_env.is_empty()
            })
    }
}

/// Looks at the container of a unit; `None` for a unit that has none.
///
/// # Errors
/// When its daemon cannot tell.
pub(crate) async fn look(directory: &UnitDirectory) -> Result<Option<Look>, ContainerError> {
    let Ok(launch) = directory.launch() else {
        return Ok(None);
    };
    let Some(spec) = launch.container else {
        return Ok(None);
    };
    let daemon = Daemon::connect(&spec.socket).await?;
    let Some(found) = daemon.find(&container_name(&launch.uid)).await? else {
        return Ok(Some(Look { seen: None }));
    };
    let record = ContainerRecord::read(&Layout::of(directory))?;
    let image = found.image.clone().unwrap_or_default();
    let of_image = super::spec::Image {
        id: image,
        ..spec.image.clone()
    };
    let image_env = match daemon.image_program(&of_image).await {
        Ok((_, env)) => env,
        // Removed while a container still runs from it.
        Err(ContainerError::NoImage { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    Ok(Some(Look {
        seen: Some(seen(found, &launch.uid, &spec, record.as_ref(), &image_env)),
    }))
}

/// Returns how often the daemon has started a unit's container again; `None` when it cannot tell.
pub(crate) async fn restarts(uid: &str, spec: &ContainerSpec) -> Option<u32> {
    if spec.settings.restart == Restart::No {
        return Some(0);
    }
    let daemon = Daemon::connect(&spec.socket).await.ok()?;
    match daemon.find(&container_name(uid)).await.ok()? {
        Some(found) => u32::try_from(found.restart_count.unwrap_or_default()).ok(),
        None => Some(0),
    }
}

/// Takes note of a container that was restarted by somebody else.
pub(crate) async fn settle(directory: &UnitDirectory) -> Result<(), ContainerError> {
    let Ok(launch) = directory.launch() else {
        return Ok(());
    };
    let layout = Layout::of(directory);
    let (Some(spec), Some(mut record)) = (launch.container, ContainerRecord::read(&layout)?) else {
        return Ok(());
    };
    let daemon = Daemon::connect(&spec.socket).await?;
    let found = daemon.find(&record.id).await?;
    let started_at = found
        .and_then(|found| found.state)
        .and_then(|state| state.started_at);
    if let Some(started_at) = started_at.filter(|time| *time != record.started_at) {
        record.started_at = started_at;
        record.write(&layout)?;
    }
    Ok(())
}

fn seen(
    found: ContainerInspectResponse,
    uid: &str,
    spec: &ContainerSpec,
    record: Option<&ContainerRecord>,
    image_env: &[String],
) -> Seen {
    let settings = settings(&found, spec);
    let state = found.state.unwrap_or_default();
    let config = found.config.unwrap_or_default();
    let labels = config.labels.unwrap_or_default();
    let recorded = record.filter(|record| found.id.as_deref() == Some(record.id.as_str()));
    let started_at = state.started_at.unwrap_or_default();
    let program: Vec<String> = found
        .path
        .into_iter()
        .chain(found.args.unwrap_or_default())
        .collect();
    let other_env = config
        .env
        .unwrap_or_default()
        .into_iter()
        .filter(|variable| !image_env.contains(variable))
        .filter_map(|variable| {
            let (name, value) = variable.split_once('=')?;
            Some((name.to_owned(), value.to_owned()))
        })
        // Docker's own for an image that has none.
        .filter(|(name, _)| name != "PATH" || image_env.iter().any(|variable| variable.starts_with("PATH=")))
        .collect();
    Seen {
        ours: recorded.is_some() && labels.get(UID).map(String::as_str) == Some(uid),
        running: state.running == Some(true) && state.restarting != Some(true),
        paused: state.paused == Some(true),
        restarted: recorded
            .filter(|record| record.started_at != started_at)
            .map(|_| started_at),
        image_id: found.image.unwrap_or_default(),
        settings,
        other_program: (program != first_process()).then_some(program),
        other_env,
    }
}

/// Reads the settings of a container back. Which of its ports the keeper relays to, only the unit's record knows.
fn settings(found: &ContainerInspectResponse, spec: &ContainerSpec) -> ContainerSettings {
    let host = found.host_config.clone().unwrap_or_default();
    let user = found.config.as_ref().and_then(|config| config.user.clone());
    let asked = &spec.settings;
    let mebibytes = |bytes: i64| u64::try_from(bytes).ok().map(|bytes| bytes >> 20);
    let positive = |number: Option<i64>| number.filter(|number| *number > 0);
    let gpus = host
        .device_requests
        .unwrap_or_default()
        .into_iter()
        .find_map(|request| {
            let all = request.count == Some(-1);
            let count = request.count.and_then(|count| u32::try_from(count).ok());
            if all {
                Some(Gpus::All)
            } else {
                count.map(Gpus::Count)
            }
        });
    let shm_mib = positive(host.shm_size)
        .filter(|size| asked.shm_mib.is_some() || *size != DEFAULT_SHM)
        .and_then(mebibytes);
    ContainerSettings {
        user: match user.as_deref() {
            Some(FIRST_USER) => asked.user.clone(),
            other => other.filter(|user| !user.is_empty()).map(str::to_owned),
        },
        privileged: host.privileged == Some(true),
        gpus,
        shm_mib,
        memory_mib: positive(host.memory).and_then(mebibytes),
        cpu_millis: positive(host.nano_cpus)
            .and_then(|cpus| u64::try_from(cpus).ok())
            .map(|cpus| cpus / 1_000_000),
        mounts: mounts(found, asked),
        network: match host.network_mode.as_deref() {
            Some("host") => Network::Host,
            _ => Network::Own,
        },
        ports: asked.ports.clone(),
        restart: match host.restart_policy.and_then(|policy| policy.name) {
            Some(RestartPolicyNameEnum::ON_FAILURE) => Restart::OnFailure,
            Some(RestartPolicyNameEnum::ALWAYS | RestartPolicyNameEnum::UNLESS_STOPPED) => Restart::Always,
            _ => Restart::No,
        },
    }
}

/// Reads what a container sees of the machine, in the order in which it was asked for; gabion's own is left out.
fn mounts(found: &ContainerInspectResponse, asked: &ContainerSettings) -> Vec<ContainerMount> {
    let host = found.host_config.clone().unwrap_or_default();
    let of_mounts = host.mounts.unwrap_or_default().into_iter().filter_map(|mount| {
        (mount.typ == Some(MountType::BIND)).then(|| ContainerMount {
            source: mount.source.unwrap_or_default(),
            target: mount.target.unwrap_or_default(),
            read_only: mount.read_only == Some(true),
        })
    });
    // As other tools ask for them.
    let of_binds = host.binds.unwrap_or_default().into_iter().filter_map(|bind| {
        let mut parts = bind.split(':');
        Some(ContainerMount {
            source: parts.next()?.to_owned(),
            target: parts.next()?.to_owned(),
            read_only: parts
                .next()
                .is_some_and(|mode| mode.split(',').any(|mode| mode == "ro")),
        })
    });
    let mut found: Vec<ContainerMount> = of_mounts
        .chain(of_binds)
        .filter(|mount| mount.target != INSIDE && !mount.target.starts_with("/.gabion/"))
        .collect();
    let position = |mount: &ContainerMount| {
        let same = |other: &ContainerMount| other.target == mount.target;
        asked.mounts.iter().position(same).unwrap_or(usize::MAX)
    };
    found.sort_by_key(position);
    found
}
