//! `gabion state mv --to-stack`: objects go over into another stack.

use std::collections::BTreeSet;

use gabion_engine::address::ResourceAddress;
use gabion_engine::state::surgery::SurgeryError;
use gabion_engine::state::transfer::{self, Transfer, TransferError, transfer};

use super::surgery::refusal;
use crate::args::Locking;
use crate::context::Context;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::options::{Options, check_stack};
use crate::project::LoadedProject;
use crate::render::words::count;
use crate::state_access::StateAccess;
use crate::state_failure::journal_failure;

/// Returns the failure of `state mv` without a stack and without two addresses.
pub(super) fn two_addresses(addresses: &[ResourceAddress]) -> Failure {
    Failure::new("two addresses are needed")
        .detail(format!(
            "`gabion state mv` takes the address that an object has and the one that it gets; there {} {}.",
            if addresses.len() == 1 { "is" } else { "are" },
            addresses.len()
        ))
        .hint("gabion state mv FROM TO\n    gabion state mv --to-stack NAME ADDR…")
}

/// Moves objects from this stack to another one, under both leases.
pub(super) async fn run(
    addresses: &[ResourceAddress],
    stack: &str,
    locking: Locking,
    context: &Context,
) -> Outcome {
    let Context { options, printer } = context;
    let other = match stack {
        "default" => None,
        stack => {
            check_stack(stack)?;
            Some(stack.to_owned())
        }
    };
    if other == options.stack {
        return Err(Failure::new("nothing to move")
            .detail(format!("The objects are in the stack `{stack}` already."))
            .hint("name another stack after `--to-stack`"));
    }
    let there = Options {
        stack: other.clone(),
        ..options.clone()
    };
    let project = LoadedProject::read_settings(options);
    let from = StateAccess::of(&project, options)?;
    // Files and variables of stacks may differ; where their states are does not.
    let to = StateAccess::of(&project, &there)?;
    let addresses: BTreeSet<ResourceAddress> = addresses.iter().cloned().collect();
    let moving = Transfer {
        addresses: &addresses,
        stack: other.as_deref().unwrap_or_default().into(),
    };
    // What is refused must not even make the other state.
    transfer::check(&from.load_existing().await?, &to.load().await?, &moving)
        .map_err(|refused| refused_for(refused, stack))?;
    let source = from
        .moving_journal(options, "state mv", locking.lock_timeout)
        .await?;
    let target = match to.moving_journal(&there, "state mv", locking.lock_timeout).await {
        Ok(target) => target,
        Err(failure) => {
            // Nothing was written; the lease would run out by itself.
            let _ = source.close().await;
            return Err(failure);
        }
    };
    let moved = transfer(&source, &target, &moving).await;
    let closed = [target.close().await, source.close().await];
    let moved = moved.map_err(|error| match error {
        TransferError::Refused(refused) => refused_for(refused, stack),
        TransferError::Journal(error) => journal_failure(&error).hint(format!(
            "do what is missing, with the same command:\n    {} state mv --to-stack {stack} {}",
            options.program,
            words(&addresses)
        )),
    })?;
    for closed in closed {
        closed.map_err(|error| journal_failure(&error))?;
    }
    let are = if moved == 1 { "is" } else { "are" };
    printer.status(&format!(
        "{} {are} in the stack `{stack}` now. Declare {} there and no longer here, or the next plan deletes {}.",
        count(moved, "object"),
        if moved == 1 { "it" } else { "them" },
        if moved == 1 { "it" } else { "them" }
    ));
    Ok(Exit::Done)
}

fn refused_for(mut refused: SurgeryError, stack: &str) -> Failure {
    refused.hint = refused
        .hint
        .map(|hint| hint.replace("--to-stack NAME", &format!("--to-stack {stack}")));
    refusal(refused)
}

fn words(addresses: &BTreeSet<ResourceAddress>) -> String {
    let addresses: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    addresses.join(" ")
}
