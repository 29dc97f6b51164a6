//! A real router, launched as its unit would be.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use gabion_engine::value::Value;
use gabion_host::http::{HttpRequest, send};
use gabion_host::package::{Ecosystem, PackageSpec, PackageStore, ensure};
use gabion_host::process::{ProcessStat, boot_id};
use gabion_host::transport::{Endpoint, LocalTransport};
use gabion_router::launch::RouterLaunch;
use gabion_router::packages::Package;
use http::Method;
use tokio::process::{Child, Command};

use crate::harness::{PATIENCE, eventually};

/// How long installing the package may take where it is not in the cache.
const INSTALLATION: Duration = Duration::from_secs(300);

/// A running `smg`, which dies with the test.
pub(crate) struct Router {
    pub(crate) port: u16,
    metrics: u16,
    unit: PathBuf,
    child: Option<Child>,
}

impl Router {
    /// Starts one whose unit has this directory.
    pub(crate) async fn start(unit: PathBuf) -> Self {
        std::fs::create_dir_all(&unit).unwrap();
        // Another program may take the ports before the router does; then it dies, and other ones do.
        for _ in 0..5 {
            let (port, metrics) = free_ports();
            let mut router = Self {
                port,
                metrics,
                unit: unit.clone(),
                child: None,
            };
            if router.launch().await {
                return router;
            }
        }
        panic!("the router does not start: {}", log_of(&unit))
    }

    /// Launches the router on its ports, with the mark that its unit's shim would write.
    pub(crate) async fn launch(&mut self) -> bool {
        let log = std::fs::File::create(self.unit.join("router.log")).unwrap();
        let argv = argv(&package().await, self.port, self.metrics);
        let mut child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let stat = ProcessStat::read(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
        let mark = serde_json::json!({
            "format": 1, "uid": "router-unit", "operation": "op", "epoch": 1, "pid": stat.pid,
            "start_time": stat.start_time, "boot_id": boot_id().unwrap(), "launched": "",
        });
        let path = self.unit.join("mark.json");
        gabion_host::durable::write_atomic(&path, mark.to_string().as_bytes(), 0o600).unwrap();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while child.try_wait().unwrap().is_none() {
            if self.answers("/liveness").await {
                self.child = Some(child);
                return true;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "the router does not answer: {}",
                log_of(&self.unit)
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        false
    }

    async fn answers(&self, path: &str) -> bool {
        let request = HttpRequest::get(path).timeout(Duration::from_secs(2));
        send(&LocalTransport, &Endpoint::loopback(self.port), request)
            .await
            .is_ok_and(|answer| answer.status.is_success())
    }

    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Calls the router's own API, as somebody behind our back would.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> serde_json::Value {
        let mut request = HttpRequest::new(method, path).timeout(Duration::from_secs(5));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = send(&LocalTransport, &Endpoint::loopback(self.port), request)
            .await
            .unwrap();
        assert!(answer.status.is_success(), "{path}: {}", answer.excerpt());
        answer.json().unwrap()
    }

    /// The workers that the router has, in its own words.
    pub(crate) async fn workers(&self) -> Vec<serde_json::Value> {
        let list = self.call(Method::GET, "/workers", None).await;
        list["workers"].as_array().unwrap().clone()
    }

    /// Removes every worker through the router's own API.
    pub(crate) async fn remove_all(&self) {
        for worker in self.workers().await {
            let path = format!("/workers/{}", worker["id"].as_str().unwrap());
            self.call(Method::DELETE, &path, None).await;
        }
        eventually("the removal", || async {
            self.workers().await.is_empty().then_some(())
        })
        .await;
    }
}

fn log_of(unit: &Path) -> String {
    std::fs::read_to_string(unit.join("router.log")).unwrap_or_default()
}

/// Returns two ports that nobody listens on at the moment.
fn free_ports() -> (u16, u16) {
    let bind = || std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (one, other) = (bind(), bind());
    (
        one.local_addr().unwrap().port(),
        other.local_addr().unwrap().port(),
    )
}

/// The arguments of the unit that gabion would run, with what their placeholders stand for.
fn argv(package: &Path, port: u16, metrics: u16) -> Vec<String> {
    let launch = RouterLaunch {
        package: Package::Smg,
        policy: "round_robin".to_owned(),
        separates_prefill: false,
    };
    let inputs = launch.unit_inputs("local");
    let Some((_, Value::List(argv))) = inputs.iter().find(|(name, _)| *name == "argv") else {
        panic!("no arguments")
    };
    let fill = |argument: &Value| {
        argument
            .as_str()
            .unwrap()
            .replace("{package.dir}", &package.to_string_lossy())
            .replace("{ports.http}", &port.to_string())
            .replace("{ports.metrics}", &metrics.to_string())
    };
    argv.iter().map(fill).collect()
}

/// The environment with the router, shared with the end-to-end tests and kept between runs.
async fn package() -> PathBuf {
    #[expect(
        clippy::disallowed_methods,
        reason = "the tests are told so where packages are kept"
    )]
    let root = match std::env::var_os("GABION_TEST_PACKAGES") {
        Some(directory) => PathBuf::from(directory),
        None => Path::new(env!("CARGO_TARGET_TMPDIR"))
            .parent()
            .unwrap()
            .join("test-packages"),
    };
    let store = PackageStore {
        cache_root: root.join("gabion"),
        python: "python3".to_owned(),
        timeout: INSTALLATION,
    };
    let package = PackageSpec {
        ecosystem: Ecosystem::Pypi,
        name: Package::Smg.name().to_owned(),
        version: Package::Smg.version().to_owned(),
        requirements: Package::Smg.lock().to_owned(),
    };
    ensure(&store, &package, &|_| {}).await.unwrap()
}
