//! Carrying out a plan: the executor, its display, its event file and its exit code.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use gabion_engine::address::ProviderName;
use gabion_engine::apply::event::{ApplyEvent, ApplyObserver};
use gabion_engine::apply::{ApplyControl, ApplyError, ApplyOptions, ApplyReport, ApplyRequest, apply};
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::{Journal, JournalError};
use gabion_engine::value::{Attributes, Value};
use gabion_engine::words::sentence;
use serde_json::json;

use crate::args::{Execution, Format};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;
use crate::lasting::lasting;
use crate::output::Printer;
use crate::render::events::Events;
use crate::render::markdown::{cell_code, prose};
use crate::render::plan_json::known;
use crate::render::progress::Progress;
use crate::render::value::inline;
use crate::render::words::plain;
use crate::secrets::ProjectSecrets;
use crate::state_failure::journal_failure;
use crate::wiring;

/// A plan to carry out.
pub(crate) struct Run<'a> {
    /// The plan, whose bindings were checked.
    pub(crate) plan: &'static Plan,
    /// Its digest.
    pub(crate) digest: Arc<str>,
    /// The providers.
    pub(crate) providers: &'a ProviderRegistry,
    /// What providers found out for the plan.
    pub(crate) facts: &'a BTreeMap<ProviderName, BTreeMap<String, Value>>,
    /// Values of `env.NAME` and `secrets.NAME`.
    pub(crate) secrets: ProjectSecrets,
    /// The key that makes secrets comparable.
    pub(crate) key: Option<Arc<FingerprintKey>>,
    /// `apply` or `destroy`.
    pub(crate) operation: &'static str,
    /// The command and its flags that go on with it.
    pub(crate) again: String,
    /// How it is carried out.
    pub(crate) execution: &'a Execution,
}

/// Tells each event to everybody who wants to hear it.
struct Everybody(Vec<Box<dyn ApplyObserver>>);

impl ApplyObserver for Everybody {
    fn observe(&mut self, event: &ApplyEvent) {
        for observer in &mut self.0 {
            observer.observe(event);
        }
    }
}

/// Carries out a plan and shows how it goes.
pub(crate) async fn carry_out(
    context: &Context,
    interrupts: &Interrupts,
    journal: &Arc<Journal>,
    run: Run<'_>,
) -> Outcome {
    let Context { options, printer } = context;
    let events = Events::open(run.execution.events.as_deref())?;
    let verb = match run.plan.mode {
        Mode::Apply => "Apply",
        Mode::Destroy => "Destroy",
    };
    wiring::note_ended(options, &journal.state(), run.plan);
    let silent = run.plan.steps.is_empty() && !run.plan.has_changes();
    let progress = Progress::new(printer, run.plan, verb);
    let mut everybody = Everybody(vec![progress.observer(), Box::new(events.clone())]);
    let request = ApplyRequest {
        plan: run.plan,
        digest: run.digest,
        providers: run.providers,
        facts: run.facts,
        secrets: &run.secrets,
        fingerprints: run.key,
        operation: run.operation.to_owned(),
        who: options.who(),
    };
    let apply_options = ApplyOptions {
        parallelism: usize::from(run.execution.parallelism),
        look_timeout: wiring::gather_limits(options).call_timeout,
        ..ApplyOptions::default()
    };
    let control = ApplyControl::new();
    if !silent && options.format == Format::Text {
        printer.status("");
    }
    let result = {
        let driving = interrupts.drive(&control, printer);
        let applying = apply(request, journal, &apply_options, &control, &mut everybody);
        tokio::pin!(driving, applying);
        tokio::select! {
            result = &mut applying => result,
            () = &mut driving => return Err(Failure::bug("listening for signals ended")),
        }
    };
    drop(everybody);
    events.finish(printer);
    let exit = match result {
        Ok(report) => {
            if silent {
                progress.discard();
            } else {
                progress.finish();
            }
            finished(context, run.plan, &run.again, &report, &control)
        }
        Err(error) => stopped(error, progress, &control)?,
    };
    Ok(exit)
}

fn finished(
    context: &Context,
    plan: &Plan,
    again: &str,
    report: &ApplyReport,
    control: &ApplyControl,
) -> Exit {
    print_endpoints(context, plan, Some(report));
    let mut exit = if report.is_complete() {
        Exit::Done
    } else {
        Exit::Incomplete
    };
    if report.interrupted || control.is_stopped() {
        exit = exit.and(Exit::Interrupted);
    }
    if exit != Exit::Done && context.options.format == Format::Text {
        context
            .printer
            .status(&format!("Go on with: {} {again}", context.options.program));
    }
    exit
}

/// Words why a run as a whole did not go on; the summary of what was done comes last.
fn stopped(error: ApplyError, progress: Progress, control: &ApplyControl) -> Outcome {
    let detail = sentence(&error.to_string());
    match error {
        ApplyError::BrokenPlan(_) => {
            progress.discard();
            Err(Failure::bug(detail))
        }
        ApplyError::OtherState { .. } => {
            progress.discard();
            Err(Failure::new("the plan is out of date")
                .detail(detail)
                .exit(Exit::Stale))
        }
        ApplyError::Blocked { .. } => {
            progress.discard();
            Err(Failure::new("the plan is blocked")
                .detail(detail)
                .exit(Exit::Blocked))
        }
        ApplyError::NoProvider { .. } => {
            progress.discard();
            Err(Failure::new("the plan needs another build of gabion").detail(detail))
        }
        ApplyError::Unprepared { .. } => {
            progress.discard();
            let exit = if control.is_stopped() {
                Exit::Interrupted
            } else {
                Exit::Error
            };
            Err(Failure::new("nothing was done").detail(detail).exit(exit))
        }
        ApplyError::Log { source, .. } => {
            let hint = "what was sent is in the log as an intent; the next run finds out what became of it:\n    gabion plan";
            progress.end_with(&journal_failure(&source).hint(hint));
            Ok(Exit::Incomplete)
        }
        ApplyError::LeaseLost { .. } => {
            let failure = Failure::new("the lock on the state was lost")
                .detail(format!("{detail}\nNothing more was started."))
                .hint("see who writes now, and what is left to do:\n    gabion plan");
            progress.end_with(&failure);
            Ok(Exit::Incomplete)
        }
    }
}

/// Prints what people use now, and the next command; as JSON, what was done too.
pub(crate) fn print_endpoints(context: &Context, plan: &Plan, report: Option<&ApplyReport>) {
    let Context { options, printer } = context;
    let endpoints = match report {
        Some(report) => &report.endpoints,
        None => &plan.endpoints,
    };
    let shown = |value: &Value| match value {
        Value::String(text) => plain(text),
        other => inline(other),
    };
    let mut text = String::new();
    match options.format {
        Format::Json => {
            let of = |values: &Attributes| -> BTreeMap<String, serde_json::Value> {
                values
                    .iter()
                    .map(|(name, value)| (name.to_string(), known(value)))
                    .collect()
            };
            let nothing = ApplyReport::default();
            let done = report.unwrap_or(&nothing);
            let all = json!({
                "format_version": "1.0",
                "digest": plan.digest(),
                "complete": done.is_complete(),
                "interrupted": done.interrupted,
                "done": done.done,
                "failed": done.failed,
                "skipped": done.skipped,
                "uncertain": done.uncertain,
                "serial": report.map_or(plan.basis.serial, |report| report.serial),
                "outputs": report.map(|report| of(&report.outputs)),
                "endpoints": of(endpoints),
            });
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{all:#}");
        }
        Format::Markdown if plan.mode == Mode::Apply && !endpoints.is_empty() => {
            let _ = writeln!(text, "\n| endpoint | |\n| --- | --- |");
            for (name, value) in endpoints {
                let _ = writeln!(text, "| {} | {} |", prose(name), cell_code(&shown(value)));
            }
        }
        // What was not finished may not answer yet; what to do next is to go on.
        Format::Text if report.is_some_and(|report| !report.is_complete()) => {}
        Format::Text if plan.mode == Mode::Apply && !endpoints.is_empty() && plan.has_changes() => {
            let theme = printer.data_theme();
            let _ = writeln!(text, "\n{0}Endpoints{0:#}", theme.strong);
            let width = endpoints
                .keys()
                .map(|name| name.chars().count())
                .max()
                .unwrap_or(0);
            for (name, value) in endpoints {
                let _ = writeln!(text, "  {:width$}  {}", plain(name), shown(value));
            }
            let _ = writeln!(text, "\n{0}Next:{0:#} {1} ps", theme.strong, options.program);
        }
        _ => {}
    }
    printer.data(&text);
}

/// Gives the lease back, also after a failure.
pub(crate) async fn close(journal: &Journal, outcome: Outcome, printer: &Printer) -> Outcome {
    // It shares most with what was read, and the process ends soon.
    lasting(journal.state());
    match journal.close().await {
        Ok(()) | Err(JournalError::Closed) => outcome,
        Err(error) => match outcome {
            Ok(Exit::Done) => {
                journal_failure(&error).print(printer);
                Ok(Exit::Incomplete)
            }
            other => other,
        },
    }
}
