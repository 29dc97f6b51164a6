//! A project on a machine that a systemd of the tests' own runs, whose services are gone when it ends.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use gabion_engine::provider::{DeleteRequest, Provider, ProviderError};
use gabion_engine::value::{Attributes, Value};
use gabion_host::systemd::service_name;
use gabion_host::unit::{UnitDirectory, list};
use gabion_host::{ContainerConfig, SystemdConfig};
use serde_json::json;

use super::scene::{SERVER, Scene, Unit};
use crate::support::Root;

/// A scene whose services end with it, however it ends.
pub(super) struct ServiceScene {
    pub(super) scene: Scene,
}

impl ServiceScene {
    pub(super) fn new() -> Self {
        Self::of(Root::new(), SystemdConfig::default())
    }

    pub(super) fn of(root: Root, systemd: SystemdConfig) -> Self {
        Self {
            scene: Scene::of(root, ContainerConfig::default(), systemd),
        }
    }

    /// Makes a unit as [`Scene::create`] does.
    pub(super) async fn create(&self, inputs: serde_json::Value) -> Unit {
        self.scene.create(inputs).await
    }

    pub(super) async fn delete(&self, unit: &Unit) -> Result<(), ProviderError> {
        let request = DeleteRequest {
            object: unit.recorded(),
            deposed: false,
        };
        let call = self.scene.call(unit.uid, 1);
        self.scene.provider.delete(request, &call).await
    }

    /// Returns an attribute of a unit as it is now, in words; empty when it is absent.
    pub(super) async fn now(&self, unit: &Unit, name: &str) -> String {
        let prior = self.scene.prior(unit).await;
        let value = prior.attributes.get(name).and_then(Value::as_str);
        value.unwrap_or_default().to_owned()
    }

    /// Waits until what differs of a unit is just this.
    pub(super) async fn until_drift(&self, unit: &Unit, expected: &[&str]) {
        let end = tokio::time::Instant::now() + Duration::from_secs(60);
        loop {
            let drift = self.scene.drift(unit).await;
            if drift == expected {
                return;
            }
            assert!(tokio::time::Instant::now() < end, "{drift:?}, not {expected:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

impl Drop for ServiceScene {
    fn drop(&mut self) {
        for unit in list(self.scene.root.path()).unwrap_or_default() {
            let name = service_name(&unit.uid);
            let _ = Command::new("systemctl")
                .args(["kill", "-s", "SIGKILL", &name])
                .output();
            let _ = Command::new("systemctl")
                .args(["disable", "--now", &name])
                .output();
            let _ = std::fs::remove_file(unit_file(&unit.uid));
        }
    }
}

/// Runs `systemctl`, which must succeed, and returns what it says.
pub(super) fn systemctl(arguments: &[&str]) -> String {
    let output = Command::new("systemctl").args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "systemctl {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns a property of a unit's service.
pub(super) fn property(unit: &Unit, name: &str) -> String {
    systemctl(&["show", "--value", "-p", name, &name_of(unit)])
}

pub(super) fn name_of(unit: &Unit) -> String {
    service_name(&unit.uid.to_string())
}

pub(super) fn unit_file(uid: &str) -> PathBuf {
    PathBuf::from("/etc/systemd/system").join(service_name(uid))
}

/// A server that systemd runs.
pub(super) fn server() -> serde_json::Value {
    json!({
        "machine": "local",
        "runtime": "systemd",
        "role": "replica",
        "argv": ["python3", "server.py"],
        "env": {"PORT": "{ports.http}"},
        "files": {"server.py": SERVER},
        "ports": {"http": {"range": "24000-24999"}},
        "probes": [{"path": "/health"}],
        "ready_timeout": 60,
        "stop_timeout": 10,
    })
}

/// A script that systemd runs.
pub(super) fn script(text: &str) -> serde_json::Value {
    json!({
        "machine": "local",
        "runtime": "systemd",
        "argv": ["sh", "-c", text],
        "stop_timeout": 10,
    })
}

pub(super) fn changed(inputs: &Attributes, name: &str, value: serde_json::Value) -> Attributes {
    let mut inputs = inputs.clone();
    inputs.insert(name.into(), Value::from_json(&value));
    inputs
}

/// Waits for lines in a unit's log.
pub(super) async fn until_logged(directory: &UnitDirectory, words: &str) -> String {
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    loop {
        let said = gabion_host::unit::tail(directory, 100, 1 << 20).unwrap();
        if said.contains(words) {
            return said;
        }
        assert!(tokio::time::Instant::now() < end, "no {words:?} in {said:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
