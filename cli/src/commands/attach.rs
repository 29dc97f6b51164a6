//! `gabion attach`: a program's log and ports for as long as somebody is there, or a command beside the program.

use std::path::Path;
use std::time::Duration;

use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_host::unit::LogQuery;
use gabion_inference::attachment;

use super::find::find;
use super::forward::{Forwarder, plan};
use super::log_lines::{Followed, Heard, follow, print};
use super::{beside, ide};
use crate::args::Attach;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::state_access::StateAccess;
use crate::wiring::{self, Program, Trouble, UnitReport, unit_reports, units_root};

/// How many lines of the log are printed at first.
const LINES: usize = 100;

/// How often it is asked whether the program still runs.
const LOOK: Duration = Duration::from_secs(2);

/// How long the last lines of a program that has ended may take.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Attaches to a program.
pub(crate) async fn run(args: &Attach, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load_existing().await?;
    let root = units_root(options, &state);
    wiring::providers(options, &project.project.settings.project.value, &state)?;
    let found = find(&state, &args.name, args.replica)?;
    let record = the_one(&found, &args.name)?;
    let name = record.address.name.to_string();
    let report = look(context, &state, record, &root).await?;
    if !report.running {
        return Err(Failure::new("the program does not run")
            .detail(format!("`{name}` is not there to attach to: {}.", report.status))
            .hint(format!("what it said: gabion logs {}", args.name)));
    }
    let program = Program::of(options, record, &root).map_err(failure)?;
    if !args.command.is_empty() {
        return beside::run(&program, &args.command, context).await;
    }
    if found.len() > 1 && args.replica.is_none() {
        printer.status(&format!(
            "Attached to `{name}`, one of {}; `--replica N` names another.",
            found.len()
        ));
    }
    let document = record.declaration.document.as_ref();
    let attachment = document
        .map(|document| attachment(&project.project, &document.document_type, &document.name))
        .unwrap_or_default();
    let forwards = plan(record, &attachment.ports, &args.ports);
    let forwarder = Forwarder::open(&program, forwards, record, context).await?;
    for line in ide::lines(&state, record, attachment.ide, &args.name) {
        printer.status(&line);
    }
    printer.status("Ctrl-C detaches; the program goes on.");
    let outcome = stay(&program, &state, record, &root, context).await;
    drop(forwarder);
    outcome
}

/// Returns the program to attach to: the first of those that do the work.
fn the_one<'a>(found: &[&'a Record], name: &str) -> Result<&'a Record, Failure> {
    let role = |record: &Record| {
        let role = record.inputs.get("role").and_then(|role| role.as_str());
        role.unwrap_or_default().to_owned()
    };
    let works = |record: &&&Record| ["task", "dev-environment", "replica"].contains(&role(record).as_str());
    let one = found.iter().find(works).or(match found {
        [one] => Some(one),
        _ => None,
    });
    one.copied().ok_or_else(|| {
        let names: Vec<&str> = found.iter().map(|record| record.address.name.as_str()).collect();
        Failure::new("several programs")
            .detail(format!(
                "`{name}` means several programs, and one can be attached to."
            ))
            .hint(format!("name one:\n    {}", names.join("\n    ")))
    })
}

fn failure(Trouble { why, hint }: Trouble) -> Failure {
    let failure = Failure::new("cannot attach").detail(why);
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Returns how the program is; a machine that is away is an error.
async fn look(context: &Context, state: &State, record: &Record, root: &Path) -> Result<UnitReport, Failure> {
    let mut reports = unit_reports(&context.options, state, &[record], root).await;
    let report = reports
        .pop()
        .ok_or_else(|| Failure::bug("a program has no report"))?;
    match &report.unreachable {
        Some(why) => Err(Failure::new("the machine is away")
            .detail(why.clone())
            .hint("the program goes on if its machine does; attach again when it can be reached")),
        None => Ok(report),
    }
}

/// Prints the log until the program ends, or the person goes.
async fn stay(program: &Program, state: &State, record: &Record, root: &Path, context: &Context) -> Outcome {
    let printer = &context.printer;
    let name = record.address.name.to_string();
    let query = LogQuery {
        lines: Some(LINES),
        since: None,
    };
    let text = program.log(query).await.map_err(failure)?;
    print(context, &name, &text.text, false);
    let followed = Followed {
        name: name.clone(),
        program: program.clone(),
        from: text.end,
    };
    let mut heard = follow(vec![followed]);
    let mut ended: Option<UnitReport> = None;
    let mut next = LOOK;
    loop {
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => {
                printer.status(&format!("Detached from `{name}`; it goes on."));
                return Ok(Exit::Done);
            }
            heard = heard.recv() => match heard {
                Some(Heard::Lines(_, text)) => print(context, &name, &text, false),
                Some(Heard::Lost(_, why)) => printer.status(&why),
                // A machine that is away is told by the next look.
                None => {
                    look(context, state, record, root).await?;
                    return Err(Failure::new("cannot attach").detail("The log cannot be followed any more."));
                }
            },
            () = tokio::time::sleep(next) => match ended.take() {
                // What it said last has been printed.
                Some(report) => return last_word(&report, &name, context),
                None => {
                    let report = look(context, state, record, root).await?;
                    if !report.running {
                        ended = Some(report);
                        next = LAST_WORDS;
                    }
                }
            },
        }
        if printer.reader_is_gone() {
            return Ok(Exit::Done);
        }
    }
}

fn last_word(report: &UnitReport, name: &str, context: &Context) -> Outcome {
    if report.good {
        context
            .printer
            .status(&format!("`{name}` has ended: {}.", report.status));
        return Ok(Exit::Done);
    }
    Err(Failure::new("the program has ended").detail(format!("`{name}`: {}.", report.status)))
}
