//! Programs that a real systemd runs, through the engine's contract.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::sync::Arc;

use async_trait::async_trait;
use gabion_engine::provider::{CallAction, ErrorClass, ListRequest, Observation, Provider, ReadOutcome};
use gabion_engine::value::Value;
use gabion_host::unit::{LogPosition, LogQuery, follow, read_log};
use gabion_host::{HOST_UNIT, HostProvider, SystemdConfig};
use gabion_testing::conformance::{Case, Subject, check};
use gabion_testing::inside_booted;
use serde_json::json;

use super::scene::{attributes, host_unit, new_uid, with_secret};
use super::service_scene::{
    ServiceScene, changed, name_of, property, script, server, systemctl, unit_file, until_logged,
};
use crate::support::{Root, until};

const SECRET: &str = "hunter2-in-a-service";

#[async_trait]
impl Subject for ServiceScene {
    fn provider(&self) -> Arc<dyn Provider> {
        Arc::<HostProvider>::clone(&self.scene.provider)
    }

    async fn cases(&self) -> Vec<Case> {
        let inputs = with_secret(attributes(server()), "TOKEN", SECRET);
        vec![
            Case::new(HOST_UNIT, "served/default/0", inputs.clone())
                .update(changed(&inputs, "role", json!("router")))
                .replace(changed(&inputs, "systemd", json!({"restart": "no"})))
                .secret(SECRET),
        ]
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn services_keep_the_contract_of_every_provider() {
    if !inside_booted!() {
        return;
    }
    check(&ServiceScene::new()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_is_made_kept_and_removed_without_a_trace() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let inputs = with_secret(attributes(server()), "TOKEN", SECRET);
    let mut unit = scene.scene.create_from(inputs).await;
    let pid = unit.pid();
    assert_eq!(property(&unit, "MainPID"), pid.to_string());
    assert_eq!(property(&unit, "UnitFileState"), "enabled");
    assert_eq!(
        unit.state.attributes["service"],
        Value::string(format!("{} (system)", name_of(&unit)))
    );

    // The unit file says whose it is, and no secret.
    let file = unit_file(&unit.uid.to_string());
    let text = std::fs::read_to_string(&file).unwrap();
    assert_eq!(
        std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert!(!text.contains(SECRET), "{text}");
    for part in [
        &unit.uid.to_string(),
        &scene.scene.lineage.to_string(),
        "host_unit.qwen/default/0",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let shown = systemctl(&["show", &name_of(&unit)]);
    assert!(!shown.contains(SECRET), "{shown}");
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap();
    assert!(String::from_utf8_lossy(&environment).contains(SECRET));

    // Nothing is done twice, and nothing restarts for what no program reads.
    assert!(scene.scene.drift(&unit).await.is_empty());
    let role = changed(&unit.inputs, "role", json!("router"));
    scene.scene.update(&mut unit, role).await;
    assert_eq!(unit.pid(), pid);
    assert!(scene.scene.drift(&unit).await.is_empty());

    scene.delete(&unit).await.unwrap();
    scene.delete(&unit).await.unwrap();
    assert_eq!(scene.scene.read(&unit).await, ReadOutcome::Absent);
    assert!(!file.exists());
    assert_eq!(property(&unit, "LoadState"), "not-found");
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());
    assert!(!scene.scene.root.path().join("units").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_service_says_is_read_from_the_journal_also_when_who_said_it_has_ended() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let script = script(
        "echo first; (echo from a child that ends &) ; sh -c 'echo from another'; while sleep 0.1; do echo tick; done",
    );
    let unit = scene.create(script).await;
    let directory = unit.directory();
    for words in ["first\n", "from a child that ends\n", "from another\n"] {
        until_logged(&directory, words).await;
    }
    let mut follower = follow(&directory, LogPosition::End);
    let wait = std::time::Duration::from_secs(60);
    let news = tokio::time::timeout(wait, follower.next())
        .await
        .unwrap()
        .unwrap();
    assert!(String::from_utf8_lossy(&news).contains("tick"), "{news:?}");
    assert!(!directory.current_log().exists(), "there is one log");
    let query = LogQuery {
        lines: None,
        since: Some(std::time::Duration::from_secs(3600)),
    };
    let since = read_log(&directory, query, 1 << 20).unwrap();
    assert!(since.is_timed && since.text.contains("first\n"), "{since:?}");
    scene.delete(&unit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creation_whose_answer_was_lost_is_found_and_not_made_twice() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let (uid, inputs) = (new_uid(), attributes(server()));
    let first = scene.scene.try_create(uid, &inputs).await.unwrap();
    let observed = scene.scene.observe(uid, CallAction::Create, &inputs).await;
    let Observation::Present(state) = observed else {
        panic!("it runs: {observed:?}");
    };
    assert_eq!(state.id, first.id);
    assert_eq!(state.attributes["running"], true.into());
    let main = systemctl(&[
        "show",
        "--value",
        "-p",
        "MainPID",
        state.attributes["service"]
            .as_str()
            .unwrap()
            .split(' ')
            .next()
            .unwrap(),
    ]);
    let again = scene.scene.try_create(uid, &inputs).await.unwrap();
    let after = systemctl(&[
        "show",
        "--value",
        "-p",
        "MainPID",
        again.attributes["service"]
            .as_str()
            .unwrap()
            .split(' ')
            .next()
            .unwrap(),
    ]);
    assert_eq!(main, after);
    let request = ListRequest {
        lineage: scene.scene.lineage,
    };
    let listed = scene.scene.provider.list(request).await.unwrap().objects;
    assert_eq!(listed.len(), 1);
    assert_eq!(
        (listed[0].uid, &listed[0].resource_type),
        (Some(uid), &host_unit())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_ends_the_service_also_when_the_units_directory_is_gone() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let unit = scene.create(script("exec sleep 600")).await;
    let pid = unit.pid();
    std::fs::remove_dir_all(unit.directory().path()).unwrap();
    scene.delete(&unit).await.unwrap();
    assert!(!unit_file(&unit.uid.to_string()).exists());
    until("it has ended", || {
        !std::path::Path::new(&format!("/proc/{pid}")).exists()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_not_there_is_named_and_nothing_goes_on_trying() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = script("");
    inputs["argv"] = json!(["no-such-program"]);
    let uid = new_uid();
    let error = scene
        .scene
        .try_create(uid, &attributes(inputs))
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    assert!(
        error.message.contains("\"no-such-program\" is not there"),
        "{error:?}"
    );
    let state = systemctl(&[
        "show",
        "--value",
        "-p",
        "ActiveState",
        &format!("gabion-{uid}.service"),
    ]);
    assert!(matches!(state.as_str(), "inactive" | "failed"), "{state}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_ends_before_it_is_ready_is_quoted() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = server();
    inputs["argv"] = json!(["sh", "-c", "echo out of luck >&2; exit 7"]);
    inputs["systemd"] = json!({"restart": "no"});
    let error = scene
        .scene
        .try_create(new_uid(), &attributes(inputs))
        .await
        .unwrap_err();
    assert!(error.message.contains("exit code 7"), "{error:?}");
    assert!(
        error.detail.iter().any(|line| line.contains("out of luck")),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_of_another_user_runs_as_that_user_with_its_files() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = script("id -un; cat note; echo \"home $HOME\"; exec sleep 600");
    inputs["user"] = json!("nobody");
    inputs["files"] = json!({"note": "readable\n"});
    let unit = scene.create(inputs).await;
    let said = until_logged(&unit.directory(), "home ").await;
    assert!(said.starts_with("nobody\nreadable\nhome /"), "{said}");
    assert!(scene.scene.drift(&unit).await.is_empty());
    let status = std::fs::read_to_string(format!("/proc/{}/status", unit.pid())).unwrap();
    assert!(
        status.contains("\nUid:\t65534\t65534\t65534\t65534\n"),
        "{status}"
    );
    scene.delete(&unit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_somebody_else_with_the_services_name_is_left_alone() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let uid = new_uid();
    let file = unit_file(&uid.to_string());
    std::fs::write(&file, "[Service]\nExecStart=/bin/true\n").unwrap();
    let inputs = attributes(script("exec sleep 600"));
    let error = scene.scene.try_create(uid, &inputs).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Conflict, "{error:?}");
    assert!(std::fs::read_to_string(&file).unwrap().contains("/bin/true"));
    std::fs::remove_file(file).unwrap();
}

const HOSTILE: [&str; 14] = [
    "it's",
    "\"quoted\"",
    "two\nlines\n",
    "$(touch /tmp/gabion-hostile-1)",
    "`touch /tmp/gabion-hostile-2`",
    "; touch /tmp/gabion-hostile-3 #",
    "-oProxyCommand=touch /tmp/gabion-hostile-4",
    "--",
    "ünïcödé 🦫 \u{202e}",
    "\\n\\0 \\\\ \\x41",
    "%n %i %h %% %",
    "$HOME ${HOME} $$ $",
    "tab\tand\rreturn",
    "",
];

#[tokio::test(flavor = "multi_thread")]
async fn hostile_words_and_paths_reach_the_program_byte_for_byte_and_execute_nothing() {
    if !inside_booted!() {
        return;
    }
    // The unit's own path is hostile too: it is what the unit file holds.
    let above = tempfile::tempdir().unwrap();
    let odd = "it's \"a\" 100% $HOME ${X} \\ \u{fc} $(touch gabion-hostile-5) -x";
    let directory = above.path().join(odd);
    std::fs::create_dir(&directory).unwrap();
    let root = Root(tempfile::tempdir_in(&directory).unwrap());
    let scene = ServiceScene::of(root, SystemdConfig::default());
    let program = "import json,os,sys,time\n\
        file = open('a b\\'\"$(x)%n\\n.txt', newline='').read()\n\
        env = [os.environ['E%d' % i] for i in range(int(os.environ['COUNT']))]\n\
        json.dump([sys.argv[1:], env, file, os.getcwd()], open('said.new', 'w'))\n\
        os.rename('said.new', 'said')\n\
        time.sleep(600)\n";
    let argv: Vec<&str> = ["python3", "-c", program].into_iter().chain(HOSTILE).collect();
    let mut env = serde_json::Map::new();
    env.insert("COUNT".to_owned(), json!(HOSTILE.len().to_string()));
    for (index, text) in HOSTILE.iter().enumerate() {
        env.insert(format!("E{index}"), json!(text));
    }
    let content = HOSTILE.join("|");
    let unit = scene
        .create(json!({
            "machine": "local",
            "runtime": "systemd",
            "argv": argv,
            "env": env,
            "files": {"a b'\"$(x)%n\n.txt": content},
            "stop_timeout": 10,
        }))
        .await;
    let said = unit.directory().files().join("said");
    let end = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !said.exists() {
        assert!(std::time::Instant::now() < end, "it says nothing");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    let said: (Vec<String>, Vec<String>, String, String) =
        serde_json::from_slice(&std::fs::read(said).unwrap()).unwrap();
    assert_eq!(said.0, HOSTILE);
    assert_eq!(said.1, HOSTILE);
    assert_eq!(said.2, content);
    assert!(said.3.contains(odd), "{}", said.3);
    for index in 1..=5 {
        for place in ["/tmp", "/"] {
            assert!(
                !std::path::Path::new(place)
                    .join(format!("gabion-hostile-{index}"))
                    .exists()
            );
        }
    }
    assert!(scene.scene.drift(&unit).await.is_empty());
    scene.delete(&unit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_said_with_the_place_and_what_to_do() {
    if !inside_booted!() {
        return;
    }
    let root = Root::new();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(root.path())
        .status()
        .unwrap();
    assert!(mounted.success());
    let path = root.path().to_owned();
    {
        let scene = ServiceScene::of(root, SystemdConfig::default());
        let mut inputs = script("exec sleep 600");
        inputs["files"] = json!({"large": "x".repeat(1 << 20)});
        let uid = new_uid();
        let error = scene
            .scene
            .try_create(uid, &attributes(inputs))
            .await
            .unwrap_err();
        assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
        for part in ["large", "No space left"] {
            assert!(error.message.contains(part), "{error:?}");
        }
        assert!(
            error.hint.as_deref().unwrap_or_default().contains("df -h"),
            "{error:?}"
        );
        assert!(!unit_file(&uid.to_string()).exists(), "nothing was begun");
        let unmounted = Command::new("umount").arg("--lazy").arg(&path).status().unwrap();
        assert!(unmounted.success());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_is_meant_to_end_is_done_once_and_does_not_start_with_the_machine() {
    if !inside_booted!() {
        return;
    }
    let scene = ServiceScene::new();
    let mut inputs = script("echo done; exit 0");
    inputs["completes"] = json!(true);
    let unit = scene.create(inputs).await;
    until("it has ended", || unit.pid_if_running().is_none()).await;
    assert_eq!(property(&unit, "UnitFileState"), "static");
    assert!(scene.scene.drift(&unit).await.is_empty());
    let standing = gabion_host::unit::standing(&unit.directory()).unwrap();
    assert!(
        matches!(standing, gabion_host::unit::Standing::Done { .. }),
        "{standing:?}"
    );
    scene.delete(&unit).await.unwrap();
    assert_eq!(property(&unit, "LoadState"), "not-found");
}
