//! Which document types, providers and stores this build has. Nothing else names one.

mod agent;
mod machines;

use std::path::PathBuf;
use std::sync::Arc;

use gabion_data::DataProvider;
use gabion_engine::config::{DocumentRegistry, Settings};
use gabion_engine::diagnostic::Diagnostic;
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::sqlite::SqliteStore;
use gabion_engine::state::{State, StateStore};
use gabion_inference::Inference;

use crate::failure::Failure;
use crate::options::Options;

pub(crate) use agent::{serve_agent, start_unit, unit_exec};
pub(crate) use machines::{LogPart, UnitReport, follow_log, log_tail, unit_report, units_root};

/// The stores of this build.
const STORES: [&str; 1] = ["sqlite"];

/// Returns the document types of this build.
pub(crate) fn documents() -> DocumentRegistry {
    DocumentRegistry::new().with(Inference)
}

/// Returns the providers of this build, configured for a project.
pub(crate) fn providers(
    options: &Options,
    project: &str,
    state: &State,
) -> Result<ProviderRegistry, Failure> {
    let mut registry = ProviderRegistry::default();
    registry.register(Arc::new(DataProvider::default()));
    machines::register(&mut registry, options, project, state)?;
    options.extra.register(&mut registry);
    Ok(registry)
}

/// Returns the store that the settings name; by default a database at `path`.
pub(crate) fn store(settings: &Settings, path: PathBuf) -> Result<Arc<dyn StateStore>, Failure> {
    if let Some(plugin) = &settings.state
        && plugin.plugin_type.value != "sqlite"
    {
        return Err(Diagnostic::error("unknown-store", "unknown state store")
            .detail(format!(
                "This build of gabion has no state store `{}`; it has: {}.",
                plugin.plugin_type.value,
                STORES.join(", ")
            ))
            .at(plugin.plugin_type.span.clone())
            .hint("take `state` out to keep the state in .gabion/state.db")
            .into());
    }
    Ok(Arc::new(SqliteStore::at(path)))
}
