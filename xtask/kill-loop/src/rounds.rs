//! The kill loop: edit, kill, apply, compare, again.

use std::time::{Duration, Instant};

use gabion_testing::fake::fault::Random;

use crate::Failure;
use crate::check::{findings, left};
use crate::figures::Figures;
use crate::kill::{Usual, kill_once};
use crate::project::{Programs, Project};
use crate::store::StoreKind;
use crate::world::World;

/// How many rounds a project lives; then it is destroyed and a new one begins.
const SESSION: u64 = 20;

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The programs.
    pub programs: Programs,
    /// The store.
    pub store: StoreKind,
    /// How many rounds.
    pub rounds: u64,
    /// What chance follows from.
    pub seed: u64,
    /// How many objects of the cloud.
    pub objects: u64,
    /// How many programs.
    pub units: u64,
}

/// Runs the loop. What goes wrong is counted, told to `tell`, and kept on disk.
pub fn run(plan: &Plan, tell: &dyn Fn(&str)) -> Figures {
    let mut figures = Figures {
        store: plan.store.to_string(),
        seed: plan.seed,
        ..Figures::default()
    };
    let began = Instant::now();
    let mut session = plan.seed;
    let mut usual = Usual {
        duration: Duration::from_millis(1500),
        events: 600,
    };
    while figures.rounds < plan.rounds {
        let rounds = SESSION.min(plan.rounds - figures.rounds);
        if let Err(failure) = run_session(plan, session, rounds, &mut usual, &mut figures, tell) {
            tell(&format!(
                "a project could not be made or ended: {failure}\nto repeat: {}",
                again(plan, session, rounds)
            ));
            figures.broken += 1;
            break;
        }
        session += 1;
    }
    figures.seconds_per_round = rounded(began.elapsed().as_secs_f64() / figures.rounds.max(1) as f64);
    figures
}

fn rounded(seconds: f64) -> f64 {
    (seconds * 100.0).round() / 100.0
}

fn again(plan: &Plan, session: u64, rounds: u64) -> String {
    format!(
        "cargo xtask kill-loop --store {} --seed {session} --rounds {rounds}",
        plan.store
    )
}

fn run_session(
    plan: &Plan,
    seed: u64,
    rounds: u64,
    usual: &mut Usual,
    figures: &mut Figures,
    tell: &dyn Fn(&str),
) -> Result<(), Failure> {
    let mut project = Project::new(&plan.programs, plan.store, seed)?;
    let mut world = World::new(seed, plan.objects, plan.units);
    (figures.objects, figures.units) = (world.objects(), world.units());
    let mut random = Random::new(seed ^ 0x6b69_6c6c);
    for round in 0..rounds {
        figures.rounds += 1;
        if round > 0 {
            world.edit();
        }
        let before = figures.violations();
        let outcome = run_round(&project, &world, &mut random, usual, figures, tell);
        if let Err(failure) = &outcome {
            tell(failure);
            if figures.violations() == before {
                figures.broken += 1;
            }
        }
        if outcome.is_err() || figures.violations() > before {
            let kept = project.keep();
            tell(&format!(
                "round {} failed; everything is in {}\nto repeat: {}",
                round + 1,
                kept.display(),
                again(plan, seed, round + 1)
            ));
            return Ok(());
        }
    }
    let before = figures.violations();
    let killed = kill_once(&project, &["destroy", "-y"], &mut random, *usual)?;
    count(&killed.phase, false, figures);
    if let Err(failure) = project.run(&["destroy", "-y"])?.exits(0) {
        figures.failed_applies += 1;
        tell(&failure);
    }
    let left = left(&project)?;
    if !left.is_empty() {
        figures.left += left.len() as u64;
        tell(&format!("left after the destroy: {}", left.join(", ")));
    }
    if figures.violations() > before {
        tell(&format!("everything is in {}", project.keep().display()));
    }
    Ok(())
}

fn count(phase: &Option<crate::kill::Phase>, recovery: bool, figures: &mut Figures) {
    match phase {
        Some(phase) => {
            figures.kills += 1;
            figures.kills_of_recoveries += u64::from(recovery);
            *figures.kills_by_phase.entry(*phase).or_default() += 1;
        }
        None => figures.quicker_than_the_kill += 1,
    }
}

/// One round. What is wrong is counted; an error says what it was.
fn run_round(
    project: &Project,
    world: &World,
    random: &mut Random,
    usual: &mut Usual,
    figures: &mut Figures,
    tell: &dyn Fn(&str),
) -> Result<(), Failure> {
    project.write("main.gabion.yml", &world.documents())?;
    let command = if random.below(15) == 0 { "destroy" } else { "apply" };
    let times = 1 + u64::from(random.below(3) == 0);
    for time in 0..times {
        let killed = kill_once(project, &[command, "-y"], random, *usual)?;
        count(&killed.phase, time > 0, figures);
        if killed.phase.is_none() {
            killed
                .said
                .exits(0)
                .inspect_err(|_| figures.failed_applies += 1)?;
            break;
        }
    }
    let recovery = project.start(&["apply", "-y"])?;
    let events = recovery.files.events.clone();
    let said = recovery.finish()?;
    let told = crate::run::events(&events).len() as u64;
    usual.learn(said.took, told.max(50));
    figures.longest_recovery_s = figures.longest_recovery_s.max(rounded(said.took.as_secs_f64()));
    said.exits(0).inspect_err(|failure| {
        if failure.contains("cannot be read") || failure.contains("cannot be used") {
            figures.unreadable += 1;
        } else {
            figures.failed_applies += 1;
        }
    })?;
    project
        .run(&["plan", "--detailed-exitcode"])?
        .exits(0)
        .inspect_err(|_| figures.nonempty_plans += 1)?;
    project
        .run(&["state", "verify"])?
        .exits(0)
        .inspect_err(|_| figures.unreadable += 1)?;
    let findings = findings(project, world)?;
    figures.lost += findings.lost.len() as u64;
    figures.duplicated += findings.duplicated.len() as u64;
    figures.wrong_records += findings.wrong.len() as u64;
    figures.wrong_units += findings.units.len() as u64;
    if !findings.is_empty() {
        tell(&format!("{findings:#?}"));
    }
    Ok(())
}
