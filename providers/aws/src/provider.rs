//! The provider: which kind does what, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::provider::{
    AttributeProblem, Call, CallAction, CreateRequest, DeleteRequest, ErrorClass, FactsRequest,
    ImportRequest, ListRequest, Listed, ObjectState, Observation, ObserveRequest, PlanRequest, PlanResponse,
    Provider, ProviderError, ReadDataRequest, ReadOutcome, ReadRequest, RecordedObject, UpdateRequest,
    ValidateRequest,
};
use gabion_engine::schema::{ProviderSchema, ResourceSchema};
use gabion_engine::value::{Attributes, Value};

use crate::attributes::{problem, text};
use crate::clients::{ClientPool, Clients, Loader, Place};
use crate::data::{self, DataKind};
use crate::ec2::images;
use crate::ec2::instance::{self, image_fact, image_value};
use crate::facts::RegionFacts;
use crate::kind::{Kind, Sought, read_one};
use crate::{ec2, regions, route53, survey, tags};

/// How often what is waited for is looked at.
const POLL: Duration = Duration::from_secs(3);
/// How many looks a proof of absence takes.
const LOOKS: u32 = 4;
/// How many objects one call of [`Provider::read`] takes.
const READ_AT_A_TIME: usize = 1000;

/// The provider of EC2 and Route 53.
pub struct AwsProvider {
    schema: ProviderSchema,
    kinds: BTreeMap<ResourceType, Box<dyn Kind>>,
    data_kinds: BTreeMap<ResourceType, Box<dyn DataKind>>,
    data_schemas: BTreeMap<ResourceType, ResourceSchema>,
    pool: ClientPool,
    named: Option<NamedRegion>,
    arrivals: Option<Arc<dyn Arrivals>>,
}

/// Who sees where addresses lead: AWS says at once that one was moved, and packets follow some time later.
#[async_trait]
pub trait Arrivals: Send + Sync {
    /// Waits until an address that was moved leads there, for as long as that is worth it.
    async fn arrived(&self, address: &str, call: &Call);
}

/// The region that the environment names for everything that names none itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedRegion {
    /// The region.
    pub region: String,
    /// The variable that names it.
    pub variable: &'static str,
}

impl std::fmt::Debug for AwsProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AwsProvider").finish_non_exhaustive()
    }
}

impl AwsProvider {
    /// Makes the provider. Nothing is loaded or asked before something of AWS is to be read or made.
    pub fn new(loader: Loader) -> Self {
        Self::with_poll(loader, POLL)
    }

    /// The same, looking more or less often at what it waits for.
    pub fn with_poll(loader: Loader, poll: Duration) -> Self {
        let kinds: Vec<Box<dyn Kind>> = vec![
            Box::new(ec2::ebs_volume::EbsVolumes),
            Box::new(ec2::eip::Eips),
            Box::new(ec2::instance::Instances),
            Box::new(ec2::key_pair::KeyPairs),
            Box::new(ec2::placement_group::PlacementGroups),
            Box::new(ec2::security_group::SecurityGroups),
            Box::new(ec2::security_group_rule::SecurityGroupRules::Ingress),
            Box::new(ec2::security_group_rule::SecurityGroupRules::Egress),
            Box::new(ec2::volume_attachment::VolumeAttachments),
            Box::new(route53::record::Records),
            Box::new(route53::zone::Zones),
        ];
        let kinds: BTreeMap<_, _> = kinds
            .into_iter()
            .map(|kind| (kind.schema().resource_type, kind))
            .collect();
        let schema = ProviderSchema {
            name: ProviderName::new("aws"),
            source: "registry.terraform.io/hashicorp/aws".to_owned(),
            resource_types: kinds
                .iter()
                .map(|(name, kind)| (name.clone(), kind.schema()))
                .collect(),
        };
        let data_kinds = data::kinds();
        let data_schemas = data_kinds
            .iter()
            .map(|(name, kind)| (name.clone(), kind.schema()))
            .collect();
        Self {
            schema,
            kinds,
            data_kinds,
            data_schemas,
            pool: ClientPool::new(loader, poll),
            named: None,
            arrivals: None,
        }
    }

    /// Says who sees where elastic addresses lead. One that moves has moved once it was seen to.
    #[must_use]
    pub fn with_arrivals(self, arrivals: Arc<dyn Arrivals>) -> Self {
        Self {
            arrivals: Some(arrivals),
            ..self
        }
    }

    /// Waits no longer than this for what a change made to show, whatever the kind: for an API whose lag is known, as that of
    /// a test is.
    #[must_use]
    pub fn with_consistency_within(mut self, longest: Duration) -> Self {
        for schema in self.schema.resource_types.values_mut() {
            schema.consistency_window = schema.consistency_window.min(longest);
        }
        self
    }

    /// Says which region the environment names, so that a mistyped one is told with the variable. The loader finds it by
    /// itself.
    #[must_use]
    pub fn with_named_region(self, named: Option<NamedRegion>) -> Self {
        Self { named, ..self }
    }

    /// Returns the place where an object of a type is made.
    fn place_of_new(&self, resource_type: &ResourceType, inputs: &Attributes) -> Place {
        let place = Place::of_type(resource_type, inputs);
        let named = self.named.as_ref().map(|named| named.region.clone());
        Place {
            region: place.region.or(named),
            ..place
        }
    }

    /// Says that the project has objects somewhere, so that listings look there too.
    pub fn note(&self, place: Place) {
        self.pool.note(place);
    }

    /// Returns what a region offers; see [`facts`](crate::facts) for what the inputs are.
    ///
    /// # Errors
    /// When AWS does not tell.
    pub async fn survey(&self, inputs: &Attributes) -> Result<RegionFacts, ProviderError> {
        let clients = self.pool.clients(&Place::of(inputs)).await?;
        survey::region(&clients, inputs).await
    }

    fn kind(&self, resource_type: &ResourceType) -> &dyn Kind {
        &**self
            .kinds
            .get(resource_type)
            .expect("the engine asks a provider only for types in its schema")
    }

    /// Returns the clients of where a recorded object is.
    async fn clients_of(&self, object: &RecordedObject) -> Result<Clients, ProviderError> {
        let place = place_of(object);
        self.pool.note(place.clone());
        self.pool.clients(&place).await
    }
}

/// Returns where a recorded object is.
fn place_of(object: &RecordedObject) -> Place {
    let resource_type = &object.address.resource_type;
    let wanted = Place::of_type(resource_type, &object.inputs);
    let is = Place::of_type(resource_type, &object.attributes);
    Place {
        profile: wanted.profile,
        region: is.region.or(wanted.region),
    }
}

fn cannot_tell(error: &ProviderError) -> ReadOutcome {
    ReadOutcome::CannotTell {
        reason: error.message.clone(),
    }
}

/// Tells from the id `ID@REGION` which object it is, and where.
fn located(id: &str) -> (&str, Place) {
    let (id, region) = match id.rsplit_once('@') {
        Some((id, region)) => (id, Some(region.to_owned())),
        None => (id, None),
    };
    (
        id,
        Place {
            profile: None,
            region,
        },
    )
}

#[async_trait]
impl Provider for AwsProvider {
    fn schema(&self) -> &ProviderSchema {
        &self.schema
    }

    fn validate(&self, request: &ValidateRequest) -> Vec<AttributeProblem> {
        let mut problems = self.kind(&request.resource_type).validate(&request.inputs);
        if let Some(Value::Map(entries)) = request.inputs.get("tags") {
            for name in entries.keys().filter(|name| tags::is_reserved(name)) {
                problems.push(problem(
                    "tags",
                    format!(
                        "`{name}` is no tag for people to set: AWS and gabion keep theirs under such names."
                    ),
                    "choose another name",
                ));
            }
        }
        problems
    }

    fn plan(&self, request: &PlanRequest) -> Result<PlanResponse, ProviderError> {
        let place = self.place_of_new(&request.resource_type, &request.desired);
        let is_written = text(&request.desired, "region").is_some();
        // What is there stays in its own region, whatever the environment names.
        let variable = self.named.as_ref().map(|named| named.variable);
        if (is_written || request.prior.is_none())
            && let Some(refusal) = regions::refusal(&place, variable.filter(|_| !is_written), &request.facts)
        {
            return Err(refusal);
        }
        let schema = self.resource_schema(&request.resource_type);
        Ok(self.kind(&request.resource_type).plan(schema, request))
    }

    fn read_batch(&self) -> Option<usize> {
        Some(READ_AT_A_TIME)
    }

    async fn read(&self, request: ReadRequest) -> Result<Vec<ReadOutcome>, ProviderError> {
        let kind = self.kind(&request.resource_type);
        let mut places: BTreeMap<Place, Vec<usize>> = BTreeMap::new();
        for (index, object) in request.objects.iter().enumerate() {
            places.entry(place_of(object)).or_default().push(index);
        }
        let mut outcomes = vec![ReadOutcome::Absent; request.objects.len()];
        let one_place = places.len() == 1;
        for (place, indices) in places {
            self.pool.note(place.clone());
            let sought: Vec<Sought> = indices
                .iter()
                .filter_map(|index| {
                    let object = &request.objects[*index];
                    Some(Sought {
                        id: object.id.clone()?,
                        inputs: object.inputs.clone(),
                        attributes: object.attributes.clone(),
                        private: object.private.clone(),
                    })
                })
                .collect();
            let read = async {
                let clients = self.pool.clients(&place).await?;
                kind.read(&clients, &sought).await
            };
            match read.await {
                Ok(mut found) => {
                    for index in indices {
                        let id = request.objects[index].id.as_ref();
                        match id.and_then(|id| found.take(id)) {
                            Some(Ok(state)) => outcomes[index] = ReadOutcome::Present(state),
                            Some(Err(error)) => outcomes[index] = cannot_tell(&error),
                            None => {}
                        }
                    }
                }
                // The engine tries again, and says why when that does not help.
                Err(error) if one_place => return Err(error),
                Err(error) => {
                    for index in indices {
                        outcomes[index] = cannot_tell(&error);
                    }
                }
            }
        }
        Ok(outcomes)
    }

    async fn create(&self, request: CreateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let place = Place::of_type(&request.resource_type, &request.inputs);
        self.pool.note(place.clone());
        let clients = self.pool.clients(&place).await?;
        self.kind(&request.resource_type)
            .create(&clients, &request, call)
            .await
    }

    async fn update(&self, request: UpdateRequest, call: &Call) -> Result<ObjectState, ProviderError> {
        let clients = self.clients_of(&request.object).await?;
        let kind = self.kind(&request.object.address.resource_type);
        let state = kind.update(&clients, &request, call).await?;
        if let (Some(arrivals), Some(address)) = (&self.arrivals, kind.moved(&request, &state)) {
            arrivals.arrived(address, call).await;
        }
        Ok(state)
    }

    async fn delete(&self, request: DeleteRequest, call: &Call) -> Result<(), ProviderError> {
        let clients = self.clients_of(&request.object).await?;
        self.kind(&request.object.address.resource_type)
            .delete(&clients, &request.object, call)
            .await
    }

    async fn observe(&self, request: ObserveRequest) -> Result<Observation, ProviderError> {
        let resource_type = &request.object.address.resource_type;
        let kind = self.kind(resource_type);
        let clients = self.clients_of(&request.object).await?;
        let window = self.resource_schema(resource_type).consistency_window;
        let end = tokio::time::Instant::now() + window;
        loop {
            let seen = match &request.object.id {
                Some(id) => read_one(kind, &clients, id, &request.inputs).await?,
                None => kind.find(&clients, &request).await?,
            };
            if let Some(state) = seen {
                return Ok(Observation::Present(state));
            }
            // Of what was recorded before the call the engine itself looks for as long as it takes.
            if request.action != CallAction::Create || tokio::time::Instant::now() >= end {
                return Ok(Observation::Absent);
            }
            tokio::time::sleep(window / LOOKS).await;
        }
    }

    async fn list(&self, request: ListRequest) -> Result<Listed, ProviderError> {
        let mut listed = Vec::new();
        let mut seen = std::collections::BTreeSet::new();
        for place in self.pool.places() {
            let clients = self.pool.clients(&place).await?;
            // One place may go by two names.
            if !seen.insert((place.profile.clone(), clients.region.clone())) {
                continue;
            }
            for kind in self.kinds.values() {
                for object in kind.list(&clients, request.lineage).await? {
                    if !listed.contains(&object) {
                        listed.push(object);
                    }
                }
            }
        }
        Ok(listed.into())
    }

    async fn import(&self, request: ImportRequest) -> Result<ObjectState, ProviderError> {
        let (id, place) = located(request.id.as_str());
        let clients = self.pool.clients(&place.for_type(&request.resource_type)).await?;
        let kind = self.kind(&request.resource_type);
        let id = gabion_engine::address::ObjectId::new(id);
        match read_one(kind, &clients, &id, &Attributes::new()).await? {
            Some(state) => Ok(state),
            None => {
                let what = request.resource_type.as_str();
                Err(crate::error::not_found(what, id.as_str(), &clients.region))
            }
        }
    }

    fn data_kinds(&self) -> &BTreeMap<ResourceType, ResourceSchema> {
        &self.data_schemas
    }

    async fn read_data(
        &self,
        request: ReadDataRequest,
    ) -> Result<Vec<Result<Attributes, ProviderError>>, ProviderError> {
        let kind = self
            .data_kinds
            .get(&request.kind)
            .expect("the engine asks a provider only for kinds that it declares");
        let finds = request.queries.iter().map(|query| async {
            let place = Place::of_type(&request.kind, &query.arguments);
            let clients = self.pool.clients(&place).await?;
            kind.find(&clients, &query.arguments).await
        });
        let found = futures_util::future::join_all(finds).await;
        // What may pass is asked again, and the rest with it.
        let passing = found.iter().find_map(|found| match found {
            Err(error) if matches!(error.class, ErrorClass::Throttled | ErrorClass::Transient) => Some(error),
            _ => None,
        });
        match passing {
            Some(error) => Err(error.clone()),
            None => Ok(found),
        }
    }

    async fn facts(&self, request: FactsRequest) -> Result<BTreeMap<String, Value>, ProviderError> {
        let mut facts = BTreeMap::new();
        let mut wanted: BTreeMap<Place, Vec<images::ImagePattern>> = BTreeMap::new();
        let mut doubtful: BTreeMap<Place, BTreeSet<Place>> = BTreeMap::new();
        for (address, inputs) in &request.resources {
            let place = Place::of_type(&address.resource_type, inputs);
            let is = self.place_of_new(&address.resource_type, inputs);
            if is
                .region
                .as_deref()
                .is_some_and(|region| !regions::is_known(region))
            {
                doubtful.entry(is).or_default().insert(place.clone());
            }
            self.pool.note(place.clone());
            if address.resource_type.as_str() == instance::TYPE
                && text(inputs, "ami").is_none()
                && let Some(pattern) = instance::pattern(inputs)
            {
                let patterns = wanted.entry(place).or_default();
                if !patterns.contains(&pattern) {
                    patterns.push(pattern);
                }
            }
        }
        for (place, asked) in doubtful {
            let clients = self.pool.clients(&place).await?;
            if let (Some(fact), Some(problem)) = (regions::fact(&place), regions::problem(&clients).await) {
                // There is nothing to find in it.
                wanted.retain(|place, _| !asked.contains(place));
                facts.insert(fact, Value::from(problem));
            }
        }
        for (place, patterns) in wanted {
            let clients = self.pool.clients(&place).await?;
            let found = images::newest(&clients, &patterns).await?;
            for pattern in patterns {
                let Some(image) = found.get(&pattern.key()) else {
                    return Err(ProviderError::new(
                        ErrorClass::NotFound,
                        format!(
                            "EC2 DescribeImages in {}: no image of {} matches `{}`.",
                            clients.region, pattern.owner, pattern.name
                        ),
                    )
                    .with_hint(
                        "see `ami_owner` and `ami_name`: the owner is an account's number or an alias, the name may hold `*`",
                    ));
                };
                facts.insert(image_fact(&place, &pattern), image_value(image));
            }
        }
        Ok(facts)
    }
}

/// Returns the provider in the shape that registries take.
#[must_use]
pub fn provider(loader: Loader) -> Arc<AwsProvider> {
    Arc::new(AwsProvider::new(loader))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_imported_id_may_name_its_region() {
        assert_eq!(located("i-1").1, Place::default());
        let (id, place) = located("i-1@eu-west-1");
        assert_eq!((id, place.region.as_deref()), ("i-1", Some("eu-west-1")));
    }
}
