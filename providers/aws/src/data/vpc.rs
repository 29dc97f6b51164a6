//! `aws_vpc`: a network.

use async_trait::async_trait;
use aws_sdk_ec2::types::{Filter, Vpc};
use gabion_engine::provider::ProviderError;
use gabion_engine::schema::{AttributeKind, ResourceSchema};
use gabion_engine::value::Attributes;

use super::{
    DataKind, computed, either, filtered, filters, in_region, only, schema, tags_value, with_arguments,
};
use crate::attributes::{Written, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::tags::filter;

pub(super) struct Vpcs;

const API: Api = Api::ec2("DescribeVpcs");

#[async_trait]
impl DataKind for Vpcs {
    fn schema(&self) -> ResourceSchema {
        let schema = filtered(in_region(schema("aws_vpc", "A network.")), "DescribeVpcs")
            .attribute("id", either(AttributeKind::String, "Its id."))
            .attribute(
                "default",
                either(AttributeKind::Bool, "Whether it is the region's default network."),
            )
            .attribute(
                "cidr_block",
                either(AttributeKind::String, "Its addresses, such as `10.0.0.0/16`."),
            )
            .attribute("state", either(AttributeKind::String, "Such as `available`."))
            .attribute(
                "tags",
                either(
                    AttributeKind::Map(Box::new(AttributeKind::String)),
                    "Tags that it must have; found where they are not set.",
                ),
            );
        computed(
            schema,
            &[
                ("dhcp_options_id", "Its DHCP options."),
                ("instance_tenancy", "Such as `default`."),
                ("owner_id", "The account that owns it."),
            ],
        )
    }

    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError> {
        let mut wanted = filters(arguments);
        wanted.extend(text(arguments, "id").map(|id| filter("vpc-id", [id])));
        wanted.extend(text(arguments, "cidr_block").map(|block| filter("cidr", [block])));
        wanted.extend(text(arguments, "state").map(|state| filter("state", [state])));
        wanted.extend(truth(arguments, "default").map(|is| filter("is-default", [is.to_string()])));
        let found = describe(clients, wanted).await?;
        let there = match found.is_empty() {
            true => describe(clients, Vec::new()).await?,
            false => Vec::new(),
        };
        let vpc = only("network", API, clients, arguments, found, name, &there)?;
        Ok(with_arguments(arguments, attributes(&vpc, clients)))
    }
}

async fn describe(clients: &Clients, filters: Vec<Filter>) -> Result<Vec<Vpc>, ProviderError> {
    let request = clients
        .ec2
        .describe_vpcs()
        .set_filters(Some(filters).filter(|filters| !filters.is_empty()))
        .into_paginator()
        .items()
        .send();
    Ok(clients.call(API, request.try_collect()).await?)
}

fn name(vpc: &Vpc) -> String {
    let default = match vpc.is_default() {
        Some(true) => ", the default",
        _ => "",
    };
    format!(
        "{} ({}{default})",
        vpc.vpc_id().unwrap_or_default(),
        vpc.cidr_block().unwrap_or_default()
    )
}

fn attributes(vpc: &Vpc, clients: &Clients) -> Attributes {
    Written::default()
        .text("region", Some(&*clients.region))
        .text("id", vpc.vpc_id())
        .truth("default", vpc.is_default())
        .text("cidr_block", vpc.cidr_block())
        .text("state", vpc.state().map(|it| it.as_str()))
        .text("dhcp_options_id", vpc.dhcp_options_id())
        .text("instance_tenancy", vpc.instance_tenancy().map(|it| it.as_str()))
        .text("owner_id", vpc.owner_id())
        .value("tags", Some(tags_value(vpc.tags())))
        .done()
}
