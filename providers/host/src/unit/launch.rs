//! Starting a unit.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::directory::UnitDirectory;
use super::error::UnitError;
use super::fence::{self, Fence};
use super::mark::Mark;
use super::record::to_bytes;
use super::shim::ShimError;
use super::status::{Exit, ExitFile, UnitStatus, inspect};
use super::stop::{self, Reach};
use crate::durable;
use crate::systemd;

/// How long the shim may take to become the program; it only writes a few small files.
const SHIM_DEADLINE: Duration = Duration::from_secs(30);

/// What to start.
#[derive(Clone, Debug)]
pub struct StartRequest {
    /// The unit.
    pub directory: UnitDirectory,
    /// The command that runs [`unit_exec`](super::unit_exec), an absolute path first; the directory, `--operation ID` and `--epoch N` are appended.
    pub shim: Vec<String>,
    /// On whose behalf; `None` starts it again as recorded, under the newest operation and epoch that touched it.
    pub fence: Option<Fence>,
}

/// A unit that runs.
#[derive(Debug)]
pub struct Launched {
    /// Who runs it.
    pub mark: Mark,
    /// Whether this call started it; otherwise it ran already.
    pub started: bool,
    exit: Option<watch::Receiver<Option<Exit>>>,
}

impl Launched {
    /// How the program ended, if it was started here and has ended since.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.exit.as_ref().and_then(|exit| *exit.borrow())
    }
}

/// Starts a unit from its record; one that runs already is left as it is.
///
/// What is left of an earlier run's session is ended first. Of two concurrent starts one runs the program. The program survives the caller's death; as long as the caller's runtime lives, it also records how the program ended.
///
/// # Errors
/// [`UnitError::Launch`] with the reason when the program could not be started; nothing runs then.
///
/// # Cancellation
/// The launch may or may not happen; [`inspect`] tells.
pub async fn start(request: &StartRequest) -> Result<Launched, UnitError> {
    let directory = &request.directory;
    let fence = match &request.fence {
        Some(fence) => fence.clone(),
        None => recorded_fence(directory)?,
    };
    if !directory.exists() {
        return Err(UnitError::NotFound {
            path: directory.path().to_owned(),
        });
    }
    fence::admit(directory, &fence)?;
    let is_service = directory.launch().is_ok_and(|launch| launch.service.is_some());
    match inspect(directory) {
        Ok(UnitStatus::Running { mark }) => {
            return Ok(Launched {
                mark,
                started: false,
                exit: None,
            });
        }
        Ok(UnitStatus::Exited { left, .. }) if !left.is_empty() => {
            stop::end(directory, directory.launch()?.stop_duration(), Reach::Session).await?;
        }
        Ok(_) => {}
        // Whoever runs without a readable mark is found by the lock, and made way for.
        Err(UnitError::Damaged { .. }) => {
            stop::end(directory, directory.launch()?.stop_duration(), Reach::Unit).await?;
        }
        Err(error) => return Err(error),
    }
    if is_service {
        systemd::start(directory, None, &fence).await?;
        let mark = directory.mark()?.ok_or_else(|| UnitError::NotFound {
            path: directory.mark_file(),
        })?;
        return Ok(Launched {
            mark,
            started: true,
            exit: None,
        });
    }
    launch(request, directory, &fence).await
}

async fn launch(
    request: &StartRequest,
    directory: &UnitDirectory,
    fence: &Fence,
) -> Result<Launched, UnitError> {
    let [shim, arguments @ ..] = request.shim.as_slice() else {
        return Err(UnitError::Invalid {
            reason: "no command is configured that runs the shim".to_owned(),
        });
    };
    let mut child = Command::new(shim)
        .args(arguments)
        .arg(directory.path())
        .args([
            "--operation",
            &fence.operation,
            "--epoch",
            &fence.epoch.to_string(),
        ])
        // The shim takes what it needs from the unit's directory, and so does the program.
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(false)
        .spawn()
        .map_err(|error| durable::at(&PathBuf::from(shim), error))?;
    let pid = child.id();
    let report = tokio::time::timeout(SHIM_DEADLINE, read_report(&mut child)).await;
    let report = match report {
        Ok(report) => report?,
        Err(_) => {
            child.kill().await?;
            return Err(UnitError::Launch(ShimError::System {
                detail: format!("the program was not started within {} s", SHIM_DEADLINE.as_secs()),
            }));
        }
    };
    if !report.is_empty() {
        child.wait().await?;
        return Err(refused(&report));
    }
    // Executed, or died without a word before that: the mark tells.
    match directory.mark()? {
        Some(mark) if pid.is_some_and(|pid| i64::from(pid) == i64::from(mark.process.pid)) => {
            let exit = watch_exit(child, directory.clone(), mark.clone());
            Ok(Launched {
                mark,
                started: true,
                exit: Some(exit),
            })
        }
        _ => {
            let status = child.wait().await?;
            Err(UnitError::Launch(ShimError::System {
                detail: format!(
                    "the shim {shim} ended before it became the program ({})",
                    Exit::from(status)
                ),
            }))
        }
    }
}

async fn read_report(child: &mut Child) -> Result<Vec<u8>, UnitError> {
    let mut report = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        stderr.take(64 << 10).read_to_end(&mut report).await?;
    }
    Ok(report)
}

fn refused(report: &[u8]) -> UnitError {
    let text = String::from_utf8_lossy(report);
    let error = text
        .lines()
        .find_map(|line| serde_json::from_str::<ShimError>(line).ok())
        .unwrap_or_else(|| ShimError::System {
            detail: format!("the shim failed: {}", text.trim()),
        });
    UnitError::Launch(error)
}

/// Reaps the program when it ends and records how. Goes with the runtime; the program does not.
fn watch_exit(mut child: Child, directory: UnitDirectory, mark: Mark) -> watch::Receiver<Option<Exit>> {
    let (sender, receiver) = watch::channel(None);
    tokio::spawn(async move {
        let Ok(status) = child.wait().await else {
            return;
        };
        if let Ok(Some(run)) = directory.run(&mark) {
            // The process was a supervisor; it alone knows how the program ended.
            sender.send_replace(run.ended.map(|end| end.exit));
            return;
        }
        let exit = Exit::from(status);
        if directory.mark().ok().flatten().as_ref() == Some(&mark) {
            let file = ExitFile {
                format: ExitFile::FORMAT,
                process: mark.process,
                exit,
            };
            // Best effort: the directory may be on its way out, and the mark alone says that the program is gone.
            if let Ok(bytes) = to_bytes(&file) {
                let _ = durable::write_atomic(&directory.exit_file(), &bytes, 0o600);
            }
        }
        sender.send_replace(Some(exit));
    });
    receiver
}

fn recorded_fence(directory: &UnitDirectory) -> Result<Fence, UnitError> {
    directory.fence()?.ok_or_else(|| UnitError::NotFound {
        path: directory.fence_file(),
    })
}
