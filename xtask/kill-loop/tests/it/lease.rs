//! The lease between real processes: who waits, who is refused, who is replaced and when.

use std::time::{Duration, Instant};

use gabion_kill_loop::Failure;
use gabion_kill_loop::run::{Said, until};
use gabion_kill_loop::store::StoreKind;
use gabion_testing::fake::api::Verb;
use gabion_testing::fake::fault::{Fault, FaultRule, Random};
use nix::sys::signal::Signal;

use crate::harness::{
    Ends, WriteLock, after, empty, hold, machine, machines, project, project_on, serial, settles, stand_still,
};

fn two() -> String {
    machine("a", "") + "---\n" + &after("b", "fake_machine.a")
}

#[test]
fn readers_need_no_lease_and_a_second_writer_is_refused() -> Ends {
    let project = project(&two())?;
    // So long that a holder that is gone can only have been replaced because it is gone.
    project.set_state("lease: 10m")?;
    project.cloud.fault(FaultRule::next(Verb::Create, Fault::Hang))?;
    let mut first = project.start(&["apply", "-y"])?;
    first.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    let pid = first.pid();
    for stopped in [false, true] {
        if stopped {
            first.stop()?;
        }
        // In flight is not crashed: nothing is waited for, what runs is named, and it is no end yet.
        let plan = project.run(&["plan", "--detailed-exitcode"])?.exits(2)?;
        plan.says("The call is in flight: ada holds the lease on")?;
        project.run(&["drift"])?.exits(0)?;
        for arguments in [
            &["apply", "-y"][..],
            &["destroy", "-y"],
            &["state", "taint", "fake_machine.a"],
        ] {
            let began = Instant::now();
            let host = nix::unistd::gethostname().map_err(|error| error.to_string())?;
            project
                .run(arguments)?
                .exits(3)?
                .says("the state is locked")?
                .says(&format!(
                    "`apply` by ada on {} (process {pid})",
                    host.to_string_lossy()
                ))?;
            assert!(began.elapsed() < Duration::from_secs(60), "it waited");
        }
        let refused = project.run(&["apply", "-y", "--lock-timeout", "1s"])?.exits(3)?;
        assert!(refused.took >= Duration::from_secs(1), "{refused}");
    }
    first.kill()?;
    assert_eq!(machines(&project)?.len(), 0);
    let next = project.run(&["apply", "-y"])?.exits(0)?;
    assert!(next.took < Duration::from_secs(100), "{next}");
    assert_eq!(machines(&project)?.len(), 1);
    empty(&project)
}

#[test]
fn a_writer_that_waits_goes_on_when_the_first_is_done() -> Ends {
    let project = project(&two())?;
    project.cloud.slow(Verb::Create, Duration::from_secs(3), 1)?;
    let mut first = project.start(&["apply", "-y"])?;
    first.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    let second = project.start(&["apply", "-y", "--lock-timeout", "90s"])?;
    first.finish()?.exits(0)?;
    second.finish()?.exits(0)?.says("Nothing to do.")?;
    assert_eq!(machines(&project)?.len(), 1);
    empty(&project)
}

/// A machine whose creation may take no longer than this: the lease covers the calls that run.
fn hasty(name: &str) -> String {
    machine(name, "") + "timeouts: {create: 4s, update: 4s, delete: 4s}\n"
}

#[test]
fn a_holder_stopped_between_check_and_call_changes_nothing_but_a_foreign_cloud() -> Ends {
    let project = project(&(hasty("a") + "---\n" + &after("b", "fake_machine.a")))?;
    project.set_state("lease: 5s")?;
    project.close_gate("create fake_machine")?;
    let mut first = project.start(&["apply", "-y"])?;
    stand_still(&project, &mut first, |run| project.at_gate(run))?;
    let began = Instant::now();
    project
        .run(&["apply", "-y"])?
        .exits(3)?
        .says(&format!("(process {})", first.pid()))?;
    let second = project.run(&["apply", "-y", "--lock-timeout", "90s"])?.exits(0)?;
    // It watched for at least as long as the call of the first could have run.
    assert!(began.elapsed() >= Duration::from_secs(5), "{second}");
    empty(&project)?;
    let settled = serial(&project)?;
    assert_eq!(machines(&project)?.len(), 1);

    project.open_gate(&first)?;
    let said = first.finish()?.exits(6)?;
    assert!(
        said.err.contains("the lock on the state was lost")
            || said.err.contains("the state could not be written"),
        "{said}"
    );
    assert_eq!(serial(&project)?, settled, "the first wrote: {said}");
    project.run(&["state", "verify"])?.exits(0)?;
    // Its deadline had passed, so that it may have given up before it sent anything. What it did send, the next run
    // finds and takes away.
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}

#[test]
fn what_turns_up_after_it_was_settled_as_absent_is_found() -> Ends {
    for killed in [false, true] {
        // Longer than the next run takes to believe that it is absent; how long that is, the machine decides.
        let mut lates = [6, 20, 60].map(Duration::from_secs).into_iter();
        while !turns_up(killed, lates.next().ok_or("no machine is so slow")?)? {}
    }
    Ok(())
}

/// Has an object turn up late, and says whether that was late enough.
fn turns_up(killed: bool, late: Duration) -> Result<bool, Failure> {
    let project = project(&two())?;
    project
        .cloud
        .fault(FaultRule::next(Verb::Create, Fault::Late(late)))?;
    if killed {
        let mut first = project.start(&["apply", "-y"])?;
        first.until("its call arrived", |_| {
            project.cloud.arrived(Verb::Create) == Ok(1)
        })?;
        first.kill()?;
    } else {
        project.run(&["apply", "-y"])?.exits(6)?;
    }
    let began = Instant::now();
    settles(&project)?;
    if began.elapsed() >= late {
        return Ok(false);
    }
    assert_eq!(machines(&project)?.len(), 1);
    until("the late one is there", || {
        machines(&project).is_ok_and(|all| all.len() == 2)
    })?;
    let plan = project.run(&["plan", "--detailed-exitcode"])?.exits(2)?;
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1, "{plan}");
    Ok(true)
}

#[test]
fn a_holder_stopped_within_a_commit_is_named() -> Ends {
    let project = project(&two())?;
    settles(&project)?;
    project.write(
        "main.gabion.yml",
        &(machine("a", ", size: large") + "---\n" + &after("b", "fake_machine.a")),
    )?;
    // This process stands for a run that holds the lease and was stopped while it wrote.
    let lease = hold(&project)?;
    let lock = WriteLock::take(&project)?;
    project.run(&["plan", "--detailed-exitcode"])?.exits(2)?;
    let said = project
        .run(&["apply", "-y"])?
        .exits(3)?
        .says(&format!("(process {})", std::process::id()))?;
    assert!(said.took >= Duration::from_secs(5), "it did not wait: {said}");
    // Nor can a person take it away, as long as the process neither goes on nor ends.
    project
        .run(&["state", "unlock", "-y"])?
        .exits(3)?
        .says("was stopped while it wrote")?
        .says(&format!("kill -CONT {}", std::process::id()))?;
    drop((lease, lock));
    project.run(&["state", "unlock", "-y"])?.exits(0)?;

    // Whoever writes without holding the lease is waited for all the same, and it is no damage.
    let lock = WriteLock::take(&project)?;
    project
        .run(&["apply", "-y"])?
        .exits(3)?
        .says("the state is busy")?;
    drop(lock);
    settles(&project)
}

fn stopped_anywhere(store: StoreKind) -> Ends {
    let many: Vec<String> = (0..300)
        .map(|number| {
            format!("type: resource\nkind: gabion_data\nname: d{number}\nproperties: {{input: {number}}}\n")
        })
        .collect();
    let project = project_on(store, &many.join("---\n"))?;
    let mut run = project.start(&["apply", "-y", "--parallelism", "1"])?;
    let mut random = Random::new(7);
    for stop in 0..3 {
        run.until("it works", |run| run.event_count() > 20 * stop)?;
        std::thread::sleep(random.duration(Duration::from_millis(30)));
        run.stop()?;
        let said = project.run(&["apply", "-y"])?.exits(3)?;
        assert!(said.err.contains(&format!("process {}", run.pid())), "{said}");
        project.run(&["state", "verify"])?.exits(0)?;
        run.resume()?;
    }
    run.finish()?.exits(0)?;
    empty(&project)
}

fn stopped_between_call_and_result(store: StoreKind) -> Ends {
    let project = project_on(store, &(hasty("a") + "---\n" + &after("b", "fake_machine.a")))?;
    project.set_state("lease: 5s")?;
    project.cloud.slow(Verb::Create, Duration::from_millis(1500), 1)?;
    let mut first = project.start(&["apply", "-y"])?;
    first.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    stand_still(&project, &mut first, |run| run.stop())?;
    let second = project.run(&["apply", "-y", "--lock-timeout", "90s"])?.exits(0)?;
    empty(&project)?;
    let settled = serial(&project)?;
    assert_eq!(machines(&project)?.len(), 1, "{second}");
    first.resume()?;
    let said = first.finish()?.exits(6)?;
    assert_eq!(serial(&project)?, settled, "the first wrote: {said}");
    assert_eq!(machines(&project)?.len(), 1, "{said}");
    settles(&project)
}

const UNIT: &str = "\
type: resource
kind: host_unit
name: u
properties: {machine: local, argv: [sleep, '3600'], stop_timeout: 5, ready_timeout: 4}
timeouts: {create: 4s, update: 4s, delete: 4s}
";

#[test]
fn a_holder_stopped_past_its_lease_does_not_change_the_machine() -> Ends {
    let project = project(UNIT)?;
    project.set_state("lease: 5s")?;
    let mut marks = Vec::new();
    for call in ["create host_unit", "update host_unit"] {
        project.close_gate(call)?;
        let mut first = project.start(&["apply", "-y"])?;
        stand_still(&project, &mut first, |run| project.at_gate(run))?;
        project.run(&["apply", "-y", "--lock-timeout", "90s"])?.exits(0)?;
        empty(&project)?;
        let settled = serial(&project)?;
        let pids = |project: &gabion_kill_loop::project::Project| -> Vec<_> {
            project
                .units()
                .iter()
                .filter(|unit| unit.is_running())
                .map(|unit| unit.process.clone())
                .collect()
        };
        let before = pids(&project);
        assert_eq!(before.len(), 1);
        project.open_gate(&first)?;
        let said = first.finish()?.exits(6)?;
        assert_eq!(serial(&project)?, settled, "the first wrote: {said}");
        assert_eq!(pids(&project), before, "{said}");
        empty(&project)?;
        marks.extend(before);
        // Killed, so that an update puts it back.
        let unit = marks.last().cloned().flatten().map(|process| process.pid);
        let pid = nix::unistd::Pid::from_raw(unit.unwrap_or_default());
        if call.starts_with("create") {
            nix::sys::signal::kill(pid, Signal::SIGKILL).map_err(|error| error.to_string())?;
        }
    }
    project.run(&["destroy", "-y"])?.exits(0)?;
    until("nothing runs", || project.processes().is_empty())
}

#[test]
fn a_holder_that_was_unlocked_stops_at_its_next_write() -> Ends {
    let project = project(&two())?;
    project.cloud.slow(Verb::Create, Duration::from_secs(3), 1)?;
    let mut first = project.start(&["apply", "-y"])?;
    first.until("its call arrived", |_| {
        project.cloud.arrived(Verb::Create) == Ok(1)
    })?;
    let pid = format!("(process {})", first.pid());
    project
        .run(&["state", "unlock"])?
        .exits(1)?
        .says(&pid)?
        .says("gabion state unlock -y")?;
    project.run(&["state", "unlock", "-y"])?.exits(0)?.says(&pid)?;
    let unlocked = serial(&project)?;
    let said = first.finish()?.exits(6)?;
    assert!(
        said.err.contains("the lock on the state was lost")
            || said.err.contains("the state could not be written"),
        "{said}"
    );
    assert_eq!(serial(&project)?, unlocked, "{said}");
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}

/// Lets a run stand still between its check and a call, takes the state away from it, lets another run finish, and lets
/// the first go on long before its call's deadline.
fn overtaken(project: &gabion_kill_loop::project::Project, call: &str) -> Result<Said, String> {
    project.close_gate(call)?;
    let mut first = project.start(&["apply", "-y"])?;
    stand_still(project, &mut first, |run| project.at_gate(run))?;
    project.run(&["state", "unlock", "-y"])?.exits(0)?;
    settles(project)?;
    let settled = serial(project)?;
    project.open_gate(&first)?;
    let said = first.finish()?.exits(6)?;
    assert_eq!(serial(project)?, settled, "the first wrote: {said}");
    project.run(&["state", "verify"])?.exits(0)?;
    Ok(said)
}

fn overtaken_at_a_foreign_cloud(store: StoreKind) -> Ends {
    let project = project_on(store, &two())?;
    let said = overtaken(&project, "create fake_machine")?;
    assert_eq!(
        machines(&project)?.len(),
        2,
        "the first did not send its call: {said}"
    );
    project.run(&["plan", "--detailed-exitcode"])?.exits(2)?;
    settles(&project)?;
    assert_eq!(machines(&project)?.len(), 1);
    Ok(())
}

/// Returns the processes of a project's units, beside which its user has only a run of gabion.
fn programs(project: &gabion_kill_loop::project::Project, run: Option<i32>) -> Vec<i32> {
    let units = project.units();
    let mut of_units: Vec<i32> = units
        .iter()
        .flat_map(gabion_kill_loop::project::Unit::session)
        .collect();
    of_units.sort_unstable();
    let mut all = project.processes();
    all.retain(|pid| Some(*pid) != run);
    all.sort_unstable();
    assert_eq!(of_units, all);
    all
}

#[test]
fn an_overtaken_run_changes_no_machine() -> Ends {
    let project = project(&UNIT.replace("timeouts: {create: 4s, update: 4s, delete: 4s}\n", ""))?;
    for call in ["create host_unit", "update host_unit", "delete host_unit"] {
        let before = programs(&project, None);
        match call {
            "create host_unit" => {}
            // Killed, so that an update puts it back.
            "update host_unit" => {
                let pid = nix::unistd::Pid::from_raw(before[0]);
                nix::sys::signal::kill(pid, Signal::SIGKILL).map_err(|error| error.to_string())?;
                until("the program is gone", || programs(&project, None).is_empty())?;
            }
            _ => project.write("main.gabion.yml", &UNIT.replace("name: u", "name: v"))?,
        }
        project.close_gate(call)?;
        let mut first = project.start(&["apply", "-y"])?;
        stand_still(&project, &mut first, |run| project.at_gate(run))?;
        project.run(&["state", "unlock", "-y"])?.exits(0)?;
        settles(&project)?;
        let (settled, running) = (serial(&project)?, programs(&project, Some(first.pid())));
        assert_eq!(running.len(), 1);
        project.open_gate(&first)?;
        let said = first.finish()?.exits(6)?;
        assert_eq!(serial(&project)?, settled, "{call}: the first wrote: {said}");
        assert_eq!(programs(&project, None), running, "{call}: {said}");
        empty(&project)?;
    }
    project.run(&["destroy", "-y"])?.exits(0)?;
    until("nothing runs", || project.processes().is_empty())
}

#[test]
fn a_holder_stopped_between_call_and_result_writes_nothing_more_on_sqlite() -> Ends {
    stopped_between_call_and_result(StoreKind::Sqlite)
}

#[test]
fn a_holder_stopped_between_call_and_result_writes_nothing_more_on_s3() -> Ends {
    stopped_between_call_and_result(StoreKind::S3)
}

#[test]
fn a_holder_stopped_between_call_and_result_writes_nothing_more_on_postgres() -> Ends {
    stopped_between_call_and_result(StoreKind::Postgres)
}

#[test]
fn a_holder_stopped_anywhere_in_a_busy_run_keeps_others_waiting_on_sqlite() -> Ends {
    stopped_anywhere(StoreKind::Sqlite)
}

#[test]
fn a_holder_stopped_anywhere_in_a_busy_run_keeps_others_waiting_on_s3() -> Ends {
    stopped_anywhere(StoreKind::S3)
}

#[test]
fn a_holder_stopped_anywhere_in_a_busy_run_keeps_others_waiting_on_postgres() -> Ends {
    stopped_anywhere(StoreKind::Postgres)
}

#[test]
fn what_an_overtaken_run_makes_at_a_foreign_cloud_is_found_and_settled_on_sqlite() -> Ends {
    overtaken_at_a_foreign_cloud(StoreKind::Sqlite)
}

#[test]
fn what_an_overtaken_run_makes_at_a_foreign_cloud_is_found_and_settled_on_s3() -> Ends {
    overtaken_at_a_foreign_cloud(StoreKind::S3)
}

#[test]
fn what_an_overtaken_run_makes_at_a_foreign_cloud_is_found_and_settled_on_postgres() -> Ends {
    overtaken_at_a_foreign_cloud(StoreKind::Postgres)
}
