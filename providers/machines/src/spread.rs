//! A provider whose objects are on several machines: here it acts itself, elsewhere the machine's agent does.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::join_all;
use gabion_engine::provider::{
    AttributeProblem, Call, CallAction, CreateRequest, DeleteRequest, ErrorClass, ImportRequest, ListRequest,
    Listed, ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse, Provider, ProviderError,
    ReadOutcome, ReadRequest, Unasked, UpdateRequest, UpgradeRequest, UpgradedObject, ValidateRequest,
};
use gabion_engine::schema::ProviderSchema;
use gabion_engine::value::{AttributePath, Attributes, Value};
use gabion_host::transport::Machines;

use crate::exposed::Exposed;
use crate::hosts::{Hosts, on, unexpected};
use crate::protocol::{Answer, Request};
use crate::session::circumstances;

/// The attribute that says where an object is.
const MACHINE: &str = "machine";

/// A provider on several machines.
pub struct Spread {
    here: Arc<dyn Provider>,
    hosts: Hosts,
}

impl Spread {
    /// Sends what is about another machine there, and leaves the rest to the provider itself.
    #[must_use]
    pub fn new(here: Arc<dyn Provider>, hosts: Hosts) -> Self {
        Self { here, hosts }
    }

    /// Has one machine's agent read objects.
    async fn read_there(&self, machine: &str, request: ReadRequest) -> Vec<ReadOutcome> {
        let count = request.objects.len();
        let cannot_tell = |reason: String| vec![ReadOutcome::CannotTell { reason }; count];
        let live = match self.hosts.connection(machine).await {
            Ok(live) => live,
            Err(error) => return cannot_tell(error.message),
        };
        match live.session().ask(Request::Read(request)).await {
            Ok(Answer::Read(read)) => {
                let read = read.into_body();
                if read.len() == count {
                    read
                } else {
                    cannot_tell(unexpected(machine).message)
                }
            }
            Ok(_) => cannot_tell(unexpected(machine).message),
            Err(error) => cannot_tell(on(machine, error).message),
        }
    }

    /// Has one machine's agent list what carries the project's mark there.
    async fn list_there(
        &self,
        machine: &str,
        provider: String,
        request: ListRequest,
    ) -> Result<Listed, ProviderError> {
        let live = self.hosts.connection(machine).await?;
        match live.session().ask(Request::List(provider, request)).await {
            Ok(Answer::Listed(listed)) => Ok(listed.into()),
            Ok(_) => Err(unexpected(machine)),
            Err(error) => Err(on(machine, error)),
        }
    }

    /// Has a machine's agent make a call that changes something.
    async fn call_there(
        &self,
        machine: &str,
        request: Request,
        call: &Call,
    ) -> Result<Answer, ProviderError> {
        let live = self.hosts.connection(machine).await.map_err(|mut error| {
            error.message.push_str(" Nothing was asked of it.");
            error
        })?;
        live.session()
            .call(request, call)
            .await
            .map_err(|error| on(machine, error))
    }
}

/// Returns the machine that attributes name, if it is not this one.
fn elsewhere(attributes: &Attributes) -> Option<&str> {
    attributes
        .get(MACHINE)
        .and_then(Value::as_str)
        .filter(|machine| *machine != Machines::LOCAL)
}

#[async_trait]
impl Provider for Spread {
    fn schema(&self) -> &ProviderSchema {
        self.here.schema()
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let Some(machine) = elsewhere(&request.inputs) else {
            return self.here.validate(request);
        };
        let mut as_here = request.clone();
        as_here.inputs.insert(MACHINE.into(), Machines::LOCAL.into());
        let mut problems = self.here.validate(&as_here);
        if !self.hosts.knows(machine) {
            let mut known = vec![Machines::LOCAL.to_owned()];
            known.extend(self.hosts.names());
            problems.push(AttributeProblem {
                path: AttributePath::root(MACHINE),
                message: format!("No machine is named {machine:?}."),
                hint: Some(format!("Machines: {}.", known.join(", "))),
            });
        }
        problems
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        self.here.plan(request)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let mut groups: BTreeMap<Option<String>, Vec<usize>> = BTreeMap::new();
        for (position, object) in request.objects.iter().enumerate() {
            let machine = elsewhere(&object.inputs).map(str::to_owned);
            groups.entry(machine).or_default().push(position);
        }
        let reads = groups.into_iter().map(|(machine, positions)| {
            let part = ReadRequest {
                resource_type: request.resource_type.clone(),
                objects: positions
                    .iter()
                    .map(|position| request.objects[*position].clone())
                    .collect(),
            };
            async move {
                let outcomes = match &machine {
                    None => self.here.read(part).await?,
                    Some(machine) => self.read_there(machine, part).await,
                };
                Ok::<_, ProviderError>((positions, outcomes))
            }
        });
        let mut outcomes: BTreeMap<usize, ReadOutcome> = BTreeMap::new();
        for read in join_all(reads).await {
            let (positions, read) = read?;
            outcomes.extend(positions.into_iter().zip(read));
        }
        Ok(outcomes.into_values().collect())
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let Some(machine) = elsewhere(&request.inputs).map(str::to_owned) else {
            return self.here.create(request, call).await;
        };
        let request = Request::Create(Exposed::of(request), circumstances(call));
        match self.call_there(&machine, request, call).await? {
            Answer::State(state) => Ok(state.into_body()),
            _ => Err(unexpected(&machine)),
        }
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let Some(machine) = elsewhere(&request.inputs).map(str::to_owned) else {
            return self.here.update(request, call).await;
        };
        let request = Request::Update(Exposed::of(request), circumstances(call));
        match self.call_there(&machine, request, call).await? {
            Answer::State(state) => Ok(state.into_body()),
            _ => Err(unexpected(&machine)),
        }
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        let Some(machine) = elsewhere(&request.object.inputs).map(str::to_owned) else {
            return self.here.delete(request, call).await;
        };
        // What is on a machine that makes way for another goes with it.
        if self.hosts.made_way(&machine, Some(call)).await {
            return Ok(());
        }
        let request = Request::Delete(request, circumstances(call));
        match self.call_there(&machine, request, call).await {
            Ok(Answer::Deleted) => Ok(()),
            Ok(_) => Err(unexpected(&machine)),
            // It went away meanwhile. What it answered, or what is in the way here, is another matter.
            Err(error)
                if error.class == ErrorClass::Uncertain
                    && self.hosts.made_way(&machine, Some(call)).await =>
            {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let machine = elsewhere(&request.inputs).or_else(|| elsewhere(&request.object.inputs));
        let Some(machine) = machine.map(str::to_owned) else {
            return self.here.observe(request).await;
        };
        let unknown = |error: ProviderError| Observation::Unknown {
            reason: error.message,
        };
        // What was to be deleted there is gone with it, whatever became of the call.
        if request.action == CallAction::Delete && self.hosts.made_way(&machine, None).await {
            return Ok(Observation::Absent);
        }
        let live = match self.hosts.connection(&machine).await {
            Ok(live) => live,
            // A machine that was never reached has nothing of the call; but one that is away cannot be asked.
            Err(error) => return Ok(unknown(error)),
        };
        Ok(match live.session().ask(Request::Observe(request)).await {
            Ok(Answer::Observed(observed)) => observed.into_body(),
            Ok(_) => unknown(unexpected(&machine)),
            Err(error) => unknown(on(&machine, error)),
        })
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let provider = self.schema().name.to_string();
        let machines = self.hosts.names();
        let there = machines.iter().map(|machine| {
            let (provider, request) = (provider.clone(), request.clone());
            async move { (machine, self.list_there(machine, provider, request).await) }
        });
        let there = join_all(there).await;
        let mut found = self.here.list(request.clone()).await?;
        for (machine, listed) in there {
            match listed {
                Ok(listed) => {
                    found.objects.extend(listed.objects);
                    let unasked = listed.unasked.into_iter().map(|unasked| Unasked {
                        part: format!("{} on machine `{machine}`", unasked.part),
                        why: unasked.why,
                    });
                    found.unasked.extend(unasked);
                }
                // What is there is not known to be gone.
                Err(error) => found.unasked.push(Unasked {
                    part: format!("machine `{machine}`"),
                    why: error.message,
                }),
            }
        }
        Ok(found)
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        self.here.import(request).await
    }

    async fn facts(
        &self,
        request: gabion_engine::provider::FactsRequest,
    ) -> Result<BTreeMap<String, Value>, ProviderError> {
        self.here.facts(request).await
    }

    fn upgrade(&self, request: &UpgradeRequest) -> Result<UpgradedObject, ProviderError> {
        self.here.upgrade(request)
    }
}
