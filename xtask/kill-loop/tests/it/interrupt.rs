//! Ctrl-C and SIGTERM, once, twice and three times, at every stage of an apply.

use std::time::{Duration, Instant};

use gabion_kill_loop::project::Project;
use gabion_kill_loop::run::Run;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule};
use nix::sys::signal::Signal;

use crate::harness::{Ends, WriteLock, after, empty, machine, machines, project, settles};

const SIGNALS: [Signal; 2] = [Signal::SIGINT, Signal::SIGTERM];

fn two() -> String {
    machine("a", "") + "---\n" + &after("b", "fake_machine.a")
}

/// Starts an apply and waits until the creation of its machine has arrived at the cloud.
fn creating(project: &Project) -> Result<Run, String> {
    let mut run = project.start(&["apply", "-y"])?;
    run.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    Ok(run)
}

fn recorded(project: &Project) -> Result<Vec<String>, String> {
    let list = project
        .run(&["state", "list", "--format", "json"])?
        .exits(0)?
        .json()?;
    let records = list["records"].as_array().cloned().unwrap_or_default();
    Ok(records
        .iter()
        .map(|record| {
            format!(
                "{} {}",
                record["address"].as_str().unwrap_or_default(),
                record["status"].as_str().unwrap_or_default()
            )
        })
        .collect())
}

#[test]
fn the_first_lets_what_runs_end_and_starts_nothing_more() -> Ends {
    for signal in SIGNALS {
        let project = project(&two())?;
        project.cloud.slow(Verb::Create, Duration::from_secs(2), 1)?;
        let mut run = creating(&project)?;
        run.signal(signal)?;
        run.until("it says that it stops", |run| run.err().contains("Stopping:"))?;
        assert_eq!(machines(&project)?.len(), 0, "the call had ended before");
        let said = run.finish()?.exits(130)?;
        assert!(said.err.contains("Waiting for fake_machine.a."), "{said}");
        assert_eq!(recorded(&project)?, ["fake_machine.a ready"], "{said}");
        settles(&project)?;
        assert_eq!(machines(&project)?.len(), 1);
    }
    Ok(())
}

#[test]
fn the_second_cancels_what_runs_and_it_stays_as_an_intent() -> Ends {
    for signal in SIGNALS {
        for fault in [Fault::Hang, Fault::HangAfter] {
            let project = project(&two())?;
            project.cloud.fault(FaultRule::next(Verb::Create, fault))?;
            let mut run = creating(&project)?;
            run.signal(signal)?;
            run.until("it says that it stops", |run| run.err().contains("Stopping:"))?;
            run.signal(signal)?;
            let said = run.finish()?.exits(130)?.says("Cancelling what runs.")?;
            assert_eq!(recorded(&project)?, ["fake_machine.a creating"], "{said}");
            settles(&project)?;
            assert_eq!(machines(&project)?.len(), 1, "{said}");
        }
    }
    Ok(())
}

#[test]
fn the_third_ends_at_once() -> Ends {
    for signal in SIGNALS {
        let project = project(&two())?;
        project
            .cloud
            .fault(FaultRule::next(Verb::Create, Fault::HangAfter))?;
        let mut run = creating(&project)?;
        run.signal(signal)?;
        run.until("it says that it stops", |run| run.err().contains("Stopping:"))?;
        run.signal(signal)?;
        run.until("it says that it cancels", |run| run.err().contains("Cancelling"))?;
        run.signal(signal)?;
        run.finish()?.exits(130)?.says("Giving up.")?;
        settles(&project)?;
        assert_eq!(machines(&project)?.len(), 1);
    }
    Ok(())
}

#[test]
fn who_waits_for_the_lease_can_leave() -> Ends {
    let project = project(&two())?;
    project.cloud.slow(Verb::Create, Duration::from_secs(4), 1)?;
    let first = creating(&project)?;
    let mut second = project.start(&["apply", "-y", "--lock-timeout", "90s"])?;
    second.until("it listens", Run::hears_interrupts)?;
    second.signal(Signal::SIGINT)?;
    let said = second.finish()?.exits(130)?.says("Nothing was changed.")?;
    assert!(said.took < Duration::from_secs(60), "{said}");
    first.finish()?.exits(0)?;
    empty(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}

#[test]
fn planning_can_be_left() -> Ends {
    for signal in SIGNALS {
        let project = project(&two())?;
        settles(&project)?;
        project.write(
            "main.gabion.yml",
            &(machine("a", ", size: large") + "---\n" + &after("b", "fake_machine.a")),
        )?;
        let before = project.cloud.arrived(Verb::Describe)?;
        project.cloud.slow(Verb::Describe, Duration::from_secs(60), 20)?;
        let mut run = project.start(&["apply", "-y"])?;
        run.until("it reads", |_| project.cloud.arrived(Verb::Describe) > Ok(before))?;
        run.signal(signal)?;
        let said = run.finish()?.exits(130)?.says("Nothing was changed.")?;
        assert!(said.took < Duration::from_secs(50), "{said}");
        assert_eq!(said.out, "", "it planned");
    }
    Ok(())
}

#[test]
fn ctrl_c_at_the_question_changes_nothing() -> Ends {
    let project = project(&two())?;
    let mut run = project.start_on_terminal(&["apply"])?;
    run.until("it asks", |run| run.out().contains("Apply this?"))?;
    run.types(b"\x03")?;
    run.finish()?.exits(130)?.says("Nothing was changed.")?;
    assert_eq!(machines(&project)?.len(), 0);

    let mut run = project.start_on_terminal(&["apply"])?;
    run.until("it asks", |run| run.out().contains("Apply this?"))?;
    run.types(b"y\n")?;
    run.finish()?.exits(0)?;
    assert_eq!(machines(&project)?.len(), 1);
    empty(&project)
}

#[test]
fn ctrl_c_at_a_terminal_ends_a_run_in_three_steps() -> Ends {
    let project = project(&two())?;
    project
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::HangAfter))?;
    let mut run = project.start_on_terminal(&["apply", "-y"])?;
    run.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    run.types(b"\x03")?;
    run.until("it says that it stops", |run| run.out().contains("Stopping:"))?;
    run.types(b"\x03")?;
    run.until("it says that it cancels", |run| run.out().contains("Cancelling"))?;
    run.types(b"\x03")?;
    run.finish()?.exits(130)?.says("Giving up.")?;
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}

/// Starts an apply whose last commits cannot be written while the returned lock is held.
fn closing(project: &Project) -> Result<(Run, WriteLock), String> {
    project.cloud.slow(Verb::Create, Duration::from_secs(1), 1)?;
    let run = creating(project)?;
    let lock = WriteLock::take(project)?;
    gabion_kill_loop::run::until("the machine is there", || {
        machines(project).is_ok_and(|all| all.len() == 1)
    })?;
    Ok((run, lock))
}

#[test]
fn closing_can_be_interrupted() -> Ends {
    for signal in SIGNALS {
        let project = project(&machine("a", ""))?;
        let (run, lock) = closing(&project)?;
        run.signal(signal)?;
        drop(lock);
        let said = run.finish()?;
        assert!(matches!(said.code, Some(0 | 130)), "{said}");
        settles(&project)?;
        assert_eq!(machines(&project)?.len(), 1);
    }
    Ok(())
}

#[test]
fn three_interrupts_end_a_run_that_cannot_write() -> Ends {
    let project = project(&machine("a", ""))?;
    let (mut run, lock) = closing(&project)?;
    for _ in 0..3 {
        // Two of them at once would be one.
        let heard = run.err().len();
        run.signal(Signal::SIGINT)?;
        if !run.is_running() {
            break;
        }
        let end = Instant::now() + Duration::from_secs(5);
        while run.is_running() && run.err().len() == heard && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let said = run.finish()?.exits(130)?;
    assert!(said.took < Duration::from_secs(30), "{said}");
    drop(lock);
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}
