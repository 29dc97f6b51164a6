//! What is in no record: objects to import, facts, and objects that carry the project's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Calls, GatherRequest, Part};
use crate::address::{ObjectId, OperationId, ProviderName, ResourceAddress, ResourceType, Uid};
use crate::provider::{
    FactsRequest, ImportRequest, ListRequest, ListedObject, ObjectState, Observation, Provider, ProviderError,
};
use crate::seal::Sealer;
use crate::value::Attributes;

/// An object to import.
pub(super) struct Wanted {
    address: ResourceAddress,
    request: Result<(Arc<dyn Provider>, ImportRequest), String>,
}

/// What importing one object gave.
pub(super) struct Imported {
    address: ResourceAddress,
    result: Result<ObjectState, String>,
}

impl Imported {
    pub(super) fn seal(
        self,
        request: &GatherRequest<'_>,
        sealer: Sealer<'_>,
    ) -> (ResourceAddress, Result<ObjectState, String>) {
        let nothing = Attributes::new();
        // What the configuration says is secret is secret in the world too.
        let inputs = request
            .configuration
            .resources
            .iter()
            .find(|resource| resource.address == self.address)
            .map_or(&nothing, |resource| &resource.inputs);
        let result =
            self.result.and_then(
                |state| match request.providers.schema(&self.address.resource_type) {
                    Some(schema) => Ok(sealer.object(schema, inputs, &state)),
                    None => Err(no_provider(&self.address.resource_type)),
                },
            );
        (self.address, result)
    }
}

fn no_provider(resource_type: &ResourceType) -> String {
    format!("No provider in this build manages `{resource_type}`.")
}

/// Returns what to import: what is not recorded at its address already.
pub(super) fn imports(request: &GatherRequest<'_>) -> Vec<Wanted> {
    let directives = &request.configuration.directives;
    directives
        .imports
        .iter()
        .filter(|import| request.state.current(&import.to).is_none())
        .map(|import| {
            let resource_type = import.to.resource_type.clone();
            let wanted = match request.providers.provider(&resource_type) {
                Some(provider) => Ok((
                    provider.clone(),
                    ImportRequest {
                        resource_type,
                        address: import.to.clone(),
                        id: ObjectId::new(&import.id),
                    },
                )),
                None => Err(no_provider(&resource_type)),
            };
            Wanted {
                address: import.to.clone(),
                request: wanted,
            }
        })
        .collect()
}

pub(super) async fn import(wanted: Wanted, calls: Calls) -> Part {
    let address = wanted.address;
    let result = match wanted.request {
        Ok((provider, request)) => {
            let what = format!("Reading {} `{}`", request.resource_type, request.id);
            calls
                .make(&what, calls.limits.call_timeout, || {
                    let provider = provider.clone();
                    let request = request.clone();
                    async move { provider.import(request).await }
                })
                .await
                .map_err(|error| error.message)
        }
        Err(reason) => Err(reason),
    };
    Part::Imported(Imported { address, result })
}

/// Returns what each provider that the configuration uses is asked for facts about.
pub(super) fn facts_requests(request: &GatherRequest<'_>) -> Vec<(Arc<dyn Provider>, FactsRequest)> {
    let mut by_provider: BTreeMap<ProviderName, (Arc<dyn Provider>, FactsRequest)> = BTreeMap::new();
    for resource in &request.configuration.resources {
        let Some(provider) = request.providers.provider(&resource.address.resource_type) else {
            continue;
        };
        by_provider
            .entry(provider.schema().name.clone())
            .or_insert_with(|| (provider.clone(), FactsRequest::default()))
            .1
            .resources
            .insert(resource.address.clone(), resource.inputs.clone());
    }
    by_provider.into_values().collect()
}

pub(super) async fn facts(wanted: (Arc<dyn Provider>, FactsRequest), calls: Calls) -> Part {
    let (provider, request) = wanted;
    let name = provider.schema().name.clone();
    let what = format!("Gathering the facts of provider `{name}`");
    let result = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.facts(request).await }
        })
        .await;
    Part::Facts(name, result)
}

/// Returns the providers to ask for objects with the project's mark: all for drift, else those that manage what a lost
/// creation may still turn up as.
pub(super) fn list_requests(request: &GatherRequest<'_>) -> Vec<(Arc<dyn Provider>, ListRequest)> {
    let Some(lineage) = request.state.lineage else {
        return Vec::new();
    };
    let late: BTreeSet<&ProviderName> = request
        .state
        .tombstones
        .values()
        .filter_map(|tombstone| request.providers.provider(&tombstone.address.resource_type))
        .map(|provider| &provider.schema().name)
        .collect();
    request
        .providers
        .providers()
        .into_iter()
        .filter(|provider| request.unmanaged || late.contains(&provider.schema().name))
        .map(|provider| (provider.clone(), ListRequest { lineage }))
        .collect()
}

pub(super) async fn list(wanted: (Arc<dyn Provider>, ListRequest), calls: Calls) -> Part {
    let (provider, request) = wanted;
    let name = provider.schema().name.clone();
    let what = format!("Listing the objects of provider `{name}`");
    let result: Result<Vec<ListedObject>, ProviderError> = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.list(request).await }
        })
        .await;
    Part::Listed(name, result)
}

/// Finds objects of creations that had been given up, by the uid on their mark.
///
/// Of such an object only the id is told: what its inputs held is not known any more, so what the world says of it may
/// hold secrets.
pub(super) fn late(
    request: &GatherRequest<'_>,
    listed: &[ListedObject],
) -> BTreeMap<OperationId, Observation> {
    let ids: BTreeMap<Uid, &ObjectId> = listed
        .iter()
        .filter_map(|object| Some((object.uid?, &object.id)))
        .collect();
    request
        .state
        .tombstones
        .iter()
        .filter_map(|(operation, tombstone)| {
            let state = ObjectState {
                id: (*ids.get(&tombstone.uid)?).clone(),
                attributes: Attributes::new(),
                private: serde_json::Value::Null,
                unreadable: Vec::new(),
            };
            Some((*operation, Observation::Present(state)))
        })
        .collect()
}

/// Keeps the objects that are in no record and that no call in flight may be making.
pub(super) fn unmanaged(request: &GatherRequest<'_>, listed: Vec<ListedObject>) -> Vec<ListedObject> {
    let known: BTreeSet<(&ResourceType, &ObjectId)> = request
        .state
        .records()
        .filter_map(|record| Some((&record.address.resource_type, record.id.as_ref()?)))
        .collect();
    listed
        .into_iter()
        .filter(|object| !known.contains(&(&object.resource_type, &object.id)))
        .filter(|object| object.uid.is_none_or(|uid| request.state.record(uid).is_none()))
        .collect()
}
