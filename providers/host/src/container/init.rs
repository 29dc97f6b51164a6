//! The first process of a container: the agent's static program.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Gid, Pid, Uid, setgid, setgroups, setuid};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal as listen};
use tokio::sync::mpsc;

use super::layout::{AGENT_INSIDE, ContainerLaunch, LAUNCH_INSIDE, RELAY_INSIDE};
use super::relay;
use super::user::{self, Identity};

/// What shells end with when a program is not there, or cannot be started.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// Signals that the container's processes get as the first process gets them.
const HANDED_ON: [(SignalKind, Signal); 6] = [
    (SignalKind::terminate(), Signal::SIGTERM),
    (SignalKind::interrupt(), Signal::SIGINT),
    (SignalKind::quit(), Signal::SIGQUIT),
    (SignalKind::hangup(), Signal::SIGHUP),
    (SignalKind::user_defined1(), Signal::SIGUSR1),
    (SignalKind::user_defined2(), Signal::SIGUSR2),
];

/// Runs the unit's program as the container's first process, and returns the exit code to end with.
///
/// Must be the whole work of a process that is the first of its container: it waits for every process there.
#[must_use]
pub fn init() -> u8 {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let outcome = runtime.and_then(|runtime| runtime.block_on(run()));
    match outcome {
        Ok(code) => code,
        Err(error) => {
            say(&error.to_string());
            match error.kind() {
                io::ErrorKind::NotFound => NOT_FOUND,
                _ => NOT_EXECUTABLE,
            }
        }
    }
}

/// Says something where the container's output goes.
fn say(words: &str) {
    // There is nowhere else to say it.
    let _ = writeln!(io::stderr(), "gabion: {words}");
}

fn launch() -> io::Result<ContainerLaunch> {
    let bytes = fs::read(LAUNCH_INSIDE)
        .map_err(|error| io::Error::other(format!("what to run cannot be read: {error}")))?;
    let launch: ContainerLaunch = serde_json::from_slice(&bytes)
        // The error's words must not quote the content.
        .map_err(|_| io::Error::other("what to run cannot be understood"))?;
    if launch.format > ContainerLaunch::FORMAT {
        return Err(io::Error::other("what to run was written by a newer gabion"));
    }
    Ok(launch)
}

/// Becomes a command beside the container's program, with its environment and as its user. Returns only when that failed:
/// the exit code to end with.
#[must_use]
pub fn beside(argv: &[String]) -> u8 {
    let error = match launch() {
        Err(error) => error,
        Ok(launch) => match program(&ContainerLaunch {
            argv: argv.to_vec(),
            ..launch
        }) {
            Err(error) => error,
            Ok(mut command) => {
                let error = command.exec();
                refused(&command.get_program().to_string_lossy(), &error)
            }
        },
    };
    say(&error.to_string());
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

async fn run() -> io::Result<u8> {
    let launch = launch()?;
    let (sender, mut signals) = mpsc::unbounded_channel();
    for (kind, number) in HANDED_ON {
        let mut stream = listen(kind)?;
        let sender = sender.clone();
        tokio::spawn(async move { while stream.recv().await.is_some() && sender.send(number).is_ok() {} });
    }
    let mut children = listen(SignalKind::child())?;
    tokio::spawn(relay::serve_inside(bind()?));

    let child = program(&launch)?.spawn().map_err(|error| {
        let name = launch.argv.first().map_or("", String::as_str);
        refused(name, &error)
    })?;
    let program = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let mut ended = None;
    let mut asked = false;
    loop {
        // It may have ended before anybody listened.
        let reaped = reap(program)?;
        ended = ended.or(reaped.ended);
        // Who was asked to end has its time for it; the daemon knows how long that is.
        if let Some(code) = ended.filter(|_| !asked || !reaped.are_left) {
            return Ok(code);
        }
        tokio::select! {
            _ = children.recv() => {}
            Some(number) = signals.recv() => {
                asked |= matches!(number, Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT);
                // To all of them, as it is done with a session of the machine.
                match signal::kill(Pid::from_raw(-1), number) {
                    Ok(()) | Err(Errno::ESRCH) => {}
                    Err(error) => say(&format!("{number} cannot be handed on: {error}")),
                }
            }
        }
    }
}

fn bind() -> io::Result<UnixListener> {
    // One that is left belongs to an earlier start of the container.
    match fs::remove_file(RELAY_INSIDE) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(RELAY_INSIDE)?;
    // The directory on the machine is its owner's alone.
    fs::set_permissions(RELAY_INSIDE, fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

fn program(launch: &ContainerLaunch) -> io::Result<Command> {
    let [name, arguments @ ..] = launch.argv.as_slice() else {
        return Err(io::Error::other("there is nothing to run"));
    };
    let identity = match launch.user.as_deref().filter(|user| !user.is_empty()) {
        None => None,
        Some(wanted) => {
            let text = |path: &str| fs::read_to_string(path).unwrap_or_default();
            let found = user::find(wanted, "the image", &text("/etc/passwd"), &text("/etc/group"));
            Some(found.map_err(io::Error::other)?)
        }
    };
    let mut env = launch.env.clone();
    let is_root = |identity: &Identity| identity.uid == 0 && identity.gid == 0 && identity.groups.is_empty();
    let Some(identity) = identity.filter(|identity| !is_root(identity)) else {
        return Ok(command(name, arguments, env));
    };
    let home = identity.home.clone().unwrap_or_else(|| "/".to_owned());
    env.entry("HOME".to_owned()).or_insert(home);
    let groups: Vec<String> = identity.groups.iter().map(u32::to_string).collect();
    let mut command = command(AGENT_INSIDE, &[], env);
    command
        .args(["agent", "container-user"])
        .args([
            identity.uid.to_string(),
            identity.gid.to_string(),
            groups.join(","),
        ])
        .args(&launch.argv);
    Ok(command)
}

/// A command above the image's own environment, which is this process's.
fn command(name: &str, arguments: &[String], env: BTreeMap<String, String>) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).envs(env);
    command
}

/// Becomes another user, and then a program. Returns only when that failed: the exit code to end with.
#[must_use]
pub fn become_user(uid: u32, gid: u32, groups: &[u32], argv: &[String]) -> u8 {
    let [name, arguments @ ..] = argv else {
        return NOT_EXECUTABLE;
    };
    let groups: Vec<Gid> = groups.iter().copied().map(Gid::from_raw).collect();
    let changed = setgroups(&groups)
        .and_then(|()| setgid(Gid::from_raw(gid)))
        .and_then(|()| setuid(Uid::from_raw(uid)));
    if let Err(error) = changed {
        say(&format!("user {uid}:{gid} cannot be become: {error}"));
        return NOT_EXECUTABLE;
    }
    let error = Command::new(name).args(arguments).exec();
    say(&refused(name, &error).to_string());
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

fn refused(name: &str, error: &io::Error) -> io::Error {
    let why = match error.kind() {
        io::ErrorKind::NotFound => format!("the program {name:?} is not in the image"),
        io::ErrorKind::PermissionDenied => format!("the program {name:?} may not be executed"),
        _ => format!("the program {name:?} cannot be started: {error}"),
    };
    io::Error::new(error.kind(), why)
}

/// What became of the processes of the container.
struct Reaped {
    /// The exit code of the program, if it has ended.
    ended: Option<u8>,
    /// Whether others are left.
    are_left: bool,
}

/// Waits for every process that has ended.
fn reap(program: Pid) -> io::Result<Reaped> {
    let mut ended = None;
    loop {
        let (pid, code) = match waitpid(Pid::from_raw(-1), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) => (pid, u8::try_from(code).unwrap_or(u8::MAX)),
            Ok(WaitStatus::Signaled(pid, number, _)) => {
                (pid, u8::try_from(128 + number as i32).unwrap_or(u8::MAX))
            }
            Ok(WaitStatus::StillAlive) => {
                return Ok(Reaped {
                    ended,
                    are_left: true,
                });
            }
            Err(Errno::ECHILD) => {
                return Ok(Reaped {
                    ended,
                    are_left: false,
                });
            }
            Ok(_) | Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        if pid == program {
            ended = Some(code);
        }
    }
}
