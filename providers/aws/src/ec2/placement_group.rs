//! `aws_placement_group`: how close instances are to each other.

use async_trait::async_trait;
use aws_sdk_ec2::types::{
    PlacementGroup, PlacementGroupState, PlacementStrategy, ResourceType as Tagged, SpreadLevel,
};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    ProviderError, RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::Attributes;

use super::CONSISTENCY;
use super::security_group::recorded_id;
use crate::attributes::{Written, int, is_set, problem, required, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::tags;

/// The resource type.
pub(crate) const TYPE: &str = "aws_placement_group";

pub(crate) struct PlacementGroups;

#[async_trait]
impl Kind for PlacementGroups {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(
            TYPE,
            "A group that says how close its instances are to each other.",
        )
        .attribute("region", kind::region())
        .attribute(
            "name",
            AttributeSchema::required(text.clone(), "Its name, unique in the region.").forces_replacement(),
        )
        .attribute(
            "strategy",
            AttributeSchema::required(
                text.clone(),
                "`cluster` (close, for fast networks), `spread` (apart) or `partition`.",
            )
            .forces_replacement(),
        )
        .attribute(
            "partition_count",
            AttributeSchema::optional_computed(
                AttributeKind::Int,
                "How many partitions; of `partition` only.",
            )
            .forces_replacement(),
        )
        .attribute(
            "spread_level",
            AttributeSchema::optional_computed(text.clone(), "`rack` or `host`; of `spread` only.")
                .forces_replacement(),
        )
        .attribute("tags", kind::tags())
        .attribute(
            "placement_group_id",
            AttributeSchema::computed(text.clone(), "Its id at EC2."),
        )
        .attribute(
            "arn",
            AttributeSchema::computed(text, "Its Amazon Resource Name."),
        );
        schema.idempotency = Idempotency::UniqueName;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::DeleteThenCreate;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let strategy = text(inputs, "strategy");
        let mut problems = Vec::new();
        if strategy.is_some_and(|strategy| !["cluster", "spread", "partition"].contains(&strategy)) {
            problems.push(problem(
                "strategy",
                "There is no such strategy.",
                "write `cluster`, `spread` or `partition`",
            ));
        }
        for (name, only) in [("partition_count", "partition"), ("spread_level", "spread")] {
            if is_set(inputs, name) && strategy.is_some_and(|strategy| strategy != only) {
                problems.push(problem(
                    name,
                    format!("Only groups with `strategy: {only}` have it."),
                    "remove it",
                ));
            }
        }
        problems
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let names = chunk.iter().map(|sought| sought.id.as_str());
            for group in describe(clients, tags::filter("group-name", names)).await? {
                let id = ObjectId::new(group.group_name().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    found.insert(id.clone(), state(clients, &group, &sought.inputs));
                }
            }
        }
        Ok(found)
    }

    async fn create(
        &self,
        clients: &Clients,
        request: &CreateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let inputs = &request.inputs;
        let name = required(inputs, "name");
        let create = clients
            .ec2
            .create_placement_group()
            .group_name(name)
            .strategy(PlacementStrategy::from(required(inputs, "strategy")))
            .set_partition_count(int(inputs, "partition_count"))
            .set_spread_level(text(inputs, "spread_level").map(SpreadLevel::from))
            .tag_specifications(tags::specification(Tagged::PlacementGroup, inputs, call))
            .send();
        clients
            .call(Api::ec2("CreatePlacementGroup").changing(), create)
            .await?;
        let id = ObjectId::new(name);
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let id = recorded_id(&request.object)?;
        let inputs = &request.inputs;
        let groups = describe(clients, tags::filter("group-name", [id.as_str()])).await?;
        if let Some(group) = groups.first()
            && let Some(group_id) = group.group_id()
        {
            tags::converge(clients, group_id, &tags::by_name(group.tags()), inputs).await?;
        }
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        _: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let delete = clients
            .ec2
            .delete_placement_group()
            .group_name(id.as_str())
            .send();
        match clients
            .call(Api::ec2("DeletePlacementGroup").changing(), delete)
            .await
        {
            Ok(_) => Ok(()),
            Err(failed) if failed.is("InvalidPlacementGroup.Unknown") => Ok(()),
            // A terminated instance leaves it in a while.
            Err(mut failed) if failed.is("InvalidPlacementGroup.InUse") => {
                failed.error.class = ErrorClass::Transient;
                Err(failed.into())
            }
            Err(failed) => Err(failed.into()),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let groups = describe(clients, tags::made_by(request.operation)).await?;
        Ok(groups.first().map(|group| state(clients, group, &request.inputs)))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let groups = describe(clients, tags::owned_by(lineage)).await?;
        let listed = groups
            .iter()
            .filter_map(|group| kind::listed(TYPE, group.group_name()?, &tags::by_name(group.tags())));
        Ok(listed.collect())
    }
}

async fn describe(
    clients: &Clients,
    filter: aws_sdk_ec2::types::Filter,
) -> Result<Vec<PlacementGroup>, ProviderError> {
    let request = clients.ec2.describe_placement_groups().filters(filter).send();
    let answer = clients.call(Api::ec2("DescribePlacementGroups"), request).await?;
    let groups = answer.placement_groups.unwrap_or_default();
    Ok(groups
        .into_iter()
        .filter(|group| {
            !matches!(
                group.state(),
                Some(PlacementGroupState::Deleted | PlacementGroupState::Deleting)
            )
        })
        .collect())
}

fn state(clients: &Clients, group: &PlacementGroup, inputs: &Attributes) -> ObjectState {
    let name = group.group_name().unwrap_or_default();
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(name))
        .text("name", Some(name))
        .text("strategy", group.strategy().map(|strategy| strategy.as_str()))
        .int("partition_count", group.partition_count())
        .text("spread_level", group.spread_level().map(|level| level.as_str()))
        .text("placement_group_id", group.group_id())
        .text("arn", group.group_arn())
        .value("tags", tags::attribute(&tags::by_name(group.tags()), inputs));
    ObjectState {
        id: ObjectId::new(name),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}
