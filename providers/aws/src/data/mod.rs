//! What is looked up in an account and not managed: one kind a file.

mod ami;
mod hosted_zone;
mod subnet;
mod vpc;
mod zones;

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_ec2::types::Filter;
use gabion_engine::address::ResourceType;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::schema::{AttributeKind, AttributeSchema, ResourceSchema};
use gabion_engine::value::{Attributes, Value};

use crate::attributes::{blocks, required, texts, user_tags};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::block_kind;
use crate::tags::filter;

/// How many objects a message names.
const NAMED: usize = 5;

/// One kind of data.
#[async_trait]
pub(crate) trait DataKind: Send + Sync {
    /// Returns the schema: arguments, and what is found.
    fn schema(&self) -> ResourceSchema;

    /// Finds what the arguments ask for.
    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError>;
}

/// Returns every kind, by name.
pub(crate) fn kinds() -> BTreeMap<ResourceType, Box<dyn DataKind>> {
    let kinds: Vec<Box<dyn DataKind>> = vec![
        Box::new(ami::Amis),
        Box::new(hosted_zone::HostedZones),
        Box::new(subnet::Subnets),
        Box::new(vpc::Vpcs),
        Box::new(zones::Zones),
    ];
    kinds
        .into_iter()
        .map(|kind| (kind.schema().resource_type, kind))
        .collect()
}

/// Starts a schema.
///
/// # Panics
/// When the name is no resource type; it is a constant.
fn schema(kind: &str, description: &str) -> ResourceSchema {
    let kind = ResourceType::new(kind).expect("a constant kind is well formed");
    ResourceSchema::new(kind, description)
        .attribute(
            "profile",
            AttributeSchema::optional(
                AttributeKind::String,
                "The profile of the shared AWS configuration that it is looked up with; null is what the SDK's own chain finds.",
            ),
        )
        .attribute("id", AttributeSchema::computed(AttributeKind::String, "Its id."))
}

/// Adds the region in which something is looked up.
fn in_region(schema: ResourceSchema) -> ResourceSchema {
    schema.attribute(
        "region",
        AttributeSchema::optional_computed(
            AttributeKind::String,
            "The region, such as `eu-west-1`; null is the region of the SDK's own chain.",
        ),
    )
}

/// Adds the argument `filter`.
fn filtered(schema: ResourceSchema, api: &str) -> ResourceSchema {
    let values = AttributeKind::List(Box::new(AttributeKind::String));
    schema.attribute(
        "filter",
        AttributeSchema::optional(
            block_kind(&[("name", AttributeKind::String), ("values", values)]),
            &format!(
                "Filters of EC2's {api}: each a `name` and `values`, in which `*` and `?` stand for anything."
            ),
        ),
    )
}

/// Adds computed texts.
fn computed(schema: ResourceSchema, texts: &[(&str, &str)]) -> ResourceSchema {
    texts.iter().fold(schema, |schema, (name, description)| {
        schema.attribute(
            name,
            AttributeSchema::computed(AttributeKind::String, description),
        )
    })
}

/// An optional argument, which is found where it is not set.
fn either(kind: AttributeKind, description: &str) -> AttributeSchema {
    AttributeSchema::optional_computed(kind, description)
}

/// Returns the filters that `filter` and `tags` say.
fn filters(arguments: &Attributes) -> Vec<Filter> {
    let written = blocks(arguments, "filter");
    let written = written
        .into_iter()
        .map(|block| filter(required(block, "name"), texts(block, "values")));
    let tags = user_tags(arguments);
    let tags = tags
        .into_iter()
        .map(|(name, value)| filter(&format!("tag:{name}"), [value]));
    written.chain(tags).collect()
}

/// Returns the arguments that say what is looked for, as people write them.
fn asked(arguments: &Attributes) -> String {
    let said = arguments
        .iter()
        .filter(|(name, value)| !value.is_null() && !matches!(&***name, "region" | "profile" | "most_recent"))
        .map(|(name, value)| format!("`{name}`: {}", value.to_redacted_json()));
    let said: Vec<String> = said.collect();
    match said.is_empty() {
        true => "no argument at all".to_owned(),
        false => said.join(", "),
    }
}

/// Returns the only one that was found.
///
/// # Errors
/// When it is none, with what there is instead, or several, with which.
fn only<T>(
    what: &str,
    api: Api,
    clients: &Clients,
    arguments: &Attributes,
    mut found: Vec<T>,
    name: impl Fn(&T) -> String,
    there: &[T],
) -> Result<T, ProviderError> {
    let place = format!("{api} in {}", clients.region);
    match found.len() {
        1 => Ok(found.remove(0)),
        0 => {
            let error = ProviderError::new(
                ErrorClass::NotFound,
                format!("{place}: no {what} matches {}.", asked(arguments)),
            );
            Err(match there.is_empty() {
                true => error.with_hint(format!(
                    "the account has no {what} there: check `region`, `profile` and the arguments"
                )),
                false => error.with_hint(format!("there is {}", listed(there, name))),
            })
        }
        several => Err(ProviderError::new(
            ErrorClass::Conflict,
            format!(
                "{place}: {several} match {}: {}.",
                asked(arguments),
                listed(&found, name)
            ),
        )
        .with_hint(format!(
            "say more, so that one {what} is left: its id, a tag, a filter"
        ))),
    }
}

/// Names the first few.
fn listed<T>(items: &[T], name: impl Fn(&T) -> String) -> String {
    let mut names: Vec<String> = items.iter().take(NAMED).map(name).collect();
    if items.len() > NAMED {
        names.push(format!("and {} more", items.len() - NAMED));
    }
    names.join(", ")
}

/// Returns what was found, with the arguments where that says nothing.
fn with_arguments(arguments: &Attributes, found: Attributes) -> Attributes {
    let mut all = arguments.clone();
    all.extend(found);
    all.retain(|_, value| !value.is_null());
    all
}

/// Returns tags as an attribute, without those that are not for people.
fn tags_value(tags: &[aws_sdk_ec2::types::Tag]) -> Value {
    let tags = crate::tags::by_name(tags);
    let tags = tags
        .into_iter()
        .filter(|(name, _)| !crate::tags::is_reserved(name));
    Value::map(tags.map(|(name, value)| (name, Value::from(value))))
}
