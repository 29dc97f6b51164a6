//! What is gone or has ended is looked for, and brought back.
//!
//! Both are done by `gabion heal`: what is found is decided about here, and found once more, under the lease, by whoever
//! brings it back.

use std::collections::BTreeMap;
use std::time::Instant;

use super::child::{Child, Data};
use super::rests::Verdict;
use super::{Reconciler, Running, Work};
use crate::exit::Exit;
use crate::render::healing_json::{HealReportJson, HealedObjectJson, HealingEventJson, HealingStepJson};
use crate::render::words::plain;

/// How many objects are named in one command at most; the others are the next one's.
const NAMED: usize = 200;

/// How many objects are told of one by one.
const TOLD: usize = 20;

impl Reconciler<'_> {
    /// Begins to look for what is gone or has ended, if it is time and nothing else is under way.
    pub(super) fn look_for_needs(&mut self, now: Instant) {
        if self.args.no_heal || self.running.is_some() || now < self.next_look {
            return;
        }
        self.next_look = now + self.args.heal_every;
        let mut arguments = vec!["heal".to_owned(), "--dry-run".to_owned()];
        arguments.extend(self.args.groups.iter().cloned());
        self.start(Work::Look, &arguments, Data::Kept);
    }

    /// Ends a look that is under way, as load waits for nobody, and some machines are slow to answer or never do.
    pub(super) fn abandon_look(&mut self) {
        if let Some(running) = &mut self.running
            && matches!(running.work, Work::Look)
            && !self.args.dry_run
        {
            running.child.terminate();
            running.work = Work::Abandoned;
            self.next_look = Instant::now();
        }
    }

    /// Takes note of what was found, and begins to bring it back.
    pub(super) fn note_found(&mut self, code: Option<i32>, printed: &[u8], said: &[u8]) {
        let exit = code.and_then(Exit::of_code);
        // While somebody works, what is missing may be on its way.
        if exit == Some(Exit::Locked) {
            return;
        }
        let report = match exit {
            Some(Exit::Done | Exit::Changes) => serde_json::from_slice::<HealReportJson>(printed).ok(),
            _ => None,
        };
        let Some(report) = report else {
            let how = ended(code);
            let message =
                format!("It could not be seen what is gone or has ended: `gabion heal` ended {how}.");
            if self.told.get("about healing") != Some(&message) {
                self.context.printer.error_bytes(said);
            }
            self.tell("healing", Some(message));
            return;
        };
        self.tell("healing", None);
        self.tell_left(&report);
        let now = Instant::now();
        self.relapses.forget(now);
        let mut due = Vec::new();
        let mut resting = 0;
        for need in &report.needs {
            let subject = format!("{} rests", need.address);
            match self.relapses.verdict(&need.address, now) {
                Verdict::Due => {
                    self.tell(&subject, None);
                    due.push(need.clone());
                }
                Verdict::Rests { attempts, .. } => {
                    resting += 1;
                    let times = match attempts {
                        1 => "once".to_owned(),
                        attempts => format!("{attempts} times"),
                    };
                    let message = format!(
                        "{} {}, after that was put right or tried {times}; it is left alone for a while, longer each time.",
                        need.address, need.why
                    );
                    self.tell(&subject, Some(message));
                }
            }
        }
        self.bring_back(due, resting);
    }

    /// Says what is not as it was applied and is for people.
    fn tell_left(&mut self, report: &HealReportJson) {
        let mut left: BTreeMap<String, String> = BTreeMap::new();
        for object in report.left.iter().take(TOLD) {
            let message = format!("{} {}. It is left as it is.", object.address, object.why);
            left.insert(format!("{} differs", object.address), message);
        }
        let gone: Vec<String> = self
            .left
            .iter()
            .filter(|subject| !left.contains_key(*subject))
            .cloned()
            .collect();
        for subject in gone {
            self.tell(&subject, None);
        }
        self.left = left.keys().cloned().collect();
        for (subject, message) in left {
            self.tell(&subject, Some(message));
        }
    }

    fn bring_back(&mut self, mut due: Vec<HealedObjectJson>, resting: usize) {
        if due.is_empty() {
            return;
        }
        // By their names only where not all are meant: a machine that restarted has more than a command line holds.
        let all = resting == 0;
        if !all {
            due.truncate(NAMED);
        }
        let dry_run = self.args.dry_run;
        let step = match dry_run {
            true => HealingStepJson::WouldHeal,
            false => HealingStepJson::Healing,
        };
        let would = if dry_run {
            "would be brought back (not done: `--dry-run`)"
        } else {
            "is brought back"
        };
        let lines = due.iter().take(TOLD);
        let text: Vec<String> = lines
            .map(|object| {
                let HealedObjectJson { address, why } = object;
                format!("{}: {}; it {would}.", plain(address), plain(why))
            })
            .collect();
        let text = text.join("\n");
        // Without being done it would be said at every look.
        let is_new = self.told.insert("brought back".to_owned(), text.clone()).as_ref() != Some(&text);
        if !dry_run || is_new {
            self.context.printer.status(&text);
            if due.len() > TOLD {
                self.context
                    .printer
                    .status(&format!("And {} more.", due.len() - TOLD));
            }
            self.line(&HealingEventJson::new(step, due.clone()));
        }
        if dry_run {
            return;
        }
        let mut arguments = vec!["heal".to_owned(), "-y".to_owned()];
        match all {
            true => arguments.extend(self.args.groups.iter().cloned()),
            false => arguments.extend(due.iter().map(|object| object.address.clone())),
        }
        self.start(Work::Heal(due), &arguments, Data::Dropped);
    }

    /// Takes note of how bringing objects back ended.
    pub(super) fn note_healed(&mut self, objects: Vec<HealedObjectJson>, code: Option<i32>, said: &[u8]) {
        let now = Instant::now();
        let exit = code.and_then(Exit::of_code);
        if exit != Some(Exit::Locked) {
            self.told.remove("brought back");
        }
        self.line(&HealingEventJson {
            exit_code: code,
            ..HealingEventJson::new(HealingStepJson::Healed, objects.clone())
        });
        let printer = self.context.printer.clone();
        match exit {
            // It is found again at the next look, if it is still so then.
            Some(Exit::Locked) => self.tell_locked("What is gone or has ended"),
            Some(Exit::Done) => {
                for (position, object) in objects.iter().enumerate() {
                    self.relapses.note(&object.address, now);
                    if position < TOLD {
                        printer.status(&format!("{}: back.", plain(&object.address)));
                    }
                }
                if objects.len() > TOLD {
                    printer.status(&format!("And {} more.", objects.len() - TOLD));
                }
            }
            _ => {
                let rests = objects
                    .iter()
                    .map(|object| self.relapses.note(&object.address, now));
                let longest = rests.max().unwrap_or_default();
                printer.error_bytes(said);
                printer.error(&format!(
                    "Not all of it came back, `gabion heal` ended {}; what did not is left alone for {} s.",
                    ended(code),
                    longest.as_secs()
                ));
            }
        }
    }

    /// Starts a command of this program.
    pub(super) fn start(&mut self, work: Work, arguments: &[String], data: Data) -> bool {
        let name = arguments.first().map_or("", String::as_str);
        let subject = format!("starting {name}");
        match Child::start(self.context, arguments, data) {
            Ok(child) => {
                self.tell(&subject, None);
                self.running = Some(Running { work, child });
                true
            }
            Err(error) => {
                let message = format!("`gabion {name}` cannot be started: {error}.");
                self.tell(&subject, Some(message));
                false
            }
        }
    }
}

/// Says how a command ended.
pub(super) fn ended(code: Option<i32>) -> String {
    match code {
        Some(code) => format!("with exit code {code}"),
        None => "by a signal".to_owned(),
    }
}
