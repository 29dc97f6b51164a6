//! A part of the project: targets, exclusions.

use gabion_engine::plan::options::PlanOptions;

use crate::support::{Scenario, machine, same, summary};

#[tokio::test(start_paused = true)]
async fn a_target_brings_what_it_depends_on() {
    let scenario = Scenario::new();
    let text = format!("{}{}", crate::create::CHAIN, machine("other", "one"));
    let options = PlanOptions {
        targets: vec!["fake_machine.a".parse().unwrap()],
        ..PlanOptions::default()
    };
    let plan = scenario.plan_with(&text, options).await;
    same(
        &summary(&plan),
        "create fake_machine.a
         create fake_network.net",
    );
    assert!(scenario.apply_plan(&plan).await.report.is_complete());
    scenario.settle(&text).await;
}

#[tokio::test(start_paused = true)]
async fn an_exclusion_takes_along_what_depends_on_it() {
    let scenario = Scenario::new();
    let text = format!("{}{}", crate::create::CHAIN, machine("other", "one"));
    let options = PlanOptions {
        excludes: vec!["fake_machine.a".parse().unwrap()],
        ..PlanOptions::default()
    };
    let plan = scenario.plan_with(&text, options).await;
    same(
        &summary(&plan),
        "create fake_machine.other
         create fake_network.net",
    );
    assert!(scenario.apply_plan(&plan).await.report.is_complete());
}
