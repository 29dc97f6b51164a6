//! What goes wrong on the way to a machine is told in words that help.

use gabion_engine::provider::{ErrorClass, ReadOutcome};
use gabion_machines::program::ProgramSource;

use crate::scene::{HOST, address, hosts, inputs, key_of, new_uid, provider, read, recorded, sshd};

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_away_is_named_and_its_units_are_not_taken_for_gone() {
    let Some(mut server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let machines = hosts(address(&server, key_of(&server)));
    server.stop();
    let provider = provider(&machines, directory.path());
    let outcome = read(&provider, recorded(new_uid(), &inputs(Vec::new()), None)).await;
    let ReadOutcome::CannotTell { reason } = outcome else {
        panic!("{outcome:?}");
    };
    let port = server.port().to_string();
    for part in [HOST, "127.0.0.1", &port, "refused"] {
        assert!(reason.contains(part), "{reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_key_is_told_from_a_machine_that_is_away() {
    let (Some(server), Some(other)) = (sshd(), sshd()) else {
        return;
    };
    let mut address = address(&server, key_of(&server));
    address.identity_file = Some(other.identity_file().display().to_string());
    let error = hosts(address).facts(HOST).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    assert!(error.hint.unwrap().contains("identity_file"));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_agents_program_nothing_is_connected_and_the_command_is_named() {
    let Some(server) = sshd() else { return };
    let machines = hosts(address(&server, key_of(&server)));
    machines.configure(
        "test",
        "/".into(),
        ProgramSource {
            configured: None,
            candidates: vec!["/nonexistent/gabion-agent".into()],
        },
    );
    assert!(
        machines
            .check_program()
            .unwrap_err()
            .contains("/nonexistent/gabion-agent")
    );
    let error = machines.facts(HOST).await.unwrap_err();
    assert!(error.hint.unwrap().contains("cargo xtask agent"));
    assert!(!server.gabion_root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_where_nothing_can_be_written_is_said() {
    let Some(server) = sshd() else { return };
    // A file where the directory should be: the same as a disk that takes nothing.
    std::fs::write(server.directory().join("data"), "").unwrap();
    let error = hosts(address(&server, key_of(&server)))
        .facts(HOST)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Invalid, "{error:?}");
    assert!(error.message.contains("cannot be made"), "{error:?}");
}
