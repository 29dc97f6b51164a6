//! The fake cloud's process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gabion_testing::fake::FakeCloud;
use gabion_testing::fake::api::{AdminRequest, Dump, Settings, Verb};
use gabion_testing::fake::fault::{Fault, FaultRule};
use gabion_testing::fake::remote::{self, RemoteCloud};
use tokio::net::UnixListener;
use tokio::runtime::{Builder, Runtime};

use crate::Failure;

/// The variable with the cloud's socket.
pub const SOCKET: &str = "GABION_FAKE_CLOUD";

/// The first argument that makes the driver the fake cloud.
pub const ROLE: &str = "fake-cloud";

/// Within this time after its creation an object may be invisible to gabion's reads.
pub const WINDOW: Duration = Duration::from_millis(600);

/// Serves a fake cloud until the process is killed.
///
/// # Errors
/// When the socket cannot be used.
pub fn serve(socket: &str, seed: u64) -> std::io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async { remote::serve(UnixListener::bind(socket)?, FakeCloud::new(seed)).await })
}

/// How a cloud behaves that is quick, and yet slow and inconsistent enough to be killed in the middle of.
pub fn lively() -> Settings {
    Settings {
        latency: Duration::from_millis(4),
        jitter: Duration::from_millis(8),
        boot: Duration::from_millis(60),
        consistency: Duration::from_millis(150),
        ..Settings::default()
    }
}

/// A fake cloud in a process of its own, ended with this.
pub struct Cloud {
    process: Child,
    socket: PathBuf,
    client: RemoteCloud,
    runtime: Runtime,
}

impl Cloud {
    /// Starts one, by the driver's program.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(driver: &Path, socket: PathBuf, seed: u64) -> Result<Self, Failure> {
        let process = Command::new(driver)
            .arg(ROLE)
            .arg(&socket)
            .arg(seed.to_string())
            .stdin(Stdio::null())
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", driver.display()))?;
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|error| error.to_string())?;
        let mut cloud = Self {
            process,
            client: RemoteCloud::new(&socket),
            socket,
            runtime,
        };
        let end = Instant::now() + Duration::from_secs(30);
        while cloud.dump().is_err() {
            if let Ok(Some(status)) = cloud.process.try_wait() {
                return Err(format!("the fake cloud ended ({status})"));
            }
            if Instant::now() >= end {
                return Err("the fake cloud does not answer".to_owned());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(cloud)
    }

    /// Returns its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Sets how it behaves.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn configure(&self, settings: Settings) -> Result<(), Failure> {
        self.tell(AdminRequest::Settings(settings)).map(drop)
    }

    /// Makes it misbehave by a rule.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn fault(&self, rule: FaultRule) -> Result<(), Failure> {
        self.tell(AdminRequest::Fault(rule)).map(drop)
    }

    /// Makes it take longer for the next requests with a verb.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn slow(&self, verb: Verb, by: Duration, times: u32) -> Result<(), Failure> {
        self.fault(FaultRule::next(verb, Fault::Slow(by)).times(times))
    }

    /// Returns everything that it has and did.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn dump(&self) -> Result<Dump, Failure> {
        self.tell(AdminRequest::Dump)?
            .ok_or_else(|| "the fake cloud told nothing".to_owned())
    }

    /// Returns how many requests with a verb arrived, answered or not.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn arrived(&self, verb: Verb) -> Result<u64, Failure> {
        let verb = format!("{verb:?} ").to_lowercase();
        let calls = self.dump()?.calls;
        let of_verb = calls.iter().filter(|(name, _)| name.starts_with(&verb));
        Ok(of_verb.map(|(_, count)| count).sum())
    }

    fn tell(&self, request: AdminRequest) -> Result<Option<Dump>, Failure> {
        let asking = self.client.administer(request);
        self.runtime
            .block_on(async { tokio::time::timeout(Duration::from_secs(20), asking).await })
            .map_err(|_| "the fake cloud does not answer".to_owned())?
            .map_err(|error| format!("the fake cloud: {error}"))?
            .map_err(|error| format!("the fake cloud: {error}"))
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        // It may have ended by itself; it is gone either way.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
