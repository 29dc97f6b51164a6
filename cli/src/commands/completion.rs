//! `gabion completion`: completion scripts.

use clap::CommandFactory;

use crate::args::{Cli, Completion};
use crate::context::Context;
use crate::exit::Exit;

/// Prints the completion script of a shell.
pub(crate) fn run(args: &Completion, context: &Context) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "gabion", &mut script);
    context.printer.data(&String::from_utf8_lossy(&script));
    Exit::Done
}
