//! A machine is known as it is configured to be known, and by nothing else.

use gabion_engine::provider::ErrorClass;
use gabion_machines::ssh::Trust;

use crate::scene::{HOST, address, hosts, key_of, sshd};

#[tokio::test(flavor = "multi_thread")]
async fn a_configured_key_lets_in_and_the_program_is_uploaded_once() {
    let Some(server) = sshd() else { return };
    let (facts, key) = hosts(address(&server, key_of(&server)))
        .facts(HOST)
        .await
        .unwrap();
    assert!(facts.cpus > 0, "{facts:?}");
    assert!(server.host_key().unwrap().starts_with(&key.unwrap()));
    let programs = server.gabion_root().join("program");
    let digests: Vec<_> = std::fs::read_dir(&programs).unwrap().flatten().collect();
    assert_eq!(digests.len(), 1);
    let program = digests[0].path().join("gabion-agent");
    let made = std::fs::metadata(&program).unwrap().modified().unwrap();
    hosts(address(&server, key_of(&server)))
        .facts(HOST)
        .await
        .unwrap();
    assert_eq!(std::fs::metadata(&program).unwrap().modified().unwrap(), made);
    let left: Vec<_> = std::fs::read_dir(digests[0].path()).unwrap().flatten().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_key_is_refused_with_the_three_ways_to_make_it_known() {
    let Some(server) = sshd() else { return };
    let error = hosts(address(&server, Trust::KnownHosts))
        .facts(HOST)
        .await
        .unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    let hint = error.hint.unwrap();
    for way in ["ssh 127.0.0.1", "host_key:", "trust_on_first_use: true"] {
        assert!(hint.contains(way), "{hint}");
    }
    assert!(!server.gabion_root().exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn first_use_tells_the_key_and_a_changed_key_is_refused() {
    let Some(mut server) = sshd() else { return };
    let machines = hosts(address(&server, Trust::FirstUse));
    let (_, key) = machines.facts(HOST).await.unwrap();
    let key = key.unwrap();
    assert!(server.host_key().unwrap().starts_with(&key), "{key}");

    server.resume_with_another_key().unwrap();
    // The same run of gabion does not take another key either.
    for machines in [machines, hosts(address(&server, Trust::Key(key)))] {
        let error = crate::scene::eventually("the connection is lost", async || {
            match machines.facts(HOST).await {
                Err(error) if error.class == ErrorClass::Denied => Some(error),
                Err(_) => None,
                Ok(_) => panic!("another key was taken"),
            }
        })
        .await;
        assert!(error.message.contains("another host key"), "{error:?}");
        assert!(error.message.contains("SHA256:"), "{error:?}");
    }
}
