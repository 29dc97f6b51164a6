//! Secrets reach the cloud and nothing else: no log, no plan, no event, no error.

use std::fmt::Write as _;

use gabion_engine::plan::options::PlanOptions;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, resource, same, summary};

const SECRET: &str = "correct-horse-battery";

fn scenario() -> Scenario {
    let mut scenario = Scenario::new();
    scenario
        .environment
        .insert("PASSPHRASE".to_owned(), SECRET.to_owned());
    scenario
}

fn text() -> String {
    resource(
        "fake_disk",
        "d",
        "name: d, size: 1, passphrase: '${{ env.PASSPHRASE }}'",
    ) + &resource(
        "fake_machine",
        "a",
        "name: a, image: one, user_data: 'mount ${{ fake_disk.d.id }} with ${{ env.PASSPHRASE }}'",
    ) + &resource(
        "gabion_data",
        "password",
        "input: '${{ fake_machine.a.console_password }}'",
    )
}

async fn everything_written(scenario: &Scenario) -> String {
    let mut written = serde_json::to_string(&scenario.state().await).unwrap();
    for body in scenario.log().await {
        writeln!(written, "{}\n{body:?}", serde_json::to_string(&body).unwrap()).unwrap();
    }
    written
}

#[tokio::test(start_paused = true)]
async fn secrets_reach_the_cloud_and_nothing_else() {
    let scenario = scenario();
    let plan = scenario.plan(&text()).await;
    let file = String::from_utf8(plan.to_file().unwrap()).unwrap();
    assert!(!file.contains(SECRET) && !format!("{plan:?}").contains(SECRET));
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    let machine = &scenario.cloud.objects("fake_machine")[0];
    assert_eq!(
        machine.fields["user_data"],
        format!("mount disk-0001 with {SECRET}")
    );
    let console = machine.fields["console_password"].as_str().unwrap();
    let said = format!(
        "{:?} {}",
        applied.events,
        serde_json::to_string(&applied.events).unwrap()
    );
    let written = everything_written(&scenario).await;
    for secret in [SECRET, console] {
        assert!(!said.contains(secret), "{said}");
        assert!(!written.contains(secret), "{written}");
    }
    scenario.expect_empty(&text()).await;
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_a_call_gave_reaches_what_begins_long_after_its_commit() {
    let late = resource(
        "gabion_data",
        "late",
        "input: ['${{ fake_machine.a.console_password }}', '${{ gabion_data.password.id }}']",
    );
    let applied = scenario().apply(&(text() + &late)).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
}

#[tokio::test(start_paused = true)]
async fn a_changed_secret_is_an_update_and_an_equal_one_is_not() {
    let mut scenario = scenario();
    scenario.settle(&text()).await;
    scenario
        .environment
        .insert("PASSPHRASE".to_owned(), "another-one".to_owned());
    let plan = scenario.plan(&text()).await;
    same(
        &summary(&plan),
        "update fake_disk.d (passphrase)
         update fake_machine.a (user_data)",
    );
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&text()).await;
}

#[tokio::test(start_paused = true)]
async fn without_a_key_secrets_are_not_compared_and_never_an_update() {
    let mut scenario = scenario();
    scenario.key = None;
    assert!(scenario.apply(&text()).await.report.is_complete());
    scenario
        .environment
        .insert("PASSPHRASE".to_owned(), "another-one".to_owned());
    let plan = scenario.plan(&text()).await;
    assert_eq!(summary(&plan), "nothing");
    // It is said that they were not compared.
    assert_eq!(plan.drift.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_error_that_repeats_a_secret_is_redacted() {
    let scenario = scenario();
    let plan = scenario.plan(&text()).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).of_type("fake_machine"));
    let applied = scenario.apply_plan(&plan).await;
    assert_eq!(applied.report.failed, 1);
    assert!(!everything_written(&scenario).await.contains(SECRET));
}

#[tokio::test(start_paused = true)]
async fn a_variable_that_is_gone_at_apply_fails_its_step_only() {
    let mut scenario = scenario();
    let text = text() + &resource("fake_network", "n", "name: n, cidr: 10.0.0.0/16");
    let plan = scenario.plan(&text).await;
    scenario.environment.clear();
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "create fake_disk.d: failed: `${{ env.PASSPHRASE }}`: The variable `PASSPHRASE` is not set in the environment.
         create fake_machine.a: skipped because fake_disk.d
         create fake_network.n: done
         create gabion_data.password: skipped because fake_disk.d",
    );
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_nobody_kept_is_missed_before_anything_is_done() {
    let scenario = scenario();
    scenario.settle(&text()).await;
    for (input, needed) in [
        ("${{ fake_machine.a.console_password }}", true),
        // Beside something that is not known yet, too.
        (
            "${{ fake_machine.a.console_password }} ${{ fake_network.n.id }}",
            true,
        ),
        // Of an object that is made anew by the same plan it is known in time.
        ("${{ fake_machine.new.console_password }}", false),
    ] {
        let later = text()
            + &resource("fake_network", "n", "name: n, cidr: 10.0.0.0/16")
            + &resource("fake_machine", "new", "name: new, image: one")
            + &resource("gabion_data", "late", &format!("input: '{input}'"));
        let (plan, problems) = scenario
            .try_plan(&scenario.configuration(&later), PlanOptions::default())
            .await;
        let problems = problems.to_string();
        assert_eq!(plan.is_none(), needed, "{input}: {problems}");
        let said =
            problems.contains("a secret was not kept") && problems.contains("--replace fake_machine.a");
        assert_eq!(said, needed, "{problems}");
    }
}
