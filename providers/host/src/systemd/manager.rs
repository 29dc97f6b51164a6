//! One of a machine's managers: its commands, and where its unit files are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::{self, Uid};

use super::error::SystemdError;
use super::spec::{Scope, Sudo};
use crate::durable;
use crate::transport::{Command, CommandOutput, LocalTransport, Transport};
use crate::unit::Exit;

/// How long a command may take that waits for no program.
const QUICK: Duration = Duration::from_secs(60);

/// How much longer than the program systemd may take.
const MARGIN: Duration = Duration::from_secs(30);

/// What `systemctl` ends with when there is no such unit.
const NOT_LOADED: i32 = 5;

/// Where systemd shows that it runs the machine.
const BOOTED: &str = "/run/systemd/system";

/// Where it is kept whose managers run without a login.
const LINGER: &str = "/var/lib/systemd/linger";

/// What is asked of a service.
const PROPERTIES: &str = "LoadState,ActiveState,SubState,Result,MainPID,InvocationID,NRestarts,DropInPaths,UnitFileState,NeedDaemonReload,ExecMainCode,ExecMainStatus";

/// A manager.
#[derive(Clone, Debug)]
pub(super) struct Manager {
    scope: Scope,
    sudo: Option<Sudo>,
}

/// A service as its manager has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) load: String,
    pub(super) active: String,
    pub(super) sub: String,
    pub(super) result: String,
    pub(super) main_pid: i32,
    pub(super) invocation: String,
    pub(super) restarts: u32,
    pub(super) drop_ins: Vec<PathBuf>,
    pub(super) file_state: String,
    pub(super) needs_reload: bool,
    /// How its program ended last, if it has.
    pub(super) exit: Option<Exit>,
}

impl Shown {
    /// Whether its program runs, or is about to.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Whether systemd waits before it starts the program again.
    pub(super) fn is_between_starts(&self) -> bool {
        self.sub == "auto-restart"
    }

    /// Returns the drop-ins that are of this service alone; others are the machine's rules for all services.
    pub(super) fn own_drop_ins(&self, name: &str) -> impl Iterator<Item = &PathBuf> {
        let directory = format!("{name}.d");
        self.drop_ins
            .iter()
            .filter(move |path| path.parent().is_some_and(|parent| parent.ends_with(&directory)))
    }

    fn parse(text: &str) -> Self {
        let values: BTreeMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let get = |name: &str| values.get(name).copied().unwrap_or_default();
        let number = |name: &str| get(name).parse().unwrap_or_default();
        // 1 is `exited`; 2 and 3 are the signals' (`killed`, `dumped`).
        let exit = match get("ExecMainCode") {
            "1" => Some(Exit {
                code: Some(number("ExecMainStatus")),
                signal: None,
            }),
            "2" | "3" => Some(Exit {
                code: None,
                signal: Some(number("ExecMainStatus")),
            }),
            _ => None,
        };
        Self {
            load: get("LoadState").to_owned(),
            active: get("ActiveState").to_owned(),
            sub: get("SubState").to_owned(),
            result: get("Result").to_owned(),
            main_pid: number("MainPID"),
            invocation: get("InvocationID").to_owned(),
            restarts: get("NRestarts").parse().unwrap_or_default(),
            drop_ins: get("DropInPaths").split_whitespace().map(PathBuf::from).collect(),
            file_state: get("UnitFileState").to_owned(),
            needs_reload: get("NeedDaemonReload") == "yes",
            exit,
        }
    }
}

/// Returns the scope of services for which none is asked: the machine's where that is allowed.
pub(super) fn own_scope(sudo: Option<&Sudo>) -> Scope {
    if unistd::geteuid().is_root() || sudo.is_some() {
        Scope::System
    } else {
        Scope::User
    }
}

impl Manager {
    pub(super) fn new(scope: Scope, sudo: Option<&Sudo>) -> Self {
        Self {
            scope,
            sudo: sudo
                .filter(|_| scope == Scope::System && !unistd::geteuid().is_root())
                .cloned(),
        }
    }

    pub(super) fn scope(&self) -> Scope {
        self.scope
    }

    /// Checks that there is such a manager, that it outlives a login, and that gabion may tell it anything.
    pub(super) fn check(&self) -> Result<(), SystemdError> {
        if !Path::new(BOOTED).is_dir() {
            return Err(SystemdError::NotBooted);
        }
        if self.scope == Scope::System {
            if unistd::geteuid().is_root() || self.sudo.is_some() {
                return Ok(());
            }
            return Err(SystemdError::NeedsRoot {
                doing: "A service of the machine's own manager".to_owned(),
            });
        }
        let user = user_name();
        let without = |why: &str| SystemdError::NoUserManager {
            user: user.clone(),
            why: why.to_owned(),
        };
        if !Path::new(LINGER).join(&user).exists() {
            return Err(without("it does not linger"));
        }
        if !runtime_directory().join("systemd").is_dir() {
            return Err(without("no manager of its own runs"));
        }
        Ok(())
    }

    /// Returns the directory of the unit files that people write.
    pub(super) fn unit_directory(&self) -> PathBuf {
        match self.scope {
            Scope::System => PathBuf::from("/etc/systemd/system"),
            Scope::User => home().join(".config/systemd/user"),
        }
    }

    /// Puts a unit file in its place, whole; `staged` holds the same text already.
    pub(super) async fn place(&self, path: &Path, text: &str, staged: &Path) -> Result<(), SystemdError> {
        if self.sudo.is_none() {
            if let (Some(parent), Scope::User) = (path.parent(), self.scope) {
                durable::create_private_directory(parent)?;
            }
            durable::write_atomic(path, text.as_bytes(), 0o644)?;
            // Whatever the process's mask of permissions is.
            let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
            std::fs::set_permissions(path, open).map_err(|error| durable::at(path, error))?;
            return Ok(());
        }
        let doing = "Its unit file cannot be put in its place";
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // systemd reads no file of this name.
        let draft = path.with_file_name(format!(".{name}.new")).display().to_string();
        let (staged, path) = (staged.display().to_string(), path.display().to_string());
        let install = [
            "install", "-m", "0644", "-o", "root", "-g", "root", "--", &staged, &draft,
        ];
        self.as_root(doing, &install).await?;
        self.as_root(doing, &["sync", "--", &draft]).await?;
        self.as_root(doing, &["mv", "-f", "--", &draft, &path]).await?;
        Ok(())
    }

    /// Removes a unit file; one that is gone is fine.
    pub(super) async fn remove(&self, path: &Path) -> Result<(), SystemdError> {
        if self.sudo.is_some() {
            let path = path.display().to_string();
            self.as_root("Its unit file cannot be removed", &["rm", "-f", "--", &path])
                .await?;
            return Ok(());
        }
        match std::fs::remove_file(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(durable::at(path, error).into()),
            Ok(()) => Ok(path.parent().map_or(Ok(()), durable::sync_directory)?),
        }
    }

    /// Removes a directory if nothing is in it.
    pub(super) async fn remove_if_empty(&self, path: &Path) -> Result<(), SystemdError> {
        if self.sudo.is_none() {
            return Ok(durable::remove_if_empty(path)?);
        }
        let path = path.display().to_string();
        let rmdir = ["rmdir", "--ignore-fail-on-non-empty", "--", &path];
        self.as_root("The directory of its drop-ins cannot be removed", &rmdir)
            .await
    }

    /// Has the manager read its unit files again.
    pub(super) async fn reload(&self) -> Result<(), SystemdError> {
        self.tell("The unit files cannot be read again", &["daemon-reload"])
            .await
    }

    /// Has a service started with the machine, or not.
    pub(super) async fn enable(&self, name: &str, enabled: bool) -> Result<(), SystemdError> {
        if enabled {
            self.tell(
                "It cannot be enabled",
                &["enable", "--quiet", "--no-reload", name],
            )
            .await
        } else {
            self.tell(
                "It cannot be disabled",
                &["disable", "--quiet", "--no-reload", name],
            )
            .await
        }
    }

    /// Has a service started; one that runs is left alone.
    pub(super) async fn start(&self, name: &str) -> Result<(), SystemdError> {
        // It may have failed too often in too short a time; there is nothing to forget of one that is not loaded.
        let _ = self.tell("", &["reset-failed", name]).await;
        let output = self.run(true, &["start", name], QUICK + MARGIN).await?;
        self.check_output("It cannot be started", &output)
    }

    /// Stops a service; its program has this long before it is killed. One that is not there is fine.
    pub(super) async fn stop(&self, name: &str, grace: Duration) -> Result<(), SystemdError> {
        let arguments = ["stop", name];
        let mut stopping = std::pin::pin!(self.run(true, &arguments, grace + MARGIN * 2));
        let output = tokio::select! {
            output = &mut stopping => output?,
            () = tokio::time::sleep(grace) => {
                let kill = ["kill", "--signal=SIGKILL", "--kill-who=all", name];
                // It may have ended just now.
                let _ = self.tell("", &kill).await;
                stopping.await?
            }
        };
        if output.code == Some(NOT_LOADED) {
            return Ok(());
        }
        self.check_output("It cannot be stopped", &output)
    }

    /// Forgets that a service failed, so that nothing of it is left once its file is gone.
    pub(super) async fn forget(&self, name: &str) {
        // There is nothing to forget of one that is not loaded.
        let _ = self.tell("", &["reset-failed", name]).await;
    }

    /// Says how a service is.
    pub(super) async fn show(&self, name: &str) -> Result<Shown, SystemdError> {
        let property = format!("--property={PROPERTIES}");
        let output = self.run(false, &["show", &property, "--", name], QUICK).await?;
        self.check_output("Its state cannot be read", &output)?;
        Ok(Shown::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    async fn tell(&self, doing: &str, arguments: &[&str]) -> Result<(), SystemdError> {
        let output = self.run(true, arguments, QUICK).await?;
        self.check_output(doing, &output)
    }

    /// Runs `systemctl`.
    async fn run(
        &self,
        changes: bool,
        arguments: &[&str],
        timeout: Duration,
    ) -> Result<CommandOutput, SystemdError> {
        let scope = match self.scope {
            Scope::System => "--system",
            Scope::User => "--user",
        };
        let mut argv = vec!["systemctl", scope, "--no-pager", "--no-ask-password"];
        argv.extend(arguments);
        if changes && self.sudo.is_some() {
            let doing = format!("`systemctl {}` cannot be run", arguments.join(" "));
            return self.sudo(&doing, &argv, timeout).await;
        }
        let mut env = BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]);
        if self.scope == Scope::User {
            let directory = runtime_directory().to_string_lossy().into_owned();
            env.insert("XDG_RUNTIME_DIR".to_owned(), directory);
        }
        let command = Command {
            argv: argv.into_iter().map(str::to_owned).collect(),
            env,
            timeout: Some(timeout),
            ..Command::default()
        };
        Ok(LocalTransport.run(&command).await?)
    }

    /// Runs a command that must succeed, as root.
    async fn as_root(&self, doing: &str, argv: &[&str]) -> Result<(), SystemdError> {
        let output = self.sudo(doing, argv, QUICK).await?;
        self.check_output(doing, &output)
    }

    async fn sudo(
        &self,
        doing: &str,
        argv: &[&str],
        timeout: Duration,
    ) -> Result<CommandOutput, SystemdError> {
        let password = self.sudo.as_ref().and_then(|sudo| sudo.password.as_deref());
        let how: &[&str] = match password {
            // Asked for each time: that an earlier one is remembered would hide a wrong one.
            Some(_) => &["sudo", "-k", "-S", "-p", "", "--"],
            None => &["sudo", "-n", "--"],
        };
        let command = Command {
            argv: how.iter().chain(argv).map(|word| (*word).to_owned()).collect(),
            stdin: password
                .map(|password| format!("{password}\n").into_bytes())
                .unwrap_or_default(),
            env: BTreeMap::from([("LC_ALL".to_owned(), "C".to_owned())]),
            timeout: Some(timeout),
            ..Command::default()
        };
        let refused = |reason: String| SystemdError::SudoRefused {
            doing: doing.to_owned(),
            reason,
            with_password: password.is_some(),
        };
        let output = match LocalTransport.run(&command).await {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refused("`sudo` is not installed".to_owned()));
            }
            output => output?,
        };
        let said = String::from_utf8_lossy(&output.stderr);
        // The command's own words do not begin like this.
        let own = said.lines().rev().find(|line| line.starts_with("sudo: "));
        match own {
            Some(line) if output.code != Some(0) => {
                let reason = line.trim_start_matches("sudo: ");
                Err(refused(reason.to_owned()))
            }
            _ if output.code == Some(1) && said.contains("is not allowed to") => {
                Err(refused(said.trim().to_owned()))
            }
            _ if output.code == Some(1) && said.contains("is not in the sudoers file") => {
                Err(refused(said.trim().to_owned()))
            }
            _ => Ok(output),
        }
    }

    fn check_output(&self, doing: &str, output: &CommandOutput) -> Result<(), SystemdError> {
        if output.code == Some(0) {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let reason = match lines.as_slice() {
            [] => match output.code {
                Some(code) => format!("exit code {code}"),
                None => "it was killed".to_owned(),
            },
            // The rest is how to see what the unit's own log says, which gabion shows itself.
            [first, ..] => first.trim_end_matches('.').to_owned(),
        };
        Err(SystemdError::Failed {
            doing: doing.to_owned(),
            scope: self.scope,
            reason,
        })
    }
}

/// Returns the name of the user whom this process runs as.
fn user_name() -> String {
    let uid = unistd::geteuid();
    unistd::User::from_uid(uid)
        .ok()
        .flatten()
        .map_or_else(|| uid.to_string(), |user| user.name)
}

fn home() -> PathBuf {
    unistd::User::from_uid(unistd::geteuid())
        .ok()
        .flatten()
        .map_or_else(|| PathBuf::from("/"), |user| user.dir)
}

/// Where the user's manager listens.
fn runtime_directory() -> PathBuf {
    PathBuf::from(format!("/run/user/{}", unistd::geteuid()))
}

/// Returns who the shim has to be told to run as, in a unit file of this scope: whoever owns the unit's directory, unless
/// that is whom the manager runs programs as by itself.
pub(super) fn runs_as(scope: Scope) -> Option<u32> {
    let own: Uid = unistd::geteuid();
    (scope == Scope::System && !own.is_root()).then_some(own.as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_manager_shows_is_understood() {
        let shown = Shown::parse(
            "LoadState=loaded\nActiveState=activating\nSubState=auto-restart\nResult=signal\nMainPID=0\n\
             InvocationID=ab12\nNRestarts=3\nDropInPaths=/etc/a.d/x.conf /run/b.conf\nUnitFileState=enabled\n\
             NeedDaemonReload=yes\nExecMainCode=2\nExecMainStatus=9\n",
        );
        assert!(shown.is_up() && shown.is_between_starts() && shown.needs_reload);
        assert_eq!(shown.restarts, 3);
        assert_eq!(shown.drop_ins.len(), 2);
        assert_eq!(shown.exit.unwrap().to_string(), "signal SIGKILL");
        assert_eq!(Shown::parse("LoadState=not-found\n").exit, None);
    }

    #[test]
    fn how_gabion_becomes_root_shows_no_password() {
        let sudo = Sudo {
            password: Some("hunter2".to_owned()),
        };
        let manager = Manager {
            scope: Scope::System,
            sudo: Some(sudo),
        };
        assert!(!format!("{manager:?}").contains("hunter2"));
    }
}
