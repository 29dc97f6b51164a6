//! `aws_subnet`: a part of a network, in one zone.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, Subnet};
use gabion_engine::provider::ProviderError;
use gabion_engine::schema::{AttributeKind, AttributeSchema, ResourceSchema};
use gabion_engine::value::Attributes;

use super::{
    DataKind, computed, either, filtered, filters, in_region, only, schema, tags_value, with_arguments,
};
use crate::attributes::{Written, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::tags::filter;

pub(super) struct Subnets;

const API: Api = Api::ec2("DescribeSubnets");

/// Arguments that are texts, and the filters that they are.
const TEXTS: [(&str, &str, &str); 6] = [
    ("id", "subnet-id", "Its id."),
    ("vpc_id", "vpc-id", "The network that it is a part of."),
    (
        "availability_zone",
        "availability-zone",
        "Its zone, such as `eu-west-1a`.",
    ),
    (
        "availability_zone_id",
        "availability-zone-id",
        "The id of its zone, which is the same in every account.",
    ),
    (
        "cidr_block",
        "cidr-block",
        "Its addresses, such as `10.0.1.0/24`.",
    ),
    ("state", "state", "Such as `available`."),
];

#[async_trait]
impl DataKind for Subnets {
    fn schema(&self) -> ResourceSchema {
        let start = filtered(
            in_region(schema("aws_subnet", "A part of a network, in one zone.")),
            "DescribeSubnets",
        );
        let schema = TEXTS.iter().fold(start, |schema, (name, _, description)| {
            schema.attribute(name, either(AttributeKind::String, description))
        });
        let schema = schema
            .attribute(
                "default_for_az",
                either(AttributeKind::Bool, "Whether it is the default of its zone."),
            )
            .attribute(
                "tags",
                either(
                    AttributeKind::Map(Box::new(AttributeKind::String)),
                    "Tags that it must have; found where they are not set.",
                ),
            )
            .attribute(
                "available_ip_address_count",
                AttributeSchema::computed(AttributeKind::Int, "How many addresses are free."),
            )
            .attribute(
                "map_public_ip_on_launch",
                AttributeSchema::computed(
                    AttributeKind::Bool,
                    "Whether machines in it get a public address.",
                ),
            );
        computed(
            schema,
            &[
                ("arn", "Its Amazon Resource Name."),
                ("owner_id", "The account that owns it."),
            ],
        )
    }

    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError> {
        let mut wanted = filters(arguments);
        wanted.extend(
            TEXTS
                .iter()
                .filter_map(|(argument, name, _)| Some(filter(name, [text(arguments, argument)?]))),
        );
        wanted
            .extend(truth(arguments, "default_for_az").map(|is| filter("default-for-az", [is.to_string()])));
        let found = describe(clients, wanted).await?;
        let there = match found.is_empty() {
            true => describe(clients, Vec::new()).await?,
            false => Vec::new(),
        };
        let subnet = only("subnet", API, clients, arguments, found, name, &there)?;
        Ok(with_arguments(arguments, attributes(&subnet, clients)))
    }
}

async fn describe(clients: &Clients, filters: Vec<Filter>) -> Result<Vec<Subnet>, ProviderError> {
    let request = clients
        .ec2
        .describe_subnets()
        .set_filters(Some(filters).filter(|filters| !filters.is_empty()))
        .into_paginator()
        .items()
        .send();
    Ok(clients.call(API, request.try_collect()).await?)
}

fn name(subnet: &Subnet) -> String {
    format!(
        "{} ({}, {}, in {})",
        subnet.subnet_id().unwrap_or_default(),
        subnet.availability_zone().unwrap_or_default(),
        subnet.cidr_block().unwrap_or_default(),
        subnet.vpc_id().unwrap_or_default()
    )
}

fn attributes(subnet: &Subnet, clients: &Clients) -> Attributes {
    Written::default()
        .text("region", Some(&*clients.region))
        .text("id", subnet.subnet_id())
        .text("vpc_id", subnet.vpc_id())
        .text("availability_zone", subnet.availability_zone())
        .text("availability_zone_id", subnet.availability_zone_id())
        .text("cidr_block", subnet.cidr_block())
        .text("state", subnet.state().map(|it| it.as_str()))
        .truth("default_for_az", subnet.default_for_az())
        .truth("map_public_ip_on_launch", subnet.map_public_ip_on_launch())
        .int("available_ip_address_count", subnet.available_ip_address_count())
        .text("arn", subnet.subnet_arn())
        .text("owner_id", subnet.owner_id())
        .value("tags", Some(tags_value(subnet.tags())))
        .done()
}
