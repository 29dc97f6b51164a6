//! `gabion reconcile`: keeps what was applied alive, and the number of replicas at what the load asks for, for as long as it
//! runs.
//!
//! It looks at the recorded rules and at what gateways count, again and again. A number that is to change is set by a
//! process of its own, `gabion scale --only-count`, and what is gone or has ended is looked for and brought back by others,
//! `gabion heal`: applies like any other, each under its own short lease, which a person or a pipeline may hold as well. So
//! nothing is known here that is not in the log, and whatever becomes of such a process, this one goes on. One runs at a
//! time.

mod child;
mod healing;
mod rests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use gabion_engine::state::State;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;
use tokio::time::MissedTickBehavior;

use self::child::{Child, Data};
use self::rests::{Relapses, Rests};
use crate::args::{Format, Reconcile};
use crate::autoscale::{Decision, History, Moment, Rule, Standing, decide};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::project::LoadedProject;
use crate::render::healing_json::HealedObjectJson;
use crate::render::scaling_json::{ScalingEventJson, ScalingStepJson};
use crate::render::words::{count, plain};
use crate::state_access::StateAccess;
use crate::wiring;

/// The longest interval: the shortest window is 30 s.
const LONGEST_INTERVAL: Duration = Duration::from_secs(30);

/// How many intervals may pass without an answer before what is known is too old to decide by.
const STALE_INTERVALS: u32 = 3;

/// The longest window that a rule may have.
const LONGEST_WINDOW: Duration = Duration::from_secs(300);

/// How often it may be looked for what is gone or has ended, at most.
const SHORTEST_HEALING: Duration = Duration::from_secs(5);

/// What is said of somebody else's lock is kept under this.
const LOCK: &str = "the lock";

/// Runs until it is stopped.
pub(crate) async fn run(args: &Reconcile, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    if args.interval.is_zero() || args.interval > LONGEST_INTERVAL {
        return Err(Failure::new("not an interval to count over")
            .detail("Gateways are asked every 1 to 30 seconds: the shortest window of a rule is 30 seconds.")
            .hint("leave `--interval` out: 10s"));
    }
    if args.heal_every < SHORTEST_HEALING {
        return Err(Failure::new("not an interval to look in")
            .detail("Each look reads all that was applied, so there are 5 seconds between two at least.")
            .hint("leave `--heal-every` out: 60s"));
    }
    let interrupts = Interrupts::listen(printer)?;
    // Where the state is and how machines are reached; what is asked for is in the state.
    let project = LoadedProject::read_settings(options);
    let access = StateAccess::of(&project, options)?;
    let state = interrupts.unless(access.load_existing_anew()).await??;
    let mut reconciler = Reconciler {
        args,
        context,
        histories: BTreeMap::new(),
        standings: BTreeMap::new(),
        settled: BTreeMap::new(),
        rests: Rests::default(),
        relapses: Relapses::default(),
        next_look: Instant::now(),
        left: BTreeSet::new(),
        told: BTreeMap::new(),
        running: None,
    };
    reconciler.check_names(&state)?;
    reconciler.introduce(&state);
    drop(state);
    let mut ticks = tokio::time::interval(args.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = interrupts.reach(1) => return reconciler.stop(&interrupts).await,
            exit = ended(&mut reconciler.running) => reconciler.note_end(exit).await,
            _ = ticks.tick() => {
                // Whatever takes long here makes nobody wait who wants to stop.
                let _ = interrupts.unless(reconciler.round(&access)).await;
            }
        }
    }
}

struct Reconciler<'a> {
    args: &'a Reconcile,
    context: &'a Context,
    /// What was counted, by service.
    histories: BTreeMap<String, History>,
    /// Since when each group stands as it does.
    standings: BTreeMap<String, Standing>,
    /// When a number that was set here stood, by group.
    settled: BTreeMap<String, Instant>,
    /// The groups whose number could not be set, or not with all that belongs to it.
    rests: Rests,
    /// The objects that were brought back lately, or could not be.
    relapses: Relapses,
    /// When it is looked next for what is gone or has ended.
    next_look: Instant,
    /// What was said to differ, as subjects of what was said.
    left: BTreeSet<String>,
    /// What was said last, by what it is about: nothing is said twice in a row.
    told: BTreeMap<String, String>,
    running: Option<Running>,
}

/// What a command of this program is to do.
enum Work {
    /// Sets the number of replicas of a group.
    Scale { group: String, count: u32 },
    /// Looks for what is gone or has ended.
    Look,
    /// Was told to end, as something else is more urgent.
    Abandoned,
    /// Brings that back.
    Heal(Vec<HealedObjectJson>),
}

/// A command that is under way.
struct Running {
    work: Work,
    child: Child,
}

/// Waits until what is under way has ended; forever when there is nothing.
async fn ended(running: &mut Option<Running>) -> Option<i32> {
    match running {
        Some(running) => running.child.ended().await,
        None => std::future::pending().await,
    }
}

/// Returns a number of replicas for people.
fn replicas(number: u32) -> String {
    count(usize::try_from(number).unwrap_or(usize::MAX), "replica")
}

impl Reconciler<'_> {
    /// Returns the rules that this is about.
    fn rules(&self, state: &State) -> Vec<Rule> {
        let named = |rule: &Rule| {
            let groups = &self.args.groups;
            groups.is_empty()
                || groups
                    .iter()
                    .any(|name| *name == rule.group || name == rule.service())
        };
        state
            .current_records()
            .filter_map(Rule::of)
            .filter(named)
            .collect()
    }

    /// Refuses names of nothing that has a rule.
    fn check_names(&self, state: &State) -> Result<(), Failure> {
        let rules: Vec<Rule> = state.current_records().filter_map(Rule::of).collect();
        let unknown = self.args.groups.iter().find(|name| {
            !rules
                .iter()
                .any(|rule| rule.group == **name || rule.service() == name.as_str())
        });
        let Some(unknown) = unknown else { return Ok(()) };
        let known: Vec<String> = rules.iter().map(|rule| format!("`{}`", rule.group)).collect();
        Err(Failure::new("no such replica group")
            .detail(format!(
                "No service with a range of replicas that was applied is called `{unknown}`."
            ))
            .hint(match known.is_empty() {
                true => {
                    "write a range such as `replicas: 1..4` with `scaling` in a service, and apply".to_owned()
                }
                false => format!("there is {}", known.join(", ")),
            }))
    }

    fn introduce(&self, state: &State) {
        let printer = &self.context.printer;
        if !self.args.no_heal {
            printer.status(&format!(
                "What was applied and is gone or has ended is brought back; it is looked for every {} s.",
                self.args.heal_every.as_secs()
            ));
        }
        let rules = self.rules(state);
        if rules.is_empty() {
            printer.status(
                "No service that was applied has a range of replicas with `scaling`. Waiting for one.",
            );
        }
        for rule in rules {
            printer.status(&format!(
                "{}: {}, between {} and {}, by {}; more {} s after a change at the earliest, fewer {} s after.",
                plain(&rule.group),
                replicas(rule.count),
                rule.min,
                rule.max,
                rule.aim(),
                rule.scale_up_delay.as_secs(),
                rule.scale_down_delay.as_secs()
            ));
        }
    }

    /// Looks at what is recorded and counted by now.
    async fn round(&mut self, access: &StateAccess) {
        match access.load_anew().await {
            Ok(state) => {
                self.tell("state", None);
                self.look(&state).await;
            }
            // It may be back in a moment.
            Err(failure) => {
                let why = format!("The state cannot be read now: {}", failure.summary());
                self.tell("state", Some(why));
            }
        }
    }

    /// Reads what was counted, and decides.
    async fn look(&mut self, state: &State) {
        let rules = self.rules(state);
        let services: BTreeSet<&str> = rules.iter().map(Rule::service).collect();
        let mut traffic = wiring::traffic(&self.context.options, state, services.iter().copied()).await;
        let now = Instant::now();
        if self.running.is_none() {
            self.rests.note(state.serial, now);
        }
        self.histories
            .retain(|service, _| services.contains(service.as_str()));
        let mut known = std::mem::take(&mut self.standings);
        for rule in &rules {
            let standing = Standing::look(known.remove(&rule.group), rule, state, now, Timestamp::now());
            self.standings.insert(rule.group.clone(), standing);
        }
        for service in services {
            match traffic.remove(service) {
                Some(Ok(found)) => {
                    let history = self.histories.entry(service.to_owned()).or_default();
                    history.add(now, &found.counter, found.counts);
                    history.forget(now, LONGEST_WINDOW);
                    self.tell(service, None);
                }
                Some(Err(why)) => self.tell(
                    service,
                    Some(format!("{service}: nothing is known of its requests now: {why}")),
                ),
                None => self.tell(
                    service,
                    Some(format!("{service}: it has no route whose requests are counted.")),
                ),
            }
        }
        for rule in &rules {
            self.consider(rule, now);
        }
        self.look_for_needs(now);
    }

    /// Decides on one group, and begins to set its number if it is to change.
    fn consider(&mut self, rule: &Rule, now: Instant) {
        let decision = self.decision(rule, now);
        let rest = self.rests.of(&rule.group);
        let rests = rest.is_some_and(|rest| rest.until > now);
        match decision {
            // What was left unfinished is finished, whatever the number is by now.
            Decision::Stay(why) => match rest.filter(|rest| !rests && rest.count == rule.count) {
                Some(_) => self.scale(rule, rule.count, "what an earlier try left unfinished"),
                None => {
                    self.told.remove(&rule.group);
                    self.context.printer.verbose(&format!(
                        "{}: {} replicas; {why}.",
                        plain(&rule.group),
                        rule.count
                    ));
                }
            },
            Decision::Wait {
                wanted,
                why,
                remaining,
            } => {
                // The time that is left is different each time.
                let key = format!("{} waits for {wanted}", rule.group);
                if self.told.get(&rule.group) != Some(&key) {
                    self.told.insert(rule.group.clone(), key);
                    self.context.printer.status(&format!(
                        "{}: {} → {} in {} s, if it stays like that: {why}.",
                        plain(&rule.group),
                        rule.count,
                        replicas(wanted),
                        remaining.as_secs().max(1)
                    ));
                }
            }
            Decision::Scale { wanted, why } if !rests => self.scale(rule, wanted, &why),
            Decision::Scale { .. } => {}
        }
    }

    fn decision(&self, rule: &Rule, now: Instant) -> Decision {
        let stale = self.args.interval * STALE_INTERVALS + Duration::from_secs(10);
        let history = self.histories.get(rule.service());
        let settled = self.settled.get(&rule.group).map(|at| now.duration_since(*at));
        let measured = history.and_then(|history| history.over(now, rule.window, stale));
        let so_far = history.and_then(|history| history.so_far(now, stale));
        let standing = self.standings.get(&rule.group);
        let recorded = standing.and_then(|standing| standing.since_change(now));
        let seen = standing.and_then(|standing| standing.complete_for(now));
        decide(
            rule,
            Moment {
                measured: measured.as_ref(),
                so_far: so_far.as_ref(),
                since_change: settled.into_iter().chain(recorded).min(),
                complete_for: settled.into_iter().chain(seen).min(),
            },
        )
    }

    /// Begins to set a number. One is set at a time: all of them need the state.
    fn scale(&mut self, rule: &Rule, wanted: u32, why: &str) {
        if self.running.is_some() {
            self.abandon_look();
            return;
        }
        let printer = &self.context.printer;
        let dry_run = self.args.dry_run;
        let key = format!("becomes {wanted}");
        let is_new = self.told.get(&rule.group) != Some(&key);
        if is_new {
            self.told.insert(rule.group.clone(), key);
            let would = if dry_run { " (not done: `--dry-run`)" } else { "" };
            printer.status(&format!(
                "{}: {} → {}: {why}{would}.",
                plain(&rule.group),
                rule.count,
                replicas(wanted)
            ));
            self.line(&ScalingEventJson {
                why: Some(why.to_owned()),
                from: Some(rule.count),
                ..ScalingEventJson::new(
                    match dry_run {
                        true => ScalingStepJson::WouldScale,
                        false => ScalingStepJson::Scaling,
                    },
                    &rule.group,
                    wanted,
                )
            });
        }
        if dry_run {
            return;
        }
        let work = Work::Scale {
            group: rule.group.clone(),
            count: wanted,
        };
        let arguments = ["scale", &rule.group, &wanted.to_string(), "--only-count", "-y"];
        if !self.start(work, &arguments.map(str::to_owned), Data::Dropped) {
            self.rests.begin(&rule.group, wanted, Instant::now());
        }
    }

    /// Takes note of how a command ended.
    async fn note_end(&mut self, code: Option<i32>) {
        let Some(Running { work, child }) = self.running.take() else {
            return;
        };
        let [printed, said] = child.last_words().await;
        // What this process wrote itself has put nothing right.
        self.rests.note_own();
        if code.and_then(Exit::of_code) != Some(Exit::Locked) {
            self.told.remove(LOCK);
        }
        match work {
            Work::Scale { group, count } => self.note_scaled(group, count, code, &said),
            Work::Look => self.note_found(code, &printed, &said),
            Work::Abandoned => {}
            Work::Heal(objects) => self.note_healed(objects, code, &said),
        }
    }

    /// Takes note of how setting a number ended.
    fn note_scaled(&mut self, group: String, count: u32, code: Option<i32>, said: &[u8]) {
        let printer = self.context.printer.clone();
        let exit = code.and_then(Exit::of_code);
        self.line(&ScalingEventJson {
            exit_code: code,
            ..ScalingEventJson::new(ScalingStepJson::Ended, &group, count)
        });
        if exit != Some(Exit::Locked) {
            self.told.remove(&group);
        }
        let name = plain(&group);
        match exit {
            Some(Exit::Done) => {
                printer.status(&format!("{name}: {} now.", replicas(count)));
                self.settled.insert(group.clone(), Instant::now());
                self.rests.end(&group);
            }
            Some(Exit::Locked) => {
                self.tell_locked(&name);
                let until = Instant::now() + self.args.interval;
                self.rests.pause(&group, count, until);
            }
            _ => {
                let length = self.rests.begin(&group, count, Instant::now());
                printer.error_bytes(said);
                printer.error(&format!(
                    "{name}: it did not come to {}, `gabion scale` ended {}; it is left alone for {} s.",
                    replicas(count),
                    healing::ended(code),
                    length.as_secs()
                ));
            }
        }
    }

    /// Says that somebody else holds the state, once.
    fn tell_locked(&mut self, name: &str) {
        let message = format!("{name}: somebody else works with the state; it is tried again.");
        if self.told.insert(LOCK.to_owned(), message.clone()).as_ref() != Some(&message) {
            self.context.printer.status(&message);
        }
    }

    /// Stops: what is under way is stopped as a person would stop it, and awaited.
    async fn stop(mut self, interrupts: &Interrupts) -> Outcome {
        let Some(Running { work, child }) = &mut self.running else {
            return Ok(Exit::Done);
        };
        let printer = &self.context.printer;
        match work {
            Work::Scale { group, count } => printer.status(&format!(
                "Stopping: `gabion scale {group} {count}` is told, and awaited."
            )),
            Work::Heal(_) => printer.status("Stopping: `gabion heal` is told, and awaited."),
            Work::Look | Work::Abandoned => {}
        }
        let exit = child.stop(interrupts).await.and_then(Exit::of_code);
        Ok(match (work, exit) {
            // Whoever only looks leaves nothing unfinished.
            (Work::Look | Work::Abandoned, _) | (_, Some(Exit::Done)) => Exit::Done,
            _ => Exit::Interrupted,
        })
    }

    /// Says something about a subject unless it was the last thing that was said about it; `None` is that all is well.
    fn tell(&mut self, subject: &str, what: Option<String>) {
        let subject = format!("about {subject}");
        match what {
            None => {
                self.told.remove(&subject);
            }
            Some(what) => {
                if self.told.get(&subject) != Some(&what) {
                    self.context.printer.error(&plain(&what));
                    self.told.insert(subject, what);
                }
            }
        }
    }

    /// Prints a line for programs.
    fn line(&self, event: &impl Serialize) {
        let Context { options, printer } = self.context;
        if options.format == Format::Json {
            printer.data(&format!("{}\n", json!(event)));
        }
    }
}
