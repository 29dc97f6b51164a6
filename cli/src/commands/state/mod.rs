//! `gabion state`: looking into the state, and changing it by hand.

mod compact;
mod diff;
mod history;
mod list;
mod migrate;
mod pull;
mod push;
mod rebuild;
mod rekey;
mod show;
mod surgery;
mod transfer;
mod unlock;
mod verify;

pub(crate) use show::find;

use crate::args::State;
use crate::context::Context;
use crate::failure::Outcome;

/// Runs a command below `gabion state`.
pub(crate) async fn run(command: &State, context: &Context) -> Outcome {
    match command {
        State::List => list::run(context).await,
        State::Show { address, at } => show::run(address.as_ref(), *at, context).await,
        State::Diff { from, to } => diff::run(*from, *to, context).await,
        State::Mv {
            addresses,
            to_stack: None,
            locking,
        } => match addresses.as_slice() {
            [from, to] => surgery::mv(from, to, *locking, context).await,
            _ => Err(transfer::two_addresses(addresses)),
        },
        State::Mv {
            addresses,
            to_stack: Some(stack),
            locking,
        } => transfer::run(addresses, stack, *locking, context).await,
        State::Rm { addresses, locking } => surgery::rm(addresses, *locking, context).await,
        State::Taint { addresses, locking } => surgery::taint(addresses, *locking, context).await,
        State::Untaint { addresses, locking } => surgery::untaint(addresses, *locking, context).await,
        State::Migrate { to, locking } => migrate::run(to, *locking, context).await,
        State::Verify => verify::run(context).await,
        State::Unlock { yes } => unlock::run(*yes, context).await,
        State::History {
            address,
            entries,
            runs: false,
        } => history::run(address.as_ref(), *entries, context).await,
        State::History {
            entries, runs: true, ..
        } => history::runs(*entries, context).await,
        State::Pull { out } => pull::run(out.as_deref(), context).await,
        State::Push { file, force, locking } => push::run(file, *force, *locking, context).await,
        State::Compact {
            keep_runs,
            before,
            yes,
            locking,
        } => {
            let kept = compact::Kept::of(*keep_runs, *before);
            compact::run(kept, *yes, *locking, context).await
        }
        State::Rebuild { yes, locking } => rebuild::run(*yes, *locking, context).await,
        State::Rekey { locking } => rekey::run(*locking, context).await,
    }
}
