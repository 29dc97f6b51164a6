//! Interrupts: first no more steps start, then the calls are cancelled; the state is consistent either way.

use gabion_engine::apply::ApplyControl;
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};

use crate::support::{Scenario, machine, outcomes, same};

/// Interrupts when an event of a kind comes by.
struct Interrupting<F: FnMut(&ApplyEvent, &ApplyControl) + Send> {
    control: ApplyControl,
    act: F,
    events: Vec<ApplyEvent>,
}

impl<F: FnMut(&ApplyEvent, &ApplyControl) + Send> ApplyObserver for Interrupting<F> {
    fn observe(&mut self, event: &ApplyEvent) {
        (self.act)(event, &self.control);
        self.events.push(event.clone());
    }
}

#[tokio::test(start_paused = true)]
async fn the_first_interrupt_awaits_what_runs() {
    let scenario = Scenario::new();
    let text = crate::create::CHAIN;
    let plan = scenario.plan(text).await;
    let journal = scenario.open().await;
    let control = ApplyControl::new();
    let mut observer = Interrupting {
        control: control.clone(),
        act: |event: &ApplyEvent, control: &ApplyControl| {
            if let ApplyEvent::StepStarted { address, .. } = event
                && address.to_string() == "fake_machine.a"
            {
                control.stop();
            }
        },
        events: Vec::new(),
    };
    let report = scenario
        .carry_out(&plan, &journal, &control, &mut observer)
        .await
        .unwrap();
    journal.close().await.unwrap();
    same(
        &outcomes(&report),
        "create fake_network.net: done
         create fake_machine.a: done
         create fake_record.a: skipped because the run was interrupted",
    );
    assert!(report.interrupted);
    let draining = observer.events.iter().find_map(|event| match event {
        ApplyEvent::Draining { awaiting, .. } => Some(awaiting.clone()),
        _ => None,
    });
    assert_eq!(draining.unwrap(), ["fake_machine.a".parse().unwrap()]);
    scenario.settle(text).await;
}

#[tokio::test(start_paused = true)]
async fn the_second_interrupt_cancels_what_runs_and_nothing_is_lost() {
    for fault in [None, Some(Fault::Hang), Some(Fault::HangAfter)] {
        let scenario = Scenario::new();
        let text = machine("a", "one");
        if let Some(fault) = fault {
            scenario.cloud.fault(FaultRule::next(Verb::Create, fault));
        }
        let plan = scenario.plan(&text).await;
        let journal = scenario.open().await;
        let control = ApplyControl::new();
        let later = control.clone();
        tokio::spawn(async move {
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
            later.cancel();
        });
        let mut notes = crate::support::Notes::default();
        let began = tokio::time::Instant::now();
        let report = scenario
            .carry_out(&plan, &journal, &control, &mut notes)
            .await
            .unwrap();
        journal.close().await.unwrap();
        assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
        assert!(report.interrupted && !report.is_complete());
        scenario.settle(&text).await;
        assert_eq!(scenario.cloud.objects("fake_machine").len(), 1, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_dropped_leaves_what_a_crash_leaves() {
    let text = crate::create::CHAIN;
    for milliseconds in (0..15_000).step_by(250) {
        let scenario = Scenario::new();
        let plan = scenario.plan(text).await;
        let journal = scenario.open().await;
        let control = ApplyControl::new();
        let mut notes = crate::support::Notes::default();
        let run = scenario.carry_out(&plan, &journal, &control, &mut notes);
        let ended = tokio::time::timeout(std::time::Duration::from_millis(milliseconds), run).await;
        drop(ended);
        // Its process is gone; the lease runs out.
        drop(journal);
        // What was being written then is written.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        scenario.settle(text).await;
        assert_eq!(scenario.cloud.dump().objects.len(), 3, "{milliseconds} ms");
    }
}
