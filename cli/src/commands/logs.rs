//! `gabion logs`: what programs print.

use gabion_host::unit::LogQuery;

use super::find::find;
use super::log_lines::{Followed, Heard, follow, print};
use crate::args::Logs;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::project::LoadedProject;
use crate::state_access::StateAccess;
use crate::wiring::{self, Program, Trouble, units_root};

/// How many lines are printed when nothing else is asked for.
const LINES: usize = 100;

/// Prints the logs of what a name means.
pub(crate) async fn run(args: &Logs, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let project = LoadedProject::read(options);
    let state = StateAccess::of(&project, options)?.load_existing().await?;
    let root = units_root(options, &state);
    wiring::providers(options, &project.project.settings.project.value, &state)?;
    let found = find(&state, &args.name, args.replica)?;
    let several = found.len() > 1;
    let query = LogQuery {
        // All that is since then, however much.
        lines: args.lines.or(args.since.is_none().then_some(LINES)),
        since: args.since,
    };
    let mut followed: Vec<Followed> = Vec::new();
    let mut unread: Vec<Failure> = Vec::new();
    for record in found {
        let name = record.address.name.to_string();
        let read = async {
            let program = Program::of(options, record, &root)?;
            let text = program.log(query).await?;
            Ok::<_, Trouble>((program, text))
        };
        match read.await {
            Ok((program, found)) => {
                if !found.is_timed {
                    printer.status(&format!(
                        "{name}: nothing notes when its lines are written, so all of its log is shown; a process that ends, or a container, or a service of systemd has times."
                    ));
                }
                print(context, &name, &found.text, several);
                followed.push(Followed {
                    name,
                    program,
                    from: found.end,
                });
            }
            Err(Trouble { why, hint }) => {
                let failure = Failure::new("cannot read a log")
                    .detail(format!("The log of {} cannot be read: {why}", record.address));
                unread.push(match hint {
                    Some(hint) => failure.hint(hint),
                    None => failure,
                });
            }
        }
    }
    // Others are shown all the same: what is away is said.
    let last = unread.pop();
    for failure in unread {
        failure.print(printer);
    }
    if followed.is_empty() || !args.follow {
        return last.map_or(Ok(Exit::Done), Err);
    }
    if let Some(failure) = last {
        failure.print(printer);
    }
    let mut heard = follow(followed);
    loop {
        tokio::select! {
            heard = heard.recv() => match heard {
                Some(Heard::Lines(name, text)) => print(context, &name, &text, several),
                Some(Heard::Lost(name, why)) => printer.status(&format!("{name}: {why}")),
                None => {
                    return Err(Failure::new("logs cannot be followed any more")
                        .detail("No program is left whose machine can be reached."));
                }
            },
            // Ending a follow is how it is meant to end.
            _ = tokio::signal::ctrl_c() => return Ok(Exit::Done),
        }
        if printer.reader_is_gone() {
            return Ok(Exit::Done);
        }
    }
}
