//! What runs on machines that have no gabion: the agent's ends of all that gabion does there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use gabion_agent::{ServeOptions, serve};
use gabion_host::container;
use gabion_host::unit::{NOTIFY_VARIABLE, ShimRequest, StartRequest, UnitDirectory, start, unit_exec};
use gabion_host::{AgentBuilds, ContainerConfig, SystemdConfig};
use gabion_machines::agent::{AgentSettings, converse};
use gabion_machines::protocol::Directories;
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "\
gabion-agent machine --root DIR
gabion-agent agent serve --directory DIR [--data-root DIR] [--lineage ID] [--grace SECONDS] [--take-over]
gabion-agent agent relay --listen ADDRESS:PORT --to ADDRESS:PORT [--from ADDRESS]…
gabion-agent agent unit-exec DIR --operation ID --epoch N
gabion-agent agent start-unit DIR
gabion-agent agent container-keep DIR
gabion-agent agent container-init
gabion-agent agent container-beside PROGRAM [ARGUMENT]…
gabion-agent agent container-user UID GID GROUPS PROGRAM [ARGUMENT]…
gabion-agent version";

/// The variables that programs get below their own: what a program needs to start, and never a secret.
const BASE_VARIABLES: [&str; 11] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "XDG_CACHE_HOME",
];

#[expect(clippy::print_stderr, reason = "a program says why it ends")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => ExitCode::from(code),
        Err(Failure::Usage) => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
        Err(Failure::Reason(reason)) => {
            eprintln!("error: {reason}");
            ExitCode::FAILURE
        }
    }
}

enum Failure {
    Usage,
    Reason(String),
}

impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Reason(error.to_string())
    }
}

#[expect(clippy::print_stdout, reason = "what was asked for")]
fn run(given: &[String]) -> Result<u8, Failure> {
    let arguments: Vec<&str> = given.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["machine", "--root", root] => run_machine(Path::new(root)).map(|()| 0),
        ["agent", "serve", options @ ..] => run_agent(options).map(|()| 0),
        ["agent", "relay", options @ ..] => run_relay(options).map(|()| 0),
        ["agent", "container-keep", directory] => Ok(container::keep(&UnitDirectory::at(*directory))),
        ["agent", "container-init"] => Ok(container::init()),
        ["agent", "container-beside", _, ..] => Ok(container::become_beside(&given[2..])),
        ["agent", "container-user", uid, gid, groups, ..] => {
            let number = |text: &str| text.parse::<u32>().map_err(|_| Failure::Usage);
            let groups = groups.split(',').filter(|group| !group.is_empty());
            let groups = groups.map(number).collect::<Result<Vec<_>, _>>()?;
            Ok(container::become_user(
                number(uid)?,
                number(gid)?,
                &groups,
                &given[5..],
            ))
        }
        [
            "agent",
            "unit-exec",
            directory,
            "--operation",
            operation,
            "--epoch",
            epoch,
        ] => {
            let request = ShimRequest {
                directory: PathBuf::from(directory),
                operation: (*operation).to_owned(),
                epoch: epoch.parse().map_err(|_| Failure::Usage)?,
            };
            unit_exec(&request)?;
            Ok(0)
        }
        ["agent", "start-unit", directory] => {
            let request = StartRequest {
                directory: UnitDirectory::at(*directory),
                shim: shim()?,
                fence: None,
            };
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(start(&request))?;
            Ok(0)
        }
        ["version"] => {
            println!("gabion-agent {}", env!("CARGO_PKG_VERSION"));
            Ok(0)
        }
        _ => Err(Failure::Usage),
    }
}

fn shim() -> Result<Vec<String>, Failure> {
    let program = std::env::current_exe()?.to_string_lossy().into_owned();
    Ok(vec![program, "agent".to_owned(), "unit-exec".to_owned()])
}

/// Answers gabion on the standard streams.
#[expect(
    clippy::disallowed_methods,
    reason = "the machine's own settings are in the environment of whoever logs in"
)]
fn run_machine(root: &Path) -> Result<(), Failure> {
    let text = |name: &str| std::env::var(name).ok();
    let base_env: BTreeMap<String, String> = BASE_VARIABLES
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), text(name)?)))
        .collect();
    let cache = text("GABION_AGENT_CACHE")
        .map(PathBuf::from)
        .filter(|path| path.is_absolute());
    let settings = AgentSettings {
        directories: Directories {
            root: root.to_owned(),
            ports: root.join("ports.json"),
            cache: cache.unwrap_or_else(|| root.join("cache")),
        },
        shim: shim()?,
        base_env,
        containers: ContainerConfig {
            sockets: ContainerConfig::sockets(
                text("DOCKER_HOST").as_deref(),
                text("XDG_RUNTIME_DIR").as_deref(),
            ),
            agent: Some(std::env::current_exe()?),
        },
        systemd: SystemdConfig::default(),
        builds: AgentBuilds::default(),
        python: text("GABION_PYTHON").unwrap_or_else(|| "python3".to_owned()),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(converse(settings, tokio::io::stdin(), tokio::io::stdout()));
    // A thread that waits for standard input is not waited for.
    runtime.shutdown_background();
    outcome?;
    Ok(())
}

async fn told_to_end() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

#[expect(
    clippy::disallowed_methods,
    reason = "systemd says in the environment where it listens"
)]
fn run_agent(options: &[&str]) -> Result<(), Failure> {
    const TAKE_OVER: &str = "--take-over";
    let takes_over = options.contains(&TAKE_OVER);
    let options: Vec<&str> = options
        .iter()
        .copied()
        .filter(|option| *option != TAKE_OVER)
        .collect();
    let mut directory = None;
    let mut data_root = None;
    let mut lineage = None;
    let mut grace = None;
    for pair in options.chunks(2) {
        match pair {
            ["--directory", value] => directory = Some(PathBuf::from(value)),
            ["--data-root", value] => data_root = Some(PathBuf::from(value)),
            ["--lineage", value] => lineage = Some((*value).to_owned()),
            ["--grace", value] => {
                grace = Some(Duration::from_secs(value.parse().map_err(|_| Failure::Usage)?));
            }
            _ => return Err(Failure::Usage),
        }
    }
    let mut options = ServeOptions::new(directory.ok_or(Failure::Usage)?);
    options.data_root = data_root.or(options.data_root);
    options.lineage = lineage;
    options.grace = grace.unwrap_or(options.grace);
    options.takes_over = takes_over;
    options.notify_socket = std::env::var_os(NOTIFY_VARIABLE).map(PathBuf::from);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(options, async {
        // Without signals it is ended the hard way.
        if told_to_end().await.is_err() {
            std::future::pending::<()>().await;
        }
    }))?;
    Ok(())
}

fn run_relay(options: &[&str]) -> Result<(), Failure> {
    let mut listen = None;
    let mut to = None;
    let mut from = Vec::new();
    for pair in options.chunks(2) {
        let [name, value] = pair else {
            return Err(Failure::Usage);
        };
        match *name {
            "--listen" => listen = Some(value.parse().map_err(|_| Failure::Usage)?),
            "--to" => to = Some(value.parse().map_err(|_| Failure::Usage)?),
            "--from" => from.push(value.parse().map_err(|_| Failure::Usage)?),
            _ => return Err(Failure::Usage),
        }
    }
    let (Some(listen), Some(to)) = (listen, to) else {
        return Err(Failure::Usage);
    };
    let relay = gabion_agent::relay::Relay { listen, to, from };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        tokio::select! {
            ended = relay.run() => ended,
            told = told_to_end() => told,
        }
    })?;
    Ok(())
}
