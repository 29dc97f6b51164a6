//! The cut loop: hosts are cut off at random moments of an apply and gabion is killed, or both; when everything is back,
//! the next apply must settle it all.
//!
//! What counts is what the kernel says: each program that is wanted runs exactly once, with what was asked for last, and
//! nothing else does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gabion_testing::fake::fault::Random;
use gabion_testing::proxy::Network;
use serde::Serialize;

use crate::Failure;
use crate::fleet::{Cleaner, Fleet, MARK, programs};
use crate::project::{Programs, Project};
use crate::run::{Run, until};
use crate::store::StoreKind;

/// How long a call may take: a host that stays away must not hold up a round for long.
const CALL: &str = "20s";

/// What is done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The programs.
    pub programs: Programs,
    /// The agent's program.
    pub agent: PathBuf,
    /// How many hosts.
    pub hosts: usize,
    /// How many programs a host has at most.
    pub units: u64,
    /// The number of the last round.
    pub rounds: u64,
    /// The number of the first round, from 1: a round does not depend on what came of those before it.
    pub from: u64,
    /// What chance follows from.
    pub seed: u64,
}

/// What was counted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CutFigures {
    /// What chance followed from.
    pub seed: u64,
    /// The number of the first round.
    pub from: u64,
    /// How many rounds there were.
    pub rounds: u64,
    /// Whether hosts could be started at all.
    pub skipped: bool,
    /// Hosts whose connections were ended and refused during an apply.
    pub cuts: u64,
    /// Hosts that nothing reached any more during an apply, while connections stayed open.
    pub silences: u64,
    /// Hosts that came back while the same apply ran.
    pub returns: u64,
    /// Applies that were killed.
    pub kills: u64,
    /// Applies that were disturbed and ended by themselves.
    pub ended: u64,
    /// Those of them that had done everything all the same.
    pub ended_whole: u64,
    /// Objects that were not settled when everything was back: half made, half changed, or in a call without a result.
    pub unsettled: u64,
    /// Applies that failed and named no host that was away.
    pub unnamed: u64,
    /// Programs that ran twice.
    pub duplicated: u64,
    /// Programs that ran and that nobody wanted.
    pub orphans: u64,
    /// Programs that were wanted and did not run, or not as they were wanted.
    pub missing: u64,
    /// Units on hosts that are in no record.
    pub unknown_units: u64,
    /// Applies, with everything back, that did not succeed.
    pub failed_applies: u64,
    /// Plans after such an apply that were not empty.
    pub nonempty_plans: u64,
    /// States that did not verify.
    pub unreadable: u64,
    /// What was left on hosts after a destroy.
    pub left: u64,
    /// Rounds that could not be carried out.
    pub broken: u64,
    /// Programs in the last round.
    pub programs: usize,
    /// Seconds that a round took, on the average.
    pub seconds_per_round: f64,
    /// Seconds that the longest apply took with everything back.
    pub longest_recovery_s: f64,
}

impl CutFigures {
    /// Returns how many things went wrong.
    pub fn violations(&self) -> u64 {
        self.unnamed
            + self.duplicated
            + self.orphans
            + self.missing
            + self.unknown_units
            + self.failed_applies
            + self.nonempty_plans
            + self.unreadable
            + self.left
            + self.broken
    }

    /// Returns how much was disturbed.
    pub fn disturbances(&self) -> u64 {
        self.cuts + self.silences + self.kills
    }
}

/// Which programs are wanted: by unit, its version.
struct World {
    seed: u64,
    hosts: u64,
    units: u64,
    wanted: BTreeMap<(u64, u64), u64>,
}

impl World {
    /// Returns what is wanted in a round, which follows from the seed alone.
    fn at(plan: &Plan, round: u64) -> Self {
        let mut world = Self {
            seed: plan.seed,
            hosts: plan.hosts as u64,
            units: plan.units.max(1),
            wanted: BTreeMap::new(),
        };
        for host in 0..world.hosts {
            world.wanted.insert((host, 0), 0);
        }
        for round in 1..=round {
            world.edit(round);
        }
        world
    }

    fn edit(&mut self, round: u64) {
        let mut random = random(self.seed, round, 1);
        for _ in 0..2 + random.below(3) {
            let unit = (random.below(self.hosts), random.below(self.units));
            let is_wanted = self.wanted.contains_key(&unit);
            if is_wanted && random.below(3) == 0 {
                self.wanted.remove(&unit);
            } else {
                self.wanted.insert(unit, round);
            }
        }
    }

    fn documents(&self, project: &str, fleet: &Fleet) -> Result<String, Failure> {
        let mut text = fleet.documents()?;
        for ((host, unit), version) in &self.wanted {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "type: resource\nkind: host_unit\nname: u{host}-{unit}\ndepends_on: [ssh_host.h{host}]\n\
                 timeouts: {{create: {CALL}, update: {CALL}, delete: {CALL}}}\nproperties:\n  \
                 machine: {}\n  argv: [sleep, '{}']\n  env: {{{MARK}: {project}/u{host}-{unit}}}\n---\n",
                fleet.hosts[*host as usize].machine,
                seconds(*version),
            );
        }
        Ok(text)
    }
}

/// How long a version of a program sleeps: longer than any loop runs, and its own.
fn seconds(version: u64) -> u64 {
    1_000_000 + version
}

fn random(seed: u64, round: u64, part: u64) -> Random {
    let mut random = Random::new(seed ^ round.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (part << 56));
    // Seeds that differ little begin alike.
    random.next();
    random
}

/// Runs the loop. What goes wrong is counted, told to `tell`, and kept on disk.
pub fn run(plan: &Plan, tell: &dyn Fn(&str)) -> CutFigures {
    let mut figures = CutFigures {
        seed: plan.seed,
        from: plan.from.max(1),
        ..CutFigures::default()
    };
    let began = Instant::now();
    match run_rounds(plan, &mut figures, tell) {
        Ok(()) => {}
        Err(failure) => {
            tell(&failure);
            figures.broken += 1;
        }
    }
    figures.seconds_per_round = rounded(began.elapsed() / u32::try_from(figures.rounds.max(1)).unwrap_or(1));
    figures
}

fn rounded(time: Duration) -> f64 {
    (time.as_secs_f64() * 100.0).round() / 100.0
}

fn run_rounds(plan: &Plan, figures: &mut CutFigures, tell: &dyn Fn(&str)) -> Result<(), Failure> {
    let Some(fleet) = Fleet::start(plan.hosts)? else {
        tell("skipped: there is no sshd on this machine");
        figures.skipped = true;
        return Ok(());
    };
    let mut project = Project::new(&plan.programs, StoreKind::Sqlite, plan.seed)?;
    project.set("GABION_AGENT", &plan.agent.display().to_string());
    let first = figures.from;
    let cleaner = Cleaner(project.name());
    // What was there before the first round was made without any trouble.
    let world = World::at(plan, first - 1);
    project.write("main.gabion.yml", &world.documents(&project.name(), &fleet)?)?;
    let began = Instant::now();
    project.run(&["apply", "-y"])?.exits(0)?;
    let mut usual = began.elapsed();
    for round in first..=plan.rounds {
        figures.rounds += 1;
        let world = World::at(plan, round);
        let before = figures.violations();
        let began = Instant::now();
        let mut random = random(plan.seed, round, 2);
        let outcome = run_round(&project, &fleet, &world, &mut random, &mut usual, figures);
        fleet.heal();
        if let Err(failure) = &outcome {
            tell(failure);
            if figures.violations() == before {
                figures.broken += 1;
            }
        }
        if figures.violations() > before {
            let kept = project.keep();
            tell(&format!(
                "round {round} failed; everything is in {}\nto repeat: cargo xtask cut-loop --seed {} --hosts {} --units {} \
                 --from {round} --rounds {round}",
                kept.display(),
                plan.seed,
                plan.hosts,
                plan.units,
            ));
            drop(cleaner);
            return Ok(());
        }
        tell(&format!(
            "round {round} of {}: {:.1} s, {} programs; so far {} cuts, {} silences, {} kills, nothing wrong",
            plan.rounds,
            began.elapsed().as_secs_f64(),
            world.wanted.len(),
            figures.cuts,
            figures.silences,
            figures.kills,
        ));
    }
    project.run(&["destroy", "-y"])?.exits(0)?;
    let mut left: Vec<String> = programs(&project.name()).into_keys().collect();
    for host in &fleet.hosts {
        left.extend(host.root().exists().then(|| host.root().display().to_string()));
    }
    if !left.is_empty() {
        figures.left += left.len() as u64;
        tell(&format!("left after the destroy: {}", left.join(", ")));
    }
    drop(cleaner);
    Ok(())
}

/// What is done to one apply, and when.
struct Trouble {
    /// Which hosts go away, how, and when.
    away: Vec<(usize, Network, Duration)>,
    /// When they are back, if that is while it runs.
    back: Option<Duration>,
    /// When it is killed, if it is.
    killed: Option<Duration>,
}

impl Trouble {
    fn pick(random: &mut Random, hosts: usize, usual: Duration) -> Self {
        let network = match random.below(4) {
            0 => Network::Silent,
            _ => Network::Cut,
        };
        let is_killed = random.below(3) > 0;
        let moment = |random: &mut Random| random.duration(usual.mul_f64(0.9));
        let spared = random.below(hosts as u64) as usize;
        let mut away = Vec::new();
        // One in five kills meets a whole network.
        if !is_killed || random.below(5) > 0 {
            let certain = random.below(hosts as u64) as usize;
            for host in 0..hosts {
                let is_away = host == certain || (host != spared && random.below(3) == 0);
                if is_away {
                    away.push((host, network, moment(random)));
                }
            }
        }
        let last = away.iter().map(|(_, _, when)| *when).max().unwrap_or_default();
        let after = |random: &mut Random, most: u64| last + random.duration(Duration::from_millis(most));
        Self {
            back: (random.below(3) == 0).then(|| after(random, 2_000)),
            // Shortly after the cut in most cases: calls are under way then.
            killed: is_killed.then(|| match random.below(4) {
                0 => moment(random),
                1 => after(random, 3_000),
                _ => after(random, 400),
            }),
            away,
        }
    }
}

fn run_round(
    project: &Project,
    fleet: &Fleet,
    world: &World,
    random: &mut Random,
    usual: &mut Duration,
    figures: &mut CutFigures,
) -> Result<(), Failure> {
    project.write("main.gabion.yml", &world.documents(&project.name(), fleet)?)?;
    for _ in 0..1 + u64::from(random.below(3) == 0) {
        let trouble = Trouble::pick(random, fleet.hosts.len(), *usual);
        disturb(project, fleet, &trouble, figures)?;
        if random.below(2) == 0 {
            fleet.heal();
        }
    }
    fleet.heal();
    let list = project
        .run(&["state", "list", "--format", "json"])?
        .exits(0)?
        .json()?;
    let records = list["records"].as_array().map_or(&[][..], Vec::as_slice);
    let unsettled = records.iter().filter(|record| record["status"] != "ready");
    figures.unsettled += unsettled.count() as u64;
    let said = project
        .run(&["apply", "-y"])?
        .exits(0)
        .inspect_err(|_| figures.failed_applies += 1)?;
    figures.longest_recovery_s = figures.longest_recovery_s.max(rounded(said.took));
    *usual = (*usual * 3 + said.took) / 4;
    project
        .run(&["plan", "--detailed-exitcode"])?
        .exits(0)
        .inspect_err(|_| figures.nonempty_plans += 1)?;
    project
        .run(&["state", "verify"])?
        .exits(0)
        .inspect_err(|_| figures.unreadable += 1)?;
    figures.programs = world.wanted.len();
    check(project, fleet, world, figures)
}

/// Runs one apply with its trouble.
fn disturb(
    project: &Project,
    fleet: &Fleet,
    trouble: &Trouble,
    figures: &mut CutFigures,
) -> Result<(), Failure> {
    let mut run = project.start(&["apply", "-y"])?;
    let mut away = trouble.away.clone();
    away.sort_by_key(|(_, _, when)| std::cmp::Reverse(*when));
    let mut names: BTreeSet<&str> = BTreeSet::new();
    let mut back = trouble.back;
    // The moments are what is tested; nothing is waited for but them.
    while run.is_running() {
        let age = run.age();
        if let Some((host, network, _)) = away.pop_if(|(_, _, when)| *when <= age) {
            fleet.hosts[host].set(network);
            names.insert(&fleet.hosts[host].machine);
            match network {
                Network::Silent => figures.silences += 1,
                _ => figures.cuts += 1,
            }
        } else if back.is_some_and(|when| when <= age) {
            back = None;
            figures.returns += u64::from(!names.is_empty());
            fleet.heal();
        } else if trouble.killed.is_some_and(|when| when <= age) {
            let (killed, _) = run.kill()?;
            figures.kills += u64::from(killed);
            return Ok(());
        } else {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    ended(run, &names, figures)
}

/// Looks at an apply that ended by itself: one that failed names a host that was away.
fn ended(run: Run, names: &BTreeSet<&str>, figures: &mut CutFigures) -> Result<(), Failure> {
    let said = run.finish()?;
    figures.ended += 1;
    if said.code == Some(0) {
        figures.ended_whole += 1;
        return Ok(());
    }
    // One that was away since the apply before may be the one that is named.
    let is_named = said.err.contains("`net/h") || said.out.contains("`net/h");
    if matches!(said.code, Some(1 | 6)) && is_named {
        return Ok(());
    }
    figures.unnamed += 1;
    Err(format!("it failed, and names none of {names:?}:\n{said}"))
}

/// Compares what runs with what is wanted.
fn check(project: &Project, fleet: &Fleet, world: &World, figures: &mut CutFigures) -> Result<(), Failure> {
    let mut wrong = Vec::new();
    let look = || {
        let running = programs(&project.name());
        let mut found = Vec::new();
        for ((host, unit), version) in &world.wanted {
            let name = format!("u{host}-{unit}");
            match running.get(&name).map(Vec::as_slice) {
                None => found.push((Wrong::Missing, format!("{name} does not run"))),
                Some([pid]) if !sleeps(*pid, seconds(*version)) => {
                    found.push((Wrong::Missing, format!("{name} runs as it was before ({pid})")));
                }
                Some([_]) => {}
                Some(pids) => found.push((Wrong::Duplicated, format!("{name} runs as {pids:?}"))),
            }
        }
        for (name, pids) in &running {
            let is_wanted = world
                .wanted
                .keys()
                .any(|(host, unit)| *name == format!("u{host}-{unit}"));
            if !is_wanted {
                found.push((
                    Wrong::Orphan,
                    format!("{name} runs as {pids:?} and is not wanted"),
                ));
            }
        }
        found
    };
    // What an agent was about to do when its connection ended comes to a rest by itself.
    drop(until("exactly what is wanted runs", || look().is_empty()));
    wrong.extend(look());
    let list = project
        .run(&["state", "list", "--format", "json"])?
        .exits(0)?
        .json()?;
    let records = list["records"].as_array().cloned().unwrap_or_default();
    let known: BTreeSet<&str> = records
        .iter()
        .filter_map(|record| record["id"].as_str())
        .collect();
    for host in &fleet.hosts {
        for unit in host.units() {
            if !known.contains(&*unit.uid) {
                wrong.push((
                    Wrong::Unknown,
                    format!("unit {} on {} is in no record", unit.uid, host.machine),
                ));
            }
        }
    }
    for (kind, _) in &wrong {
        match kind {
            Wrong::Missing => figures.missing += 1,
            Wrong::Duplicated => figures.duplicated += 1,
            Wrong::Orphan => figures.orphans += 1,
            Wrong::Unknown => figures.unknown_units += 1,
        }
    }
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(wrong
            .into_iter()
            .map(|(_, words)| words)
            .collect::<Vec<_>>()
            .join("\n")),
    }
}

/// What can be wrong with a program.
enum Wrong {
    Missing,
    Duplicated,
    Orphan,
    Unknown,
}

/// Returns whether a process sleeps for so many seconds.
fn sleeps(pid: i32, seconds: u64) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let wanted = seconds.to_string();
    arguments
        .split(|byte| *byte == 0)
        .any(|argument| argument == wanted.as_bytes())
}
