//! Chains, where each step waits for the one before: a call that ends as it begins, and its commit, take no way to another
//! thread and back, and the run is stopped, dropped and goes wrong as any other.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::apply::ApplyControl;
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};
use gabion_engine::state::lease::HeartbeatMode;
use gabion_engine::state::{SqliteStore, State};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Notes, Scenario, machine, outcomes, same};

/// A chain of so many, on a store that appends on the calling thread.
fn chain(directory: &tempfile::TempDir, size: usize) -> (Scenario, String) {
    let mut scenario = Scenario::on(Arc::new(SqliteStore::at(directory.path().join("state.db"))));
    scenario.heartbeat = HeartbeatMode::Thread;
    let mut text = String::new();
    for number in 0..size {
        let input = match number {
            0 => "first".to_owned(),
            _ => format!("${{{{ gabion_data.r{}.id }}}}", number - 1),
        };
        write!(
            text,
            "---\ntype: resource\nkind: gabion_data\nname: r{number}\nproperties: {{input: \"{input}\"}}\n"
        )
        .unwrap();
    }
    (scenario, text)
}

fn done(state: &State) -> usize {
    state.len() - state.open_calls().count()
}

#[tokio::test]
async fn each_link_is_told_in_order_once_the_one_before_has_ended() {
    let directory = tempfile::tempdir().unwrap();
    let (scenario, text) = chain(&directory, 20);
    let applied = scenario.settle(&text).await;
    let told: Vec<String> = applied
        .events
        .iter()
        .filter_map(|event| match event {
            ApplyEvent::StepStarted { address, .. } => Some(format!("{} starts", address.name)),
            ApplyEvent::StepFinished { address, .. } => Some(format!("{} ends", address.name)),
            _ => None,
        })
        .collect();
    // What is told follows from a commit: the end of one and the start of the next from the same.
    let expected = (0..20).flat_map(|number| [format!("r{number} starts"), format!("r{number} ends")]);
    assert_eq!(told, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn whoever_shares_the_task_of_a_run_is_heard_between_links() {
    let directory = tempfile::tempdir().unwrap();
    let (scenario, text) = chain(&directory, 200);
    let plan = scenario.plan(&text).await;
    let journal = scenario.open().await;
    let (control, mut notes) = (ApplyControl::new(), Notes::default());
    let stopping = async {
        while done(&journal.state()) < 3 {
            tokio::task::yield_now().await;
        }
        control.stop();
    };
    let applying = scenario.carry_out(&plan, &journal, &control, &mut notes);
    let (report, ()) = tokio::join!(applying, stopping);
    let report = report.unwrap();
    assert!(report.interrupted);
    assert!(report.done >= 3 && report.skipped > 0, "{}", outcomes(&report));
    assert_eq!(report.done + report.skipped, 200);
    assert_eq!((report.failed, report.uncertain), (0, 0));
    journal.close().await.unwrap();
    assert_eq!(done(&scenario.state().await), report.done);
    scenario.settle(&text).await;
}

/// Stops the run as soon as a step ended.
struct Stopper<'a>(&'a ApplyControl);

impl ApplyObserver for Stopper<'_> {
    fn observe(&mut self, event: &ApplyEvent) {
        if matches!(event, ApplyEvent::StepFinished { .. }) {
            self.0.stop();
        }
    }
}

#[tokio::test]
async fn a_call_that_was_intended_when_the_run_was_stopped_is_said_to_be_unsent_or_ends() {
    let directory = tempfile::tempdir().unwrap();
    let (scenario, text) = chain(&directory, 10);
    let plan = scenario.plan(&text).await;
    let journal = scenario.open().await;
    let control = ApplyControl::new();
    let report = scenario
        .carry_out(&plan, &journal, &control, &mut Stopper(&control))
        .await
        .unwrap();
    journal.close().await.unwrap();
    assert!(report.interrupted);
    assert_eq!(report.uncertain, 0, "{}", outcomes(&report));
    assert!(scenario.state().await.open_calls().next().is_none());
    scenario.settle(&text).await;
}

fn machine_after(name: &str, before: &str) -> String {
    machine(name, "one") + &format!("depends_on: [{before}]\n")
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_panics_as_it_is_called_concerns_its_own_step() {
    let directory = tempfile::tempdir().unwrap();
    let (mut scenario, mut text) = chain(&directory, 3);
    scenario.heartbeat = HeartbeatMode::Task;
    text += &machine_after("a", "gabion_data.r2");
    text += &machine_after("b", "fake_machine.a");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Panic).at("fake_machine.a"));
    let applied = scenario.apply(&text).await;
    same(
        &applied.outcomes(),
        "create gabion_data.r0: done
         create gabion_data.r1: done
         create gabion_data.r2: done
         create fake_machine.a: uncertain: Provider `fake` panicked: the fake cloud's client was told to panic.
         create fake_machine.b: skipped because fake_machine.a",
    );
    // Its intent is there for the next run.
    assert_eq!(scenario.state().await.open_calls().count(), 1);
    scenario.settle(&text).await;
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_in_a_call_leaves_its_intent() {
    let directory = tempfile::tempdir().unwrap();
    let (mut scenario, mut text) = chain(&directory, 3);
    scenario.heartbeat = HeartbeatMode::Task;
    text += &machine_after("a", "gabion_data.r2");
    scenario
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::HangAfter).at("fake_machine.a"));
    let plan = scenario.plan(&text).await;
    let journal = scenario.open().await;
    let (control, mut notes) = (ApplyControl::new(), Notes::default());
    {
        let applying = scenario.carry_out(&plan, &journal, &control, &mut notes);
        let called = async {
            while scenario.cloud.objects("fake_machine").is_empty() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::select! {
            biased;
            result = applying => panic!("{:?}", result.map(|report| outcomes(&report))),
            () = called => {}
        }
    }
    journal.close().await.unwrap();
    let state = scenario.state().await;
    let open: Vec<_> = state
        .open_calls()
        .map(|(record, _)| record.address.to_string())
        .collect();
    assert_eq!((open, done(&state)), (vec!["fake_machine.a".to_owned()], 3));
    scenario.settle(&text).await;
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 1);
}
