//! A state whose log is lost, or lost its end, is rebuilt from the marks on objects: nothing is deleted, nothing is made
//! twice, and what follows is an ordinary plan.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{CountedIds, RunId};
use gabion_engine::gather::marks::{FindRequest, find};
use gabion_engine::state::copy::LogCopy;
use gabion_engine::state::event::{EventBody, Holder};
use gabion_engine::state::rebuild::{Rebuild, Rebuilder, log};
use gabion_engine::state::record::Status;
use gabion_engine::state::store::AdoptRequest;
use gabion_engine::state::verify::verify;
use gabion_engine::state::{MemoryStore, State};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};
use jiff::Timestamp;

use crate::support::{Scenario, data, machine, resource, same, summary};

const AT: Timestamp = Timestamp::UNIX_EPOCH;

fn project() -> String {
    resource("fake_network", "n", "name: n, cidr: 10.0.0.0/16")
        + &resource(
            "fake_machine",
            "a",
            "name: a, image: one, network: '${{ fake_network.n.id }}'",
        )
        + &resource("fake_disk", "d", "name: d, size: 4")
        + &resource(
            "fake_record",
            "r",
            "name: r.example, values: ['${{ fake_machine.a.ip }}']",
        )
}

async fn look(scenario: &Scenario, readable: Option<&State>) -> Rebuild {
    let request = FindRequest {
        lineage: scenario.state().await.lineage.unwrap(),
        providers: &scenario.providers,
        readable,
        fingerprints: scenario.key.as_deref(),
        ids: &CountedIds::default(),
    };
    find(request, &Default::default(), &mut ()).await
}

fn rebuilder(scenario: &Scenario) -> Rebuilder {
    Rebuilder {
        project: "scenario".into(),
        holder: Holder {
            who: "ada".to_owned(),
            host: "laptop".to_owned(),
            process: None,
            operation: "state rebuild".to_owned(),
        },
        run: RunId::from_uuid(uuid::Uuid::from_u64_pair(9, 9)),
        at: AT,
        epoch: 0,
        key: scenario.key.clone(),
    }
}

/// The scenario goes on with a rebuilt log in a new store.
async fn go_on(scenario: &mut Scenario, rebuild: &Rebuild, readable: Option<&LogCopy>) {
    let log = log(rebuild, readable, &rebuilder(scenario)).unwrap();
    let store = MemoryStore::new();
    let request = AdoptRequest { log, over: None };
    gabion_engine::state::StateStore::adopt(&store, request)
        .await
        .unwrap();
    scenario.store = Arc::new(store);
    let found = verify(&*scenario.store).await.unwrap();
    assert_eq!(found.damage, Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_lost_log_is_made_again_from_the_marks() {
    let mut scenario = Scenario::new();
    let text = project() + &data("x", "1");
    scenario.settle(&text).await;
    let before = scenario.state().await;
    let count = scenario.change_count();
    let rebuild = look(&scenario, None).await;
    let addresses: Vec<String> = rebuild
        .found
        .iter()
        .map(|found| found.record.address.to_string())
        .collect();
    assert_eq!(
        addresses,
        ["fake_disk.d", "fake_machine.a", "fake_network.n", "fake_record.r"]
    );
    assert!(rebuild.left.is_empty() && rebuild.unasked.is_empty() && rebuild.doubted.is_empty());
    let unknown: Vec<String> = rebuild.found[0].unknown.iter().map(ToString::to_string).collect();
    assert_eq!(unknown, ["passphrase"]);
    go_on(&mut scenario, &rebuild, None).await;
    let after = scenario.state().await;
    assert_eq!(after.lineage, before.lineage);
    for record in after.records() {
        let was = before.current(&record.address).unwrap();
        assert_eq!((record.uid, &record.id), (was.uid, &was.id));
        assert_eq!(record.status, Status::Incomplete);
    }
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "update fake_disk.d
         update fake_machine.a
         update fake_network.n
         update fake_record.r
         create gabion_data.x",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.change_count(), count, "the cloud was not changed");
}

#[tokio::test(start_paused = true)]
async fn what_nothing_declares_any_more_is_deleted_in_the_order_that_its_ids_tell() {
    let mut scenario = Scenario::new();
    scenario.settle(&project()).await;
    let rebuild = look(&scenario, None).await;
    go_on(&mut scenario, &rebuild, None).await;
    let applied = scenario.settle(&data("x", "1")).await;
    assert!(applied.report.is_complete());
    assert!(scenario.cloud.dump().objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn epochs_go_on_above_those_that_agents_may_have_seen() {
    let mut scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let rebuild = look(&scenario, None).await;
    let at = Timestamp::from_second(1_700_000_000).unwrap();
    let rebuilder = Rebuilder {
        at,
        ..rebuilder(&scenario)
    };
    let log = log(&rebuild, None, &rebuilder).unwrap();
    assert_eq!(log.epoch(), 1_700_000_001);
    go_on(&mut scenario, &rebuild, None).await;
}

/// The log lost its end: what happened in it is found by the marks, the rest is kept and read again.
#[tokio::test(start_paused = true)]
async fn a_log_that_lost_its_end_goes_on_with_what_is_found() {
    let mut scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let prefix = LogCopy::read(&*scenario.store, 1).await.unwrap();
    let text = machine("a", "two") + &machine("b", "one");
    scenario.settle(&text).await;
    let count = scenario.change_count();
    let lost = scenario.state().await;
    let rebuild = look(&scenario, Some(prefix.state())).await;
    // The old `a` was replaced, which the readable part does not know.
    let old = prefix
        .state()
        .current(&"fake_machine.a".parse().unwrap())
        .unwrap()
        .uid;
    assert_eq!(rebuild.gone, [old]);
    assert_eq!(rebuild.found.len(), 2);
    go_on(&mut scenario, &rebuild, Some(&prefix)).await;
    let after = scenario.state().await;
    assert!(after.serial > prefix.head().sequence);
    for address in ["fake_machine.a", "fake_machine.b"] {
        let address = address.parse().unwrap();
        assert_eq!(
            after.current(&address).unwrap().uid,
            lost.current(&address).unwrap().uid
        );
    }
    scenario.settle(&text).await;
    assert_eq!(scenario.change_count(), count, "the cloud was not changed");
}

#[tokio::test(start_paused = true)]
async fn what_is_left_of_the_log_is_kept_and_read_again() {
    let mut scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let prefix = LogCopy::read(&*scenario.store, 1).await.unwrap();
    let changed = resource("fake_machine", "a", "name: a, image: one, size: large");
    scenario.settle(&changed).await;
    let rebuild = look(&scenario, Some(prefix.state())).await;
    assert!(rebuild.found.is_empty());
    assert_eq!(rebuild.doubted.len(), 1);
    go_on(&mut scenario, &rebuild, Some(&prefix)).await;
    assert_eq!(scenario.record("fake_machine.a").await.status, Status::Incomplete);
    // No update of the cloud: it is as the configuration says.
    let count = scenario.change_count();
    scenario.settle(&changed).await;
    assert_eq!(scenario.change_count(), count);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_decided_is_left_and_said() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    // The new one is made, and the old one not deleted yet.
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Delete, Fault::Invalid));
    scenario.apply(&machine("a", "two")).await;
    let state = scenario.state().await;
    let new = state.current(&"fake_machine.a".parse().unwrap()).unwrap();
    let rebuild = look(&scenario, None).await;
    assert_eq!(rebuild.found.len(), 1);
    assert_eq!(rebuild.found[0].record.uid, new.uid);
    assert_eq!(rebuild.left.len(), 1);
    assert_eq!(
        rebuild.left[0].why,
        "A newer object carries the address `fake_machine.a` too; which one was to stay is not known."
    );
    // A provider that does not answer is named, and an object that cannot be read has a record all the same.
    scenario.cloud.fault(FaultRule::next(Verb::Describe, Fault::Deny));
    let rebuild = look(&scenario, None).await;
    assert!(rebuild.found[0].unread.is_some());
    assert!(rebuild.found[0].record.id.is_some());
    scenario.cloud.fault(FaultRule::next(Verb::Find, Fault::Deny));
    let rebuild = look(&scenario, None).await;
    assert_eq!(rebuild.unasked.len(), 1);
    assert!(rebuild.found.is_empty());
}

/// A call that was in flight when the log ended is still looked into by the next plan.
#[tokio::test(start_paused = true)]
async fn calls_that_the_readable_part_leaves_open_stay_open() {
    let mut scenario = Scenario::new();
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
    let text = machine("a", "one");
    scenario.apply(&text).await;
    let prefix = LogCopy::read(&*scenario.store, 1).await.unwrap();
    let rebuild = look(&scenario, Some(prefix.state())).await;
    assert!(rebuild.found.is_empty() && rebuild.left.is_empty());
    go_on(&mut scenario, &rebuild, Some(&prefix)).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    let log = scenario.log().await;
    assert!(
        log.iter()
            .any(|event| matches!(event, EventBody::RunStarted(run) if run.operation == "state rebuild"))
    );
}
