//! Answers that were lost: nothing is repeated blindly, what is there is found and taken over.

use std::time::Duration;

use gabion_engine::state::record::Status;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, same, summary};

#[tokio::test(start_paused = true)]
async fn what_a_lost_creation_made_is_found_and_adopted() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.consistency = Duration::from_secs(8));
    let text = machine("a", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create fake_machine.a: uncertain: The connection broke before the cloud answered the create of a \
         fake_machine.",
    );
    let record = scenario.record("fake_machine.a").await;
    assert_eq!(record.status, Status::Creating);
    assert!(record.open.is_some());
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a present
         update fake_machine.a",
    );
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done",
    );
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    assert_eq!(scenario.record("fake_machine.a").await.uid, record.uid);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_never_arrived_is_made_anew() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseRequest));
    scenario.apply(&text).await;
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "found fake_machine.a absent
         create fake_machine.a",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
    assert_eq!(scenario.state().await.tombstones.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_lost_deletion_is_found_either_way() {
    for fault in [Fault::LoseRequest, Fault::LoseResponse] {
        let scenario = Scenario::new();
        let text = machine("a", "one");
        scenario.settle(&text).await;
        scenario.cloud.fault(FaultRule::next(Verb::Delete, fault));
        let applied = scenario.destroy(&text).await;
        assert_eq!(applied.report.uncertain, 1);
        scenario.destroy(&text).await;
        assert!(scenario.state().await.is_empty(), "{fault:?}");
        assert!(scenario.cloud.dump().objects.is_empty(), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn under_a_live_lease_a_call_is_in_flight_and_not_lost() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::LoseResponse));
    scenario.apply(&text).await;
    let state = scenario.state().await;
    let configuration = scenario.configuration(&text);
    let journal = scenario.open().await;
    let lease = scenario.store.lease().await.unwrap().unwrap();
    let request = gabion_engine::gather::GatherRequest {
        state: &state,
        configuration: &configuration,
        providers: &scenario.providers,
        refresh: gabion_engine::world::Refresh::Full,
        unmanaged: false,
        lease: Some(lease.holder),
        fingerprints: scenario.key.as_deref(),
        now: jiff::Timestamp::UNIX_EPOCH,
    };
    let world = gabion_engine::gather::gather(request, &Default::default(), &mut ())
        .await
        .unwrap();
    assert!(world.observations.is_empty());
    assert!(world.objects.is_empty());
    journal.close().await.unwrap();
}
