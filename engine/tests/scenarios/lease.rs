//! The lease: a run that loses it starts nothing more.

use std::time::Duration;

use gabion_engine::apply::{ApplyControl, ApplyError};
use gabion_engine::state::store::LeaseRequest;

use crate::support::{Notes, Scenario, machine};

#[tokio::test(start_paused = true)]
async fn a_run_that_loses_its_lease_stops() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(60));
    let text = crate::create::CHAIN;
    let plan = scenario.plan(text).await;
    let journal = scenario.open().await;
    let store = scenario.store.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(10)).await;
        // A person breaks the lease.
        let view = store.lease().await.unwrap().unwrap();
        let request = LeaseRequest {
            holder: view.holder.clone(),
            length: view.length,
            at: view.since,
            replaces: Some(view.seen()),
        };
        let grant = store.take_lease(request).await.unwrap();
        store.release(grant.epoch).await.unwrap();
    });
    let mut notes = Notes::default();
    let error = scenario
        .carry_out(&plan, &journal, &ApplyControl::new(), &mut notes)
        .await
        .unwrap_err();
    assert!(
        matches!(error, ApplyError::Log { .. } | ApplyError::LeaseLost { .. }),
        "{error:?}"
    );
    drop(journal);
    assert!(scenario.cloud.objects("fake_record").is_empty());
    scenario.settle(text).await;
    assert_eq!(scenario.cloud.dump().objects.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn calls_of_ten_minutes_run_under_a_lease_of_thirty_seconds() {
    let scenario = Scenario::new();
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(500));
    let text = machine("a", "one") + "timeouts: {create: 10m}\n";
    scenario.settle(&text).await;
}
