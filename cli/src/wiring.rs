//! Which document types, providers and stores this build has. Nothing else names one.

mod agent;
mod aws;
mod delegation;
mod machines;
mod programs;
mod region_facts;
mod remote;
mod remote_state;
mod stores;
mod traffic;

use std::sync::Arc;

use gabion_data::DataProvider;
use gabion_engine::config::DocumentRegistry;
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::State;
use gabion_inference::Inference;

use crate::failure::Failure;
use crate::options::Options;

pub(crate) use agent::{ServeAgent, keep_container, serve_agent, start_unit, unit_exec};
pub(crate) use aws::Aws;
pub(crate) use gabion_host::unit::NOTIFY_VARIABLE;
pub(crate) use machines::{UnitReport, is_unit, unit_reports, units_root};
pub(crate) use programs::{Program, Trouble};
pub(crate) use remote::{
    Hosts, configure, container_version, declare, gather_limits, look_at_regions, not_surveyed, note_ended,
    survey,
};
pub(crate) use stores::{
    StorePlace, check_store, is_encrypted, is_remote, open_store, set_sqlite_aside, store_json_schema,
    store_of_url,
};
pub(crate) use traffic::{HistogramSnapshot, ServiceSnapshot, traffic};

/// The resource type that keeps how many replicas a group has.
pub(crate) const COUNT: &str = gabion_data::REPLICA_COUNT;

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
    aws::register(&mut registry, options, state);
    options.extra.register(&mut registry);
    Ok(registry)
}
