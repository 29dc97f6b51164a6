//! The processes of the simulated machine, as `/proc` would show them: a few files per life.

use std::path::{Path, PathBuf};

use gabion_engine::state::event::{Holder, ProcessIdentity};
use gabion_engine::state::process::Processes;

const BOOT: &str = "simulated-boot";

/// A machine whose processes are files.
pub(crate) struct Machine {
    proc: PathBuf,
}

impl Machine {
    /// # Errors
    /// When its directory cannot be made.
    pub(crate) fn at(directory: &Path) -> std::io::Result<Self> {
        let proc = directory.join("proc");
        let random = proc.join("sys/kernel/random");
        std::fs::create_dir_all(&random)?;
        std::fs::write(random.join("boot_id"), BOOT)?;
        Ok(Self { proc })
    }

    pub(crate) fn processes(&self) -> Processes {
        Processes::at(&self.proc)
    }

    /// Starts a process; with no pid it runs on another machine.
    pub(crate) fn start(&self, who: &str, pid: Option<u32>) -> Holder {
        let process = pid.map(|pid| {
            let directory = self.proc.join(pid.to_string());
            let stat = format!("{pid} (gabion) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0");
            std::fs::create_dir_all(&directory)
                .and_then(|()| std::fs::write(directory.join("stat"), stat))
                .expect("the simulated machine can start a process");
            ProcessIdentity {
                pid,
                start_time: 100,
                boot_id: BOOT.to_owned(),
                pid_namespace: None,
            }
        });
        Holder {
            who: who.to_owned(),
            host: if process.is_some() { "here" } else { "elsewhere" }.to_owned(),
            process,
            operation: "apply".to_owned(),
        }
    }

    /// Ends a process.
    pub(crate) fn end(&self, holder: &Holder) {
        if let Some(process) = &holder.process {
            let directory = self.proc.join(process.pid.to_string());
            // One that is gone already is gone.
            let _gone = std::fs::remove_dir_all(directory);
        }
    }
}
