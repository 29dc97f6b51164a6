//! Programs in containers of a real daemon, through the engine's contract.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;

use async_trait::async_trait;

use gabion_engine::provider::{DeleteRequest, ErrorClass, Observation, Provider, ReadOutcome};
use gabion_engine::value::{Attributes, Secret, Value};
use gabion_host::{ContainerConfig, HOST_UNIT, HostProvider};
use gabion_testing::conformance::{Case, Subject, check};
use serde_json::json;

use super::container_scene::{self, ContainerScene};
use super::registry::Registry;
use super::scene::{Scene, Unit, attributes, new_uid, with_secret};
use crate::support::{kill, log, until};

const SECRET: &str = "hunter2-in-a-container";

/// Asks a port of this machine, and returns the answer.
fn ask(port: i64) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", u16::try_from(port).unwrap())).unwrap();
    stream.write_all(b"GET /health HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

async fn delete(scene: &ContainerScene, unit: &Unit) {
    let request = DeleteRequest {
        object: unit.recorded(),
        deposed: false,
    };
    let call = scene.scene.call(unit.uid, 1);
    scene.scene.provider.delete(request, &call).await.unwrap();
}

fn changed(inputs: &Attributes, name: &str, value: serde_json::Value) -> Attributes {
    let mut inputs = inputs.clone();
    inputs.insert(name.into(), Value::from_json(&value));
    inputs
}

#[async_trait]
impl Subject for ContainerScene {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::<HostProvider>::clone(&self.scene.provider)
    }

    async fn cases(&self) -> Vec<Case> {
        let inputs = with_secret(attributes(self.server()), "TOKEN", SECRET);
        vec![
            Case::new(HOST_UNIT, "contained/default/0", inputs.clone())
                .update(changed(&inputs, "role", json!("router")))
                .replace(changed(&inputs, "argv", json!(["/bin/engine"])))
                .secret(SECRET),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn units_in_containers_keep_the_providers_contract() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    check(&scene).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_programs_with_one_fixed_loopback_port_serve_beside_each_other_and_leave_nothing() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let first = scene.scene.create(scene.server()).await;
    let second = scene.scene.create(scene.server()).await;
    assert_ne!(first.port(), second.port());
    assert!(ask(first.port()).ends_with("ok"));
    assert!(ask(second.port()).ends_with("ok"));
    assert_eq!(scene.containers().len(), 2);
    assert!(scene.scene.drift(&first).await.is_empty());
    let id = first.state.attributes["image_id"].as_str().unwrap();
    assert!(id.starts_with("sha256:"), "{id}");

    for unit in [&first, &second] {
        delete(&scene, unit).await;
        assert!(!unit.directory().path().exists());
    }
    assert!(scene.containers().is_empty());
    assert_eq!(scene.scene.leases(), 0);
    assert!(matches!(scene.scene.read(&first).await, ReadOutcome::Absent));
    assert_eq!(scene.said(&["volume", "ls", "-q"]), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_on_its_machines_network_listens_on_the_units_port_itself() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut inputs = scene.server();
    inputs["container"] = json!({"image": scene.image, "network": "host"});
    inputs["argv"] = json!(["/bin/sh", "-c", "exec /bin/engine --port {ports.http}"]);
    let unit = scene.scene.create(inputs.clone()).await;
    assert!(ask(unit.port()).ends_with("ok"));
    let name = ContainerScene::name(&unit);
    assert_eq!(
        scene.said(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", &name]),
        "host"
    );
    assert!(scene.scene.drift(&unit).await.is_empty());
    delete(&scene, &unit).await;
    assert!(scene.containers().is_empty());

    // It has no ports but the unit's.
    inputs["container"]["ports"] = json!({"http": 8000});
    let error = scene
        .scene
        .try_create(new_uid(), &attributes(inputs))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error}");
    assert!(error.message.contains("no ports of its own"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_gets_environment_user_files_mounts_and_limits() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let shown = scene.scene.root.path().join("shown");
    std::fs::create_dir(&shown).unwrap();
    std::fs::write(shown.join("weights"), "from the machine").unwrap();
    let mut inputs = scene.script(
        "id; pwd; echo $KEY $HOME $OF_IMAGE port $PORT; cat /data/weights; echo; echo x > /data/no; \
         cat /proc/mounts | while read a b c; do [ $b = /dev/shm ] && echo shm $c; done; cat {unit.dir}/files/note",
    );
    inputs["user"] = json!("llm");
    inputs["working_dir"] = json!("/tmp");
    inputs["env"] = json!({"PORT": "{ports.http}"});
    inputs["ports"] = json!({"http": {"range": "24000-24999"}});
    inputs["files"] = json!({"note": "a note"});
    inputs["container"] = json!({
        "image": scene.image,
        "ports": {"http": 8000},
        "mounts": [{"source": shown, "target": "/data", "read_only": true}],
        "memory_mib": 64,
        "cpus": 0.5,
        "shm_mib": 16,
        "restart": "on-failure",
    });
    let unit = scene
        .scene
        .create_from(with_secret(attributes(inputs), "KEY", SECRET))
        .await;
    let read = || log(&unit.directory());
    // What it says to either stream comes when it comes.
    let is_all = |said: &str| said.contains("shm") && said.contains("Read-only");
    until("it has said all", || is_all(&read())).await;
    let said = read();
    for expected in [
        "uid=1000(llm) gid=1001(llm) groups=44(video)",
        "/tmp",
        &format!("{SECRET} /home/llm yes port 8000"),
        "from the machine",
        "Read-only file system",
        "size=16384k",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    let limits = "{{.HostConfig.Memory}} {{.HostConfig.NanoCpus}} {{.HostConfig.RestartPolicy.Name}}";
    assert_eq!(scene.inspected(&unit, limits), "67108864 500000000 on-failure");
    assert!(scene.scene.drift(&unit).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_in_no_word_of_the_daemon_and_in_no_argument() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let inputs = attributes(scene.script("echo got ${#KEY}"));
    let unit = scene.scene.create_from(with_secret(inputs, "KEY", SECRET)).await;
    until("it has started", || log(&unit.directory()).contains("got")).await;
    assert!(log(&unit.directory()).contains(&format!("got {}", SECRET.len())));
    let inspected = scene.said(&["inspect", &ContainerScene::name(&unit)]);
    assert!(!inspected.contains(SECRET));
    assert!(inspected.contains(&format!("\"gabion.uid\": \"{}\"", unit.uid)));
    assert!(inspected.contains("gabion.operation") && inspected.contains("gabion.lineage"));
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        assert!(!String::from_utf8_lossy(&arguments).contains(SECRET));
    }
    let mode = |path: &str| {
        let path = unit.directory().path().join(path);
        std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions()) & 0o777
    };
    assert_eq!((mode("env"), mode("container/launch.json")), (0o600, 0o600));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_images_own_program_runs_without_argv() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut inputs = scene.server();
    inputs.as_object_mut().unwrap().remove("argv");
    let unit = scene.scene.create(inputs).await;
    assert!(ask(unit.port()).ends_with("ok"));
    assert!(scene.scene.drift(&unit).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_stopped_or_removed_is_drift_and_comes_back_on_its_port() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    let port = unit.port();
    for command in [&["stop", "-t", "1"][..], &["rm", "-f"], &["kill"]] {
        let mut arguments = command.to_vec();
        let name = ContainerScene::name(&unit);
        arguments.push(&name);
        scene.said(&arguments);
        let keeper = unit.pid_if_running();
        until("its keeper has ended", || {
            keeper.is_none_or(|pid| {
                gabion_host::process::ProcessStat::read(pid).is_none_or(|stat| !stat.is_running())
            })
        })
        .await;
        assert_eq!(
            scene.scene.drift(&unit).await,
            ["ended", "running"],
            "{command:?}"
        );
        scene.scene.repair(&mut unit).await;
        assert_eq!(unit.port(), port);
        assert!(ask(port).ends_with("ok"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_is_paused_or_given_other_limits_is_drift_and_put_right() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    let name = ContainerScene::name(&unit);
    scene.said(&["pause", &name]);
    assert_eq!(scene.scene.drift(&unit).await, ["ended", "running"]);
    let prior = scene.scene.prior(&unit).await;
    assert_eq!(prior.attributes["ended"], "its container is paused".into());
    scene.scene.repair(&mut unit).await;
    scene.said(&["update", "--memory", "64m", "--memory-swap", "128m", &name]);
    assert_eq!(scene.scene.drift(&unit).await, ["container"]);
    scene.scene.repair(&mut unit).await;
    scene.said(&["update", "--restart", "unless-stopped", &name]);
    assert_eq!(scene.scene.drift(&unit).await, ["container"]);
    scene.scene.repair(&mut unit).await;
    assert!(ask(unit.port()).ends_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_somebody_restarts_is_told_serves_on_and_is_left_running() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    let keeper = unit.pid();
    scene.said(&["restart", "-t", "1", &ContainerScene::name(&unit)]);
    until("it answers again", || {
        std::panic::catch_unwind(|| ask(unit.port()).ends_with("ok")).unwrap_or(false)
    })
    .await;
    assert_eq!(scene.scene.drift(&unit).await, ["restarted"]);
    scene.scene.repair(&mut unit).await;
    assert_eq!(unit.pid(), keeper);
    assert!(ask(unit.port()).ends_with("ok"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_was_made_anew_by_somebody_else_is_drift_in_every_part() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    let (name, other) = (ContainerScene::name(&unit), scene.make_image("two"));
    let label = format!("gabion.uid={}", unit.uid);
    scene.said(&["rm", "-f", &name]);
    let run = [
        "run",
        "-d",
        "--name",
        &name,
        "--label",
        &label,
        "-e",
        "ADDED=1",
        "-v",
        "/tmp:/more",
        &other,
    ];
    scene.said(&run);
    until("its keeper has ended", || unit.pid_if_running().is_none()).await;
    assert_eq!(
        scene.scene.drift(&unit).await,
        ["argv", "container", "ended", "env", "image_id", "running"]
    );
    let prior = scene.scene.prior(&unit).await;
    let container = prior.attributes["container"].as_map().unwrap();
    assert!(container["image"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(container["mounts"].as_list().unwrap().len(), 1);
    scene.scene.repair(&mut unit).await;
    assert!(ask(unit.port()).ends_with("ok"));

    // Without the unit's label it is somebody's, and nothing of it is touched.
    scene.said(&["rm", "-f", &name]);
    scene.said(&["run", "-d", "--name", &name, &other]);
    until("its keeper has ended", || unit.pid_if_running().is_none()).await;
    let planned = scene
        .scene
        .plan(&unit.inputs, Some(scene.scene.prior(&unit).await))
        .planned;
    let request = gabion_engine::provider::UpdateRequest {
        object: unit.recorded(),
        inputs: unit.inputs.clone(),
        planned,
        changed: Vec::new(),
    };
    let call = scene.scene.call(unit.uid, 1);
    let error = scene.scene.provider.update(request, &call).await.unwrap_err();
    let words = format!("{error:?}");
    assert!(words.contains("that gabion did not make"), "{words}");
    scene.said(&["rm", "-f", &name]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_is_chosen_once_and_a_tag_that_moves_changes_nothing() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    let id = unit.state.attributes["image_id"].clone();
    let two = scene.make_image("two");
    scene.said(&["tag", &two, &scene.image]);
    assert!(scene.scene.drift(&unit).await.is_empty());
    kill(unit.pid());
    until("its end is known", || unit.pid_if_running().is_none()).await;
    scene.scene.repair(&mut unit).await;
    assert_eq!(unit.state.attributes["image_id"], id);

    let moved = scene.scene.create(scene.server()).await;
    assert_ne!(moved.state.attributes["image_id"], id);
    let by_id = changed(
        &unit.inputs,
        "container",
        json!({"image": id.as_str().unwrap(), "ports": {"http": 8000}}),
    );
    let third = scene.scene.create_from(by_id).await;
    assert_eq!(third.state.attributes["image_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_a_registry_is_pulled_with_its_login_and_kept_by_its_digest() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let registry = Registry::start();
    let digest = registry.put("1", &scene.make_root("pulled"), &["/bin/engine"]);
    let name = format!("{}/model:1", registry.address);
    let with_login = |word: &str| {
        let mut inputs = scene.server();
        inputs["container"]["image"] = json!(name);
        let mut inputs = attributes(inputs);
        let word = Value::Secret(Secret::new(None, word.into()));
        inputs.insert(
            "registry_auth".into(),
            Value::map([("username", "user".into()), ("password", word)]),
        );
        inputs
    };
    let mut without = with_login("");
    without.remove("registry_auth");
    for inputs in [without, with_login("wrong")] {
        let error = scene.scene.try_create(new_uid(), &inputs).await.unwrap_err();
        assert!(error.message.contains(&name), "{}", error.message);
        assert!(!error.message.contains("wrong"), "{}", error.message);
    }

    let mut unit = scene.scene.create_from(with_login("word")).await;
    assert!(ask(unit.port()).ends_with("ok"));
    let pinned = format!("{}/model@{digest}", registry.address);
    assert_eq!(unit.state.attributes["image_digest"], pinned.as_str().into());
    for file in ["launch.json", "env", "container/launch.json", "container.json"] {
        let text = std::fs::read_to_string(unit.directory().path().join(file)).unwrap();
        assert!(!text.contains("\"word\""), "{file}");
    }

    // The tag has moved on, and the image was removed: the very same one is pulled again.
    let id = unit.state.attributes["image_id"].clone();
    registry.put("1", &scene.make_root("newer"), &["/bin/engine"]);
    kill(unit.pid());
    until("its end is known", || unit.pid_if_running().is_none()).await;
    scene.said(&["rm", "-f", &ContainerScene::name(&unit)]);
    scene.said(&["rmi", "-f", id.as_str().unwrap()]);
    scene.scene.repair(&mut unit).await;
    assert_eq!(unit.state.attributes["image_id"], id);
    assert!(ask(unit.port()).ends_with("ok"));
    delete(&scene, &unit).await;
    scene.said(&["rmi", "-f", id.as_str().unwrap()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_killed_leaves_a_container_that_is_found_and_removed() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut unit = scene.scene.create(scene.server()).await;
    kill(unit.pid());
    until("its end is known", || unit.pid_if_running().is_none()).await;
    assert_eq!(scene.containers().len(), 1);
    scene.scene.repair(&mut unit).await;
    assert_eq!(scene.containers().len(), 1);
    kill(unit.pid());
    let observed = scene
        .scene
        .observe(
            unit.uid,
            gabion_engine::provider::CallAction::Create,
            &unit.inputs,
        )
        .await;
    assert!(matches!(observed, Observation::Present(_)));
    delete(&scene, &unit).await;
    assert!(scene.containers().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_that_cannot_be_had_is_said_clearly() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let failure = async |inputs: serde_json::Value| {
        let error = scene
            .scene
            .try_create(new_uid(), &attributes(inputs))
            .await
            .unwrap_err();
        (
            error.class,
            format!("{} {}", error.message, error.detail.join("\n")),
        )
    };
    let mut absent = scene.server();
    absent["container"]["image"] = json!("127.0.0.1:1/none/such:1");
    let (class, words) = failure(absent).await;
    assert_eq!(class, ErrorClass::Invalid);
    assert!(
        words.contains("The image 127.0.0.1:1/none/such:1 is not on the machine and cannot be pulled"),
        "{words}"
    );

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut same_port = scene.server();
    let port = taken.local_addr().unwrap().port();
    same_port["ports"] = json!({"http": {"port": port}});
    let (class, words) = failure(same_port).await;
    assert_eq!(class, ErrorClass::Conflict);
    assert!(words.contains(&port.to_string()), "{words}");

    let mut missing = scene.script("true");
    missing["argv"] = json!(["/bin/none"]);
    let (_, words) = failure(missing).await;
    assert!(
        words.contains("the program \"/bin/none\" is not in the image"),
        "{words}"
    );

    let mut mount = scene.script("true");
    mount["container"]["mounts"] = json!([{"source": "/nonexistent-here", "target": "/data"}]);
    let (_, words) = failure(mount).await;
    assert!(words.contains("/nonexistent-here"), "{words}");

    let mut user = scene.script("true");
    user["user"] = json!("nobody-there");
    let (_, words) = failure(user).await;
    assert!(
        words.contains("the image has no user \"nobody-there\""),
        "{words}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_a_daemon_says_so() {
    let scene = Scene::with(ContainerConfig {
        sockets: vec!["/nonexistent/docker.sock".into()],
        agent: None,
    });
    let inputs = json!({
        "machine": "local",
        "runtime": "docker",
        "container": {"image": "any:1"},
        "argv": ["true"],
    });
    let error = scene
        .try_create(new_uid(), &attributes(inputs.clone()))
        .await
        .unwrap_err();
    assert!(error.message.contains("static agent"), "{}", error.message);
    let Some(agent) = container_scene::agent() else {
        return;
    };
    let scene = Scene::with(ContainerConfig {
        sockets: vec!["/nonexistent/docker.sock".into()],
        agent: Some(agent),
    });
    let error = scene
        .try_create(new_uid(), &attributes(inputs))
        .await
        .unwrap_err();
    assert_eq!(
        error.message,
        "No Docker daemon answers at /nonexistent/docker.sock: there is no such socket."
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_is_done_with_its_own_exit_code_and_leaves_no_container() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let mut inputs = scene.script("echo working");
    inputs["argv"] = json!(["/bin/sh", "-c", "echo working; exit 3"]);
    inputs["completes"] = json!(true);
    let unit = scene.scene.create(inputs).await;
    until("it has ended", || {
        let standing = gabion_host::unit::standing(&unit.directory()).unwrap();
        standing.to_string() == "failed (3)"
    })
    .await;
    assert!(log(&unit.directory()).contains("working"));
    assert!(scene.containers().is_empty());
    assert!(scene.scene.drift(&unit).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_program_started_is_asked_to_end_too() {
    let Some(scene) = ContainerScene::new() else {
        return;
    };
    let told = scene.scene.root.path().join("told");
    std::fs::create_dir(&told).unwrap();
    let waits = |who: &str| format!("trap 'echo x > /told/{who}; exit 0' TERM; while :; do sleep 0.1; done");
    let mut inputs = scene.script(&format!("({}) & echo up; {}", waits("child"), waits("parent")));
    inputs["container"]["mounts"] = json!([{"source": told, "target": "/told"}]);
    inputs["stop_timeout"] = json!(20);
    let unit = scene.scene.create(inputs).await;
    until("it runs", || log(&unit.directory()).contains("up")).await;
    delete(&scene, &unit).await;
    let mut told: Vec<_> = std::fs::read_dir(told)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    told.sort();
    assert_eq!(told, ["child", "parent"]);
}
