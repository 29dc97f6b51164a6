//! What the tests share: units in a temporary directory that are stopped whatever happens.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use gabion_host::process::ProcessStat;
use gabion_host::unit::{
    EnvValue, Fence, Launched, LogSettings, StartRequest, UnitDirectory, UnitError, UnitSpec, UnitStatus,
    inspect, list, start, write,
};

pub(crate) const SHIM: &str = env!("CARGO_BIN_EXE_gabion-unit-shim");

/// A data root whose units are killed when the test ends, however it ends.
pub(crate) struct Root(pub(crate) tempfile::TempDir);

impl Root {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, spec: &UnitSpec) -> UnitDirectory {
        write(self.path(), spec, &fence(1)).unwrap()
    }

    /// Writes a unit that runs a shell script, and starts it.
    pub(crate) async fn run(&self, uid: &str, script: &str) -> UnitDirectory {
        let directory = self.write(&shell(uid, script));
        launch(&directory, 1).await.unwrap();
        directory
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        for unit in list(self.path()).unwrap_or_default() {
            let Ok(Some(mark)) = unit.directory.mark() else {
                continue;
            };
            // Until none is left: a shell may be about to start one more.
            while let pids @ [_, ..] = session(mark.process.pid).as_slice() {
                for pid in pids {
                    let _ = std::process::Command::new("kill")
                        .args(["-9", &pid.to_string()])
                        .stderr(std::process::Stdio::null())
                        .status();
                }
            }
        }
    }
}

pub(crate) fn fence(epoch: u64) -> Fence {
    Fence {
        lineage: "project-1".to_owned(),
        operation: format!("op-{epoch}"),
        epoch,
    }
}

/// A unit that runs a shell script.
pub(crate) fn shell(uid: &str, script: &str) -> UnitSpec {
    UnitSpec {
        project: "project-1".to_owned(),
        uid: uid.to_owned(),
        address: format!("host_unit.{uid}"),
        role: None,
        argv: ["sh", "-c", script].map(str::to_owned).to_vec(),
        env: BTreeMap::new(),
        base_env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        working_dir: None,
        files: BTreeMap::new(),
        ports: BTreeMap::new(),
        package_dir: None,
        log: LogSettings::default(),
        stop_duration: Duration::from_secs(10),
        supervision: None,
        container: None,
        service: None,
    }
}

pub(crate) fn with_env(mut spec: UnitSpec, name: &str, value: EnvValue) -> UnitSpec {
    spec.env.insert(name.to_owned(), value);
    spec
}

pub(crate) async fn launch(directory: &UnitDirectory, epoch: u64) -> Result<Launched, UnitError> {
    start(&StartRequest {
        directory: directory.clone(),
        shim: vec![SHIM.to_owned(), "exec".to_owned()],
        fence: Some(fence(epoch)),
    })
    .await
}

pub(crate) fn pid(directory: &UnitDirectory) -> i32 {
    match inspect(directory).unwrap() {
        UnitStatus::Running { mark } => mark.process.pid,
        other => panic!("not running: {other:?}"),
    }
}

/// The pids of a session that can still run.
pub(crate) fn session(leader: i32) -> Vec<i32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(ProcessStat::read)
        .filter(|stat| stat.session == leader && stat.is_running())
        .map(|stat| stat.pid)
        .collect()
}

pub(crate) fn kill(pid: i32) {
    let status = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

pub(crate) fn log(directory: &UnitDirectory) -> String {
    std::fs::read_to_string(directory.current_log()).unwrap_or_default()
}

/// Waits for something that must happen within half a minute.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "waited in vain until {what}"
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
