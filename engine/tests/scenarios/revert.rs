//! The way back to what a state was: an ordinary plan.

use std::sync::Arc;

use gabion_engine::plan::options::PlanOptions;
use gabion_engine::revert::{self, RevertRequest};
use gabion_engine::state::State;
use gabion_engine::state::fingerprint::FingerprintKey;

use crate::support::{Scenario, data, machine, resource, same, summary, texts_of};

fn project(cidr: &str, image: &str) -> String {
    resource("fake_network", "n", &format!("name: n, cidr: {cidr}"))
        + &resource(
            "fake_machine",
            "a",
            &format!("name: a, image: {image}, network: '${{{{ fake_network.n.id }}}}'"),
        )
        + &resource(
            "fake_record",
            "r",
            "name: r.example, values: ['${{ fake_machine.a.ip }}']",
        )
}

/// Plans the way back, given what the files say now.
async fn back(scenario: &Scenario, past: &State, files: &str) -> Result<gabion_engine::plan::Plan, String> {
    let present = scenario.state().await;
    let files = scenario.configuration(files);
    let configuration = revert::configuration(RevertRequest {
        past,
        present: &present,
        configuration: &files,
        providers: &scenario.providers,
        key: scenario.key.as_deref(),
    });
    let (plan, problems) = scenario.try_plan(&configuration, PlanOptions::default()).await;
    let plan = plan.ok_or_else(|| texts_of(&problems))?;
    let lost = revert::lost_secrets(&plan);
    if lost.has_errors() {
        return Err(texts_of(&lost));
    }
    Ok(plan)
}

#[tokio::test(start_paused = true)]
async fn what_a_run_made_changed_and_deleted_goes_back() {
    let scenario = Scenario::new();
    let before = project("10.0.0.0/16", "one") + &data("old", "1") + &data("same", "s");
    scenario.settle(&before).await;
    let past = scenario.state().await;
    let after = project("10.0.0.0/16", "two") + &data("new", "2") + &data("same", "s");
    scenario.settle(&after).await;
    let plan = back(&scenario, &past, &after).await.unwrap();
    let lines: Vec<String> = summary(&plan)
        .lines()
        .map(|line| line.split(" (").next().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(
        lines,
        [
            "replace create-first fake_machine.a",
            "update fake_record.r",
            "delete gabion_data.new",
            "create gabion_data.old",
        ]
    );
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    // As if it had never happened: the files of that time have nothing to do, and there is one object of each.
    scenario.expect_empty(&before).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}

/// What is made anew has another id: what names it follows.
#[tokio::test(start_paused = true)]
async fn what_was_deleted_is_made_again_and_referred_to() {
    let scenario = Scenario::new();
    let before = project("10.0.0.0/16", "one");
    scenario.settle(&before).await;
    let past = scenario.state().await;
    scenario.settle(&data("d", "1")).await;
    let plan = back(&scenario, &past, &data("d", "1")).await.unwrap();
    same(
        &summary(&plan),
        "create fake_machine.a
         create fake_network.n
         create fake_record.r
         delete gabion_data.d",
    );
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    scenario.expect_empty(&before).await;
    // To what was before everything: nothing.
    let plan = back(&scenario, &State::default(), &before).await.unwrap();
    scenario.apply_plan(&plan).await;
    assert!(scenario.state().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_was_moved_moves_back() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let past = scenario.state().await;
    let renamed = resource("fake_machine", "b", "name: a, image: one")
        + "---\ntype: moved\nfrom: fake_machine.a\nto: fake_machine.b\n";
    scenario.settle(&renamed).await;
    let plan = back(&scenario, &past, &renamed).await.unwrap();
    same(&summary(&plan), "move fake_machine.a");
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&machine("a", "one")).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_goes_back_only_if_it_is_still_known() {
    let mut scenario = Scenario::new();
    scenario.key = Some(Arc::new(FingerprintKey::new([9; 32])));
    scenario.environment.insert("PASS".into(), "one".into());
    let text = |size: u32| {
        resource(
            "fake_disk",
            "d",
            &format!("name: d, size: {size}, passphrase: '${{{{ env.PASS }}}}'"),
        )
    };
    scenario.settle(&text(4)).await;
    let past = scenario.state().await;
    scenario.settle(&text(8)).await;
    // It shrinks, so it is made again, with the passphrase that is still the same.
    let plan = back(&scenario, &past, &text(8)).await.unwrap();
    assert!(summary(&plan).starts_with("replace"), "{}", summary(&plan));
    scenario.environment.insert("PASS".into(), "two".into());
    let lost = back(&scenario, &past, &text(8)).await.unwrap_err();
    assert!(
        lost.contains("`passphrase` of `fake_disk.d` was a secret."),
        "{lost}"
    );
    scenario.environment.insert("PASS".into(), "one".into());
    let plan = back(&scenario, &past, &text(8)).await.unwrap();
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    scenario.expect_empty(&text(4)).await;
}
