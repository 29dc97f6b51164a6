//! A unit's service: put in place, started, stopped, taken away.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::error::SystemdError;
use super::manager::{self, Manager, Shown};
use super::spec::{Scope, ServiceSpec, Sudo, service_name};
use super::unit_file::{self, Draft};
use crate::container;
use crate::durable;
use crate::process;
use crate::unit::{Fence, LaunchRecord, ShimError, UnitDirectory, UnitError};

/// How long the shim may take to become the program once systemd has started it.
const SHIM_DEADLINE: Duration = Duration::from_secs(60);

/// How often systemd is told to start a service that it does not start.
const ATTEMPTS: u32 = 3;

/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// `service.json`: which start of a service gabion knows of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ServiceRecord {
    /// Format of this file.
    format: u32,
    /// Its start, in systemd's words.
    pub(super) invocation: String,
    /// How often systemd had started it again by then.
    pub(super) restarts: u32,
    /// The boot that it was started in.
    pub(super) boot_id: String,
}

impl ServiceRecord {
    const FORMAT: u32 = 1;

    pub(super) fn of(shown: &Shown) -> std::io::Result<Self> {
        Ok(Self {
            format: Self::FORMAT,
            invocation: shown.invocation.clone(),
            restarts: shown.restarts,
            boot_id: process::boot_id()?,
        })
    }

    pub(super) fn read(directory: &UnitDirectory) -> std::io::Result<Option<Self>> {
        // One that cannot be understood is as good as none.
        Ok(durable::read_optional(&record_file(directory))?
            .and_then(|bytes| serde_json::from_slice::<Self>(&bytes).ok())
            .filter(|record| record.format <= Self::FORMAT))
    }

    pub(super) fn write(&self, directory: &UnitDirectory) -> std::io::Result<()> {
        durable::write_atomic(&record_file(directory), &serde_json::to_vec(self)?, 0o600)
    }
}

fn record_file(directory: &UnitDirectory) -> PathBuf {
    directory.path().join("service.json")
}

/// The text of the unit file as gabion wrote it.
pub(super) fn written(directory: &UnitDirectory) -> PathBuf {
    directory.path().join("service.unit")
}

/// A unit that is a service.
pub(super) struct Service {
    pub(super) manager: Manager,
    pub(super) launch: LaunchRecord,
    pub(super) spec: ServiceSpec,
    pub(super) name: String,
    /// Its unit file.
    pub(super) path: PathBuf,
}

impl Service {
    /// Returns the service of a unit; `None` when it has none.
    pub(super) fn of(directory: &UnitDirectory, sudo: Option<&Sudo>) -> Option<Self> {
        let launch = directory.launch().ok()?;
        let spec = launch.service.clone()?;
        let manager = Manager::new(spec.scope, sudo);
        let name = service_name(&launch.uid);
        Some(Self {
            path: manager.unit_directory().join(&name),
            manager,
            launch,
            spec,
            name,
        })
    }
}

/// Returns which manager runs a new service: the one that is asked for, else the machine's where that is allowed.
///
/// # Errors
/// When there is none, or gabion may not tell it anything.
pub(crate) fn choose_scope(asked: Option<Scope>, sudo: Option<&Sudo>) -> Result<Scope, SystemdError> {
    let scope = asked.unwrap_or_else(|| manager::own_scope(sudo));
    Manager::new(scope, sudo).check().map(|()| scope)
}

/// Puts the unit file of a unit's service in its place, unless it is there as it should be; has it start with the machine.
///
/// # Errors
/// [`SystemdError::Foreign`] when something else has its name.
pub(crate) async fn place(
    directory: &UnitDirectory,
    shim: &[String],
    sudo: Option<&Sudo>,
    fence: &Fence,
) -> Result<(), SystemdError> {
    // Who wrote it is no reason to write it again, and neither is another build's shim.
    place_unless(directory, shim, sudo, fence, same_service).await
}

/// The same, with this build's shim also where another one is in its place.
pub(crate) async fn place_build(
    directory: &UnitDirectory,
    shim: &[String],
    sudo: Option<&Sudo>,
    fence: &Fence,
) -> Result<(), SystemdError> {
    place_unless(directory, shim, sudo, fence, same_service_and_shim).await
}

async fn place_unless(
    directory: &UnitDirectory,
    shim: &[String],
    sudo: Option<&Sudo>,
    fence: &Fence,
    is_same: fn(&str, &str) -> bool,
) -> Result<(), SystemdError> {
    let Some(service) = Service::of(directory, sudo) else {
        return Ok(());
    };
    let manager = &service.manager;
    manager.check()?;
    if service.spec.user.is_some() {
        container::show_files(directory, &service.launch)?;
    }
    let found = read_text(&service.path)?;
    if let Some(text) = &found
        && unit_file::owner(text) != Some(&service.launch.uid)
    {
        return Err(SystemdError::Foreign { path: service.path });
    }
    let draft = |fence: &Fence| {
        unit_file::render(&Draft {
            directory: directory.path(),
            launch: &service.launch,
            spec: &service.spec,
            shim,
            // Another user is what the shim itself becomes; until then it needs the unit's directory.
            runs_as: manager::runs_as(manager.scope()).filter(|_| service.spec.user.is_none()),
            fence,
        })
    };
    let text = draft(fence);
    let staged = written(directory);
    let before = read_text(&staged)?;
    let same = |before: &String| is_same(before, &text);
    let text = before.filter(same).unwrap_or(text);
    let shown = manager.show(&service.name).await?;
    let mut changed = remove_drop_ins(manager, &shown, &service.name).await? || shown.needs_reload;
    if found.as_ref() != Some(&text) || read_text(&staged)?.as_ref() != Some(&text) {
        durable::write_atomic(&staged, text.as_bytes(), 0o600)?;
        manager.place(&service.path, &text, &staged).await?;
        changed = true;
    }
    if shown.file_state != "enabled" && !service.launch.completes() {
        manager.enable(&service.name, true).await?;
        changed = true;
    }
    if changed {
        manager.reload().await?;
    }
    Ok(())
}

/// Whether two texts describe the same service, whoever wrote them and whichever build's shim they name.
fn same_service(one: &str, other: &str) -> bool {
    differ_in(one, other, &["ExecStart", "Operation", "Epoch"]) && shim_is_there(one)
}

/// Whether two texts describe the same service, whoever wrote them.
fn same_service_and_shim(one: &str, other: &str) -> bool {
    differ_in(one, other, &["Operation", "Epoch"])
}

/// Whether two texts differ in these settings at most.
fn differ_in(one: &str, other: &str, settings: &[&str]) -> bool {
    let difference = unit_file::difference(one, other);
    difference.is_none_or(|names| names.split(", ").all(|name| settings.contains(&name)))
}

/// Whether the program that a unit file names is still on the machine.
fn shim_is_there(text: &str) -> bool {
    let line = text.lines().find_map(|line| line.strip_prefix("ExecStart=:\""));
    let program = line
        .and_then(|line| line.split_once('"'))
        .map(|(program, _)| program);
    // One whose name systemd reads in another way is written again.
    program.is_some_and(|program| std::path::Path::new(program).is_file())
}

/// Has systemd run a unit's program. Returns when it runs, or has run and ended again.
///
/// # Errors
/// [`UnitError::Launch`] with the reason when the shim did not become the program.
pub(crate) async fn start(
    directory: &UnitDirectory,
    sudo: Option<&Sudo>,
    fence: &Fence,
) -> Result<(), UnitError> {
    let Some(service) = Service::of(directory, sudo) else {
        return Ok(());
    };
    crate::unit::admit(directory, fence)?;
    let refused = directory.refusal_file();
    remove_if_there(&refused)?;
    // Before root makes it, whom only root could follow.
    drop(durable::lock_file(&directory.lock_file())?);
    let before = directory.mark().ok().flatten();
    let mut trouble = None;
    for _ in 0..ATTEMPTS {
        trouble = service.manager.start(&service.name).await.err();
        if trouble.is_none() || refused.exists() {
            break;
        }
        tokio::time::sleep(LOOK * 10).await;
    }
    let deadline = Instant::now() + SHIM_DEADLINE;
    loop {
        let shown = service.manager.show(&service.name).await?;
        let mark = directory.mark().ok().flatten();
        if let Some(error) = refusal(directory) {
            // It would be tried again for as long as its limit allows.
            let _ = service.manager.stop(&service.name, Duration::ZERO).await;
            return Err(UnitError::Launch(error));
        }
        if let Some(mark) = mark.filter(|mark| Some(mark) != before.as_ref())
            && (mark.process.pid == shown.main_pid || !shown.is_up() || shown.is_between_starts())
        {
            ServiceRecord::of(&shown)?.write(directory)?;
            return Ok(());
        }
        if Instant::now() >= deadline || trouble.is_some() && !shown.is_up() {
            if let Some(error) = trouble {
                return Err(error.into());
            }
            let reason = format!(
                "it is {} ({}), and its program has not begun within {} s",
                shown.active,
                shown.result,
                SHIM_DEADLINE.as_secs()
            );
            return Err(SystemdError::NotStarted {
                name: service.name,
                reason,
            }
            .into());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until systemd has taken note of the process that has succeeded a service's; a unit without a service is fine.
///
/// # Errors
/// [`SystemdError::NotFollowed`] when it does not.
pub(crate) async fn follow(directory: &UnitDirectory) -> Result<(), SystemdError> {
    let Some(service) = Service::of(directory, None) else {
        return Ok(());
    };
    let deadline = Instant::now() + SHIM_DEADLINE;
    loop {
        let shown = service.manager.show(&service.name).await?;
        let mark = directory.mark().ok().flatten();
        if mark.is_some_and(|mark| mark.process.pid == shown.main_pid) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(SystemdError::NotFollowed { name: service.name });
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Returns why the shim did not become the program, if it said so.
fn refusal(directory: &UnitDirectory) -> Option<ShimError> {
    let bytes = durable::read_optional(&directory.refusal_file()).ok()??;
    serde_json::from_slice(&bytes).ok()
}

/// Has systemd end a unit's program with all that it started; a unit without a service is fine.
pub(crate) async fn stop(
    directory: &UnitDirectory,
    sudo: Option<&Sudo>,
    grace: Duration,
) -> Result<(), SystemdError> {
    match Service::of(directory, sudo) {
        Some(service) => {
            let shown = service.manager.show(&service.name).await?;
            // Without a program there is nothing that would take rights.
            if matches!(shown.active.as_str(), "inactive" | "failed") {
                return Ok(());
            }
            service.manager.stop(&service.name, grace).await
        }
        None => Ok(()),
    }
}

/// Takes away the service of a unit, whether or not the unit's directory is still there. What is gone is fine.
///
/// # Errors
/// [`SystemdError::Foreign`] when something else has its name.
pub(crate) async fn discard(
    uid: &str,
    scope: Scope,
    sudo: Option<&Sudo>,
    grace: Duration,
) -> Result<(), SystemdError> {
    let manager = Manager::new(scope, sudo);
    let name = service_name(uid);
    let path = manager.unit_directory().join(&name);
    let found = read_text(&path)?;
    if let Some(text) = &found
        && unit_file::owner(text) != Some(uid)
    {
        return Err(SystemdError::Foreign { path });
    }
    let shown = match manager.show(&name).await {
        Ok(shown) => shown,
        // Without a manager nothing of it can run.
        Err(_) if found.is_none() => return Ok(()),
        Err(error) => return Err(error),
    };
    if found.is_none() && shown.load == "not-found" && !shown.is_up() {
        return Ok(());
    }
    manager.stop(&name, grace).await?;
    if found.is_some() && shown.file_state != "static" {
        manager.enable(&name, false).await?;
    }
    // They are of no use without it, and would be there for the next of that name.
    remove_drop_ins(&manager, &shown, &name).await?;
    manager.remove(&path).await?;
    manager.reload().await?;
    manager.forget(&name).await;
    Ok(())
}

/// Removes what changes a service beside its unit file, and its service alone; returns whether there was anything.
async fn remove_drop_ins(manager: &Manager, shown: &Shown, name: &str) -> Result<bool, SystemdError> {
    let mut found = false;
    for drop_in in shown.own_drop_ins(name) {
        manager.remove(drop_in).await?;
        if let Some(directory) = drop_in.parent() {
            manager.remove_if_empty(directory).await?;
        }
        found = true;
    }
    Ok(found)
}

/// Reads a text file that may be absent.
pub(super) fn read_text(path: &std::path::Path) -> std::io::Result<Option<String>> {
    let bytes = durable::read_optional(path)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn remove_if_there(path: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(durable::at(path, error)),
        _ => Ok(()),
    }
}
