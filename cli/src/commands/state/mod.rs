//! `gabion state`: looking into the state, and changing it by hand.

mod history;
mod list;
mod migrate;
mod show;
mod surgery;
mod unlock;
mod verify;

pub(crate) use show::find;

use super::Context;
use crate::args::State;
use crate::failure::Outcome;

/// Runs a command below `gabion state`.
pub(crate) async fn run(command: &State, context: &Context) -> Outcome {
    match command {
        State::List => list::run(context).await,
        State::Show { address } => show::run(address, context).await,
        State::Mv { from, to, locking } => surgery::mv(from, to, *locking, context).await,
        State::Rm { addresses, locking } => surgery::rm(addresses, *locking, context).await,
        State::Taint { addresses, locking } => surgery::taint(addresses, *locking, context).await,
        State::Untaint { addresses, locking } => surgery::untaint(addresses, *locking, context).await,
        State::Migrate { to, locking } => migrate::run(to, *locking, context).await,
        State::Verify => verify::run(context).await,
        State::Unlock { yes } => unlock::run(*yes, context).await,
        State::History { address, entries } => history::run(address.as_ref(), *entries, context).await,
    }
}
