//! `gabion logs`: what programs print.

use gabion_engine::state::State;
use gabion_engine::state::record::Record;

use crate::args::Logs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::state_access::StateAccess;
use crate::wiring::{self, LogPart, follow_log, is_unit, log_tail, units_root};

/// Prints the logs of what a name means.
pub(crate) async fn run(args: &Logs, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load_existing().await?;
    let root = units_root(options, &state);
    wiring::providers(options, &project.project.settings.project.value, &state)?;
    let found = find(&state, &args.name)?;
    let several = found.len() > 1;
    let mut parts: Vec<(String, LogPart)> = Vec::new();
    for record in found {
        let name = record.address.name.to_string();
        let read = log_tail(options, record, &root, args.lines).await;
        let (part, text) = read.map_err(|why| {
            Failure::new("cannot read a log").detail(format!("The log of {}: {why}.", record.address))
        })?;
        print(context, &name, &text, several);
        parts.push((name, part));
    }
    if !args.follow {
        return Ok(Exit::Done);
    }
    let (lines, mut heard) = tokio::sync::mpsc::channel::<(String, String)>(64);
    for (name, part) in parts {
        let lines = lines.clone();
        tokio::spawn(async move {
            let Some(mut follower) = follow_log(&part).await else {
                return;
            };
            let mut rest = Vec::new();
            while let Some(bytes) = follower.next().await {
                rest.extend_from_slice(&bytes);
                // Whole lines only, so that the lines of two programs do not mix.
                let Some(end) = rest.iter().rposition(|byte| *byte == b'\n') else {
                    continue;
                };
                let text = String::from_utf8_lossy(&rest[..=end]).into_owned();
                rest.drain(..=end);
                if lines.send((name.clone(), text)).await.is_err() {
                    return;
                }
            }
        });
    }
    drop(lines);
    loop {
        tokio::select! {
            heard = heard.recv() => match heard {
                Some((name, text)) => print(context, &name, &text, several),
                None => return Ok(Exit::Done),
            },
            // Ending a follow is how it is meant to end.
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        if printer.reader_is_gone() {
            return Ok(Exit::Done);
        }
    }
}

/// Prints log text as it is, each line with its program's name when there are several.
fn print(context: &Context, name: &str, text: &str, several: bool) {
    let printer = &context.printer;
    // Programs colour their logs also when nobody sees it.
    let stripped = anstream::adapter::strip_str(text).to_string();
    let text = if printer.data_theme().has_colour() {
        text
    } else {
        &stripped
    };
    if !several {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        printer.data(&format!("{text}{end}"));
        return;
    }
    let style = printer.data_theme().calm;
    let lines: String = text
        .lines()
        .map(|line| format!("{style}{name} |{style:#} {line}\n"))
        .collect();
    printer.data(&lines);
}

/// Returns the programs that a name means: an address, the name of a resource or its beginning, or a document's name.
fn find<'a>(state: &'a State, name: &str) -> Result<Vec<&'a Record>, Failure> {
    let programs: Vec<&Record> = state.current_records().filter(|record| is_unit(record)).collect();
    let exact =
        |record: &&&Record| record.address.to_string() == name || record.address.name.as_str() == name;
    if let Some(record) = programs.iter().find(exact) {
        return Ok(vec![record]);
    }
    let below = format!("{name}/");
    let found: Vec<&Record> = programs
        .iter()
        .filter(|record| {
            let document = record.declaration.document.as_ref();
            record.address.name.as_str().starts_with(&below)
                || document.is_some_and(|document| &*document.name == name)
        })
        .copied()
        .collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let names: Vec<String> = programs
        .iter()
        .map(|record| record.address.name.to_string())
        .collect();
    let hint = match gabion_engine::diagnostic::did_you_mean(name, names.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if names.is_empty() => "nothing runs; see `gabion ps`".to_owned(),
        None => format!("there are:\n    {}", names.join("\n    ")),
    };
    Err(Failure::new("no such program")
        .detail(format!("Nothing that runs is called `{name}`."))
        .hint(hint))
}
