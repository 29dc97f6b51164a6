//! The suite that every provider runs, with real programs.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::provider::Provider;
use gabion_engine::value::{Attributes, Secret, Value};
use gabion_host::package::PackageStore;
use gabion_host::ports::PortRegistry;
use gabion_host::transport::Machines;
use gabion_host::{ContainerConfig, HOST_UNIT, HostConfig, HostProvider, SystemdConfig};
use gabion_testing::conformance::{Case, Subject, check};
use serde_json::json;

use crate::support::{Root, SHIM};

const SECRET: &str = "correct-horse-battery-staple-4471";

struct Machine {
    provider: Arc<HostProvider>,
}

#[async_trait]
impl Subject for Machine {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        let changed = |name: &str, value: serde_json::Value| {
            let mut inputs = inputs();
            inputs.insert(name.into(), Value::from_json(&value));
            inputs
        };
        vec![
            Case::new(HOST_UNIT, "a/default/0", inputs())
                .update(changed("role", json!("router")))
                .replace(changed("argv", json!(["sleep", "601"])))
                .secret(SECRET),
            Case::new(
                HOST_UNIT,
                "bare",
                attributes(json!({"machine": "local", "argv": ["sleep", "600"]})),
            )
            .update(attributes(
                json!({"machine": "local", "argv": ["sleep", "600"], "stop_timeout": 5}),
            )),
        ]
    }
}

fn attributes(json: serde_json::Value) -> Attributes {
    Value::from_json(&json).as_map().unwrap().clone()
}

fn inputs() -> Attributes {
    let mut inputs = attributes(json!({
        "machine": "local",
        "role": "replica",
        "argv": ["sh", "-c", "cd /tmp; exec python3 -m http.server --bind 127.0.0.1 $PORT"],
        "files": {"settings/a.json": "{}"},
        "ports": {"http": {"range": "25000-25999"}, "metrics": {"range": "25000-25999"}},
        "probes": [{"path": "/", "headers": {"accept": "*/*"}}],
    }));
    let env = Value::map([
        ("PORT", "{ports.http}".into()),
        ("TOKEN", Value::Secret(Secret::new(None, SECRET.into()))),
    ]);
    inputs.insert("env".into(), env);
    inputs
}

#[tokio::test]
async fn the_provider_keeps_its_contract() {
    let root = Root::new();
    let provider = HostProvider::new(HostConfig {
        data_root: root.path().to_owned(),
        package_store: PackageStore {
            cache_root: root.path().join("cache"),
            python: "python3".to_owned(),
            timeout: Duration::from_secs(60),
        },
        packages: BTreeMap::new(),
        ports: PortRegistry::new(root.path().join("ports.json")),
        shim: vec![SHIM.to_owned(), "exec".to_owned()],
        base_env: BTreeMap::from([("PATH".to_owned(), "/usr/local/bin:/usr/bin:/bin".to_owned())]),
        containers: ContainerConfig::default(),
        systemd: SystemdConfig::default(),
        agents: None,
        machines: Machines::local(),
        project: "shop".to_owned(),
    });
    check(&Machine {
        provider: Arc::new(provider),
    })
    .await;
}
