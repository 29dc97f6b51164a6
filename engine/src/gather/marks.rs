//! Finding what carries a project's mark, for a state that is rebuilt from it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{Calls, GatherLimits, GatherObserver};
use crate::address::{IdSource, Lineage, ObjectId, ResourceAddress, ResourceType, Uid};
use crate::provider::{
    ImportRequest, ListRequest, ListedObject, ObjectState, Provider, ProviderRegistry, ReadOutcome,
    ReadRequest,
};
use crate::seal::Sealer;
use crate::seldom::Seldom;
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::state::rebuild::{FoundObject, LeftObject, Rebuild, UnaskedProvider};
use crate::state::record::{Declaration, Dependency, Record, Status};
use crate::upgrade::recorded_object;
use crate::value::{AttributePath, Attributes, Value};

/// What to look for.
#[derive(Clone, Copy)]
pub struct FindRequest<'a> {
    /// Whose objects.
    pub lineage: Lineage,
    /// Who manages them.
    pub providers: &'a ProviderRegistry,
    /// What is readable of the log; `None` when nothing is.
    pub readable: Option<&'a State>,
    /// The key that makes secrets comparable, if there is one.
    pub fingerprints: Option<&'a FingerprintKey>,
    /// Where the uids of objects come from whose marks have none.
    pub ids: &'a dyn IdSource,
}

/// Finds the objects that carry a project's mark, and reads them. Changes nothing.
///
/// What cannot be asked or read is in the answer.
pub async fn find(
    request: FindRequest<'_>,
    limits: &GatherLimits,
    observer: &mut dyn GatherObserver,
) -> Rebuild {
    let (events, mut heard) = mpsc::unbounded_channel();
    let calls = Calls::new(limits, events);
    let looking = async {
        let found = look(request, &calls).await;
        drop(calls);
        found
    };
    tokio::pin!(looking);
    loop {
        tokio::select! {
            Some(event) = heard.recv() => observer.observe(&event),
            found = &mut looking => return found,
        }
    }
}

/// An object that may get a record.
struct Candidate {
    provider: Arc<dyn Provider>,
    address: ResourceAddress,
    uid: Uid,
    id: ObjectId,
}

async fn look(request: FindRequest<'_>, calls: &Calls) -> Rebuild {
    let mut rebuild = Rebuild {
        lineage: request.lineage,
        found: Vec::new(),
        doubted: Vec::new(),
        gone: Vec::new(),
        left: Vec::new(),
        unasked: Vec::new(),
    };
    let listed = list(request, calls, &mut rebuild).await;
    let mut by_address: BTreeMap<ResourceAddress, Vec<Candidate>> = BTreeMap::new();
    for (provider, object) in listed {
        match candidate(request, &provider, &object) {
            Ok(Some(candidate)) => by_address
                .entry(candidate.address.clone())
                .or_default()
                .push(candidate),
            Ok(None) => {}
            Err(why) => rebuild.left.push(LeftObject { object, why }),
        }
    }
    let mut wanted = Vec::new();
    for (address, mut candidates) in by_address {
        // Uids are in the order of time: the last one replaced those before.
        candidates.sort_by_key(|candidate| candidate.uid);
        let newest = candidates.pop();
        for older in candidates {
            rebuild.left.push(left(
                older,
                format!(
                    "A newer object carries the address `{address}` too; which one was to stay is not known."
                ),
            ));
        }
        wanted.extend(newest);
    }
    let mut taken = Vec::new();
    for candidate in wanted {
        let holder = request
            .readable
            .and_then(|state| state.current(&candidate.address));
        match holder {
            None => taken.push(candidate),
            Some(holder) if holder.open.is_none() && is_gone(request, holder, calls).await => {
                rebuild.gone.push(holder.uid);
                taken.push(candidate);
            }
            Some(holder) => {
                let why = format!(
                    "`{}` is the address of another recorded object, {}, which may still be there.",
                    candidate.address, holder.uid
                );
                rebuild.left.push(left(candidate, why));
            }
        }
    }
    rebuild.found = read(request, taken, calls).await;
    add_dependencies(&mut rebuild.found);
    rebuild.doubted = request
        .readable
        .into_iter()
        .flat_map(State::records)
        .filter(|record| record.status == Status::Ready && !rebuild.gone.contains(&record.uid))
        .map(|record| record.uid)
        .collect();
    rebuild.left.sort_by(|a, b| {
        (&a.object.resource_type, &a.object.id).cmp(&(&b.object.resource_type, &b.object.id))
    });
    rebuild
}

/// Asks every provider.
async fn list(
    request: FindRequest<'_>,
    calls: &Calls,
    rebuild: &mut Rebuild,
) -> Vec<(Arc<dyn Provider>, ListedObject)> {
    let mut parts = JoinSet::new();
    for provider in request.providers.providers() {
        let (provider, calls, lineage) = (provider.clone(), calls.clone(), request.lineage);
        parts.spawn(async move {
            let what = format!("Listing the objects of provider `{}`", provider.schema().name);
            let listed = calls
                .make(&what, calls.limits.call_timeout, || {
                    let provider = provider.clone();
                    async move { provider.list(ListRequest { lineage }).await }
                })
                .await;
            (provider, listed)
        });
    }
    let mut found = Vec::new();
    for (provider, listed) in parts.join_all().await {
        let name = &provider.schema().name;
        match listed {
            Ok(listed) => {
                let unasked = listed.unasked.into_iter().map(|unasked| UnaskedProvider {
                    provider: name.clone(),
                    part: Some(unasked.part),
                    why: unasked.why,
                });
                rebuild.unasked.extend(unasked);
                let objects = listed.objects.into_iter();
                found.extend(objects.map(|object| (provider.clone(), object)));
            }
            Err(error) => rebuild.unasked.push(UnaskedProvider {
                provider: name.clone(),
                part: None,
                why: error.message,
            }),
        }
    }
    found.sort_by(|(_, a), (_, b)| (&a.resource_type, &a.id).cmp(&(&b.resource_type, &b.id)));
    rebuild.unasked.sort();
    found
}

/// Returns what may get a record; nothing when it has one, and an error with the reason when its mark does not do.
fn candidate(
    request: FindRequest<'_>,
    provider: &Arc<dyn Provider>,
    object: &ListedObject,
) -> Result<Option<Candidate>, String> {
    let mut records = request.readable.into_iter().flat_map(State::records);
    let recorded = records.any(|record| {
        Some(record.uid) == object.uid
            || (record.address.resource_type == object.resource_type
                && record.id.as_ref() == Some(&object.id))
    });
    if recorded {
        return Ok(None);
    }
    if !provider
        .schema()
        .resource_types
        .contains_key(&object.resource_type)
    {
        return Err(format!(
            "No provider in this build manages `{}`.",
            object.resource_type
        ));
    }
    let Some(address) = object.address.clone() else {
        return Err("Its mark names no address.".to_owned());
    };
    if address.resource_type != object.resource_type {
        return Err(format!("Its mark names an address of another type, `{address}`."));
    }
    Ok(Some(Candidate {
        provider: provider.clone(),
        address,
        uid: object.uid.unwrap_or_else(|| Uid::from_uuid(request.ids.next())),
        id: object.id.clone(),
    }))
}

fn left(candidate: Candidate, why: String) -> LeftObject {
    LeftObject {
        object: ListedObject {
            resource_type: candidate.address.resource_type.clone(),
            uid: Some(candidate.uid),
            address: Some(candidate.address),
            id: candidate.id,
        },
        why,
    }
}

/// Returns whether a recorded object is proved not to be there.
async fn is_gone(request: FindRequest<'_>, record: &Record, calls: &Calls) -> bool {
    let resource_type: &ResourceType = &record.address.resource_type;
    let Some(provider) = request.providers.provider(resource_type) else {
        return false;
    };
    let Ok(object) = recorded_object(record, &**provider) else {
        return false;
    };
    let read = ReadRequest {
        resource_type: resource_type.clone(),
        objects: vec![object],
    };
    let outcome = calls
        .make(
            &format!("Reading `{}`", record.address),
            calls.limits.call_timeout,
            || {
                let (provider, read) = (provider.clone(), read.clone());
                async move { provider.read(read).await }
            },
        )
        .await;
    matches!(outcome.as_deref(), Ok([ReadOutcome::Absent]))
}

/// Reads what gets a record, sorted by address.
async fn read(request: FindRequest<'_>, candidates: Vec<Candidate>, calls: &Calls) -> Vec<FoundObject> {
    let mut parts = JoinSet::new();
    for candidate in candidates {
        let calls = calls.clone();
        parts.spawn(async move {
            let import = ImportRequest {
                resource_type: candidate.address.resource_type.clone(),
                address: candidate.address.clone(),
                id: candidate.id.clone(),
            };
            let what = format!("Reading {} `{}`", import.resource_type, import.id);
            let result = calls
                .make(&what, calls.limits.call_timeout, || {
                    let (provider, import) = (candidate.provider.clone(), import.clone());
                    async move { provider.import(import).await }
                })
                .await;
            (candidate, result)
        });
    }
    let sealer = Sealer::new(request.fingerprints);
    let mut found: Vec<FoundObject> = parts
        .join_all()
        .await
        .into_iter()
        .map(|(candidate, result)| match result {
            Ok(state) => {
                let schema = candidate
                    .provider
                    .resource_schema(&candidate.address.resource_type);
                let state = sealer.object(schema, &Attributes::new(), &state);
                describe(candidate, Some(state), None)
            }
            Err(error) => describe(candidate, None, Some(error.message)),
        })
        .collect();
    found.sort_by(|a, b| a.record.address.cmp(&b.record.address));
    found
}

fn describe(candidate: Candidate, state: Option<ObjectState>, unread: Option<String>) -> FoundObject {
    let schema = candidate
        .provider
        .resource_schema(&candidate.address.resource_type);
    let configurable = || {
        schema
            .attributes
            .iter()
            .filter(|(_, attribute)| attribute.configurable)
    };
    let (attributes, private, mut unknown) = match state {
        Some(state) => (state.attributes, state.private, state.unreadable),
        None => {
            let all = configurable()
                .map(|(name, _)| AttributePath::root(name))
                .collect();
            (Attributes::new(), serde_json::Value::Null, all)
        }
    };
    unknown.sort();
    // What the world says of what a configuration may set is the best that is known of the inputs.
    let set = |name: &Arc<str>| attributes.get(name).filter(|value| !value.is_null());
    let inputs: Attributes = configurable()
        .filter_map(|(name, _)| Some((name.clone(), set(name)?.clone())))
        .collect();
    let record = Record {
        uid: candidate.uid,
        address: candidate.address,
        deposed: false,
        status: Status::Incomplete,
        id: Some(candidate.id),
        inputs,
        attributes,
        private: private.into(),
        declaration: Arc::new(Declaration {
            provider: candidate.provider.schema().name.clone(),
            schema_version: schema.version,
            document: None,
            dependencies: Vec::new(),
            lifecycle: Seldom::default(),
            timeouts: schema.timeouts.into(),
            replace_order: schema.replace_order,
            claims: Seldom::default(),
            pins: Seldom::default(),
        }),
        open: None,
        created_at: 0,
        made_at: None,
        changed_at: 0,
        written_at: Default::default(),
        changed_by: None,
        last_call: None,
    };
    FoundObject {
        record,
        unknown,
        unread,
    }
}

/// Makes an edge where an object names the id of an older one, so that objects that nothing declares any more are deleted
/// in an order that works. What is older cannot depend on what is newer, so there is no circle.
fn add_dependencies(found: &mut [FoundObject]) {
    let by_id: BTreeMap<String, (Uid, ResourceAddress)> = found
        .iter()
        .filter_map(|object| {
            let id = object.record.id.as_ref()?.to_string();
            Some((id, (object.record.uid, object.record.address.clone())))
        })
        .collect();
    for object in found {
        let mut named = BTreeSet::new();
        for value in object.record.attributes.values() {
            value.map_leaves(&mut |leaf| {
                if let Value::String(text) = leaf
                    && let Some((uid, address)) = by_id.get(&**text)
                    && *uid < object.record.uid
                {
                    named.insert((address.clone(), *uid));
                }
                Value::Null
            });
        }
        let edges = named.into_iter().map(|(address, uid)| Dependency {
            address,
            uid: Some(uid),
        });
        Arc::make_mut(&mut object.record.declaration).dependencies = edges.collect();
    }
}
