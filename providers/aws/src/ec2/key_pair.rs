//! `aws_key_pair`: a public SSH key that instances can be started with.

use async_trait::async_trait;
use aws_sdk_ec2::types::{KeyPairInfo, ResourceType as Tagged};
use aws_smithy_types::Blob;
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ListedObject, ObjectState, ObserveRequest, PlanRequest,
    PlanResponse, ProviderError, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::CONSISTENCY;
use super::security_group::{made_name, recorded_id};
use crate::attributes::{Written, as_written, problem, required, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought};
use crate::tags;

/// The resource type.
pub(crate) const TYPE: &str = "aws_key_pair";

pub(crate) struct KeyPairs;

#[async_trait]
impl Kind for KeyPairs {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(TYPE, "A public SSH key that instances can be started with.")
            .attribute("region", kind::region())
            .attribute(
                "key_name",
                AttributeSchema::optional_computed(
                    text.clone(),
                    "Its name, unique in the region; null is a name made of the resource's own and its uid.",
                )
                .forces_replacement(),
            )
            .attribute(
                "public_key",
                AttributeSchema::required(
                    text.clone(),
                    "The key in OpenSSH's form: `ssh-ed25519 AAAA… comment`.",
                )
                .forces_replacement(),
            )
            .attribute("tags", kind::tags())
            .attribute(
                "fingerprint",
                AttributeSchema::computed(text.clone(), "The key's fingerprint, as EC2 has it."),
            )
            .attribute(
                "key_pair_id",
                AttributeSchema::computed(text.clone(), "Its id at EC2."),
            )
            .attribute("key_type", AttributeSchema::computed(text, "`rsa` or `ed25519`."));
        schema.idempotency = Idempotency::UniqueName;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::DeleteThenCreate;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let Some(key) = text(inputs, "public_key") else {
            return Vec::new();
        };
        let known = ["ssh-ed25519 ", "ssh-rsa "]
            .iter()
            .any(|kind| key.trim_start().starts_with(kind));
        if known {
            return Vec::new();
        }
        let hint = if key.contains("PRIVATE KEY") {
            "this is a private key, which belongs in no configuration: give the file that ends with .pub"
        } else {
            "EC2 takes keys of the types ssh-ed25519 and ssh-rsa"
        };
        vec![problem("public_key", "It is no public key that EC2 takes.", hint)]
    }

    fn plan(&self, schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
        let mut response = propose(schema, request);
        // The comment of a key is no part of it.
        let prior = request
            .prior
            .as_ref()
            .and_then(|prior| text(&prior.attributes, "public_key"));
        if let (Some(prior), Some(desired)) = (prior, text(&request.desired, "public_key"))
            && key(prior) == key(desired)
        {
            let path = AttributePath::root("public_key");
            response.replace.retain(|cause| cause.path != path);
        }
        response
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut found = Found::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let names = chunk.iter().map(|sought| sought.id.as_str());
            for pair in describe(clients, tags::filter("key-name", names)).await? {
                let id = ObjectId::new(pair.key_name().unwrap_or_default());
                for sought in chunk.iter().filter(|sought| sought.id == id) {
                    found.insert(id.clone(), state(clients, &pair, &sought.inputs));
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
        let name = match text(inputs, "key_name") {
            Some(name) => name.to_owned(),
            None => made_name(call),
        };
        let import = clients
            .ec2
            .import_key_pair()
            .key_name(&name)
            .public_key_material(Blob::new(required(inputs, "public_key").trim()))
            .tag_specifications(tags::specification(Tagged::KeyPair, inputs, call))
            .send();
        clients.call(Api::ec2("ImportKeyPair").changing(), import).await?;
        let id = ObjectId::new(&name);
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
        let pairs = describe(clients, tags::filter("key-name", [id.as_str()])).await?;
        if let Some(pair) = pairs.first()
            && let Some(pair_id) = pair.key_pair_id()
        {
            tags::converge(clients, pair_id, &tags::by_name(pair.tags()), inputs).await?;
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
        // EC2 answers the same whether the key was there or not.
        let delete = clients.ec2.delete_key_pair().key_name(id.as_str()).send();
        match clients.call(Api::ec2("DeleteKeyPair").changing(), delete).await {
            Err(failed) if failed.is("InvalidKeyPair.NotFound") => Ok(()),
            other => Ok(other.map(drop)?),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let pairs = describe(clients, tags::made_by(request.operation)).await?;
        Ok(pairs.first().map(|pair| state(clients, pair, &request.inputs)))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let pairs = describe(clients, tags::owned_by(lineage)).await?;
        let listed = pairs
            .iter()
            .filter_map(|pair| kind::listed(TYPE, pair.key_name()?, &tags::by_name(pair.tags())));
        Ok(listed.collect())
    }
}

/// Returns type and key without the comment.
fn key(text: &str) -> Vec<&str> {
    text.split_whitespace().take(2).collect()
}

async fn describe(
    clients: &Clients,
    filter: aws_sdk_ec2::types::Filter,
) -> Result<Vec<KeyPairInfo>, ProviderError> {
    let request = clients
        .ec2
        .describe_key_pairs()
        .filters(filter)
        .include_public_key(true)
        .send();
    let answer = clients.call(Api::ec2("DescribeKeyPairs"), request).await?;
    Ok(answer.key_pairs.unwrap_or_default())
}

fn state(clients: &Clients, pair: &KeyPairInfo, inputs: &Attributes) -> ObjectState {
    let name = pair.key_name().unwrap_or_default();
    let there = pair.public_key().map(|key| {
        let there = Value::string(key.trim());
        as_written(inputs.get("public_key"), there, |value| {
            crate::attributes::opened(value)
                .as_str()
                .map(key_of)
                .unwrap_or_default()
        })
    });
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(name))
        .text("key_name", Some(name))
        .text("fingerprint", pair.key_fingerprint())
        .text("key_pair_id", pair.key_pair_id())
        .text("key_type", pair.key_type().map(|kind| kind.as_str()))
        .value("tags", tags::attribute(&tags::by_name(pair.tags()), inputs));
    let unreadable = match there {
        Some(there) => {
            attributes.value("public_key", Some(there));
            Vec::new()
        }
        None => vec![AttributePath::root("public_key")],
    };
    ObjectState {
        id: ObjectId::new(name),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable,
    }
}

fn key_of(text: &str) -> Vec<String> {
    key(text).into_iter().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_key_is_refused_with_the_file_to_give() {
        let inputs = Attributes::from([(
            "public_key".into(),
            Value::from("-----BEGIN OPENSSH PRIVATE KEY-----"),
        )]);
        let problems = KeyPairs.validate(&inputs);
        assert!(problems[0].hint.as_ref().unwrap().contains(".pub"));
    }

    #[test]
    fn the_comment_of_a_key_is_no_part_of_it() {
        assert_eq!(key("ssh-ed25519 AAAA ada@laptop"), key("ssh-ed25519  AAAA"));
    }
}
