//! Agents that are upgraded in place.

use gabion_engine::provider::{Call, Effect, ErrorClass, ProviderError};
use gabion_engine::value::{Attributes, Value};
use gabion_engine::words::sentence;

use super::converge::{MARGIN, fence};
use super::{AGENT_DIGEST, error, services};
use crate::provider::{Handover, HandoverError, HostConfig};
use crate::systemd;
use crate::unit::{Mark, UnitDirectory, program_digest};

/// Has an agent that runs as it should hand over to the planned build, if that is another one; any other unit is left alone.
///
/// When this is cut off in the middle, the agent itself ends the handover, one way or the other. A service's unit file names
/// the new program only afterwards: until the new one has proved itself, a restart starts the old one.
pub(super) async fn upgrade(
    config: &HostConfig,
    directory: &UnitDirectory,
    mark: &Mark,
    planned: &Attributes,
    call: &Call,
) -> Result<(), ProviderError> {
    let wanted = planned.get(AGENT_DIGEST).and_then(Value::as_str);
    let (Some(agents), Some(wanted), Some(runs)) = (&config.agents, wanted, &mark.program) else {
        return Ok(());
    };
    let partial = |error: ProviderError| error.with_effect(Effect::Partial);
    if wanted != runs {
        let program = config
            .shim
            .first()
            .map(std::path::PathBuf::from)
            .unwrap_or_default();
        check_build(&program, wanted).await.map_err(partial)?;
        call.phase("upgrade");
        let _waiting = call.waiting();
        let handover = Handover {
            program,
            digest: wanted.to_owned(),
            patience: patience(call),
            fence: fence(call),
        };
        agents
            .upgrade
            .hand_over(directory, &handover)
            .await
            .map_err(|problem| partial(not_upgraded(&problem, call)))?;
        systemd::follow(directory)
            .await
            .map_err(|problem| partial(error::systemd(&problem)))?;
    }
    services::place_build(config, directory, &fence(call))
        .await
        .map_err(|problem| partial(error::unit(&problem)))
}

/// How long a successor may take to be ready: it reads a file.
fn patience(call: &Call) -> std::time::Duration {
    const LONGEST: std::time::Duration = std::time::Duration::from_secs(60);
    LONGEST.min(call.remaining().saturating_sub(MARGIN * 10) / 2)
}

/// Refuses to upgrade to a program that is not the planned one: gabion was built again since the plan.
async fn check_build(program: &std::path::Path, wanted: &str) -> Result<(), ProviderError> {
    let path = program.to_owned();
    let found = tokio::task::spawn_blocking(move || program_digest(&path))
        .await
        .map_err(|_| error::interrupted("the agent's program was being read"))?
        .map_err(|problem| ProviderError::new(ErrorClass::Invalid, sentence(&problem.to_string())))?;
    if found == wanted {
        return Ok(());
    }
    Err(ProviderError::new(
        ErrorClass::Invalid,
        format!(
            "The plan upgrades the agent to another build than {} is now; the agent goes on as it was.",
            program.display()
        ),
    )
    .with_hint("Plan again with the gabion that is to apply."))
}

fn not_upgraded(problem: &HandoverError, call: &Call) -> ProviderError {
    let message = sentence(&problem.to_string());
    match problem {
        // Not to be tried again at once: the build would have to be another one.
        HandoverError::Refused { .. } => ProviderError::new(ErrorClass::Invalid, message)
            .with_hint(format!("look at its log: gabion logs {}", call.address.name)),
        HandoverError::Uncertain { .. } => ProviderError::new(ErrorClass::Uncertain, message),
    }
}
