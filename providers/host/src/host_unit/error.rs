//! The words of this crate's errors for the engine.

use gabion_engine::provider::{Effect, ErrorClass, ProviderError};
use gabion_engine::value::AttributePath;
use gabion_engine::words::sentence;

use crate::container::ContainerError;
use crate::package::PackageError;
use crate::ports::PortError;
use crate::probe::NotReady;
use crate::systemd::{Scope, SystemdError};
use crate::unit::{ShimError, UnitDirectory, UnitError};

pub(super) fn unit(error: &UnitError) -> ProviderError {
    let class = match error {
        UnitError::NotFound { .. } | UnitError::Launch(ShimError::NotFound { .. }) => ErrorClass::NotFound,
        UnitError::StaleEpoch { .. }
        | UnitError::Launch(ShimError::StaleEpoch { .. } | ShimError::Busy { .. }) => ErrorClass::Conflict,
        UnitError::Invalid { .. }
        | UnitError::Damaged { .. }
        | UnitError::Unkillable { .. }
        | UnitError::Launch(ShimError::Invalid { .. }) => ErrorClass::Invalid,
        UnitError::Io { source } if source.kind() == std::io::ErrorKind::PermissionDenied => {
            ErrorClass::Denied
        }
        // A full disk does not pass by itself.
        UnitError::Io { source } if is_full(source) => ErrorClass::Invalid,
        UnitError::Io { .. } | UnitError::Launch(ShimError::System { .. }) => ErrorClass::Transient,
        UnitError::Container(error) => return container(error),
        UnitError::Systemd(error) => return systemd(error),
    };
    let answer = ProviderError::new(class, sentence(&error.to_string()));
    match error {
        UnitError::StaleEpoch { .. } | UnitError::Launch(ShimError::StaleEpoch { .. }) => answer.with_hint(
            "Another run of gabion has taken over. Look at what it did before running this one again.",
        ),
        UnitError::Launch(ShimError::Busy { holder: Some(pid) }) => {
            answer.with_hint(format!("See what that process is: `ps -fp {pid}`."))
        }
        UnitError::Io { source } if is_full(source) => {
            answer.with_hint("Make room there (`df -h` says where it is full), then run the command again.")
        }
        _ => answer,
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded
    )
}

pub(super) fn container(error: &ContainerError) -> ProviderError {
    let class = match error {
        ContainerError::Refused { .. } => ErrorClass::Denied,
        ContainerError::Foreign { .. } => ErrorClass::Conflict,
        ContainerError::NoDaemon { .. } | ContainerError::NoImage { .. } | ContainerError::Invalid { .. } => {
            ErrorClass::Invalid
        }
        ContainerError::Daemon { .. } | ContainerError::Io { .. } => ErrorClass::Transient,
    };
    let answer = ProviderError::new(class, sentence(&error.to_string()));
    match error {
        ContainerError::NoDaemon { .. } => answer.with_hint(
            "Start it, let this user use its socket (group `docker`), or name another one in DOCKER_HOST: `unix:///PATH`.",
        ),
        ContainerError::NoImage { image, .. } => answer
            .at(AttributePath::root("container").key("image"))
            .with_hint(format!(
                "Look at its name, add `registry_auth`, or put it on the machine: `docker pull {image}`."
            )),
        ContainerError::Refused { .. } => answer.at(AttributePath::root("registry_auth")),
        ContainerError::Foreign { name } => {
            answer.with_hint(format!("Remove it if nobody needs it: `docker rm -f {name}`."))
        }
        _ => answer,
    }
}

pub(super) fn systemd(error: &SystemdError) -> ProviderError {
    let class = match error {
        SystemdError::NotBooted
        | SystemdError::NoUserManager { .. }
        | SystemdError::NeedsRoot { .. }
        | SystemdError::NotStarted { .. } => ErrorClass::Invalid,
        SystemdError::SudoRefused { .. } => ErrorClass::Denied,
        SystemdError::Foreign { .. } => ErrorClass::Conflict,
        SystemdError::NotFollowed { .. } | SystemdError::Failed { .. } | SystemdError::Io { .. } => {
            ErrorClass::Transient
        }
    };
    let answer = ProviderError::new(class, sentence(&error.to_string()));
    match error {
        SystemdError::NotBooted => answer.with_hint("Remove `runtime: systemd`, or use another machine."),
        SystemdError::NoUserManager { user, .. } => answer.with_hint(format!(
            "Have that user's programs outlive a login, once, on the machine: `sudo loginctl enable-linger {user}`; or use the machine's own manager: `systemd: {{scope: system}}`."
        )),
        SystemdError::NeedsRoot { .. } => answer.with_hint(
            "Say that `sudo` may be used (`backends: [{type: ssh, sudo: true}]`; gabion's own machine takes gabion as root), or use the user's own manager: `systemd: {scope: user}`.",
        ),
        SystemdError::SudoRefused { with_password: true, .. } => answer.with_hint(
            "Correct the secret that `sudo_password` of the backend names, or let this user run `sudo` without a password.",
        ),
        SystemdError::SudoRefused { .. } => answer.with_hint(
            "Give the password as a secret (`backends: [{type: ssh, sudo_password: \"${{ secrets.NAME }}\"}]`), or let this user run `sudo` without one.",
        ),
        SystemdError::Foreign { path } => {
            answer.with_hint(format!("Remove it if nobody needs it: `rm {}`.", path.display()))
        }
        SystemdError::Failed { scope, .. } if *scope == Scope::User => {
            answer.with_hint("See whether the user's manager runs: `systemctl --user status`.")
        }
        SystemdError::NotStarted { name, .. } | SystemdError::NotFollowed { name } => {
            answer.with_hint(format!("See what systemd says: `systemctl status {name}`."))
        }
        _ => answer,
    }
}

pub(super) fn vanished(directory: &UnitDirectory) -> ProviderError {
    ProviderError::new(
        ErrorClass::NotFound,
        format!("The unit {} is not there.", directory.path().display()),
    )
}

pub(super) fn port(name: &str, error: &PortError) -> ProviderError {
    let path = AttributePath::root("ports").key(name);
    let answer = ProviderError::new(
        match error {
            PortError::Leased { .. } | PortError::InUse { .. } | PortError::Exhausted { .. } => {
                ErrorClass::Conflict
            }
            PortError::Damaged { .. } => ErrorClass::Invalid,
            PortError::Io { .. } => ErrorClass::Transient,
        },
        sentence(&error.to_string()),
    )
    .at(path);
    match error {
        PortError::Leased { owner, .. } => answer.with_hint(format!(
            "Use another port, or remove that unit in its project first. Its directory: {}",
            owner.directory.display()
        )),
        PortError::InUse { port } => answer.with_hint(format!(
            "Use another port, or see who listens there: `ss -ltnp 'sport = :{port}'`."
        )),
        PortError::Exhausted { .. } => answer.with_hint("Widen the range."),
        _ => answer,
    }
}

pub(super) fn package(error: &PackageError) -> ProviderError {
    let class = match error {
        PackageError::Io { .. } => ErrorClass::Transient,
        _ => ErrorClass::Invalid,
    };
    let text = error.to_string();
    let mut lines = text.lines();
    let answer = ProviderError::new(class, sentence(lines.next().unwrap_or_default()))
        .with_detail(lines.map(str::to_owned))
        .at(AttributePath::root("package"));
    match error {
        PackageError::Install { .. } | PackageError::Timeout { .. } => {
            answer.with_hint("Check that this machine reaches its package index, then run the command again.")
        }
        _ => answer,
    }
}

pub(super) fn not_ready(error: &NotReady) -> ProviderError {
    let (class, log) = match error {
        NotReady::Exited { log, .. } | NotReady::Deadline { log, .. } => (ErrorClass::Invalid, log.as_str()),
        NotReady::Lost { .. } => (ErrorClass::Transient, ""),
    };
    let message = match error {
        NotReady::Exited { exit: Some(exit), .. } => {
            format!("The program ended before it was ready, with {exit}.")
        }
        NotReady::Exited { exit: None, .. } => "The program ended before it was ready.".to_owned(),
        NotReady::Deadline {
            waited,
            probe,
            reason,
            ..
        } => format!(
            "The program was not ready within {} s: {probe}: {reason}.",
            waited.as_secs_f32().round()
        ),
        NotReady::Lost { reason } => sentence(reason),
    };
    let answer = ProviderError::new(class, message)
        .with_effect(Effect::Partial)
        .with_detail(log.lines().map(str::to_owned));
    match error {
        NotReady::Deadline { .. } => answer.with_hint(
            "The program goes on running. Give it more time with `ready_timeout: SECONDS`, or correct its probe.",
        ),
        _ => answer,
    }
}

pub(super) fn interrupted(doing: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::Uncertain,
        format!("Interrupted while {doing}. What was begun is left as it is."),
    )
}
