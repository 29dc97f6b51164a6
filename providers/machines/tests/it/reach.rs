//! A machine that is away is tried once for all who ask, others are not held up, and connections are bounded. Counted are
//! connections, not seconds.

use std::time::Duration;

use futures_util::future::join_all;
use gabion_engine::address::{Lineage, ResourceType};
use gabion_engine::provider::{ErrorClass, ListRequest, Provider, ReadOutcome, ReadRequest};
use gabion_engine::value::Value;
use gabion_machines::Hosts;
use gabion_machines::hosts::Limits;
use gabion_machines::reach::Rests;
use gabion_machines::ssh::SshAddress;
use gabion_testing::proxy::{Network, Proxy};
use gabion_testing::sshd::Sshd;
use uuid::Uuid;

use crate::scene::{
    HOST, Sink, address, call, configured, create, hosts, inputs, key_of, new_uid, provider, recorded, sshd,
};

const FOREVER: Duration = Duration::from_secs(24 * 3600);

fn limits(held: usize, rest: Duration) -> Limits {
    Limits {
        held,
        made: 2,
        rests: Rests(vec![rest]),
        ..Limits::default()
    }
}

/// Returns a network in front of a server, and the server's address through it.
fn behind_proxy(server: &Sshd) -> (Proxy, SshAddress) {
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).unwrap();
    let address = SshAddress {
        port: Some(proxy.port()),
        ..address(server, key_of(server))
    };
    (proxy, address)
}

fn lineage() -> Lineage {
    Lineage::from_uuid(Uuid::from_u128(7))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_is_away_is_tried_once_for_all_and_others_answer() {
    let (Some(away), Some(there)) = (sshd(), sshd()) else {
        return;
    };
    let (proxy, address_of_away) = behind_proxy(&away);
    proxy.set(Network::Cut);
    let machines = configured(Hosts::with_limits(limits(8, FOREVER)));
    machines.declare(HOST, address_of_away);
    machines.declare("gpu/h2", address(&there, key_of(&there)));
    let directory = tempfile::tempdir().unwrap();
    let provider = provider(&machines, directory.path());

    // Reads of many objects there and elsewhere, facts, lists and a call: all about one machine.
    let on_both = (0..6).map(|number| {
        let mut inputs = inputs(Vec::new());
        if number % 2 == 1 {
            inputs.insert("machine".into(), "gpu/h2".into());
        }
        recorded(new_uid(), &inputs, None)
    });
    let request = ReadRequest {
        resource_type: ResourceType::new("host_unit").unwrap(),
        objects: on_both.collect(),
    };
    let facts = (0..5).map(|_| machines.facts(HOST));
    let (read, listed, facts) = tokio::join!(
        provider.read(request),
        provider.list(ListRequest { lineage: lineage() }),
        join_all(facts)
    );
    assert!(facts.iter().all(Result::is_err));
    for (number, outcome) in read.unwrap().into_iter().enumerate() {
        match outcome {
            ReadOutcome::CannotTell { reason } if number % 2 == 0 => {
                assert!(reason.contains(HOST), "{reason}");
            }
            ReadOutcome::Absent if number % 2 == 1 => {}
            other => panic!("{number}: {other:?}"),
        }
    }
    let listed = listed.unwrap();
    assert_eq!(listed.objects, []);
    let [unasked] = &listed.unasked[..] else {
        panic!("{listed:?}");
    };
    assert_eq!(unasked.part, format!("machine `{HOST}`"));
    assert!(unasked.why.contains("cannot be reached"), "{unasked:?}");

    let sink = std::sync::Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    let wanted = inputs(vec![("argv", Value::List(vec!["true".into()]))]);
    let error = create(&provider, &wanted, &call).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error:?}");
    for part in [HOST, "cannot be reached", "Nothing was asked of it."] {
        assert!(error.message.contains(part), "{error:?}");
    }
    assert_eq!(proxy.asked(), 1);
    assert_eq!(there.logins(), 1, "one connection for all calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_that_came_back_is_reached_once_it_has_rested() {
    let Some(server) = sshd() else { return };
    let (proxy, through) = behind_proxy(&server);
    proxy.set(Network::Cut);
    let machines = configured(Hosts::with_limits(limits(8, Duration::ZERO)));
    machines.declare(HOST, through);
    machines.facts(HOST).await.unwrap_err();
    machines.facts(HOST).await.unwrap_err();
    proxy.set(Network::Whole);
    machines.facts(HOST).await.unwrap();
    machines.facts(HOST).await.unwrap();
    assert_eq!(proxy.asked(), 3);

    // What breaks is made again by whoever comes next.
    proxy.set(Network::Cut);
    machines.facts(HOST).await.unwrap_err();
    proxy.set(Network::Whole);
    machines.facts(HOST).await.unwrap();
}

/// More machines than connections: each is connected once, also when several calls are about it.
#[tokio::test(flavor = "multi_thread")]
async fn few_connections_serve_many_machines_once_each() {
    const MACHINES: usize = 12;
    let Some(server) = sshd() else { return };
    let (proxy, through) = behind_proxy(&server);
    // The agent's program is put there before, so that it is not sent by several at once.
    hosts(address(&server, key_of(&server)))
        .facts(HOST)
        .await
        .unwrap();
    let machines = configured(Hosts::with_limits(limits(3, FOREVER)));
    let names: Vec<String> = (0..MACHINES).map(|number| format!("gpu/m{number:02}")).collect();
    for name in &names {
        machines.declare(name, through.clone());
    }
    let directory = tempfile::tempdir().unwrap();
    let provider = provider(&machines, directory.path());
    let objects = names.iter().map(|name| {
        let mut inputs = inputs(Vec::new());
        inputs.insert("machine".into(), name.as_str().into());
        recorded(new_uid(), &inputs, None)
    });
    let request = ReadRequest {
        resource_type: ResourceType::new("host_unit").unwrap(),
        objects: objects.collect(),
    };
    let (read, listed, facts) = tokio::join!(
        provider.read(request),
        provider.list(ListRequest { lineage: lineage() }),
        join_all(names.iter().map(|name| machines.facts(name)))
    );
    assert!(
        read.unwrap()
            .iter()
            .all(|outcome| *outcome == ReadOutcome::Absent)
    );
    assert_eq!(listed.unwrap(), Default::default());
    assert!(facts.iter().all(Result::is_ok), "{facts:?}");
    assert_eq!(proxy.asked(), MACHINES as u64);
}
