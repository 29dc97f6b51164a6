//! Stopping gabion at an exact point: when a call has passed the engine's checks, and before anything of it is sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::ResourceType;
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, DeleteRequest, FactsRequest, ImportRequest, ListRequest, Listed,
    ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError,
    ProviderRegistry, ReadOutcome, ReadRequest, UpdateRequest, UpgradeRequest, UpgradedObject,
    ValidateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::value::Value;
use nix::sys::signal::{Signal, raise};

/// The variable with the gate's file: while it holds a call's name, as in `create fake_machine`, the next such call
/// moves it to [`held`] and stops the whole process, as SIGSTOP from outside would, again and again until that is gone.
pub const GATE: &str = "GABION_STOP_BEFORE";

/// Returns where a gate's file is while a process stands still at it.
pub fn held(file: &Path) -> PathBuf {
    file.with_extension("held")
}

/// Puts a gate before every provider of a registry.
pub fn guard(registry: &mut ProviderRegistry, file: &Path) {
    for provider in std::mem::take(registry).providers() {
        registry.register(Arc::new(Gate {
            provider: provider.clone(),
            file: file.to_owned(),
        }));
    }
}

struct Gate {
    provider: Arc<dyn Provider>,
    file: PathBuf,
}

impl Gate {
    fn pass(&self, verb: &str, resource_type: &ResourceType) {
        let wanted = fs::read_to_string(&self.file).unwrap_or_default();
        let held = held(&self.file);
        if wanted.trim() != format!("{verb} {resource_type}") || fs::rename(&self.file, &held).is_err() {
            return;
        }
        while held.exists() {
            // Whether the process stands still is seen from outside.
            let _ = raise(Signal::SIGSTOP);
            // Whoever let it go on without opening the gate wants its other threads to get on.
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[async_trait]
impl Provider for Gate {
    fn schema(&self) -> &ProviderSchema {
        self.provider.schema()
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        self.provider.validate(request)
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.provider.plan(request)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        self.provider.read(request).await
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.pass("create", &request.resource_type);
        self.provider.create(request, call).await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        self.pass("update", &request.object.address.resource_type);
        self.provider.update(request, call).await
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        self.pass("delete", &request.object.address.resource_type);
        self.provider.delete(request, call).await
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        self.provider.observe(request).await
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        self.provider.list(request).await
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.provider.import(request).await
    }

    async fn facts(&self, request: FactsRequest) -> Result<BTreeMap<String, Value>, ProviderError> {
        self.provider.facts(request).await
    }

    fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradedObject, ProviderError> {
        self.provider.upgrade(request)
    }
}
