//! `aws_route53_zone`: a hosted zone.

use async_trait::async_trait;
use aws_sdk_route53::types::HostedZone;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::schema::{AttributeKind, AttributeSchema, Equality, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::{DataKind, computed, either, only, schema, with_arguments};
use crate::attributes::{Written, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::route53::record_set::dns_name;
use crate::route53::{zone, zone_id};

pub(super) struct HostedZones;

const API: Api = Api::route53("ListHostedZones");

#[async_trait]
impl DataKind for HostedZones {
    fn schema(&self) -> ResourceSchema {
        let schema = schema("aws_route53_zone", "A hosted zone, by its whole name or its id.")
            .attribute(
                "name",
                either(AttributeKind::String, "Its name, such as `example.com`.").equality(Equality::CaseInsensitive),
            )
            .attribute("zone_id", either(AttributeKind::String, "Its id."))
            .attribute(
                "private_zone",
                either(
                    AttributeKind::Bool,
                    "Whether it is one that only networks of its own see; with a name and without this, a public one is meant.",
                ),
            )
            .attribute(
                "name_servers",
                AttributeSchema::computed(
                    AttributeKind::List(Box::new(AttributeKind::String)),
                    "Its name servers, sorted.",
                ),
            )
            .attribute(
                "resource_record_set_count",
                AttributeSchema::computed(AttributeKind::Int, "How many record sets it has."),
            );
        computed(
            schema,
            &[
                ("arn", "Its Amazon Resource Name."),
                ("caller_reference", "The token that it was made with."),
                ("comment", "What it is for."),
                ("primary_name_server", "The first of its name servers."),
            ],
        )
    }

    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError> {
        let (name, id) = (text(arguments, "name"), text(arguments, "zone_id"));
        if name.is_none() && id.is_none() {
            return Err(ProviderError::new(
                ErrorClass::Invalid,
                "Neither `name` nor `zone_id` says which hosted zone is meant.",
            )
            .with_hint("set `name: example.com`")
            .at(AttributePath::default()));
        }
        let private = truth(arguments, "private_zone").or(id.is_none().then_some(false));
        let there = zone::all(clients).await?;
        let is_meant = |zone: &&HostedZone| {
            name.is_none_or(|name| dns_name(zone.name()) == dns_name(name))
                && id.is_none_or(|id| zone_id(zone.id()) == zone_id(id))
                && private.is_none_or(|private| is_private(zone) == private)
        };
        let found: Vec<HostedZone> = there.iter().filter(is_meant).cloned().collect();
        let zone = only("hosted zone", API, clients, arguments, found, described, &there)?;
        let servers = match is_private(&zone) {
            true => Vec::new(),
            false => zone::name_servers(clients, zone_id(zone.id())).await?,
        };
        let count = zone.resource_record_set_count();
        let found = Written::default()
            .text("id", Some(zone_id(zone.id())))
            .text("zone_id", Some(zone_id(zone.id())))
            .text(
                "arn",
                Some(format!("arn:aws:route53:::hostedzone/{}", zone_id(zone.id()))),
            )
            .text("name", Some(zone.name().trim_end_matches('.')))
            .text("caller_reference", Some(zone.caller_reference()))
            .text("comment", zone.config().and_then(|config| config.comment()))
            .text("primary_name_server", servers.first())
            .texts("name_servers", servers)
            .truth("private_zone", Some(is_private(&zone)))
            .value("resource_record_set_count", count.map(Value::Int))
            .done();
        Ok(with_arguments(arguments, found))
    }
}

fn is_private(zone: &HostedZone) -> bool {
    zone.config().is_some_and(|config| config.private_zone())
}

fn described(zone: &HostedZone) -> String {
    let private = match is_private(zone) {
        true => ", private",
        false => "",
    };
    format!(
        "{} ({}{private})",
        zone.name().trim_end_matches('.'),
        zone_id(zone.id())
    )
}
