//! A person marks an object: the next plan replaces it.

use gabion_engine::state::event::EventBody;

use crate::support::{Scenario, machine, same, summary};

#[tokio::test(start_paused = true)]
async fn a_tainted_object_is_replaced() {
    let scenario = Scenario::new();
    let text = machine("a", "one");
    scenario.settle(&text).await;
    let uid = scenario.record("fake_machine.a").await.uid;
    let journal = scenario.open().await;
    journal.commit(vec![EventBody::Tainted { uid }]).await.unwrap();
    journal.close().await.unwrap();
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "replace create-first fake_machine.a (id, ip, zone)",
    );
    scenario.apply_plan(&plan).await;
    assert_ne!(scenario.record("fake_machine.a").await.uid, uid);
    scenario.expect_empty(&text).await;
}
