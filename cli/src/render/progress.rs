//! The course of an apply: a live table on a terminal, a line per event elsewhere, and a summary at the end.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gabion_engine::address::ResourceAddress;
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver, StepOutcome};
use gabion_engine::plan::Plan;
use gabion_engine::plan::change::{Cause, Change};
use gabion_engine::plan::step::{StepId, StepOperation};
use gabion_engine::provider::ProviderError;
use gabion_engine::resource::Place;
use gabion_engine::value::AttributePath;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{count, plain};
use crate::failure::Failure;
use crate::output::{Printer, Verbosity};

/// How long nothing may be printed while something runs, where there is no live table.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// Shows an apply as it goes.
pub(crate) struct Progress {
    shared: Arc<Mutex<Shared>>,
    heartbeat: Option<(Sender<()>, JoinHandle<()>)>,
}

struct Shared {
    printer: Printer,
    live: Option<Live>,
    verb: &'static str,
    plan: &'static Plan,
    started: Instant,
    last_printed: Instant,
    running: BTreeMap<StepId, Running>,
    total: usize,
    ended: usize,
    tally: Tally,
    troubles: Vec<Trouble>,
    skipped: BTreeMap<ResourceAddress, String>,
    serial: Option<u64>,
}

/// The live table: a row per running step, and a line of totals below.
struct Live {
    rows: MultiProgress,
    total: ProgressBar,
}

struct Running {
    address: ResourceAddress,
    operation: StepOperation,
    phase: String,
    since: Instant,
    row: Option<ProgressBar>,
}

/// How many steps ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Done, or found to be unneeded.
    pub(crate) done: usize,
    /// Failed.
    pub(crate) failed: usize,
    /// Not started.
    pub(crate) skipped: usize,
    /// May or may not have happened.
    pub(crate) uncertain: usize,
}

struct Trouble {
    address: ResourceAddress,
    operation: StepOperation,
    error: ProviderError,
    uncertain: bool,
}

/// Returns the changes of an address; a plan has its changes by address.
fn changes_of<'a>(plan: &'a Plan, address: &ResourceAddress) -> impl Iterator<Item = &'a Change> {
    let first = plan.changes.partition_point(|change| change.address < *address);
    let of = move |change: &&Change| change.address == *address;
    plan.changes[first..].iter().take_while(of)
}

/// Returns where the document stands that an address comes from.
fn place_of<'a>(plan: &'a Plan, address: &ResourceAddress) -> Option<&'a Place> {
    changes_of(plan, address).find_map(|change| {
        let document = change.declaration.as_ref()?.document.as_ref()?;
        Some(&document.place)
    })
}

/// Returns where an input stands, for a call that failed because of it.
fn place_of_input<'a>(plan: &'a Plan, address: &ResourceAddress, input: &AttributePath) -> Option<&'a Place> {
    let mut attributes = changes_of(plan, address).flat_map(|change| &change.attributes);
    attributes.find_map(|attribute| {
        if attribute.path != *input {
            return None;
        }
        match &attribute.cause {
            Cause::Configuration(place) => place.as_ref(),
            Cause::Reference(reference) => reference.place.as_ref(),
            Cause::Drift | Cause::Computed => None,
        }
    })
}

impl Progress {
    /// Makes the display for one run of a plan; `verb` is `Apply` or `Destroy`.
    pub(crate) fn new(printer: &Printer, plan: &'static Plan, verb: &'static str) -> Self {
        let now = Instant::now();
        let shared = Arc::new(Mutex::new(Shared {
            printer: printer.clone(),
            live: printer.is_live().then(Live::new),
            verb,
            plan,
            started: now,
            last_printed: now,
            running: BTreeMap::new(),
            total: 0,
            ended: 0,
            tally: Tally::default(),
            troubles: Vec::new(),
            skipped: BTreeMap::new(),
            serial: None,
        }));
        let heartbeat = (!printer.is_live() && printer.verbosity() > Verbosity::Quiet)
            .then(|| start_heartbeat(shared.clone()))
            .flatten();
        Self { shared, heartbeat }
    }

    /// Returns what the executor tells its events to.
    pub(crate) fn observer(&self) -> Box<dyn ApplyObserver> {
        Box::new(Observer(self.shared.clone()))
    }

    /// Ends the display: failed steps with their errors, then the summary, always last.
    pub(crate) fn finish(mut self) {
        self.take_down();
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.printer.error(shared.ending().trim_end());
    }

    /// Ends the display of a run that did not go on: also says why, before the summary.
    pub(crate) fn end_with(mut self, failure: &Failure) {
        self.take_down();
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.printer.error("");
        failure.print(&shared.printer);
        shared.printer.error(shared.ending().trim_end());
    }

    /// Ends the display of a run that did nothing worth telling.
    pub(crate) fn discard(mut self) {
        self.take_down();
    }

    fn take_down(&mut self) {
        if let Some((stop, thread)) = self.heartbeat.take() {
            drop(stop);
            // The heartbeat only prints; if it panicked the run still has its result.
            let _ = thread.join();
        }
        let live = self
            .shared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .live
            .take();
        if let Some(live) = live {
            live.end();
        }
    }
}

/// Prints the heartbeat until its sender is dropped. Without the thread there is only less to read.
fn start_heartbeat(shared: Arc<Mutex<Shared>>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (stop, stopped) = channel::<()>();
    let thread = std::thread::Builder::new()
        .name("heartbeat".into())
        .spawn(move || {
            let mut wait = HEARTBEAT;
            while stopped.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
                let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let quiet_for = shared.last_printed.elapsed();
                if quiet_for >= HEARTBEAT {
                    shared.beat();
                    wait = HEARTBEAT;
                } else {
                    wait = HEARTBEAT - quiet_for;
                }
            }
        });
    thread.ok().map(|thread| (stop, thread))
}

struct Observer(Arc<Mutex<Shared>>);

impl ApplyObserver for Observer {
    fn observe(&mut self, event: &ApplyEvent) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take(event);
    }
}

impl Live {
    fn new() -> Self {
        let rows = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        let total = rows.add(ProgressBar::new_spinner());
        total.set_style(style("{spinner} {msg} {elapsed}"));
        total.enable_steady_tick(Duration::from_millis(120));
        Self { rows, total }
    }

    fn row(&self, message: String) -> ProgressBar {
        let row = self.rows.insert_before(&self.total, ProgressBar::new_spinner());
        row.set_style(style("  {msg} {elapsed:.dim}"));
        row.set_message(message);
        row.enable_steady_tick(Duration::from_millis(500));
        row
    }

    fn end(self) {
        self.total.finish_and_clear();
        // What cannot be cleared stays on the screen.
        let _ = self.rows.clear();
    }
}

/// Reads a style; one that cannot be read is plain.
pub(crate) fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Shared {
    fn take(&mut self, event: &ApplyEvent) {
        match event {
            ApplyEvent::RunStarted { steps, resumed } => {
                self.total = *steps;
                self.ended = *resumed;
                if *resumed > 0 {
                    let done = count(*resumed, "step");
                    self.say(format!(
                        "Going on with this plan: an earlier run did {done} of {steps}."
                    ));
                }
                self.show_total();
            }
            ApplyEvent::StepStarted {
                step,
                address,
                operation,
                ..
            } => self.start(*step, address, *operation),
            ApplyEvent::StepPhase { step, address, phase } => {
                let phase = plain(phase);
                if let Some(running) = self.running.get_mut(step) {
                    running.phase.clone_from(&phase);
                    if let Some(row) = &running.row {
                        let text = format!("{address}  {phase}");
                        row.set_message(text);
                    }
                }
                if self.live.is_none() {
                    self.say(format!("    {address}: {phase}"));
                }
            }
            ApplyEvent::StepRetried {
                address,
                error,
                attempt,
                delay,
                ..
            } => {
                let delay = elapsed(*delay);
                let message = plain(&error.message);
                self.say(format!(
                    "  ! {address}: {message} Trying again in {delay} (attempt {}).",
                    attempt + 1
                ));
            }
            ApplyEvent::StepOffered {
                address,
                refused,
                offer,
                number,
                of,
                ..
            } => {
                let message = plain(&refused.message);
                self.say(format!(
                    "  ! {address}: {message} Asking for the next offer, {} ({number} of {of}).",
                    plain(offer)
                ));
            }
            ApplyEvent::StepFinished {
                step,
                address,
                operation,
                outcome,
                elapsed,
            } => self.end(*step, address, *operation, outcome, *elapsed),
            ApplyEvent::Draining { reason, awaiting } => {
                let names: Vec<String> = awaiting.iter().map(ToString::to_string).collect();
                let waiting = match names.len() {
                    0 => String::new(),
                    _ => format!(" Waiting for {}.", names.join(", ")),
                };
                self.say(format!(
                    "Nothing more is started: {}.{waiting}",
                    plain(reason.trim_end_matches('.'))
                ));
            }
            ApplyEvent::RunFinished { serial, .. } => self.serial = Some(*serial),
        }
    }

    fn start(&mut self, step: StepId, address: &ResourceAddress, operation: StepOperation) {
        let message = format!("{} {address}", gerund(operation));
        let row = self.live.as_ref().map(|live| live.row(message.clone()));
        self.running.insert(
            step,
            Running {
                address: address.clone(),
                operation,
                phase: String::new(),
                since: Instant::now(),
                row,
            },
        );
        if self.live.is_none() {
            self.say(format!("  {} {address}: {}", sign(operation), gerund(operation)));
        }
        self.show_total();
    }

    fn end(
        &mut self,
        step: StepId,
        address: &ResourceAddress,
        operation: StepOperation,
        outcome: &StepOutcome,
        took: Duration,
    ) {
        self.ended += 1;
        if let Some(row) = self.running.remove(&step).and_then(|running| running.row) {
            row.finish_and_clear();
        }
        let theme = self.printer.status_theme();
        let (good, bad, dim) = (theme.good, theme.bad, theme.dim);
        let time = elapsed(took);
        match outcome {
            StepOutcome::Done => {
                self.tally.done += 1;
                let what = past(operation);
                self.say(format!(
                    "  {good}✓{good:#} {address}: {what} {dim}({time}){dim:#}"
                ));
            }
            StepOutcome::Unneeded => {
                self.tally.done += 1;
                self.say(format!("  {good}✓{good:#} {address}: nothing left to do"));
            }
            StepOutcome::Failed(error) => {
                self.tally.failed += 1;
                self.trouble(address, operation, error, false);
                let what = infinitive(operation);
                self.say(format!(
                    "  {bad}✗ {address}: {what} failed{bad:#} {dim}({time}){dim:#}"
                ));
            }
            StepOutcome::Uncertain(error) => {
                self.tally.uncertain += 1;
                self.trouble(address, operation, error, true);
                let what = infinitive(operation);
                self.say(format!(
                    "  {bad}? {address}: {what} may or may not have happened{bad:#}"
                ));
            }
            StepOutcome::Skipped { because } => {
                self.tally.skipped += 1;
                let because = skipped_because(because);
                self.say(format!("  {dim}- {address}: skipped {because}{dim:#}"));
                self.skipped.insert(address.clone(), because);
            }
        }
        self.show_total();
    }

    fn trouble(
        &mut self,
        address: &ResourceAddress,
        operation: StepOperation,
        error: &ProviderError,
        uncertain: bool,
    ) {
        self.troubles.push(Trouble {
            address: address.clone(),
            operation,
            error: error.clone(),
            uncertain,
        });
    }

    /// Prints a line, above the live table if there is one.
    fn say(&mut self, line: String) {
        self.last_printed = Instant::now();
        match &self.live {
            Some(live) => live.rows.suspend(|| self.printer.status(&line)),
            None => self.printer.status(&line),
        }
    }

    fn show_total(&self) {
        if let Some(live) = &self.live {
            let failed = match self.tally.failed + self.tally.uncertain {
                0 => String::new(),
                number => format!(", {number} failed"),
            };
            live.total
                .set_message(format!("{} of {} done{failed}", self.ended, self.total));
        }
    }

    /// Prints what is being waited for, the slowest first.
    fn beat(&mut self) {
        let Some(slowest) = self.running.values().min_by_key(|running| running.since) else {
            return;
        };
        let phase = match slowest.phase.as_str() {
            "" => String::new(),
            phase => format!(", {phase}"),
        };
        let others = match self.running.len() - 1 {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        let line = format!(
            "  … {}: still {}{phase} after {}{others} ({} of {} done)",
            slowest.address,
            gerund(slowest.operation),
            elapsed(slowest.since.elapsed()),
            self.ended,
            self.total
        );
        self.say(line);
    }

    /// Returns the errors and the summary.
    fn ending(&self) -> String {
        let mut text = String::new();
        for trouble in &self.troubles {
            text.push('\n');
            text.push_str(&self.trouble_text(trouble));
        }
        let theme = self.printer.status_theme();
        let Tally {
            done,
            failed,
            skipped,
            uncertain,
        } = self.tally;
        let complete = failed + skipped + uncertain == 0;
        let style = if complete { theme.good } else { theme.bad };
        let word = if complete { "complete" } else { "incomplete" };
        let mut parts = vec![format!("{done} done")];
        for (number, word) in [(failed, "failed"), (skipped, "skipped"), (uncertain, "uncertain")] {
            if number > 0 || !complete {
                parts.push(format!("{number} {word}"));
            }
        }
        if !self.skipped.is_empty() {
            text.push_str("\nSkipped:\n");
            for (address, because) in &self.skipped {
                // Writing to a string cannot fail.
                let _ = writeln!(text, "  {address}: {because}");
            }
        }
        let serial = match self.serial {
            Some(serial) => format!(" The state is at serial {serial}."),
            None => String::new(),
        };
        let took = elapsed(self.started.elapsed());
        let _ = write!(
            text,
            "\n{style}{} {word}:{style:#} {} in {took}.{serial}",
            self.verb,
            parts.join(", ")
        );
        text
    }

    fn trouble_text(&self, trouble: &Trouble) -> String {
        let theme = self.printer.status_theme();
        let (bad, strong, calm, dim) = (theme.bad, theme.strong, theme.calm, theme.dim);
        let what = infinitive(trouble.operation);
        let headline = match trouble.uncertain {
            false => format!("{what} failed"),
            true => format!("{what} is uncertain"),
        };
        let place = place_of(self.plan, &trouble.address)
            .map(|place| format!(" ({place})"))
            .unwrap_or_default();
        let mut text = format!("{bad}error{bad:#}{strong}: {headline}{strong:#}\n");
        let _ = writeln!(text, "  resource: {}{place}", trouble.address);
        let input = trouble
            .error
            .path
            .as_ref()
            .and_then(|path| Some((path, place_of_input(self.plan, &trouble.address, path)?)));
        if let Some((path, place)) = input {
            let _ = writeln!(text, "  input: `{path}` ({place})");
        }
        for line in trouble.error.message.lines() {
            let _ = writeln!(text, "  {}", plain(line));
        }
        for line in &trouble.error.detail {
            let _ = writeln!(text, "  {dim}|{dim:#} {}", plain(line));
        }
        if trouble.uncertain {
            let _ = writeln!(
                text,
                "  It may or may not have happened; the next plan finds out."
            );
        }
        if let Some(hint) = &trouble.error.hint {
            let _ = writeln!(text, "{calm}hint{calm:#}: {}", plain(hint));
        }
        text
    }
}

/// Returns a duration as people say it: `0.3s`, `12s`, `2m05s`.
pub(crate) fn elapsed(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1}s", duration.as_secs_f64()),
        10..60 => format!("{seconds}s"),
        60..3600 => format!("{}m{:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h{:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

fn sign(operation: StepOperation) -> &'static str {
    match operation {
        StepOperation::Create { .. } => "+",
        StepOperation::Update => "~",
        StepOperation::Delete { .. } | StepOperation::DeleteWith { .. } => "-",
        StepOperation::Check => "?",
    }
}

fn gerund(operation: StepOperation) -> &'static str {
    match operation {
        StepOperation::Create { .. } => "creating",
        StepOperation::Update => "updating",
        StepOperation::Delete { .. } | StepOperation::DeleteWith { .. } => "destroying",
        StepOperation::Check => "checking",
    }
}

fn past(operation: StepOperation) -> &'static str {
    match operation {
        StepOperation::Create { .. } => "created",
        StepOperation::Update => "updated",
        StepOperation::Delete { .. } => "destroyed",
        StepOperation::DeleteWith { .. } => "destroyed with what held it",
        StepOperation::Check => "checked",
    }
}

fn infinitive(operation: StepOperation) -> &'static str {
    match operation {
        StepOperation::Create { .. } => "create",
        StepOperation::Update => "update",
        StepOperation::Delete { .. } | StepOperation::DeleteWith { .. } => "destroy",
        StepOperation::Check => "check",
    }
}

/// Words why a change was skipped: another resource's failure, or that of the run as a whole.
fn skipped_because(because: &str) -> String {
    let what = plain(because);
    match because.parse::<ResourceAddress>() {
        Ok(_) => format!("because of {what}"),
        Err(_) => format!("because {what}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use gabion_engine::provider::ErrorClass;

    use super::*;
    use crate::lasting::lasting;
    use crate::render::fixture;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn events() -> Vec<ApplyEvent> {
        let address = fixture::address;
        let create = StepOperation::Create { deposes: None };
        let started = |step, at: &str, operation| ApplyEvent::StepStarted {
            step: StepId(step),
            address: address(at),
            operation,
            call: None,
        };
        let finished = |step, at: &str, operation, outcome, seconds| ApplyEvent::StepFinished {
            step: StepId(step),
            address: address(at),
            operation,
            outcome,
            elapsed: Duration::from_secs(seconds),
        };
        let error = ProviderError::new(
            ErrorClass::Invalid,
            "The program ended with exit code 3 before it was ready.",
        )
        .with_detail([
            "loading model".to_owned(),
            "CUDA out of memory\u{1b}[0m".to_owned(),
        ])
        .with_hint("look at the whole log: gabion logs qwen/default/1");
        let lost = ProviderError::new(ErrorClass::Uncertain, "The answer did not arrive.");
        vec![
            ApplyEvent::RunStarted { steps: 4, resumed: 0 },
            started(0, "gabion_data.base", StepOperation::Update),
            finished(0, "gabion_data.base", StepOperation::Update, StepOutcome::Done, 0),
            started(2, "host_unit.qwen/default/1", create),
            ApplyEvent::StepPhase {
                step: StepId(2),
                address: address("host_unit.qwen/default/1"),
                phase: "load".into(),
            },
            ApplyEvent::StepRetried {
                step: StepId(2),
                address: address("host_unit.qwen/default/1"),
                error: ProviderError::new(ErrorClass::Throttled, "Too many requests."),
                attempt: 1,
                delay: Duration::from_secs(2),
            },
            ApplyEvent::StepOffered {
                step: StepId(2),
                address: address("host_unit.qwen/default/1"),
                refused: ProviderError::new(ErrorClass::NoCapacity, "There is no big machine left."),
                offer: "medium at $0.500/h".to_owned(),
                number: 2,
                of: 3,
                call: gabion_engine::address::OperationId::from_uuid(uuid::Uuid::nil()),
            },
            finished(
                2,
                "host_unit.qwen/default/1",
                create,
                StepOutcome::Failed(Box::new(error)),
                75,
            ),
            started(5, "gabion_data.old", StepOperation::Update),
            finished(
                5,
                "gabion_data.old",
                StepOperation::Update,
                StepOutcome::Uncertain(Box::new(lost)),
                12,
            ),
            finished(
                3,
                "router_worker.qwen/default/0",
                StepOperation::Update,
                StepOutcome::Skipped {
                    because: "host_unit.qwen/default/1".into(),
                },
                0,
            ),
            ApplyEvent::RunFinished {
                done: 1,
                failed: 1,
                skipped: 1,
                uncertain: 1,
                serial: 47,
            },
        ]
    }

    #[test]
    fn a_run_is_told_line_by_line_with_its_errors_and_the_summary_last() {
        let told = Buffer::default();
        let printer = Printer::over(std::io::sink(), told.clone());
        let progress = Progress::new(&printer, lasting(fixture::everything()), "Apply");
        let mut observer = progress.observer();
        for event in events() {
            observer.observe(&event);
            if matches!(event, ApplyEvent::StepPhase { .. }) {
                progress.shared.lock().unwrap().beat();
            }
        }
        progress.finish();
        let text = String::from_utf8(told.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains('\u{1b}'));
        let last = text.trim_end().lines().last().unwrap();
        assert!(
            last.starts_with("Apply incomplete: 1 done, 1 failed, 1 skipped, 1 uncertain in "),
            "{last}"
        );
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../snapshots/render"));
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter(r"(uncertain in|after) \d+\.\ds", "$1 [s]");
        settings.bind(|| insta::assert_snapshot!("progress.txt", text));
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        let of = |seconds| elapsed(Duration::from_secs_f64(seconds));
        assert_eq!(
            [of(0.34), of(59.9), of(125.0), of(3700.0)],
            ["0.3s", "59s", "2m05s", "1h01m"]
        );
    }
}
