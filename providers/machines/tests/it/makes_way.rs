//! One machine makes way for another: what is on it goes with it, if it is the machine that is away.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gabion_engine::address::{Lineage, ObjectId, ResourceAddress};
use gabion_engine::provider::{
    CallAction, CreateRequest, ErrorClass, Observation, ObserveRequest, Provider, ReadOutcome, RecordedObject,
};
use gabion_engine::value::{Attributes, Value};
use gabion_machines::hosts::Limits;
use gabion_machines::program::ProgramSource;
use gabion_machines::ssh::{SshAddress, Trust};
use gabion_machines::{Hosts, SSH_HOST, SshProvider};
use gabion_testing::proxy::{Network, Proxy};
use gabion_testing::sshd::Sshd;
use uuid::Uuid;

use crate::scene::{
    HOST, Sink, address, call, configured, create, delete, eventually, hosts, inputs, key_of, new_uid,
    provider, read, recorded, sshd,
};

/// What the machine is called that takes the place of the host.
const SUCCESSOR: &str = "gpu/h1@2";

fn address_of_host() -> ResourceAddress {
    ResourceAddress::of(SSH_HOST, "h1").unwrap()
}

/// Returns the host as it is recorded; without an id, it was not met yet.
fn recorded_host(id: Option<&str>) -> RecordedObject {
    let inputs = Attributes::from([
        ("machine".into(), HOST.into()),
        ("instance".into(), "i-1".into()),
        ("hostname".into(), "127.0.0.1".into()),
    ]);
    RecordedObject {
        address: address_of_host(),
        id: id.map(ObjectId::new),
        ..recorded(new_uid(), &inputs, None)
    }
}

fn unit() -> RecordedObject {
    let wanted = inputs(vec![("argv", Value::List(vec!["true".into()]))]);
    recorded(new_uid(), &wanted, None)
}

fn observing(action: CallAction, object: RecordedObject) -> ObserveRequest {
    ObserveRequest {
        action,
        operation: call(new_uid(), 1, &Arc::new(Sink::default())).operation,
        inputs: object.inputs.clone(),
        object,
        lineage: Lineage::from_uuid(Uuid::from_u128(7)),
    }
}

/// Returns a way to a server, and its address there.
fn way(server: &Sshd, network: Network) -> (Proxy, SshAddress) {
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).unwrap();
    proxy.set(network);
    let address = SshAddress {
        port: Some(proxy.port()),
        ..address(server, key_of(server))
    };
    (proxy, address)
}

/// Returns the address of a server that is taken for another machine.
fn of_another_key(server: &Sshd) -> SshAddress {
    let other = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Cxsy5bsaEJNxBJdGNnQW5F0a5TeqpiBVqqj3SAExa";
    address(server, Trust::Key(other.to_owned()))
}

/// Returns machines of which one that nobody answers at is gone after a time.
fn hosts_gone_after(gone_after: Duration, address: SshAddress) -> Hosts {
    let limits = Limits {
        gone_after,
        ..Limits::default()
    };
    let machines = configured(Hosts::with_limits(limits));
    machines.declare(HOST, address);
    machines
}

const FOREVER: Duration = Duration::from_secs(24 * 3600);

#[tokio::test(flavor = "multi_thread")]
async fn what_is_on_a_machine_that_is_away_goes_with_it_once_another_has_its_place() {
    let Some(server) = sshd() else { return };
    let (_proxy, cut) = way(&server, Network::Cut);
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    // Where its address leads to another machine, that one is asked nothing, and nobody waits.
    let patience = Duration::from_secs(1);
    for (gone_after, away) in [(patience, cut), (FOREVER, of_another_key(&server))] {
        let machines = hosts_gone_after(gone_after, away);
        let (units, ssh) = (
            provider(&machines, directory.path()),
            SshProvider::new(machines.clone()),
        );
        let began = Instant::now();
        delete(&units, unit(), &call).await.unwrap_err();
        delete(&ssh, recorded_host(Some(HOST)), &call).await.unwrap_err();
        let unknown = units
            .observe(observing(CallAction::Delete, unit()))
            .await
            .unwrap();
        assert!(matches!(unknown, Observation::Unknown { .. }), "{unknown:?}");

        machines.declare(SUCCESSOR, address(&server, key_of(&server)));
        delete(&units, unit(), &call).await.unwrap();
        assert!(gone_after == FOREVER || began.elapsed() >= patience);
        delete(&ssh, recorded_host(Some(HOST)), &call).await.unwrap();
        for (provider, object) in [
            (&units as &dyn Provider, unit()),
            (&ssh, recorded_host(Some(HOST))),
        ] {
            let gone = provider
                .observe(observing(CallAction::Delete, object.clone()))
                .await;
            assert_eq!(gone.unwrap(), Observation::Absent);
            let updated = provider.observe(observing(CallAction::Update, object)).await;
            assert!(matches!(updated.unwrap(), Observation::Unknown { .. }));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_away_for_a_moment_is_waited_for_and_what_is_there_is_deleted_there() {
    let Some(server) = sshd() else { return };
    let (proxy, through) = way(&server, Network::Whole);
    let directory = tempfile::tempdir().unwrap();
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let machines = hosts_gone_after(Duration::from_secs(6), through);
    machines.declare(SUCCESSOR, address(&server, key_of(&server)));
    let units = provider(&machines, directory.path());
    let wanted = inputs(vec![("argv", Value::List(vec!["sleep".into(), "600".into()]))]);
    let state = create(&units, &wanted, &call(uid, 1, &sink)).await.unwrap();
    let object = recorded(uid, &wanted, Some(&state));

    proxy.set(Network::Cut);
    machines.facts(HOST).await.unwrap_err();
    let asked = proxy.asked();
    let (deleting, sink) = (call(uid, 1, &sink), &sink);
    let back = async {
        eventually("two tries", async || (proxy.asked() >= asked + 2).then_some(())).await;
        proxy.set(Network::Whole);
    };
    let (deleted, ()) = tokio::join!(delete(&units, object.clone(), &deleting), back);
    deleted.unwrap();
    let told = "see whether the machine is gone".to_owned();
    assert!(sink.phases.lock().unwrap().contains(&told));
    let left = server.gabion_root().join("units").join(uid.to_string());
    assert!(!left.exists(), "it was only said to be gone");
    assert_eq!(read(&units, object).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_breaks_in_the_middle_of_a_deletion_is_not_the_machines_end() {
    let Some(server) = sshd() else { return };
    let (proxy, through) = way(&server, Network::Whole);
    let directory = tempfile::tempdir().unwrap();
    let (uid, sink) = (new_uid(), Arc::new(Sink::default()));
    let machines = hosts_gone_after(Duration::from_secs(6), through);
    machines.declare(SUCCESSOR, address(&server, key_of(&server)));
    let units = provider(&machines, directory.path());
    let stubborn = "trap '' TERM; while :; do sleep 0.1; done";
    let argv = Value::List(vec!["/bin/sh".into(), "-c".into(), stubborn.into()]);
    let wanted = inputs(vec![("argv", argv), ("stop_timeout", Value::Int(3))]);
    let state = create(&units, &wanted, &call(uid, 1, &sink)).await.unwrap();
    let object = recorded(uid, &wanted, Some(&state));

    let sink = Arc::new(Sink::default());
    let deleting = call(uid, 1, &sink);
    let breaks = async {
        eventually("it has begun", async || {
            (!sink.phases.lock().unwrap().is_empty()).then_some(())
        })
        .await;
        let asked = proxy.asked();
        proxy.set(Network::Cut);
        eventually("a try", async || (proxy.asked() > asked).then_some(())).await;
        proxy.set(Network::Whole);
    };
    let (deleted, ()) = tokio::join!(delete(&units, object.clone(), &deleting), breaks);
    assert_eq!(deleted.unwrap_err().class, ErrorClass::Uncertain);
    // The next run looks, and deletes it there.
    let looked = units.observe(observing(CallAction::Delete, object.clone())).await;
    assert!(matches!(looked.unwrap(), Observation::Present(_)));
    delete(&units, object.clone(), &call(uid, 2, &sink))
        .await
        .unwrap();
    assert_eq!(read(&units, object).await, ReadOutcome::Absent);
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_waits_for_a_machine_that_is_known_to_have_ended_and_no_longer_than_a_call_may_take() {
    let Some(server) = sshd() else { return };
    let (_proxy, cut) = way(&server, Network::Cut);
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let machines = hosts_gone_after(FOREVER, cut);
    machines.declare(SUCCESSOR, address(&server, key_of(&server)));
    let units = provider(&machines, directory.path());
    let ssh = SshProvider::new(machines.clone());
    let in_time = |call: &mut gabion_engine::provider::Call| {
        call.deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    };
    let mut short = call(new_uid(), 1, &sink);
    in_time(&mut short);
    let error = delete(&units, unit(), &short).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error:?}");
    let cancelled = call(new_uid(), 1, &sink);
    cancelled.cancel.cancel();
    let error = delete(&ssh, recorded_host(Some(HOST)), &cancelled).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Transient);

    machines.note_ended(HOST);
    let patient = call(new_uid(), 1, &sink);
    delete(&units, unit(), &patient).await.unwrap();
    delete(&ssh, recorded_host(Some(HOST)), &patient).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_goes_with_a_machine_when_something_else_is_in_the_way() {
    let Some(server) = sshd() else { return };
    let directory = tempfile::tempdir().unwrap();
    let sink = Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    let machines = hosts(address(&server, key_of(&server)));
    machines.declare(SUCCESSOR, address(&server, key_of(&server)));
    let nothing = ProgramSource {
        configured: Some(PathBuf::from("/nowhere/gabion-agent")),
        candidates: Vec::new(),
    };
    machines.configure("test", PathBuf::from("/"), nothing);
    let error = delete(&provider(&machines, directory.path()), unit(), &call).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Invalid);
    let host = recorded_host(Some(HOST));
    let error = delete(&SshProvider::new(machines), host, &call).await;
    assert_eq!(error.unwrap_err().class, ErrorClass::Invalid);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_not_met_takes_nobodys_place() {
    let Some(server) = sshd() else { return };
    let (proxy, cut) = way(&server, Network::Cut);
    let machines = configured(Hosts::default());
    machines.declare(HOST, address(&server, key_of(&server)));
    let ssh = SshProvider::new(machines.clone());
    let request = || CreateRequest {
        resource_type: address_of_host().resource_type.clone(),
        address: address_of_host(),
        inputs: Attributes::from([
            ("machine".into(), HOST.into()),
            ("instance".into(), "i-2".into()),
            ("hostname".into(), cut.hostname.clone().into()),
            ("port".into(), Value::Int(cut.port.unwrap().into())),
            ("user".into(), cut.user.clone().unwrap().into()),
            ("identity_file".into(), cut.identity_file.clone().unwrap().into()),
            ("host_key".into(), server.host_key().unwrap().into()),
        ]),
        planned: Attributes::from([("id".into(), SUCCESSOR.into())]),
    };
    let sink = Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    ssh.create(request(), &call).await.unwrap_err();
    assert!(!machines.is_succeeded(HOST));
    assert_eq!(machines.names(), [HOST]);

    // Nor does one that is only being met, and nothing is left of it when the call is dropped.
    proxy.set(Network::Silent);
    let asked = proxy.asked();
    tokio::select! {
        met = ssh.create(request(), &call) => panic!("{met:?}"),
        () = eventually("a try", async || (proxy.asked() > asked).then_some(())) => {}
    }
    assert_eq!(machines.names(), [HOST]);
    let meeting = async {
        eventually("another try", async || (proxy.asked() > asked + 1).then_some(())).await;
        assert_eq!(machines.names(), [HOST, SUCCESSOR]);
        assert!(!machines.is_succeeded(HOST));
        proxy.set(Network::Whole);
    };
    let (met, ()) = tokio::join!(ssh.create(request(), &call), meeting);
    met.unwrap();
    assert!(machines.is_succeeded(HOST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_was_not_met_is_met_anew_after_a_crash() {
    let Some(server) = sshd() else { return };
    let machines = hosts(address(&server, key_of(&server)));
    let ssh = SshProvider::new(machines.clone());
    // No other machine is taken for it.
    let not_met = observing(CallAction::Create, recorded_host(None));
    assert_eq!(ssh.observe(not_met).await.unwrap(), Observation::Absent);
    assert_eq!(machines.names(), [HOST]);
}
