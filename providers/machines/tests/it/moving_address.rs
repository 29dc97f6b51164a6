//! An address that stays moves from one machine to another: the new one is met at its own until then.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::provider::{ErrorClass, RecordedObject};
use gabion_engine::value::Value;
use gabion_machines::Hosts;
use gabion_machines::ssh::{Jump, SshAddress, Trust};
use gabion_testing::proxy::{Network, Proxy};
use gabion_testing::sshd::Sshd;
use tokio::time::timeout;

use crate::scene::{
    HOST, Sink, address, call, configured, delete, eventually, inputs, key_of, new_uid, provider, recorded,
    sshd,
};

/// What the machine is called that takes the place of the host.
const SUCCESSOR: &str = "gpu/h1@2";

/// A machine behind the gateway.
const BEHIND: &str = "gpu/h2";

/// Where a machine is reached by an address of its own.
const OWN: [u8; 4] = [127, 0, 0, 2];

/// Less than SSH itself takes to find that nothing arrives any more.
const SOON: Duration = Duration::from_secs(12);

/// Two machines of one name, and the address that leads to the old one.
struct Scene {
    old: Sshd,
    new: Sshd,
    /// The address that stays.
    stays: Proxy,
    /// The new machine's own.
    own: Proxy,
    hosts: Hosts,
}

fn to(server: &Sshd) -> std::net::SocketAddr {
    ([127, 0, 0, 1], server.port()).into()
}

impl Scene {
    fn start() -> Option<Self> {
        let (old, new) = (sshd()?, sshd()?);
        let stays = Proxy::start(to(&old)).unwrap();
        let own = Proxy::start_at((OWN, stays.port()).into(), to(&new)).unwrap();
        let scene = Self {
            hosts: configured(Hosts::default()),
            old,
            new,
            stays,
            own,
        };
        let old = scene.at_the_address(&scene.old, key_of(&scene.old));
        scene.hosts.declare(HOST, old);
        scene.hosts.declare(SUCCESSOR, scene.with_own());
        Some(scene)
    }

    /// How the new machine is reached.
    fn with_own(&self) -> SshAddress {
        SshAddress {
            own_hostname: Some("127.0.0.2".to_owned()),
            ..self.at_the_address(&self.new, key_of(&self.new))
        }
    }

    fn at_the_address(&self, server: &Sshd, trust: Trust) -> SshAddress {
        SshAddress {
            port: Some(self.stays.port()),
            ..address(server, trust)
        }
    }

    /// How a machine is reached through another one, at the address.
    fn through(&self, on_the_way: &Sshd, behind: &Sshd) -> SshAddress {
        let jump = Jump {
            hostname: "127.0.0.1".to_owned(),
            port: Some(self.stays.port()),
            user: Some(Sshd::user()),
            identity_file: Some(on_the_way.identity_file().display().to_string()),
            host_key: Some(on_the_way.host_key().unwrap()),
        };
        SshAddress {
            proxy_jump: Some(jump),
            ..address(behind, key_of(behind))
        }
    }

    /// Has the address lead to the new machine; its own is nobody's from then on.
    fn moves(&self) {
        self.stays.lead_to(to(&self.new));
        self.own.set(Network::Silent);
    }
}

fn unit() -> RecordedObject {
    let wanted = inputs(vec![("argv", Value::List(vec!["true".into()]))]);
    recorded(new_uid(), &wanted, None)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_machine_is_met_at_its_own_address_until_the_one_that_stays_leads_there() {
    let Some(scene) = Scene::start() else { return };
    let directory = tempfile::tempdir().unwrap();
    let units = provider(&scene.hosts, directory.path());
    let sink = Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    for machine in [HOST, SUCCESSOR, HOST, SUCCESSOR] {
        scene.hosts.facts(machine).await.unwrap();
    }
    assert_eq!((scene.stays.asked(), scene.own.asked()), (2, 1));

    scene.moves();
    timeout(SOON, scene.hosts.facts(SUCCESSOR))
        .await
        .unwrap()
        .unwrap();
    assert_eq!((scene.stays.asked(), scene.own.asked()), (3, 1));
    // What is on the old one goes with it, and nobody waits for an answer of it.
    timeout(SOON, delete(&units, unit(), &call))
        .await
        .unwrap()
        .unwrap();
    scene.hosts.facts(HOST).await.unwrap_err();
    assert_eq!(scene.own.asked(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_moved_has_come_once_the_new_machine_answers_there() {
    let Some(scene) = Scene::start() else { return };
    let sink = Arc::new(Sink::default());
    let call = call(new_uid(), 1, &sink);
    // Nobody is met at another address than this one.
    timeout(SOON, scene.hosts.arrive("127.0.0.9", &call))
        .await
        .unwrap();
    scene.hosts.facts(SUCCESSOR).await.unwrap();
    assert_eq!((scene.stays.asked(), scene.own.asked()), (1, 1));
    let comes = scene.hosts.arrive("127.0.0.1", &call);
    let leads = async {
        eventually("looks", async || (scene.stays.asked() >= 3).then_some(())).await;
        scene.moves();
    };
    timeout(2 * SOON, async { tokio::join!(comes, leads) })
        .await
        .unwrap();
    let asked = scene.stays.asked();
    assert_eq!(
        *sink.phases.lock().unwrap(),
        ["wait until 127.0.0.1 leads to gpu/h1"]
    );
    // What is asked of it from now on goes over the connection that was made then.
    scene.hosts.facts(SUCCESSOR).await.unwrap();
    assert_eq!((scene.stays.asked(), scene.own.asked()), (asked, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_met_at_its_own_address_where_nobody_answers_at_the_other() {
    let Some(scene) = Scene::start() else { return };
    scene.stays.set(Network::Cut);
    scene.hosts.facts(SUCCESSOR).await.unwrap();
    // What was found wrong first is told, when neither leads there.
    let Some(away) = Scene::start() else { return };
    away.stays.set(Network::Cut);
    away.own.set(Network::Cut);
    let error = away.hosts.facts(SUCCESSOR).await.unwrap_err();
    let first = format!("(127.0.0.1, port {})", away.stays.port());
    assert!(error.message.contains(&first), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_has_another_key_at_its_own_address_is_told_nothing() {
    let Some(scene) = Scene::start() else { return };
    scene.own.lead_to(to(&scene.old));
    let error = scene.hosts.facts(SUCCESSOR).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    assert!(error.message.contains("(127.0.0.2, port"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_at_the_address_is_told_unless_it_is_a_machine_that_is_known() {
    let Some(scene) = Scene::start() else { return };
    scene.own.set(Network::Cut);
    // It still leads to the machine before, and the new one does not answer yet.
    let error = scene.hosts.facts(SUCCESSOR).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error:?}");
    assert!(error.message.contains("(127.0.0.2, port"), "{error:?}");

    // Long after it moved there is another key, which nobody knows.
    let hosts = configured(Hosts::default());
    hosts.declare(SUCCESSOR, scene.with_own());
    let error = hosts.facts(SUCCESSOR).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Denied, "{error:?}");
    assert!(error.message.contains("(127.0.0.1, port"), "{error:?}");
    assert!(error.message.contains("shows another host key"), "{error:?}");
    assert!(error.message.contains("by 127.0.0.2, failed too"), "{error:?}");
    let hint = error.hint.unwrap();
    assert!(hint.contains("write its new key"), "{hint}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_behind_it_is_reached_through_it_before_and_after() {
    let (Some(scene), Some(behind)) = (Scene::start(), sshd()) else {
        return;
    };
    scene.hosts.declare(BEHIND, scene.through(&scene.new, &behind));
    scene.hosts.facts(BEHIND).await.unwrap();
    assert_eq!((scene.stays.asked(), scene.own.asked()), (1, 1));
    scene.moves();
    timeout(SOON, scene.hosts.facts(BEHIND)).await.unwrap().unwrap();
    assert_eq!((scene.stays.asked(), scene.own.asked()), (2, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_behind_the_old_one_is_reached_through_the_new_one_once_the_address_moved() {
    let (Some(scene), Some(behind)) = (Scene::start(), sshd()) else {
        return;
    };
    scene.hosts.facts(SUCCESSOR).await.unwrap();
    scene.moves();
    scene.hosts.declare(BEHIND, scene.through(&scene.old, &behind));
    timeout(SOON, scene.hosts.facts(BEHIND)).await.unwrap().unwrap();
}
