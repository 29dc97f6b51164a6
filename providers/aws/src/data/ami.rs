//! `aws_ami`: an image.

use async_trait::async_trait;
use aws_sdk_ec2::types::Image;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::schema::{AttributeKind, AttributeSchema, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes};

use super::{
    DataKind, asked, computed, filtered, filters, in_region, listed, schema, tags_value, with_arguments,
};
use crate::attributes::{Written, texts, truth};
use crate::clients::Clients;
use crate::error::Api;

pub(super) struct Amis;

/// Filters that say whose an image is, or which one it is.
const WHOSE: [&str; 3] = ["owner-id", "owner-alias", "image-id"];

const API: Api = Api::ec2("DescribeImages");

#[async_trait]
impl DataKind for Amis {
    fn schema(&self) -> ResourceSchema {
        let schema = filtered(
            in_region(schema("aws_ami", "An image that machines are made from.")),
            "DescribeImages",
        )
        .attribute(
            "owners",
            AttributeSchema::optional(
                AttributeKind::List(Box::new(AttributeKind::String)),
                "Whose images: numbers of accounts, or `self`, `amazon`, `aws-marketplace`.",
            ),
        )
        .attribute(
            "most_recent",
            AttributeSchema::optional(
                AttributeKind::Bool,
                "Whether the newest is taken where several match. Else that is an error.",
            ),
        )
        .attribute(
            "tags",
            AttributeSchema::optional_computed(
                AttributeKind::Map(Box::new(AttributeKind::String)),
                "Tags that it must have; found where they are not set.",
            ),
        );
        computed(
            schema,
            &[
                ("image_id", "Its id."),
                ("name", "Its name."),
                ("description", "What its owner says about it."),
                ("architecture", "Such as `x86_64` or `arm64`."),
                ("creation_date", "When it was made."),
                ("owner_id", "The account that owns it."),
                ("platform_details", "Its system."),
                ("root_device_name", "The name of its root device."),
                ("root_device_type", "Such as `ebs`."),
                ("virtualization_type", "Such as `hvm`."),
                ("state", "Such as `available`."),
            ],
        )
    }

    async fn find(&self, clients: &Clients, arguments: &Attributes) -> Result<Attributes, ProviderError> {
        let takes_newest = truth(arguments, "most_recent").unwrap_or_default();
        let filters = filters(arguments);
        let says_whose = !texts(arguments, "owners").is_empty()
            || filters
                .iter()
                .any(|filter| filter.name().is_some_and(|name| WHOSE.contains(&name)));
        if takes_newest && !says_whose {
            return Err(ProviderError::new(
                ErrorClass::Invalid,
                "The newest image of a name is anybody's: whoever publishes one under that name would choose what the machine runs.",
            )
            .at(AttributePath::root("most_recent"))
            .with_hint("say whose it is: `owners: [\"099720109477\"]`, an account's number, or `amazon` or `self`"));
        }
        let request = clients
            .ec2
            .describe_images()
            .set_owners(Some(texts(arguments, "owners")).filter(|owners| !owners.is_empty()))
            .set_filters(Some(filters).filter(|filters| !filters.is_empty()));
        let answer = clients.call(API, request.send()).await?;
        let mut images = answer.images.unwrap_or_default();
        // Times in one form compare as texts; equal ones by id, so that the choice is always the same.
        images.sort_by(|a, b| (b.creation_date(), b.image_id()).cmp(&(a.creation_date(), a.image_id())));
        match images.as_slice() {
            [] => Err(ProviderError::new(
                ErrorClass::NotFound,
                format!("{API} in {}: no image matches {}.", clients.region, asked(arguments)),
            )
            .with_hint(
                "check `owners` (an account's number, or an alias such as `amazon`) and the values of `filter`, which may hold `*`",
            )),
            [newest, others @ ..] if others.is_empty() || takes_newest => {
                Ok(with_arguments(arguments, attributes(newest, clients)))
            }
            several => Err(ProviderError::new(
                ErrorClass::Conflict,
                format!(
                    "{API} in {}: {} images match {}: {}.",
                    clients.region,
                    several.len(),
                    asked(arguments),
                    listed(several, |image| format!(
                        "{} ({})",
                        image.image_id().unwrap_or_default(),
                        image.name().unwrap_or_default()
                    ))
                ),
            )
            .with_hint("set `most_recent: true` for the newest, or say more with `filter`")),
        }
    }
}

fn attributes(image: &Image, clients: &Clients) -> Attributes {
    Written::default()
        .text("region", Some(&*clients.region))
        .text("id", image.image_id())
        .text("image_id", image.image_id())
        .text("name", image.name())
        .text("description", image.description())
        .text("architecture", image.architecture().map(|it| it.as_str()))
        .text("creation_date", image.creation_date())
        .text("owner_id", image.owner_id())
        .text("platform_details", image.platform_details())
        .text("root_device_name", image.root_device_name())
        .text("root_device_type", image.root_device_type().map(|it| it.as_str()))
        .text(
            "virtualization_type",
            image.virtualization_type().map(|it| it.as_str()),
        )
        .text("state", image.state().map(|it| it.as_str()))
        .value("tags", Some(tags_value(image.tags())))
        .done()
}
