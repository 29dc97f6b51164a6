//! The process that becomes the program, or stays beside it as its supervisor.
//!
//! The body of the hidden command `gabion agent unit-exec DIR`. It reports on standard error whether it got as far as the program: nothing but the end of that pipe on success, one line of JSON on failure.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::unistd;
use serde::{Deserialize, Serialize};

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::fence;
use super::log;
use super::mark::Mark;
use super::placeholder::Substitution;
use super::record::{LaunchRecord, program_digest, to_bytes};
use super::supervise::Supervisor;
use crate::container::user;
use crate::durable;
use crate::process::ProcessIdentity;

/// The environment variable that tells a program, and whoever looks for its descendants, which unit it belongs to.
pub(crate) const UNIT_VARIABLE: &str = "GABION_UNIT";

/// The environment variable in which systemd says where it listens to a service.
pub const NOTIFY_VARIABLE: &str = "NOTIFY_SOCKET";

/// The program of whoever looks, also when its file has been replaced since.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// What the shim is asked to run.
#[derive(Clone, Debug)]
pub struct ShimRequest {
    /// The unit's directory.
    pub directory: PathBuf,
    /// The operation that launches it, for the mark.
    pub operation: String,
    /// That operation's lease epoch.
    pub epoch: u64,
}

/// Why the shim did not become the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "error", rename_all = "snake_case")]
pub enum ShimError {
    /// The unit runs already, or what is left of an earlier run holds its lock.
    #[error("the unit is held by {}", holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}")))]
    Busy {
        /// The process, when it is known.
        holder: Option<i32>,
    },
    /// A newer run of gabion has touched the unit.
    #[error("epoch {offered} is older than {recorded}, which has touched this unit since")]
    StaleEpoch {
        /// The caller's epoch.
        offered: u64,
        /// The newest epoch seen.
        recorded: u64,
    },
    /// There is no such unit, or no longer.
    #[error("{path} is not there")]
    NotFound {
        /// What is missing.
        path: String,
    },
    /// The program cannot be started as recorded.
    #[error("{detail}")]
    Invalid {
        /// What is wrong: the program is missing, the working directory is, a record is damaged.
        detail: String,
    },
    /// The operating system refused.
    #[error("{detail}")]
    System {
        /// Its words.
        detail: String,
    },
}

impl From<io::Error> for ShimError {
    fn from(error: io::Error) -> Self {
        Self::System {
            detail: error.to_string(),
        }
    }
}

impl From<nix::errno::Errno> for ShimError {
    fn from(errno: nix::errno::Errno) -> Self {
        io::Error::from(errno).into()
    }
}

impl From<UnitError> for ShimError {
    fn from(error: UnitError) -> Self {
        match error {
            UnitError::NotFound { path } => Self::NotFound {
                path: path.display().to_string(),
            },
            UnitError::StaleEpoch {
                offered, recorded, ..
            } => Self::StaleEpoch { offered, recorded },
            UnitError::Io { source } => source.into(),
            other => Self::Invalid {
                detail: other.to_string(),
            },
        }
    }
}

impl ShimError {
    /// Words the operating system's refusal to start a program.
    pub(super) fn of_exec(program: &OsStr, error: &io::Error) -> Self {
        let detail = match error.kind() {
            io::ErrorKind::NotFound => format!("the program {program:?} is not there"),
            io::ErrorKind::PermissionDenied => format!("the program {program:?} may not be executed"),
            _ => format!("the program {program:?} cannot be started: {error}"),
        };
        Self::Invalid { detail }
    }
}

/// Becomes the unit's program, or its supervisor: returns when it could not, after having said so on standard error, or
/// when a program with a supervisor has ended for good.
///
/// Must be the whole work of a freshly started process that leads no process group: it makes the process a session of its own, replaces its standard streams, and holds the unit's lock for as long as the program runs.
pub fn unit_exec(request: &ShimRequest) -> Result<(), ShimError> {
    // Closed by exec, or by the supervisor, which is how the parent learns that all went well.
    let mut report = io::stderr().as_fd().try_clone_to_owned().map(File::from).ok();
    let outcome = become_program(request, &mut report);
    if let Err(error) = &outcome {
        leave_word(&UnitDirectory::at(&request.directory), error);
    }
    if let (Err(error), Some(mut report)) = (&outcome, report)
        && let Ok(line) = serde_json::to_string(error)
    {
        // A parent that is gone does not read it; the return value says the same.
        let _ = writeln!(report, "{line}");
    }
    outcome
}

/// Says why there is no program where systemd is the parent, which reads no report.
fn leave_word(directory: &UnitDirectory, error: &ShimError) {
    if directory.launch().is_ok_and(|launch| launch.service.is_some())
        && let Ok(bytes) = to_bytes(error)
    {
        // What cannot be written is in the journal.
        let path = directory.refusal_file();
        let _ = durable::write_atomic(&path, &bytes, 0o600).and_then(|()| give_to_owner(directory, &path));
    }
}

/// Has whoever owns the unit own a file of it that root has made.
fn give_to_owner(directory: &UnitDirectory, path: &Path) -> io::Result<()> {
    let owner = std::fs::metadata(directory.path())?;
    if unistd::geteuid().is_root() && owner.uid() != 0 {
        std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
            .map_err(|error| durable::at(path, error))?;
    }
    Ok(())
}

fn become_program(request: &ShimRequest, report: &mut Option<File>) -> Result<(), ShimError> {
    let directory = UnitDirectory::at(&request.directory);
    if unistd::getsid(None)? != unistd::getpid() {
        unistd::setsid()?;
    }
    // It takes a while, in which whoever comes after a killed run would find the lock taken by nobody that a mark names.
    let build = match directory.launch() {
        Ok(record) if record.is_agent() => Some(program_digest(Path::new(OWN_PROGRAM))?),
        _ => None,
    };
    let lock = take_lock(&directory)?;
    // The lock may be of a directory that has been removed since: the record tells.
    let record = directory.launch()?;
    refuse_second_run(&directory)?;
    let request = &match &record.service {
        // It starts on nobody's behalf.
        Some(_) => as_recorded(&directory)?,
        None => request.clone(),
    };
    refuse_stale_epoch(&directory, request)?;

    let gabion = std::env::current_exe()?;
    let mut program = program(&directory, &record, &gabion)?;
    if record.is_agent() && record.service.is_some() {
        tell_where_systemd_listens(&mut program);
    }
    let log = output(&directory, &record)?;
    let null = File::open("/dev/null")?;
    // The program inherits the lock: the kernel frees it when the last process that holds it is gone.
    let inherit = || fcntl(&lock, FcntlArg::F_SETFD(FdFlag::empty()));

    if let Some(supervision) = &record.supervision {
        inherit()?;
        unistd::dup2_stdin(&null)?;
        unistd::dup2_stdout(&log)?;
        let supervisor = Supervisor {
            directory: &directory,
            record: &record,
            supervision,
            epoch: request.epoch,
            gabion: &gabion,
            log: &log,
        };
        return supervisor.run(
            || write_mark(&directory, &record, request, build),
            || {
                drop(report.take());
                Ok(unistd::dup2_stderr(&log)?)
            },
        );
    }

    write_mark(&directory, &record, request, build)?;
    inherit()?;
    unistd::dup2_stdin(&null)?;
    unistd::dup2_stdout(&log)?;
    unistd::dup2_stderr(&log)?;
    if let Some(user) = record
        .service
        .as_ref()
        .and_then(|service| service.user.as_deref())
    {
        program = as_user(&program, &record, user)?;
    }
    let refusal = program.exec();
    let error = ShimError::of_exec(program.get_program(), &refusal);
    // Standard error is the unit's log by now, where people look first.
    let _ = writeln!(io::stderr(), "gabion: {error}");
    Err(error)
}

/// Has an agent know where it can tell systemd that its successor is the service's process from now on.
#[expect(
    clippy::disallowed_methods,
    reason = "systemd says it in the environment of what it starts, and nowhere else"
)]
fn tell_where_systemd_listens(program: &mut Command) {
    if let Some(socket) = std::env::var_os(NOTIFY_VARIABLE) {
        program.env(NOTIFY_VARIABLE, socket);
    }
}

/// Returns the operation and the epoch that touched the unit last.
fn as_recorded(directory: &UnitDirectory) -> Result<ShimRequest, ShimError> {
    let newest = fence::newest(directory)?.ok_or_else(|| ShimError::NotFound {
        path: directory.fence_file().display().to_string(),
    })?;
    Ok(ShimRequest {
        directory: directory.path().to_owned(),
        operation: newest.operation,
        epoch: newest.epoch,
    })
}

/// Returns what the program writes to: the unit's log, or the journal, which is there already.
fn output(directory: &UnitDirectory, record: &LaunchRecord) -> Result<File, ShimError> {
    if record.service.is_some() {
        return Ok(File::from(io::stdout().as_fd().try_clone_to_owned()?));
    }
    log::rotate_at_start(directory, record.log)?;
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(directory.current_log())
        .map_err(|error| durable::at(&directory.current_log(), error).into())
}

/// Becomes the user that a program runs as, and returns the program as that user starts it.
fn as_user(program: &Command, record: &LaunchRecord, wanted: &str) -> Result<Command, ShimError> {
    let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let found = user::find(wanted, "the machine", &text("/etc/passwd"), &text("/etc/group"));
    let identity = found.map_err(|detail| ShimError::Invalid { detail })?;
    let (uid, gid) = (
        unistd::Uid::from_raw(identity.uid),
        unistd::Gid::from_raw(identity.gid),
    );
    // Another user may not find the way there.
    if let Some(directory) = program.get_current_dir() {
        std::env::set_current_dir(directory).map_err(|error| durable::at(directory, error))?;
    }
    if unistd::geteuid().is_root() {
        let mut groups: Vec<unistd::Gid> = identity
            .groups
            .iter()
            .copied()
            .map(unistd::Gid::from_raw)
            .collect();
        groups.push(gid);
        unistd::setgroups(&groups)?;
        unistd::setgid(gid)?;
        unistd::setuid(uid)?;
    } else if unistd::geteuid() != uid {
        return Err(ShimError::Invalid {
            detail: format!("the program cannot become the user {wanted:?}: only root can"),
        });
    }
    let mut own = Command::new(program.get_program());
    own.args(program.get_args()).env_clear();
    own.envs(
        program
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    let own_env =
        |name: &str| record.env.contains_key(name) || record.secret_env.iter().any(|own| own == name);
    let name = wanted.split(':').next().unwrap_or_default();
    let home = identity.home.as_deref().unwrap_or("/");
    for (variable, value) in [("HOME", home), ("USER", name), ("LOGNAME", name)] {
        if !own_env(variable) {
            own.env(variable, value);
        }
    }
    Ok(own)
}

fn take_lock(directory: &UnitDirectory) -> Result<File, ShimError> {
    let path = directory.lock_file();
    let lock = durable::lock_file(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ShimError::NotFound {
            path: directory.path().display().to_string(),
        },
        _ => error.into(),
    })?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(std::fs::TryLockError::WouldBlock) => Err(ShimError::Busy {
            holder: directory
                .mark()
                .ok()
                .flatten()
                .map(|mark| mark.process)
                .filter(ProcessIdentity::is_alive)
                .map(|process| process.pid),
        }),
        Err(std::fs::TryLockError::Error(error)) => Err(durable::at(&path, error).into()),
    }
}

/// A program that closed every descriptor it inherited runs without the lock.
fn refuse_second_run(directory: &UnitDirectory) -> Result<(), ShimError> {
    match Mark::read_intact(&directory.mark_file())? {
        Some(mark) if mark.process.is_alive() => Err(ShimError::Busy {
            holder: Some(mark.process.pid),
        }),
        _ => Ok(()),
    }
}

fn refuse_stale_epoch(directory: &UnitDirectory, request: &ShimRequest) -> Result<(), ShimError> {
    match fence::newest(directory)?.map(|fence| fence.epoch) {
        Some(recorded) if recorded > request.epoch => Err(ShimError::StaleEpoch {
            offered: request.epoch,
            recorded,
        }),
        _ => Ok(()),
    }
}

pub(super) fn program(
    directory: &UnitDirectory,
    record: &LaunchRecord,
    gabion: &Path,
) -> Result<Command, ShimError> {
    let substitution = Substitution {
        ports: &record.ports,
        unit_dir: directory.path(),
        package_dir: record.package_dir.as_deref(),
        gabion,
    };
    if record.container.is_some() {
        return Ok(keeper(directory, record, gabion));
    }
    let argv = record
        .argv
        .iter()
        .map(|argument| fill(&substitution, argument))
        .collect::<Result<Vec<_>, _>>()?;
    command(directory, record, &substitution, &argv)
}

/// Returns a command with the environment and in the directory of a unit's program.
pub(crate) fn command_beside(directory: &UnitDirectory, argv: &[String]) -> Result<Command, ShimError> {
    let record = directory.launch()?;
    let of_another = record.service.as_ref().and_then(|service| service.user.as_ref());
    if let Some(user) = of_another {
        return Err(ShimError::Invalid {
            detail: format!("its program runs as the user {user:?}, and commands beside it would not"),
        });
    }
    let gabion = std::env::current_exe()?;
    let substitution = Substitution {
        ports: &record.ports,
        unit_dir: directory.path(),
        package_dir: record.package_dir.as_deref(),
        gabion: &gabion,
    };
    let mut command = command(directory, &record, &substitution, argv)?;
    // It is no part of the unit, and ends by itself.
    command.env_remove(UNIT_VARIABLE);
    Ok(command)
}

fn command(
    directory: &UnitDirectory,
    record: &LaunchRecord,
    substitution: &Substitution<'_>,
    argv: &[String],
) -> Result<Command, ShimError> {
    let environment = environment(directory, record, substitution)?;
    let working_dir = match &record.working_dir {
        Some(path) => PathBuf::from(fill(substitution, path)?),
        None => directory.files(),
    };
    if !working_dir.is_dir() {
        return Err(ShimError::Invalid {
            detail: format!("the working directory {} is not there", working_dir.display()),
        });
    }
    let Some((name, arguments)) = argv.split_first() else {
        return Err(ShimError::Invalid {
            detail: "`argv` names no program".to_owned(),
        });
    };
    let mut program = Command::new(name);
    program
        .args(arguments)
        .env_clear()
        .envs(environment)
        .current_dir(working_dir);
    Ok(program)
}

/// Returns the keeper of a container. What the program itself gets is none of the keeper's.
fn keeper(directory: &UnitDirectory, record: &LaunchRecord, gabion: &Path) -> Command {
    let mut keeper = Command::new(gabion);
    keeper
        .args(["agent", "container-keep"])
        .arg(directory.path())
        .env_clear()
        .env(UNIT_VARIABLE, &record.uid)
        .current_dir("/");
    keeper
}

/// Returns the environment of a unit's program.
pub(crate) fn environment(
    directory: &UnitDirectory,
    record: &LaunchRecord,
    substitution: &Substitution<'_>,
) -> Result<BTreeMap<String, String>, ShimError> {
    let mut secrets = directory.secret_env()?;
    let mut environment: BTreeMap<String, String> = record.base_env.clone();
    for (name, value) in &record.env {
        environment.insert(name.clone(), fill(substitution, value)?);
    }
    for name in &record.secret_env {
        let value = secrets.remove(name).ok_or_else(|| ShimError::Invalid {
            detail: format!(
                "the value of the secret variable {name} is missing from {}",
                directory.env_file().display()
            ),
        })?;
        environment.insert(name.clone(), value);
    }
    environment.insert(UNIT_VARIABLE.to_owned(), record.uid.clone());
    Ok(environment)
}

fn fill(substitution: &Substitution<'_>, text: &str) -> Result<String, ShimError> {
    substitution.apply(text).map_err(|error| ShimError::Invalid {
        detail: error.to_string(),
    })
}

fn write_mark(
    directory: &UnitDirectory,
    record: &LaunchRecord,
    request: &ShimRequest,
    build: Option<String>,
) -> Result<(), ShimError> {
    let exit = directory.exit_file();
    match std::fs::remove_file(&exit) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(durable::at(&exit, error).into()),
        _ => {}
    }
    let mark = Mark {
        format: Mark::FORMAT,
        uid: record.uid.clone(),
        operation: request.operation.clone(),
        epoch: request.epoch,
        launched: directory.launch_digest()?,
        process: ProcessIdentity::current()?,
        program: build,
        draining: Vec::new(),
    };
    durable::write_atomic(&directory.mark_file(), &to_bytes(&mark)?, 0o600)?;
    give_to_owner(directory, &directory.mark_file())?;
    Ok(())
}
