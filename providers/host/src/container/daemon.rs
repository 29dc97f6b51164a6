//! The Docker daemon of this machine.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{CreateExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, ContainerState, DeviceRequest, HostConfig,
    HostConfigLogConfig, ImageInspect, Mount, MountType, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, CreateImageOptionsBuilder, KillContainerOptionsBuilder,
    LogsOptionsBuilder, RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use bollard::{API_DEFAULT_VERSION, Docker};
use futures_util::{Stream, StreamExt};
use tokio::io::AsyncWrite;

use super::error::ContainerError;
use super::layout::{AGENT_INSIDE, FILES_INSIDE, INSIDE, ImageProgram, RUN_INSIDE};
use super::spec::{ContainerSettings, ContainerSpec, Gpus, Image, Network, Restart};

/// How long the daemon may take to answer.
const ANSWER: Duration = Duration::from_secs(60);

/// How long it may take to say that it is there.
const PING: Duration = Duration::from_secs(10);

/// How much of a container's output the daemon keeps beside the unit's log, for who asks it.
const LOG_SIZE: &str = "10m";
const LOG_FILES: &str = "2";

/// Labels of a container: whose it is.
pub(super) const LINEAGE: &str = "gabion.lineage";
pub(super) const UID: &str = "gabion.uid";
const ADDRESS: &str = "gabion.address";
const OPERATION: &str = "gabion.operation";
const EPOCH: &str = "gabion.epoch";
const IMAGE: &str = "gabion.image";

/// The user of the first process: it reads its file, and then becomes who was asked for.
pub(super) const FIRST_USER: &str = "0:0";

/// What a command in a container says.
pub(super) type CommandOutput = Pin<Box<dyn Stream<Item = Result<LogOutput, Error>> + Send>>;

/// What it reads.
pub(super) type CommandInput = Pin<Box<dyn AsyncWrite + Send>>;

/// A connection to a daemon.
#[derive(Clone, Debug)]
pub struct Daemon {
    docker: Docker,
    socket: PathBuf,
}

/// What a registry asks for. Never recorded, and never shown.
#[derive(Clone)]
pub struct Credentials {
    /// The user.
    pub username: String,
    /// The password or token.
    pub password: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// For whom a container is made.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) lineage: String,
    pub(super) uid: String,
    pub(super) address: String,
    pub(super) operation: String,
    pub(super) epoch: u64,
}

impl Owner {
    /// Returns the name of the container.
    pub(super) fn name(&self) -> String {
        container_name(&self.uid)
    }
}

/// Returns the name of a unit's container.
pub(super) fn container_name(uid: &str) -> String {
    format!("gabion-{uid}")
}

impl Daemon {
    /// Connects to the first daemon that answers, of those that may be there.
    ///
    /// # Errors
    /// [`ContainerError::NoDaemon`] for the first of them when none does.
    pub async fn first(sockets: &[PathBuf]) -> Result<Self, ContainerError> {
        let mut refused = None;
        for socket in sockets {
            match Self::connect(socket).await {
                Ok(daemon) => return Ok(daemon),
                Err(error) => {
                    refused.get_or_insert(error);
                }
            }
        }
        Err(refused.unwrap_or_else(|| ContainerError::NoDaemon {
            socket: PathBuf::from("/var/run/docker.sock"),
            reason: "no socket is configured".to_owned(),
        }))
    }

    /// Connects to a daemon.
    ///
    /// # Errors
    /// [`ContainerError::NoDaemon`] when none answers there.
    pub async fn connect(socket: &Path) -> Result<Self, ContainerError> {
        let none = |reason: String| ContainerError::NoDaemon {
            socket: socket.to_owned(),
            reason,
        };
        // The client's own words for a socket that is not there, or may not be used, say neither.
        tokio::net::UnixStream::connect(socket)
            .await
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => none("there is no such socket".to_owned()),
                io::ErrorKind::PermissionDenied => none("this user may not use it".to_owned()),
                io::ErrorKind::ConnectionRefused => none("nobody listens there".to_owned()),
                _ => none(error.to_string()),
            })?;
        let path = socket.to_string_lossy();
        let docker = Docker::connect_with_unix(&path, ANSWER.as_secs(), API_DEFAULT_VERSION)
            .map_err(|error| none(error.to_string()))?;
        let docker = tokio::time::timeout(PING, docker.negotiate_version())
            .await
            .map_err(|_| none(format!("no answer within {} s", PING.as_secs())))?
            .map_err(|error| none(error.to_string()))?;
        Ok(Self {
            docker,
            socket: socket.to_owned(),
        })
    }

    /// Returns its socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns the version of the daemon.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn version(&self) -> Result<String, ContainerError> {
        let version = self.docker.version().await;
        let version =
            version.map_err(|error| ContainerError::of("its version cannot be asked for", &error))?;
        Ok(version.version.unwrap_or_else(|| "unknown".to_owned()))
    }

    /// Returns an image of the machine: by its name, `NAME@DIGEST` or `sha256:ID`.
    ///
    /// # Errors
    /// When the daemon cannot tell.
    pub async fn image(&self, name: &str) -> Result<Option<Image>, ContainerError> {
        Ok(self.inspect_image(name).await?.and_then(|found| {
            Some(Image {
                name: name.to_owned(),
                id: found.id?,
                digest: digest_of(name, &found.repo_digests.unwrap_or_default()),
            })
        }))
    }

    async fn inspect_image(&self, name: &str) -> Result<Option<ImageInspect>, ContainerError> {
        match self.docker.inspect_image(name).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(ContainerError::of(format!("image {name}"), &error)),
        }
    }

    /// Returns what an image runs by itself, and the variables that it has.
    pub(super) async fn image_program(
        &self,
        image: &Image,
    ) -> Result<(ImageProgram, Vec<String>), ContainerError> {
        let found = self.inspect_image(&image.id).await?;
        let found = found.ok_or_else(|| ContainerError::NoImage {
            image: image.name.clone(),
            reason: format!("{} was removed from the machine", image.id),
        })?;
        let config = found.config.unwrap_or_default();
        let mut argv = config.entrypoint.unwrap_or_default();
        argv.extend(config.cmd.unwrap_or_default());
        let user = config.user.filter(|user| !user.is_empty());
        Ok((ImageProgram { argv, user }, config.env.unwrap_or_default()))
    }

    /// Has an image on the machine; `progress` hears what the registry says.
    ///
    /// # Errors
    /// [`ContainerError::NoImage`] when there is none of that name, [`ContainerError::Refused`] for wrong credentials.
    pub async fn pull(
        &self,
        name: &str,
        credentials: Option<&Credentials>,
        progress: &(dyn Fn(&str) + Sync),
    ) -> Result<Image, ContainerError> {
        let no_image = |reason: String| ContainerError::NoImage {
            image: name.to_owned(),
            reason,
        };
        if name.starts_with("sha256:") {
            return Err(no_image(
                "an image's id is known on its own machine only".to_owned(),
            ));
        }
        let named = name.rsplit_once('/').map_or(name, |(_, last)| last);
        // Without a tag the daemon would fetch them all.
        let tag = if named.contains([':', '@']) { "" } else { "latest" };
        let options = CreateImageOptionsBuilder::new().from_image(name).tag(tag).build();
        let credentials = credentials.map(|credentials| DockerCredentials {
            username: Some(credentials.username.clone()),
            password: Some(credentials.password.clone()),
            serveraddress: registry_of(name).map(str::to_owned),
            ..DockerCredentials::default()
        });
        let mut pulling = Box::pin(self.docker.create_image(Some(options), None, credentials));
        while let Some(step) = pulling.next().await {
            match step {
                Ok(step) => {
                    if let Some(reason) = step.error_detail.and_then(|error| error.message) {
                        return Err(no_image(reason));
                    }
                    if let Some(status) = step.status {
                        progress(&status);
                    }
                }
                Err(Error::DockerResponseServerError {
                    status_code: 401 | 403,
                    message,
                }) => {
                    return Err(ContainerError::Refused {
                        image: name.to_owned(),
                        reason: message,
                    });
                }
                Err(
                    Error::DockerResponseServerError { message, .. }
                    | Error::DockerStreamError { error: message },
                ) => return Err(no_image(message.trim().to_owned())),
                Err(error) => return Err(ContainerError::of(format!("pulling {name}"), &error)),
            }
        }
        let found = self.image(name).await?;
        found.ok_or_else(|| no_image("it is not there after it was pulled".to_owned()))
    }

    /// Returns a container by its name.
    pub(super) async fn find(&self, name: &str) -> Result<Option<ContainerInspectResponse>, ContainerError> {
        match self.docker.inspect_container(name, None).await {
            Ok(found) => Ok(Some(found)),
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
            Err(error) => Err(ContainerError::of(format!("container {name}"), &error)),
        }
    }

    /// Makes a container; nothing runs yet. Returns its id.
    pub(super) async fn create(
        &self,
        owner: &Owner,
        spec: &ContainerSpec,
        working_dir: Option<String>,
        places: Places<'_>,
    ) -> Result<String, ContainerError> {
        let labels = [
            (LINEAGE, owner.lineage.clone()),
            (UID, owner.uid.clone()),
            (ADDRESS, owner.address.clone()),
            (OPERATION, owner.operation.clone()),
            (EPOCH, owner.epoch.to_string()),
            (IMAGE, spec.image.name.clone()),
        ];
        let body = ContainerCreateBody {
            image: Some(spec.image.id.clone()),
            entrypoint: Some(first_process()),
            cmd: Some(Vec::new()),
            user: Some(FIRST_USER.to_owned()),
            working_dir,
            labels: Some(labels.map(|(name, value)| (name.to_owned(), value)).into()),
            host_config: Some(host_config(&spec.settings, places)),
            ..ContainerCreateBody::default()
        };
        let options = CreateContainerOptionsBuilder::new().name(&owner.name()).build();
        let made = self.docker.create_container(Some(options), body).await;
        let made = made.map_err(|error| ContainerError::of("the container cannot be made", &error))?;
        Ok(made.id)
    }

    pub(super) async fn start(&self, id: &str) -> Result<(), ContainerError> {
        let started = self.docker.start_container(id, None).await;
        started.map_err(|error| ContainerError::of("the container cannot be started", &error))
    }

    /// Waits until a container does not run.
    pub(super) async fn ended(&self, id: &str) {
        let options = WaitContainerOptionsBuilder::new()
            .condition("not-running")
            .build();
        let mut waiting = Box::pin(self.docker.wait_container(id, Some(options)));
        // How it ended is asked for afterwards; that it is gone is an end as well.
        let _ = waiting.next().await;
    }

    /// Sends a signal to the container's first process; one that has ended is fine.
    pub(super) async fn kill(&self, id: &str, signal: &str) -> Result<(), ContainerError> {
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        match self.docker.kill_container(id, Some(options)).await {
            Ok(())
            | Err(Error::DockerResponseServerError {
                status_code: 404 | 409,
                ..
            }) => Ok(()),
            Err(error) => Err(ContainerError::of(
                format!("container {id} cannot be sent {signal}"),
                &error,
            )),
        }
    }

    /// Lets a container go on that was paused, so that it can end.
    pub(super) async fn resume(&self, id: &str) {
        // One that is not paused is refused.
        let _ = self.docker.unpause_container(id).await;
    }

    /// Removes a container with its anonymous volumes, whether it runs or not; one that is gone is fine.
    pub(super) async fn remove(&self, id: &str) -> Result<(), ContainerError> {
        let options = || RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        for _ in 0..50 {
            match self.docker.remove_container(id, Some(options())).await {
                Ok(()) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
                // Somebody else is at it.
                Err(Error::DockerResponseServerError { status_code: 409, .. }) => {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    if self.find(id).await?.is_none() {
                        return Ok(());
                    }
                }
                Err(error) => {
                    return Err(ContainerError::of(
                        format!("container {id} cannot be removed"),
                        &error,
                    ));
                }
            }
        }
        Err(ContainerError::Daemon {
            doing: format!("container {id} cannot be removed"),
            reason: "the daemon is busy removing it".to_owned(),
        })
    }

    /// Starts a command in a container that runs, as its first process's user. Returns its id, its output and its input.
    pub(super) async fn run_inside(
        &self,
        container: &str,
        command: Vec<String>,
    ) -> Result<(String, CommandOutput, CommandInput), ContainerError> {
        let wrong = |error: &Error| ContainerError::of("the command cannot be run in the container", error);
        let options = CreateExecOptions {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command),
            user: Some(FIRST_USER.to_owned()),
            ..CreateExecOptions::default()
        };
        let created = self.docker.create_exec(container, options).await;
        let id = created.map_err(|error| wrong(&error))?.id;
        match self.docker.start_exec(&id, None).await {
            Ok(StartExecResults::Attached { output, input }) => Ok((id, output, input)),
            Ok(StartExecResults::Detached) => Err(ContainerError::Invalid {
                doing: "the command cannot be run in the container".to_owned(),
                reason: "the daemon did not attach to it".to_owned(),
            }),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Returns the exit code of a command in a container; `None` when it has none yet.
    pub(super) async fn exit_of(&self, command: &str) -> Result<Option<i32>, ContainerError> {
        let found = self.docker.inspect_exec(command).await;
        let found = found.map_err(|error| ContainerError::of("a command's end cannot be read", &error))?;
        Ok(found.exit_code.and_then(|code| i32::try_from(code).ok()))
    }

    /// Returns a container's output from a time on, each piece with the time before it.
    pub(super) fn output(
        &self,
        id: &str,
        since: i32,
    ) -> impl Stream<Item = Result<LogOutput, Error>> + use<> {
        let options = LogsOptionsBuilder::new()
            .follow(true)
            .stdout(true)
            .stderr(true)
            .timestamps(true)
            .since(since)
            .build();
        self.docker.logs(id, Some(options))
    }
}

/// Where the container's mounts are on the machine.
#[derive(Clone, Copy)]
pub(super) struct Places<'a> {
    pub(super) root: &'a Path,
    pub(super) run: &'a Path,
    /// The unit's files, if it has any.
    pub(super) files: Option<&'a Path>,
}

/// Returns the command of a container's first process.
pub(super) fn first_process() -> Vec<String> {
    [AGENT_INSIDE, "agent", "container-init"]
        .map(str::to_owned)
        .to_vec()
}

fn host_config(settings: &ContainerSettings, places: Places<'_>) -> HostConfig {
    let bind = |source: String, target: &str, read_only: bool| Mount {
        source: Some(source),
        target: Some(target.to_owned()),
        typ: Some(MountType::BIND),
        read_only: Some(read_only),
        ..Mount::default()
    };
    let path = |path: &Path| path.to_string_lossy().into_owned();
    let mut mounts = vec![
        bind(path(places.root), INSIDE, true),
        bind(path(places.run), RUN_INSIDE, false),
    ];
    mounts.extend(places.files.map(|files| bind(path(files), FILES_INSIDE, false)));
    mounts.extend(
        settings
            .mounts
            .iter()
            .map(|mount| bind(mount.source.clone(), &mount.target, mount.read_only)),
    );
    let mebibytes = |number: u64| i64::try_from(number.saturating_mul(1 << 20)).unwrap_or(i64::MAX);
    HostConfig {
        mounts: Some(mounts),
        privileged: settings.privileged.then_some(true),
        network_mode: (settings.network == Network::Host).then(|| "host".to_owned()),
        shm_size: settings.shm_mib.map(mebibytes),
        memory: settings.memory_mib.map(mebibytes),
        nano_cpus: settings
            .cpu_millis
            .map(|millis| i64::try_from(millis.saturating_mul(1_000_000)).unwrap_or(i64::MAX)),
        device_requests: settings.gpus.map(|gpus| {
            vec![DeviceRequest {
                count: Some(match gpus {
                    Gpus::All => -1,
                    Gpus::Count(count) => i64::from(count),
                }),
                capabilities: Some(vec![vec!["gpu".to_owned()]]),
                ..DeviceRequest::default()
            }]
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(match settings.restart {
                Restart::No => RestartPolicyNameEnum::NO,
                Restart::OnFailure => RestartPolicyNameEnum::ON_FAILURE,
                Restart::Always => RestartPolicyNameEnum::UNLESS_STOPPED,
            }),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_SIZE.to_owned()),
                ("max-file".to_owned(), LOG_FILES.to_owned()),
            ])),
        }),
        ..HostConfig::default()
    }
}

/// Returns whether a container runs, or is about to again.
pub(super) fn is_up(state: Option<&ContainerState>) -> bool {
    state.is_some_and(|state| state.running == Some(true) || state.restarting == Some(true))
}

/// Returns the registry digest of an image by the name that it was asked for.
fn digest_of(name: &str, known: &[String]) -> Option<String> {
    if name.starts_with("sha256:") {
        return None;
    }
    let repository = repository(name);
    known
        .iter()
        .find(|digest| digest.split('@').next() == Some(repository))
        .or_else(|| {
            known.iter().find(|digest| {
                digest
                    .split('@')
                    .next()
                    .is_some_and(|of| of.ends_with(repository))
            })
        })
        .cloned()
}

/// Returns a name without its tag and digest.
fn repository(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    match name.rsplit_once(':') {
        // What follows the colon of a registry's port has a slash in it.
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    }
}

/// Returns the registry that a name has in front; `None` means Docker's own.
fn registry_of(name: &str) -> Option<&str> {
    let (first, _) = name.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_images_are_taken_apart() {
        for (name, of, registry) in [
            ("vllm/vllm-openai:v0.6", "vllm/vllm-openai", None),
            ("busybox", "busybox", None),
            ("ghcr.io/a/b:1@sha256:00", "ghcr.io/a/b", Some("ghcr.io")),
            ("localhost:5000/a", "localhost:5000/a", Some("localhost:5000")),
            ("localhost:5000/a:1", "localhost:5000/a", Some("localhost:5000")),
        ] {
            assert_eq!(repository(name), of);
            assert_eq!(registry_of(name), registry);
        }
        let known = [
            "docker.io/other@sha256:1".to_owned(),
            "vllm/vllm-openai@sha256:2".to_owned(),
        ];
        assert_eq!(
            digest_of("vllm/vllm-openai:v0.6", &known).as_deref(),
            Some("vllm/vllm-openai@sha256:2")
        );
        assert_eq!(digest_of("sha256:12", &known), None);
    }

    #[test]
    fn credentials_do_not_show() {
        let credentials = Credentials {
            username: "me".to_owned(),
            password: "hunter2".to_owned(),
        };
        assert!(!format!("{credentials:?}").contains("hunter2"));
    }
}
