//! `aws_availability_zones`: the zones of a region.

use async_trait::async_trait;
use aws_sdk_ec2::types::AvailabilityZone;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::schema::{AttributeKind, AttributeSchema, ResourceSchema};
use gabion_engine::value::{Attributes, Value};

use super::{DataKind, asked, filtered, filters, in_region, schema, with_arguments};
use crate::attributes::{Written, text, texts, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::tags::filter;

pub(super) struct Zones;

const API: Api = Api::ec2("DescribeAvailabilityZones");

#[async_trait]
impl DataKind for Zones {
    fn schema(&self) -> ResourceSchema {
        let list = || AttributeKind::List(Box::new(AttributeKind::String));
        filtered(
            in_region(schema(
                "aws_availability_zones",
                "The zones of a region. `id` is the region.",
            )),
            "DescribeAvailabilityZones",
        )
        .attribute(
            "state",
            AttributeSchema::optional(
                AttributeKind::String,
                "Only zones in this state, such as `available`.",
            ),
        )
        .attribute(
            "all_availability_zones",
            AttributeSchema::optional(
                AttributeKind::Bool,
                "Whether zones count too that the account did not opt in to.",
            ),
        )
        .attribute(
            "exclude_names",
            AttributeSchema::optional(list(), "Names of zones that do not count."),
        )
        .attribute(
            "exclude_zone_ids",
            AttributeSchema::optional(list(), "Ids of zones that do not count."),
        )
        .attribute(
            "names",
            AttributeSchema::computed(list(), "Their names, such as `eu-west-1a`, sorted."),
        )
        .attribute(
            "zone_ids",
            AttributeSchema::computed(list(), "Their ids, in the order of the names."),
        )
        .attribute(
            "group_names",
            AttributeSchema::computed(list(), "The groups that they are in."),
        )
    }

    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError> {
        let mut wanted = filters(arguments);
        wanted.extend(text(arguments, "state").map(|state| filter("state", [state])));
        let request = clients
            .ec2
            .describe_availability_zones()
            .set_all_availability_zones(truth(arguments, "all_availability_zones"))
            .set_filters(Some(wanted).filter(|filters| !filters.is_empty()));
        let answer = clients.call(API, request.send()).await?;
        let (names, ids) = (
            texts(arguments, "exclude_names"),
            texts(arguments, "exclude_zone_ids"),
        );
        let is_out =
            |excluded: &[String], text: Option<&str>| excluded.iter().any(|out| Some(&**out) == text);
        let mut zones = answer.availability_zones.unwrap_or_default();
        zones.retain(|zone| !is_out(&names, zone.zone_name()) && !is_out(&ids, zone.zone_id()));
        if zones.is_empty() {
            return Err(ProviderError::new(
                ErrorClass::NotFound,
                format!(
                    "{API} in {}: no zone matches {}.",
                    clients.region,
                    asked(arguments)
                ),
            )
            .with_hint("ask for less: a region always has zones"));
        }
        zones.sort_by(|a, b| a.zone_name().cmp(&b.zone_name()));
        let list = |text: fn(&AvailabilityZone) -> Option<&str>| {
            Value::List(zones.iter().filter_map(text).map(Value::from).collect())
        };
        let found = Written::default()
            .text("region", Some(&*clients.region))
            .text("id", Some(&*clients.region))
            .value("names", Some(list(AvailabilityZone::zone_name)))
            .value("zone_ids", Some(list(AvailabilityZone::zone_id)))
            .texts(
                "group_names",
                zones
                    .iter()
                    .filter_map(AvailabilityZone::group_name)
                    .collect::<std::collections::BTreeSet<_>>(),
            )
            .done();
        Ok(with_arguments(arguments, found))
    }
}
