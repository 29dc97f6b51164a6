//! The plan that brings back what was applied and is gone or has ended: made from records, and from nothing that the files
//! say and nobody has applied.

use std::collections::BTreeSet;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::Sources;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::heal::{self, Applied, Need};
use gabion_engine::plan::change::{Drift, DriftKind, DriftVerdict};
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::planner::{PREVENT_DESTROY, plan};
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::revert;
use gabion_engine::state::State;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::unfinished::{Operations, unfinished};
use gabion_engine::value::TemplateText;
use gabion_engine::world::{Refresh, World};

use crate::args::Selection;
use crate::context::Context;
use crate::failure::Failure;
use crate::planning::{self, PlanRequest};
use crate::policy;
use crate::pricing;
use crate::project::LoadedProject;
use crate::render::words::plain;
use crate::state_access::StateAccess;
use crate::state_failure::store_failure;
use crate::wiring;

/// What healing is called in the log.
pub(crate) const OPERATION: &str = "heal";

/// What the log calls runs that are about some objects only.
const PARTIAL: [&str; 1] = ["scale"];

/// What is to be brought back, and how.
pub(crate) struct Healing {
    /// What was asked for and needs it.
    pub(crate) needs: Vec<Need>,
    /// What is not as it was applied and is left as it is, each with why, as the end of a sentence that begins with it.
    pub(crate) left: Vec<(ResourceAddress, String)>,
    /// The plan that brings it back, and nothing else.
    pub(crate) plan: Plan,
    /// What was found in the world.
    pub(crate) world: World,
    /// What it is applied with.
    pub(crate) providers: ProviderRegistry,
}

/// Looks at what was applied, and plans to bring back what is gone or has ended of it: of all, or of what is named by an
/// address, a service or a replica group.
pub(crate) async fn make(
    context: &Context,
    project: &LoadedProject,
    access: &StateAccess,
    state: &State,
    names: &[String],
    key: Option<Arc<FingerprintKey>>,
) -> Result<Healing, Failure> {
    let name: Arc<str> = project.project.settings.project.value.as_str().into();
    let operations = Operations {
        of: OPERATION,
        partial: &PARTIAL,
    };
    let unfinished = unfinished(&*access.store, state, operations)
        .await
        .map_err(|error| store_failure(&error))?;
    let providers = wiring::providers(&context.options, &name, state)?;
    let secrets = project.secrets();
    let secret = |template: &TemplateText| planning::evaluate_secret(template.as_str(), &secrets);
    let applied = Applied {
        project: &name,
        state,
        unfinished: &unfinished,
        providers: &providers,
        key: key.as_deref(),
        secret: &secret,
    };
    let mut configuration = heal::configuration(applied);
    configuration.digest = project.project.sources.digest().into();
    let request = PlanRequest {
        mode: Mode::Apply,
        selection: &Selection::default(),
        refresh: Refresh::Full,
        unmanaged: false,
        import: None,
        in_flight: None,
        key: key.clone(),
        events: None,
        scale: None,
    };
    let world = planning::read_world(&request, state, &configuration, &providers, context).await?;
    let options = |only: Option<BTreeSet<ResourceAddress>>| PlanOptions {
        only,
        stack: context.options.stack.as_deref().map(Arc::from),
        sources: Sources::default(),
        key: key.clone(),
        ..PlanOptions::default()
    };
    let planned = |options: &PlanOptions| {
        let input = PlanInput {
            configuration: &configuration,
            state,
            world: &world,
            providers: &providers,
            options,
        };
        sound(plan(&input))
    };
    let whole = planned(&options(None))?;
    let all = heal::needs(&whole, applied);
    let left = left(&whole, &all);
    let needs: Vec<Need> = all
        .iter()
        .filter(|need| is_named(&need.address, names))
        .cloned()
        .collect();
    let wanted = needs.iter().map(|need| need.address.clone()).collect();
    let scope = heal::scope(&whole, &configuration, &all, &wanted);
    let mut plan = planned(&options(Some(scope.clone())))?;
    if let Some(change) = heal::trespass(&plan, &scope) {
        return Err(Failure::bug(format!(
            "Healing would change {}, which is alive.",
            change.address
        )));
    }
    check_secrets(&plan)?;
    plan.prices = pricing::of(&plan, state, &Default::default());
    plan.policy = policy::evaluate(&project.project.settings.policy, &plan)?;
    Ok(Healing {
        needs,
        left,
        plan,
        world,
        providers,
    })
}

/// Returns a plan whose problems are none. Protection is no matter of a plan that deletes nothing.
fn sound((plan, problems): (Option<Plan>, Diagnostics)) -> Result<Plan, Failure> {
    let problems: Diagnostics = problems
        .into_iter()
        .filter(|problem| problem.code != PREVENT_DESTROY)
        .collect();
    match plan {
        Some(plan) if !problems.has_errors() => Ok(plan),
        _ => Err(problems.into()),
    }
}

/// Refuses a plan that needs secrets which are not the ones that were applied.
fn check_secrets(plan: &Plan) -> Result<(), Failure> {
    let lost = revert::lost_secrets(plan);
    if !lost.has_errors() {
        return Ok(());
    }
    let details: Vec<String> = lost.iter().map(|problem| problem.detail.clone()).collect();
    Err(Failure::new("a secret is not the one that was applied")
        .detail(format!(
            "{}\nThe value that is at hand is another one, or there is none. Nothing was changed.",
            details.join("\n")
        ))
        .hint("give it the value that it had, or apply the new one:\n    gabion apply"))
}

/// Returns whether an object is one of those that are named; all are when no names are given.
fn is_named(address: &ResourceAddress, names: &[String]) -> bool {
    let of = |name: &String| {
        let rest = address.name.as_str().strip_prefix(name.as_str());
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) || address.to_string() == *name
    };
    names.is_empty() || names.iter().any(of)
}

/// Returns what differs from what was applied and is no need.
fn left(plan: &Plan, needs: &[Need]) -> Vec<(ResourceAddress, String)> {
    let is_need = |drift: &Drift| needs.iter().any(|need| need.address == drift.address);
    let drift = plan.drift.iter().filter(|drift| !is_need(drift));
    drift
        .filter_map(|drift| Some((drift.address.clone(), difference(drift)?)))
        .collect()
}

fn difference(drift: &Drift) -> Option<String> {
    match &drift.kind {
        // Only what is no longer at its address.
        DriftKind::Vanished => None,
        DriftKind::CannotTell { reason } => Some(format!("cannot be looked at: {}", plain(reason))),
        DriftKind::Changed(attributes) => {
            let reverted = attributes
                .iter()
                .filter(|attribute| attribute.verdict == DriftVerdict::Reverted);
            let paths: Vec<String> = reverted
                .map(|attribute| format!("`{}`", attribute.path))
                .collect();
            (!paths.is_empty()).then(|| format!("was changed outside gabion: {}", paths.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_names_what_is_its_own_and_nothing_that_begins_alike() {
        let named = |address: &str, name: &str| is_named(&address.parse().unwrap(), &[name.to_owned()]);
        assert!(named("host_unit.qwen/default/0", "qwen"));
        assert!(named("gateway_route.qwen", "qwen"));
        assert!(named("host_unit.qwen/default/0", "qwen/default"));
        assert!(named("host_unit.qwen/default/0", "host_unit.qwen/default/0"));
        assert!(!named("host_unit.qwen/default/0", "host_unit.qwen/default/1"));
        assert!(!named("host_unit.qwen2/default/0", "qwen"));
        assert!(is_named(&"host_unit.qwen/default/0".parse().unwrap(), &[]));
    }
}
