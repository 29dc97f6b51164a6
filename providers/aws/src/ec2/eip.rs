//! `aws_eip`: a public address that stays, and the instance that it leads to.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Address, DomainType, ResourceType as Tagged};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, Effect, ListedObject, ObjectState, ObserveRequest, PlanRequest,
    PlanResponse, ProviderError, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::CONSISTENCY;
use super::security_group::recorded_id;
use crate::attributes::{Written, is_set, problem, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::tags;

/// The resource type.
pub(crate) const TYPE: &str = "aws_eip";

pub(crate) struct Eips;

#[async_trait]
impl Kind for Eips {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let computed = |description: &str| AttributeSchema::computed(AttributeKind::String, description);
        let mut schema = kind::schema(TYPE, "An elastic IP address, and what it leads to.")
            .attribute("region", kind::region())
            .attribute(
                "domain",
                AttributeSchema::optional(text.clone(), "Always `vpc`.")
                    .default_value("vpc")
                    .forces_replacement(),
            )
            .attribute(
                "instance",
                AttributeSchema::optional(text.clone(), "The instance that it leads to; null is none."),
            )
            .attribute(
                "network_interface",
                AttributeSchema::optional(
                    text.clone(),
                    "The network interface that it leads to, in place of an instance.",
                ),
            )
            .attribute(
                "associate_with_private_ip",
                AttributeSchema::optional(
                    text,
                    "The private address that it leads to; null is the first one.",
                ),
            )
            .attribute("tags", kind::tags())
            .attribute("allocation_id", computed("Its id at EC2."))
            .attribute("association_id", computed("What ties it to the instance."))
            .attribute("public_ip", computed("The address."))
            .attribute("public_dns", computed("The address's name."))
            .attribute("private_ip", computed("The private address that it leads to."))
            .attribute("arn", computed("Its Amazon Resource Name."));
        schema.idempotency = Idempotency::TagInCreate;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::CreateThenDelete;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        if text(inputs, "domain").is_some_and(|domain| domain != "vpc") {
            problems.push(problem(
                "domain",
                "There are only addresses for VPCs.",
                "remove `domain`",
            ));
        }
        if is_set(inputs, "instance") && is_set(inputs, "network_interface") {
            problems.push(problem(
                "network_interface",
                "An address leads to an instance or to a network interface.",
                "keep one of the two",
            ));
        }
        problems
    }

    fn plan(&self, schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
        let mut response = propose(schema, request);
        let Some(prior) = &request.prior else {
            return response;
        };
        // Where it leads decides what ties it and the private address.
        let moves = ["instance", "network_interface", "associate_with_private_ip"]
            .iter()
            .any(|name| {
                let before = prior.attributes.get(*name).filter(|value| !value.is_null());
                let after = response.planned.get(*name).filter(|value| !value.is_null());
                before != after
            });
        if moves {
            let leads = ["instance", "network_interface"]
                .iter()
                .any(|name| is_set(&response.planned, name));
            for name in ["association_id", "private_ip"] {
                let planned = if leads { Value::unknown() } else { Value::Null };
                response.planned.insert(name.into(), planned);
            }
        }
        response
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ids = chunk.iter().map(|sought| sought.id.as_str());
            for address in describe(clients, tags::filter("allocation-id", ids)).await? {
                let id = ObjectId::new(address.allocation_id().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    found.insert(id.clone(), state(clients, &address, &sought.inputs));
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
        let allocate = clients
            .ec2
            .allocate_address()
            .domain(DomainType::Vpc)
            .tag_specifications(tags::specification(Tagged::ElasticIp, inputs, call))
            .send();
        let answer = clients
            .call(Api::ec2("AllocateAddress").changing(), allocate)
            .await?;
        let id = kind::made_id("AllocateAddress", answer.allocation_id())?;
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        associate(clients, &id, inputs).await?;
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
        kind::read_made(self, clients, &id, inputs, call).await?;
        let there = describe(clients, tags::filter("allocation-id", [id.as_str()])).await?;
        let Some(there) = there.first() else {
            return Err(crate::error::not_found("address", id.as_str(), &clients.region));
        };
        let leads = is_set(inputs, "instance") || is_set(inputs, "network_interface");
        if !leads {
            disassociate(clients, there).await?;
        } else if !leads_there(there, inputs) {
            associate(clients, &id, inputs).await?;
        }
        tags::converge(clients, id.as_str(), &tags::by_name(there.tags()), inputs).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    fn moved<'a>(&self, request: &UpdateRequest, state: &'a ObjectState) -> Option<&'a str> {
        let leads = |path: &AttributePath| matches!(path.first_key(), Some("instance" | "network_interface"));
        let moved = request.changed.iter().any(leads) && is_set(&state.attributes, "association_id");
        text(&state.attributes, "public_ip").filter(|_| moved)
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        _: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let there = describe(clients, tags::filter("allocation-id", [id.as_str()])).await?;
        let Some(there) = there.first() else {
            return Ok(());
        };
        disassociate(clients, there).await?;
        let release = clients.ec2.release_address().allocation_id(id.as_str()).send();
        match clients.call(Api::ec2("ReleaseAddress").changing(), release).await {
            Err(failed) if failed.is("InvalidAllocationID.NotFound") => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let addresses = describe(clients, tags::made_by(request.operation)).await?;
        Ok(addresses
            .first()
            .map(|address| state(clients, address, &request.inputs)))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let addresses = describe(clients, tags::owned_by(lineage)).await?;
        let listed = addresses.iter().filter_map(|address| {
            kind::listed(TYPE, address.allocation_id()?, &tags::by_name(address.tags()))
        });
        Ok(listed.collect())
    }
}

/// Returns whether an address leads where the inputs say.
fn leads_there(address: &Address, inputs: &Attributes) -> bool {
    let same =
        |name: &str, there: Option<&str>| text(inputs, name).is_none_or(|wanted| there == Some(wanted));
    address.association_id().is_some_and(|id| !id.is_empty())
        && same("instance", address.instance_id())
        && same("network_interface", address.network_interface_id())
        && same("associate_with_private_ip", address.private_ip_address())
}

async fn associate(clients: &Clients, id: &ObjectId, inputs: &Attributes) -> Result<(), ProviderError> {
    if !is_set(inputs, "instance") && !is_set(inputs, "network_interface") {
        return Ok(());
    }
    let request = clients
        .ec2
        .associate_address()
        .allocation_id(id.as_str())
        .set_instance_id(text(inputs, "instance").map(str::to_owned))
        .set_network_interface_id(text(inputs, "network_interface").map(str::to_owned))
        .set_private_ip_address(text(inputs, "associate_with_private_ip").map(str::to_owned))
        // It is ours: where it led before is no reason to refuse.
        .allow_reassociation(true)
        .send();
    match clients
        .call(Api::ec2("AssociateAddress").changing(), request)
        .await
    {
        Ok(_) => Ok(()),
        Err(failed) => {
            let error = ProviderError::from(failed);
            // The address is there, whatever became of what ties it.
            let effect = if error.effect == Effect::None {
                Effect::Partial
            } else {
                error.effect
            };
            Err(error.with_effect(effect))
        }
    }
}

async fn disassociate(clients: &Clients, address: &Address) -> Result<(), ProviderError> {
    let Some(association) = address.association_id().filter(|id| !id.is_empty()) else {
        return Ok(());
    };
    let request = clients
        .ec2
        .disassociate_address()
        .association_id(association)
        .send();
    match clients
        .call(Api::ec2("DisassociateAddress").changing(), request)
        .await
    {
        Err(failed) if failed.is("InvalidAssociationID.NotFound") => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn describe(
    clients: &Clients,
    filter: aws_sdk_ec2::types::Filter,
) -> Result<Vec<Address>, ProviderError> {
    let request = clients.ec2.describe_addresses().filters(filter).send();
    let answer = clients.call(Api::ec2("DescribeAddresses"), request).await?;
    Ok(answer.addresses.unwrap_or_default())
}

fn state(clients: &Clients, address: &Address, inputs: &Attributes) -> ObjectState {
    let id = address.allocation_id().unwrap_or_default();
    let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let leads = named(address.association_id()).is_some();
    let dns = address.public_ip().map(|ip| {
        let domain = match &*clients.region {
            "us-east-1" => "compute-1".to_owned(),
            region => format!("{region}.compute"),
        };
        format!("ec2-{}.{domain}.amazonaws.com", ip.replace('.', "-"))
    });
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(id))
        .text("allocation_id", Some(id))
        .text("domain", Some("vpc"))
        .text("association_id", named(address.association_id()))
        .text("public_ip", address.public_ip())
        .text("public_dns", dns)
        .text(
            "arn",
            Some(format!("arn:aws:ec2:{}::elastic-ip/{id}", clients.region)),
        )
        .value("tags", tags::attribute(&tags::by_name(address.tags()), inputs));
    if leads {
        attributes.text("private_ip", named(address.private_ip_address()));
        // Told by the instance or by its interface, whichever the inputs speak of.
        if is_set(inputs, "network_interface") {
            attributes.text("network_interface", named(address.network_interface_id()));
        } else {
            attributes.text("instance", named(address.instance_id()));
        }
        if is_set(inputs, "associate_with_private_ip") {
            attributes.text("associate_with_private_ip", named(address.private_ip_address()));
        }
    }
    ObjectState {
        id: ObjectId::new(id),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}
