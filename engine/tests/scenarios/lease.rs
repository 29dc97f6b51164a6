//! The lease: a run that loses it starts nothing more.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::apply::{ApplyControl, ApplyError};
use gabion_engine::state::store::LeaseRequest;

use crate::store::Counting;
use crate::support::{Notes, Scenario, machine, outcomes, same};

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

/// A call's time begins when it is sent, not when it began to wait for the lease.
#[tokio::test(start_paused = true)]
async fn a_call_has_all_its_time_also_when_the_lease_came_late() {
    let store = Arc::new(Counting::default());
    let scenario = Scenario::on(store.clone());
    scenario
        .cloud
        .configure(|settings| settings.boot = Duration::from_secs(590));
    let text = machine("a", "one") + "timeouts: {create: 10m}\n";
    let plan = scenario.plan(&text).await;
    let journal = scenario.open().await;
    store.slow_renewals(Duration::from_secs(20));
    let report = scenario
        .carry_out(&plan, &journal, &ApplyControl::new(), &mut Notes::default())
        .await
        .unwrap();
    assert!(report.is_complete(), "{}", outcomes(&report));
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_lease_ends_when_a_person_says_so_and_in_any_case() {
    for (stopped_after, at_most, why) in [
        (Some(5), 6, "the run was interrupted"),
        (
            None,
            31,
            "the lease on the state does not last as long as it may take",
        ),
    ] {
        let store = Arc::new(Counting::default());
        let scenario = Scenario::on(store.clone());
        let text = machine("a", "one") + "timeouts: {create: 10m}\n";
        let plan = scenario.plan(&text).await;
        let journal = scenario.open().await;
        store.slow_renewals(Duration::from_secs(1_000_000));
        let control = ApplyControl::new();
        if let Some(seconds) = stopped_after {
            let control = control.clone();
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                control.stop();
            });
        }
        let began = tokio::time::Instant::now();
        let ended = scenario
            .carry_out(&plan, &journal, &control, &mut Notes::default())
            .await;
        assert!(
            began.elapsed() <= Duration::from_secs(at_most),
            "{:?}",
            began.elapsed()
        );
        let report = match ended {
            Ok(report) => report,
            Err(ApplyError::LeaseLost { report }) => *report,
            Err(error) => panic!("{error:?}"),
        };
        same(
            &outcomes(&report),
            &format!("create fake_machine.a: failed: It was not sent, because {why}."),
        );
        assert!(scenario.cloud.objects("fake_machine").is_empty());
    }
}
