//! What was applied and is gone comes back as it was applied, whatever the files say, and nothing else is touched.

use std::collections::BTreeSet;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::heal::{self, Applied, Need, NeedKind};
use gabion_engine::plan::Plan;
use gabion_engine::plan::options::PlanOptions;
use gabion_engine::revert;
use gabion_engine::state::event::{EventBody, RunStarted};
use gabion_engine::state::unfinished::{Operations, Unfinished, unfinished};
use gabion_engine::value::{TemplateText, Value};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, data, machine, resource, same, summary, texts_of};

const OPERATIONS: Operations<'_> = Operations {
    of: "heal",
    partial: &["scale"],
};

async fn left(scenario: &Scenario) -> Unfinished {
    let state = scenario.state().await;
    unfinished(&*scenario.store, &state, OPERATIONS).await.unwrap()
}

/// Plans the healing of some objects, or of all that need it.
async fn plan(scenario: &Scenario, wanted: Option<&[&str]>) -> (Vec<Need>, Plan) {
    let state = scenario.state().await;
    let unfinished = left(scenario).await;
    let project: Arc<str> = "scenario".into();
    let secret = |template: &TemplateText| {
        let name = template.as_str().strip_prefix("${{ env.")?.strip_suffix(" }}")?;
        Some(Value::string(scenario.environment.get(name)?))
    };
    let applied = Applied {
        project: &project,
        state: &state,
        unfinished: &unfinished,
        providers: &scenario.providers,
        key: scenario.key.as_deref(),
        secret: &secret,
    };
    let configuration = heal::configuration(applied);
    let (whole, problems) = scenario.try_plan(&configuration, PlanOptions::default()).await;
    let whole = whole.unwrap_or_else(|| panic!("{}", texts_of(&problems)));
    let needs = heal::needs(&whole, applied);
    let wanted: BTreeSet<ResourceAddress> = match wanted {
        Some(wanted) => wanted.iter().map(|address| address.parse().unwrap()).collect(),
        None => needs.iter().map(|need| need.address.clone()).collect(),
    };
    let scope = heal::scope(&whole, &configuration, &needs, &wanted);
    let options = PlanOptions {
        only: Some(scope.clone()),
        ..PlanOptions::default()
    };
    let (plan, problems) = scenario.try_plan(&configuration, options).await;
    let plan = plan.unwrap_or_else(|| panic!("{}", texts_of(&problems)));
    assert_eq!(heal::trespass(&plan, &scope), None);
    (needs, plan)
}

fn gone(needs: &[Need]) -> Vec<String> {
    needs
        .iter()
        .filter(|need| need.kind == NeedKind::Gone)
        .map(|need| need.address.to_string())
        .collect()
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_comes_back_with_what_follows_from_it_and_no_edit_of_the_files_does() {
    let scenario = Scenario::new();
    scenario.settle(crate::create::CHAIN).await;
    assert_eq!(plan(&scenario, None).await.0, []);
    scenario.cloud.remove("machine-0002");
    let (needs, healing) = plan(&scenario, None).await;
    assert_eq!(gone(&needs), ["fake_machine.a"]);
    same(
        &summary(&healing),
        "create fake_machine.a
         update fake_record.a (values)",
    );
    let applied = scenario.carry_out_as(&healing, "heal").await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    scenario.expect_empty(crate::create::CHAIN).await;
    assert_eq!(plan(&scenario, None).await.0, []);
}

#[tokio::test(start_paused = true)]
async fn what_somebody_changed_is_left_and_what_needs_it_comes_back_all_the_same() {
    let scenario = Scenario::new();
    let text = resource("fake_network", "n", "name: n, cidr: 10.0.0.0/16, tags: {k: v}")
        + &resource(
            "fake_machine",
            "a",
            "name: a, image: one, network: '${{ fake_network.n.id }}'",
        )
        + &machine("b", "one")
        + &data("d", "1");
    scenario.settle(&text).await;
    let objects = scenario.cloud.objects("fake_network");
    scenario
        .cloud
        .mutate(&objects[0].id, "tags", serde_json::json!({"k": "w"}));
    for machine in scenario.cloud.objects("fake_machine") {
        scenario.cloud.remove(&machine.id);
    }
    let (needs, healing) = plan(&scenario, Some(&["fake_machine.a"])).await;
    assert_eq!(gone(&needs), ["fake_machine.a", "fake_machine.b"]);
    same(&summary(&healing), "create fake_machine.a");
    let applied = scenario.carry_out_as(&healing, "heal").await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    assert_eq!(scenario.cloud.objects("fake_network")[0].fields["tags"]["k"], "w");
    // What is left out is not forgotten.
    assert!(scenario.is_recorded("fake_machine.b").await);
    let (needs, healing) = plan(&scenario, None).await;
    assert_eq!(gone(&needs), ["fake_machine.b"]);
    scenario.carry_out_as(&healing, "heal").await;
    same(
        &summary(&scenario.plan(&text).await),
        "update fake_network.n (tags.k)",
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_healing_could_not_make_is_known_to_the_next_until_an_apply_decides() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &data("d", "1");
    scenario.settle(&text).await;
    scenario
        .cloud
        .remove(&scenario.cloud.objects("fake_machine")[0].id);
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).times(1));
    let (_, healing) = plan(&scenario, None).await;
    let applied = scenario.carry_out_as(&healing, "heal").await;
    assert!(!applied.report.is_complete());
    assert!(!scenario.is_recorded("fake_machine.a").await);
    // Neither a run about something else nor one that plans nothing puts an end to that.
    let other = scenario
        .plan_with(
            &(machine("a", "one") + &data("d", "2")),
            PlanOptions {
                targets: vec!["gabion_data.d".parse().unwrap()],
                ..PlanOptions::default()
            },
        )
        .await;
    scenario.carry_out_as(&other, "scale").await;
    let (needs, healing) = plan(&scenario, None).await;
    assert_eq!(gone(&needs), ["fake_machine.a"]);
    same(&summary(&healing), "create fake_machine.a");
    // An apply of files that do without it does.
    let without = scenario.plan(&data("d", "3")).await;
    scenario.carry_out_as(&without, "apply").await;
    assert_eq!(plan(&scenario, None).await.0, []);
}

#[tokio::test(start_paused = true)]
async fn a_healing_that_was_killed_before_its_first_call_has_forgotten_nothing() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &machine("b", "one");
    scenario.settle(&text).await;
    let lost = scenario.record("fake_machine.a").await;
    for machine in scenario.cloud.objects("fake_machine") {
        scenario.cloud.remove(&machine.id);
    }
    let journal = scenario.open().await;
    let started = RunStarted {
        operation: "heal".to_owned(),
        who: "ada".to_owned(),
        host: None,
        plan: Some("digest".into()),
        commit: None,
    };
    journal
        .commit(vec![
            EventBody::RunStarted(started),
            EventBody::Vanished { uid: lost.uid },
        ])
        .await
        .unwrap();
    journal.close().await.unwrap();
    assert!(!scenario.is_recorded("fake_machine.a").await);
    let (needs, healing) = plan(&scenario, None).await;
    assert_eq!(gone(&needs), ["fake_machine.a", "fake_machine.b"]);
    scenario.carry_out_as(&healing, "heal").await;
    scenario.expect_empty(&text).await;
    assert_eq!(plan(&scenario, None).await.0, []);
}

#[tokio::test(start_paused = true)]
async fn what_an_apply_left_unfinished_is_for_the_next_apply() {
    let scenario = Scenario::new();
    let text = machine("a", "one") + &machine("b", "one");
    scenario.settle(&text).await;
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Deny).times(1));
    let more = text.clone() + &machine("c", "one");
    scenario.apply(&more).await;
    let taint = scenario.record("fake_machine.b").await;
    let journal = scenario.open().await;
    journal
        .commit(vec![EventBody::Tainted { uid: taint.uid }])
        .await
        .unwrap();
    journal.close().await.unwrap();
    let (needs, healing) = plan(&scenario, None).await;
    assert_eq!(needs, []);
    assert_eq!(summary(&healing), "nothing");
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_used_again_while_it_is_the_same() {
    let mut scenario = Scenario::new();
    scenario.environment.insert("TOKEN".to_owned(), "one".to_owned());
    let text = data("s", "'${{ env.TOKEN }}'")
        + &resource(
            "fake_machine",
            "a",
            "name: a, image: one, user_data: '${{ env.TOKEN }}'",
        );
    scenario.settle(&text).await;
    scenario
        .cloud
        .remove(&scenario.cloud.objects("fake_machine")[0].id);
    let (_, healing) = plan(&scenario, None).await;
    assert!(!revert::lost_secrets(&healing).has_errors());
    scenario.environment.insert("TOKEN".to_owned(), "two".to_owned());
    let (_, healing) = plan(&scenario, None).await;
    assert!(revert::lost_secrets(&healing).has_errors());
}
