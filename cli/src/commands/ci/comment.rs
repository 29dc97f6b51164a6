//! `gabion ci comment`: a comment or issue, posted or updated.

use std::io::Read;
use std::path::Path;

use super::target::{Target, number};
use crate::args::CiComment;
use crate::ci::{Request, Thread, post};
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::interrupt::Interrupts;

/// The longest body that is read.
const LONGEST: u64 = 8 << 20;

/// Posts a comment or issue, or updates the one that there is.
pub(super) async fn run(args: &CiComment, context: &Context) -> Outcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let body = read(&args.body)?;
    let target = Target::of(&args.service, options)?;
    let thread = match &args.issue {
        Some(title) => Thread::Issue(title.clone()),
        None => Thread::Request(number(args.number, options)?),
    };
    let request = Request {
        forge: target.forge,
        repository: &target.repository,
        thread,
        body: &body,
        close: args.close,
    };
    let outcome = interrupts.unless(post(&target.api, &request)).await??;
    printer.status(&outcome.to_string());
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String, Failure> {
    let wrong =
        |why: String| Failure::new("the body cannot be read").detail(format!("{}: {why}.", path.display()));
    let mut text = String::new();
    let taken = match path.to_str() {
        Some("-") => std::io::stdin().take(LONGEST).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)),
    };
    taken.map_err(|error| wrong(error.to_string()))?;
    Ok(text)
}
