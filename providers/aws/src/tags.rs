//! Tags: those that people set, and the marks by which objects are known as this project's.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Filter, ResourceType as Tagged, Tag, TagSpecification};
use gabion_engine::address::{OperationId, ResourceAddress, Uid};
use gabion_engine::provider::{Call, ProviderError};
use gabion_engine::value::{Attributes, Value};

use crate::attributes::user_tags;
use crate::clients::Clients;
use crate::error::Api;

/// Whose project an object is of.
pub(crate) const LINEAGE: &str = "gabion:lineage";
/// Which object of the project it is.
pub(crate) const UID: &str = "gabion:uid";
/// Its address when it was made.
pub(crate) const ADDRESS: &str = "gabion:address";
/// The operation that made it.
pub(crate) const OPERATION: &str = "gabion:op";

/// What tags of ours, and of AWS itself, begin with. People cannot set these.
const RESERVED: [&str; 2] = ["gabion:", "aws:"];

pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.iter().any(|prefix| name.starts_with(prefix))
}

/// Returns all tags of an object to be made: people's and ours.
pub(crate) fn all(inputs: &Attributes, call: &Call) -> BTreeMap<String, String> {
    let mut tags = user_tags(inputs);
    tags.insert(LINEAGE.into(), call.lineage.to_string());
    tags.insert(UID.into(), call.uid.to_string());
    tags.insert(ADDRESS.into(), call.address.to_string());
    tags.insert(OPERATION.into(), call.operation.to_string());
    tags
}

/// Returns the tags of a creating call.
pub(crate) fn specification(tagged: Tagged, inputs: &Attributes, call: &Call) -> TagSpecification {
    let tags = all(inputs, call);
    TagSpecification::builder()
        .resource_type(tagged)
        .set_tags(Some(ec2_tags(&tags)))
        .build()
}

pub(crate) fn ec2_tags(tags: &BTreeMap<String, String>) -> Vec<Tag> {
    tags.iter()
        .map(|(key, value)| Tag::builder().key(key).value(value).build())
        .collect()
}

/// Returns tags by name.
pub(crate) fn by_name(tags: &[Tag]) -> BTreeMap<String, String> {
    tags.iter()
        .filter_map(|tag| Some((tag.key()?.to_owned(), tag.value().unwrap_or_default().to_owned())))
        .collect()
}

/// Returns the attribute `tags`: what people set; `None` when there are none and the inputs have none either.
pub(crate) fn attribute(tags: &BTreeMap<String, String>, inputs: &Attributes) -> Option<Value> {
    let mine = tags.iter().filter(|(name, _)| !is_reserved(name));
    let entries: Attributes = mine
        .map(|(name, value)| (name.as_str().into(), Value::string(value)))
        .collect();
    let written = inputs.get("tags").is_some_and(|tags| !tags.is_null());
    (written || !entries.is_empty()).then_some(Value::Map(entries))
}

/// What the marks on an object say.
pub(crate) struct Mark {
    pub(crate) uid: Option<Uid>,
    pub(crate) address: Option<ResourceAddress>,
}

impl Mark {
    pub(crate) fn of(tags: &BTreeMap<String, String>) -> Self {
        Self {
            uid: tags.get(UID).and_then(|uid| uid.parse().ok()),
            address: tags.get(ADDRESS).and_then(|address| address.parse().ok()),
        }
    }
}

pub(crate) fn filter(name: &str, values: impl IntoIterator<Item = impl Into<String>>) -> Filter {
    Filter::builder()
        .name(name)
        .set_values(Some(values.into_iter().map(Into::into).collect()))
        .build()
}

/// Returns the filter for what an operation made.
pub(crate) fn made_by(operation: OperationId) -> Filter {
    filter(&format!("tag:{OPERATION}"), [operation.to_string()])
}

/// Returns the filter for what carries a project's mark.
pub(crate) fn owned_by(lineage: gabion_engine::address::Lineage) -> Filter {
    filter(&format!("tag:{LINEAGE}"), [lineage.to_string()])
}

/// Makes the tags of an object of EC2 those that people want, leaving ours and AWS's own.
pub(crate) async fn converge(
    clients: &Clients,
    id: &str,
    there: &BTreeMap<String, String>,
    inputs: &Attributes,
) -> Result<(), ProviderError> {
    let wanted = user_tags(inputs);
    let set: BTreeMap<String, String> = wanted
        .iter()
        .filter(|(name, value)| there.get(*name) != Some(value))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let gone: Vec<Tag> = there
        .keys()
        .filter(|name| !is_reserved(name) && !wanted.contains_key(*name))
        .map(|name| Tag::builder().key(name).build())
        .collect();
    if !set.is_empty() {
        let request = clients
            .ec2
            .create_tags()
            .resources(id)
            .set_tags(Some(ec2_tags(&set)))
            .send();
        clients.call(Api::ec2("CreateTags").changing(), request).await?;
    }
    if !gone.is_empty() {
        let request = clients
            .ec2
            .delete_tags()
            .resources(id)
            .set_tags(Some(gone))
            .send();
        clients.call(Api::ec2("DeleteTags").changing(), request).await?;
    }
    Ok(())
}
