//! A part of the project: targets, exclusions.

use gabion_engine::diagnostic::Diagnostic;
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

#[tokio::test(start_paused = true)]
async fn what_nothing_meets_stops_a_plan_with_it_and_none_without_it() {
    let scenario = Scenario::new();
    let text = format!("{}{}", crate::create::CHAIN, machine("other", "one"));
    let mut configuration = scenario.configuration(&text);
    let why = Diagnostic::error("unmet-need", "resources not available").detail("There is no such machine.");
    let address = "fake_machine.a".parse().unwrap();
    configuration.unmet.insert(address, why);
    let (plan, problems) = scenario.try_plan(&configuration, PlanOptions::default()).await;
    assert!(plan.is_none());
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["unmet-need"]);
    let options = PlanOptions {
        excludes: vec!["fake_machine.a".parse().unwrap()],
        ..PlanOptions::default()
    };
    let (plan, problems) = scenario.try_plan(&configuration, options).await;
    assert!(!problems.has_errors(), "{problems:?}");
    same(
        &summary(&plan.unwrap()),
        "create fake_machine.other
         create fake_network.net",
    );
}
