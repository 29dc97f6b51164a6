//! A unit's service as its manager has it.

use super::error::SystemdError;
use super::manager::Shown;
use super::service::{Service, ServiceRecord, read_text, written};
use super::unit_file;
use crate::process;
use crate::unit::{Exit, Mark, UnitDirectory};

/// What is there of a unit's service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Look {
    /// Its unit file.
    pub(crate) path: String,
    /// What somebody else made of its unit file, in a sentence's words; `None` when it is as gabion wrote it.
    pub(crate) edited: Option<String>,
    /// Who started its program, if not gabion's last start; in a sentence's words.
    pub(crate) restarted: Option<String>,
    /// What is wrong with it while the unit's process runs, in a sentence's words.
    pub(crate) trouble: Option<String>,
    /// How its program ended last, if it has, and what systemd does about it.
    pub(crate) ended: Option<(Exit, Option<&'static str>)>,
    /// Whether systemd waits before it starts the program again.
    pub(crate) waits: bool,
}

impl Look {
    /// Whether the service is as it was written, and runs the unit's program.
    pub(crate) fn is_as_written(&self) -> bool {
        self.edited.is_none() && self.trouble.is_none()
    }
}

/// Looks at the service of a unit; `None` for a unit that has none.
///
/// # Errors
/// When its manager cannot tell.
pub(crate) async fn look(directory: &UnitDirectory) -> Result<Option<Look>, SystemdError> {
    // To look takes no rights.
    let Some(service) = Service::of(directory, None) else {
        return Ok(None);
    };
    let shown = service.manager.show(&service.name).await?;
    let mark = directory.mark().ok().flatten();
    Ok(Some(Look {
        path: service.path.display().to_string(),
        edited: edited(directory, &service, &shown)?,
        restarted: restarted(directory, &shown)?,
        trouble: mark.and_then(|mark| trouble(&mark, &shown)),
        ended: shown.exit.map(|exit| (exit, next(&shown))),
        waits: shown.is_between_starts(),
    }))
}

/// Takes note of a service that was started by somebody else.
pub(crate) async fn settle(directory: &UnitDirectory) -> Result<(), SystemdError> {
    let Some(service) = Service::of(directory, None) else {
        return Ok(());
    };
    let shown = service.manager.show(&service.name).await?;
    let now = ServiceRecord::of(&shown)?;
    if ServiceRecord::read(directory)?.as_ref() != Some(&now) {
        now.write(directory)?;
    }
    Ok(())
}

/// Returns how often systemd has started the program of a unit's service again; `None` when it cannot tell.
pub(crate) async fn restarts(directory: &UnitDirectory) -> Option<u32> {
    let service = Service::of(directory, None)?;
    let shown = service.manager.show(&service.name).await.ok()?;
    Some(shown.restarts)
}

fn edited(
    directory: &UnitDirectory,
    service: &Service,
    shown: &Shown,
) -> Result<Option<String>, SystemdError> {
    let path = service.path.display();
    let Some(text) = read_text(&service.path)? else {
        return Ok(Some(format!("{path} is gone")));
    };
    if let Some(written) = read_text(&written(directory))?
        && let Some(difference) = unit_file::difference(&written, &text)
    {
        return Ok(Some(format!("{path} was edited: {difference}")));
    }
    if let Some(drop_in) = shown.own_drop_ins(&service.name).next() {
        let names = read_text(drop_in)?
            .map(|text| unit_file::setting_names(&text))
            .unwrap_or_default();
        return Ok(Some(format!("{} changes it: {names}", drop_in.display())));
    }
    if shown.file_state != "enabled" && !service.launch.completes() {
        return Ok(Some(format!(
            "it is {}, and would not start with the machine",
            if shown.file_state.is_empty() {
                "not loaded"
            } else {
                &shown.file_state
            }
        )));
    }
    if shown.needs_reload {
        return Ok(Some(format!("systemd has not read {path} since it was changed")));
    }
    Ok(None)
}

fn restarted(directory: &UnitDirectory, shown: &Shown) -> Result<Option<String>, SystemdError> {
    let Some(known) = ServiceRecord::read(directory)? else {
        return Ok(None);
    };
    let boot_id = process::boot_id()?;
    if known.boot_id != boot_id {
        return Ok(Some(format!(
            "with the machine: its boot_id was {} and is {boot_id}",
            known.boot_id
        )));
    }
    if shown.restarts > known.restarts {
        let times = match shown.restarts - known.restarts {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        let result = match shown.result.as_str() {
            "" | "success" => String::new(),
            result => format!(" ({result})"),
        };
        return Ok(Some(format!(
            "by systemd, {times}, after its program had ended{result}"
        )));
    }
    if !shown.invocation.is_empty() && shown.invocation != known.invocation {
        return Ok(Some(format!(
            "by somebody else: its invocation was {} and is {}",
            known.invocation, shown.invocation
        )));
    }
    Ok(None)
}

/// Says what is wrong with a service whose unit has this mark, should the mark's process run.
fn trouble(mark: &Mark, shown: &Shown) -> Option<String> {
    if shown.is_up() && shown.main_pid == mark.process.pid {
        return None;
    }
    if shown.is_up() && shown.main_pid != 0 && !mark.process.is_alive() {
        return Some("systemd runs another program as its service".to_owned());
    }
    mark.process
        .is_alive()
        .then(|| "systemd does not run its program: somebody else started it".to_owned())
}

/// Says what systemd does about a program that has ended.
fn next(shown: &Shown) -> Option<&'static str> {
    if shown.is_between_starts() {
        return Some("systemd is about to start it again");
    }
    (shown.result == "start-limit-hit")
        .then_some("systemd has given up: it ended too often in too short a time")
}
