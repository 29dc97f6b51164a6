//! What can be said about a configuration without a state and without the world.

use gabion_engine::config::Sources;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::planner::plan;
use gabion_engine::resource::{Configuration, Directives};
use gabion_engine::state::State;
use gabion_engine::value::{Attributes, Value};
use gabion_engine::world::World;

use crate::failure::Failure;
use crate::options::Options;
use crate::wiring;

/// Returns the problems that only planning sees: cycles, and inputs that do not fit their type.
///
/// It is planned as if nothing were recorded and nothing could be read. When the configuration has errors already,
/// references are not followed, so that only what is wrong by itself is added.
pub(crate) fn problems_of_inputs(
    options: &Options,
    sources: &Sources,
    configuration: &Configuration,
    has_errors: bool,
) -> Result<Diagnostics, Failure> {
    let mut configuration = match has_errors {
        true => without_references(configuration),
        false => configuration.clone(),
    };
    // Whether an object to import is there is the world's to say.
    configuration.directives.imports.clear();
    let providers = wiring::providers(options, &configuration.project, &State::default())?;
    let plan_options = PlanOptions {
        sources: sources.clone(),
        ..PlanOptions::default()
    };
    let (_, problems) = plan(&PlanInput {
        configuration: &configuration,
        state: &State::default(),
        world: &World::unread(jiff::Timestamp::UNIX_EPOCH),
        providers: &providers,
        options: &plan_options,
    });
    Ok(problems)
}

/// Returns the configuration with each resource standing alone.
fn without_references(configuration: &Configuration) -> Configuration {
    let mut alone = configuration.clone();
    alone.directives = Directives::default();
    alone.outputs = Attributes::new();
    alone.endpoints = Attributes::new();
    for resource in &mut alone.resources {
        resource.depends_on.clear();
        resource.conditions.clear();
        resource.lifecycle.replace_triggered_by.clear();
        for value in resource.inputs.values_mut() {
            *value = value.map_leaves(&mut |leaf| match leaf {
                Value::Unknown(_) => Value::unknown(),
                other => other.clone(),
            });
        }
    }
    alone
}
