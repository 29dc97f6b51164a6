//! Several runs at once on one project: exactly one works at a time, and none fails for it.

use gabion_testing::fake::fault::Random;
use serde_json::Value;

use crate::Failure;
use crate::check::findings;
use crate::figures::Contention;
use crate::project::Project;
use crate::rounds::Plan;
use crate::run::{Run, Said, events};
use crate::world::World;

/// How many rounds a project lives, so that the first apply of a new project is contended for too.
const SESSION: u64 = 5;

/// How the runs of a round are started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Each waits for the others.
    Waiting,
    /// None waits.
    Refused,
    /// The first does not wait, the others do.
    Mixed,
    /// Each carries out the same saved plan, and waits.
    Saved,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Worked,
    Idle,
    Refused,
    Stale,
    Failed,
}

/// Runs so many rounds. What goes wrong is counted, told to `tell`, and kept on disk.
///
/// # Errors
/// When a project cannot be made.
pub fn run(plan: &Plan, rounds: u64, tell: &dyn Fn(&str)) -> Result<Contention, Failure> {
    let mut counted = Contention::default();
    let mut seed = plan.seed;
    while counted.rounds < rounds {
        let mut project = Project::new(&plan.programs, plan.store, seed)?;
        let mut world = World::new(seed, plan.objects, plan.units);
        let mut random = Random::new(seed ^ 0x6d65_6574);
        for round in 0..SESSION.min(rounds - counted.rounds) {
            counted.rounds += 1;
            if round > 0 {
                world.edit();
            }
            let way = match random.below(6) {
                0..=2 => Way::Waiting,
                3 => Way::Refused,
                4 => Way::Mixed,
                _ => Way::Saved,
            };
            project.write("main.gabion.yml", &world.documents())?;
            let before = (counted.failed, counted.overlapping);
            let outcome = meet(&project, way, round == 0, &mut random, &mut counted)
                .and_then(|()| settle(&project, &world));
            if outcome.is_err() && counted.failed == before.0 {
                counted.failed += 1;
            }
            if outcome.is_err() || (counted.failed, counted.overlapping) != before {
                tell(&format!(
                    "round {} ({way:?}) failed: {}\neverything is in {}\nto repeat: cargo xtask kill-loop --store {} \
                     --rounds 0 --contention {} --seed {seed}",
                    round + 1,
                    outcome.err().unwrap_or_else(|| "see the figures".to_owned()),
                    project.keep().display(),
                    plan.store,
                    round + 1,
                ));
                break;
            }
        }
        seed += 1;
    }
    Ok(counted)
}

/// Starts the runs of a round, at once or a moment after each other, and counts how they end.
fn meet(
    project: &Project,
    way: Way,
    fresh: bool,
    random: &mut Random,
    counted: &mut Contention,
) -> Result<(), Failure> {
    const WAIT: [&str; 2] = ["--lock-timeout", "90s"];
    if way == Way::Saved {
        project.run(&["plan", "--out", "plan.gabion"])?.exits(0)?;
    }
    let count = 2 + random.below(2);
    let mut runs: Vec<Run> = Vec::new();
    for index in 0..count {
        let mut arguments = vec!["apply", "-y"];
        if way == Way::Saved {
            arguments.push("plan.gabion");
        }
        if way == Way::Waiting || way == Way::Saved || (way == Way::Mixed && index > 0) {
            arguments.extend(WAIT);
        }
        runs.push(project.start(&arguments)?);
        if random.below(2) == 0 {
            // They meet at different moments of a run.
            std::thread::sleep(random.duration(std::time::Duration::from_millis(400)));
        }
    }
    let mut spans = Vec::new();
    let mut wrong = String::new();
    let mut worked = 0;
    for run in runs {
        let file = run.files.events.clone();
        let said = run.finish()?;
        let events = events(&file);
        spans.extend(span(&events));
        let end = judge(&said, &events);
        *match end {
            End::Worked => &mut counted.worked,
            End::Idle => &mut counted.idle,
            End::Refused => &mut counted.refused,
            End::Stale => &mut counted.stale,
            End::Failed => &mut counted.failed,
        } += 1;
        worked += u64::from(end == End::Worked);
        let expected = match end {
            End::Worked | End::Idle => true,
            End::Refused => way == Way::Refused || way == Way::Mixed,
            // Only a plan that was made without the lease can be out of date: a saved one, or that of the first apply.
            End::Stale => way == Way::Saved || fresh,
            End::Failed => false,
        };
        if !expected {
            wrong.push_str(&format!("\n{end:?}: {said}"));
        }
    }
    spans.sort();
    if spans.windows(2).any(|pair| pair[1].0 < pair[0].1) {
        counted.overlapping += 1;
        wrong.push_str(&format!("\ntwo worked at the same time: {spans:?}"));
    }
    if worked == 0 {
        wrong.push_str("\nnone of them worked");
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}

/// Returns when a run worked, if it did: the times of its first and last event, which sort as text.
fn span(events: &[Value]) -> Option<(String, String)> {
    let at = |event: &Value| event["at"].as_str().map(str::to_owned);
    Some((at(events.first()?)?, at(events.last()?)?))
}

fn judge(said: &Said, events: &[Value]) -> End {
    let says = |text: &str| said.out.contains(text) || said.err.contains(text);
    // A plan that another run has carried out is taken up where it ended: at its end.
    let done_before = |event: &Value| event["type"] == "run_started" && event["resumed"] == event["steps"];
    match said.code {
        Some(0) if events.iter().any(done_before) => End::Idle,
        Some(0) if says("Nothing to do") => End::Idle,
        Some(0) => End::Worked,
        Some(3) if says("the state is locked") && says("`apply` by ada on") && says("(process ") => {
            End::Refused
        }
        Some(4) if says("the plan is out of date") => End::Stale,
        _ => End::Failed,
    }
}

/// What must hold when all have ended.
fn settle(project: &Project, world: &World) -> Result<(), Failure> {
    // In a round where nobody waits, whoever was refused leaves nothing to do either: one of them did it all.
    project.run(&["plan", "--detailed-exitcode"])?.exits(0)?;
    project.run(&["state", "verify"])?.exits(0)?;
    let findings = findings(project, world)?;
    if findings.is_empty() {
        Ok(())
    } else {
        Err(format!("{findings:#?}"))
    }
}
