//! What is in no record: objects to import, facts, and objects that carry the project's mark.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::late::{self, Sought};
use super::{Calls, GatherRequest, Part};
use crate::address::{ObjectId, ProviderName, ResourceAddress, ResourceType, Uid};
use crate::provider::{
    FactsRequest, ImportRequest, ListRequest, Listed, ListedObject, ObjectState, Provider, ProviderError,
    Unasked,
};
use crate::seal::Sealer;
use crate::value::Attributes;
use crate::world::NotAsked;

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

/// A provider to ask for objects with the project's mark.
pub(super) struct Listing {
    provider: Arc<dyn Provider>,
    request: ListRequest,
    /// What may turn up there after its creation was given up.
    sought: Vec<Sought>,
}

/// Returns the providers to ask for objects with the project's mark: all for drift, else those that manage what a lost
/// creation may still turn up as.
pub(super) fn list_requests(request: &GatherRequest<'_>) -> Vec<Listing> {
    let Some(lineage) = request.state.lineage else {
        return Vec::new();
    };
    let mut sought = late::sought(request.state, request.now);
    request
        .providers
        .providers()
        .into_iter()
        .map(|provider| Listing {
            provider: provider.clone(),
            request: ListRequest { lineage },
            sought: provider
                .schema()
                .resource_types
                .keys()
                .filter_map(|resource_type| sought.remove(resource_type))
                .flatten()
                .collect(),
        })
        .filter(|listing| request.unmanaged || !listing.sought.is_empty())
        .collect()
}

pub(super) async fn list(wanted: Listing, calls: Calls) -> Part {
    let Listing {
        provider,
        request,
        sought,
    } = wanted;
    let name = provider.schema().name.clone();
    let what = format!("Listing the objects of provider `{name}`");
    let result: Result<Listed, ProviderError> = calls
        .make(&what, calls.limits.call_timeout, || {
            let provider = provider.clone();
            let request = request.clone();
            async move { provider.list(request).await }
        })
        .await;
    let late = late::look(&provider, sought, &result, &calls).await;
    Part::Listed(name, result, late)
}

/// Adds what one provider could not ask. What several could not ask for the same reason is one part of the world.
pub(super) fn not_asked(known: &mut Vec<NotAsked>, provider: &ProviderName, unasked: Vec<Unasked>) {
    for Unasked { part, why } in unasked {
        match known
            .iter_mut()
            .find(|known| known.part == part && known.why == why)
        {
            Some(known) => {
                known.providers.insert(provider.clone());
            }
            None => known.push(NotAsked {
                part,
                why,
                providers: [provider.clone()].into(),
            }),
        }
    }
    known.sort();
}

/// Keeps the objects that are in no record, that no call in flight may be making, and that did not turn up late.
///
/// One that carries the uid of a recorded object and goes by another id is a duplicate, and in no record.
pub(super) fn unmanaged(request: &GatherRequest<'_>, listed: Vec<ListedObject>) -> Vec<ListedObject> {
    let known: BTreeSet<(&ResourceType, &ObjectId)> = request
        .state
        .records()
        .filter_map(|record| Some((&record.address.resource_type, record.id.as_ref()?)))
        .collect();
    let in_flight = |uid: Uid| {
        let record = request.state.record(uid);
        record.is_some_and(|record| record.id.is_none() || record.open.is_some())
    };
    let late: BTreeSet<Uid> = request
        .state
        .tombstones
        .values()
        .filter(|tombstone| tombstone.is_sought(request.now))
        .map(|tombstone| tombstone.uid)
        .collect();
    listed
        .into_iter()
        .filter(|object| !known.contains(&(&object.resource_type, &object.id)))
        .filter(|object| {
            object
                .uid
                .is_none_or(|uid| !in_flight(uid) && !late.contains(&uid))
        })
        .collect()
}
