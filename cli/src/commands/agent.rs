//! `gabion agent`: what runs on machines, started by gabion itself.

use crate::args::Agent;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::wiring;

/// Runs a command of the agent that works with the user's directories; the others run before those are looked for.
pub(crate) async fn run(command: Agent, context: &Context) -> Outcome {
    let Agent::StartUnit { uid } = command else {
        return Err(Failure::bug("this command of the agent came too late"));
    };
    wiring::start_unit(&context.options, &uid).await?;
    context.printer.status(&format!("Started the unit {uid}."));
    Ok(Exit::Done)
}

/// Runs the agent.
pub(crate) async fn serve(serve: wiring::ServeAgent) -> Outcome {
    wiring::serve_agent(serve).await?;
    Ok(Exit::Done)
}
