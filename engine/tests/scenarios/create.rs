//! Creation: in the order of the references, with the values that they fill.

use gabion_engine::apply::event::ApplyEvent;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::record::Status;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, is, machine, same, summary};

pub(crate) const CHAIN: &str = "
type: resource
kind: fake_network
name: net
properties: {name: net, cidr: 10.0.0.0/16}
---
type: resource
kind: fake_machine
name: a
properties:
  name: a
  image: one
  network: ${{ fake_network.net.id }}
---
type: resource
kind: fake_record
name: a
properties:
  name: a.example
  values: ['${{ fake_machine.a.ip }}']
";

#[tokio::test(start_paused = true)]
async fn dependencies_are_made_first_and_fill_references() {
    let scenario = Scenario::new();
    let plan = scenario.plan(CHAIN).await;
    same(
        &summary(&plan),
        "create fake_machine.a
         create fake_network.net
         create fake_record.a",
    );
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "create fake_network.net: done
         create fake_machine.a: done
         create fake_record.a: done",
    );
    assert_eq!(
        scenario.changes_since(0),
        [
            "create fake_network.net",
            "create fake_machine.a",
            "create fake_record.a"
        ]
    );
    let machine = &scenario.cloud.objects("fake_machine")[0];
    let record = &scenario.cloud.objects("fake_record")[0];
    assert_eq!(machine.fields["network"], "network-0001");
    assert_eq!(record.fields["values"][0], machine.fields["ip"]);
    scenario.expect_empty(CHAIN).await;
}

#[tokio::test(start_paused = true)]
async fn an_intent_comes_before_each_call_and_its_object_is_marked() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let log = scenario.log().await;
    let names: Vec<&str> = log
        .iter()
        .map(|body| match body {
            EventBody::Created(_) => "created",
            EventBody::RunStarted(_) => "run started",
            EventBody::Intent(_) => "intent",
            EventBody::Checkpoint { .. } => "checkpoint",
            EventBody::Succeeded { .. } => "succeeded",
            EventBody::RunFinished { .. } => "run finished",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        names,
        [
            "created",
            "run started",
            "intent",
            "checkpoint",
            "succeeded",
            "run finished"
        ]
    );
    let record = scenario.record("fake_machine.a").await;
    let object = &scenario.cloud.objects("fake_machine")[0];
    let operation = log.iter().find_map(|body| match body {
        EventBody::Intent(intent) => Some(intent.operation.to_string()),
        _ => None,
    });
    assert!(is(&record, Status::Ready));
    assert_eq!(object.marks.operation, operation);
    assert_eq!(object.marks.uid, Some(record.uid.to_string()));
    assert_eq!(object.marks.address.as_deref(), Some("fake_machine.a"));
}

#[tokio::test(start_paused = true)]
async fn independent_objects_are_made_at_the_same_time_within_the_bound() {
    let mut scenario = Scenario::new();
    let text: String = (0..9).map(|n| machine(&format!("m{n}"), "one")).collect();
    scenario.apply_options.parallelism = 3;
    let applied = scenario.settle(&text).await;
    let (mut busy, mut most) = (0_i32, 0);
    for event in &applied.events {
        match event {
            ApplyEvent::StepStarted { .. } => busy += 1,
            // From here on it only waits, and leaves its place to the next.
            ApplyEvent::StepPhase { phase, .. } if phase == "boot" => busy -= 1,
            _ => {}
        }
        most = most.max(busy);
    }
    assert_eq!(most, 3);
}

#[tokio::test(start_paused = true)]
async fn the_same_plan_makes_the_same_log() {
    let mut logs = Vec::new();
    for _ in 0..2 {
        let scenario = Scenario::new();
        scenario.settle(CHAIN).await;
        logs.push(format!("{:?}", scenario.log().await));
    }
    assert_eq!(logs[0], logs[1]);
}

#[tokio::test(start_paused = true)]
async fn outputs_are_recorded_once_they_are_known() {
    let scenario = Scenario::new();
    let text = format!(
        "{}=== gabion.yml\noutputs: {{ip: '${{{{ fake_machine.a.ip }}}}'}}\n",
        machine("a", "one")
    );
    let applied = scenario.settle(&text).await;
    assert_eq!(applied.report.outputs["ip"], "10.0.0.2".into());
    assert_eq!(scenario.state().await.outputs["ip"], "10.0.0.2".into());
}

#[tokio::test(start_paused = true)]
async fn outputs_are_those_of_what_there_is_when_the_last_step_failed() {
    let text = |image: &str| {
        format!(
            "{}=== gabion.yml\noutputs: {{ip: '${{{{ fake_machine.a.ip }}}}'}}\n",
            machine("a", image)
        )
    };
    let scenario = Scenario::new();
    let deny = || scenario.cloud.fault(FaultRule::next(Verb::Create, Fault::Deny));
    // Nothing was made: there is no address to tell.
    deny();
    let applied = scenario.apply(&text("one")).await;
    assert_eq!(applied.report.failed, 1);
    assert_eq!(applied.report.outputs.get("ip"), None);
    assert_eq!(scenario.state().await.outputs.get("ip"), None);
    let settled = scenario.settle(&text("one")).await;
    let old = settled.report.outputs["ip"].clone();
    // What was to be replaced is still there.
    deny();
    let applied = scenario.apply(&text("two")).await;
    assert_eq!(applied.report.failed, 1);
    assert_eq!(applied.report.outputs["ip"], old);
    assert_eq!(scenario.state().await.outputs["ip"], old);
}
