//! Images: the newest that an owner's name pattern matches.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Image, ImageState};
use gabion_engine::provider::ProviderError;
use gabion_engine::value::Value;

use crate::attributes::text;
use crate::clients::Clients;
use crate::error::Api;
use crate::facts::{ImageFacts, image_key};
use crate::tags::filter;

/// What finds an image: its owner (an account, or an alias such as `amazon`), a name with `*` and `?`, and perhaps an
/// architecture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ImagePattern {
    pub(crate) owner: String,
    pub(crate) name: String,
    pub(crate) architecture: Option<String>,
}

impl ImagePattern {
    pub(crate) fn key(&self) -> String {
        image_key(&self.owner, &self.name, self.architecture.as_deref())
    }

    /// Reads a pattern from a survey's inputs.
    pub(crate) fn of(value: &Value) -> Option<Self> {
        let map = value.as_map()?;
        Some(Self {
            owner: text(map, "owner")?.to_owned(),
            name: text(map, "name")?.to_owned(),
            architecture: text(map, "architecture").map(str::to_owned),
        })
    }
}

/// Returns the newest image of each pattern, by the pattern's key; what nothing matches is missing.
pub(crate) async fn newest(
    clients: &Clients,
    patterns: &[ImagePattern],
) -> Result<BTreeMap<String, ImageFacts>, ProviderError> {
    let mut found = BTreeMap::new();
    for pattern in patterns {
        let mut request = clients
            .ec2
            .describe_images()
            .owners(&pattern.owner)
            .filters(filter("name", [pattern.name.as_str()]))
            .filters(filter("state", ["available"]));
        if let Some(architecture) = &pattern.architecture {
            request = request.filters(filter("architecture", [architecture.as_str()]));
        }
        let answer = clients.call(Api::ec2("DescribeImages"), request.send()).await?;
        let newest = answer
            .images()
            .iter()
            .filter(|image| image.state().is_none_or(|state| *state == ImageState::Available))
            // Times in one form compare as texts; equal ones by id, so that the choice is always the same.
            .max_by_key(|image| {
                (
                    image.creation_date().unwrap_or_default(),
                    image.image_id().unwrap_or_default(),
                )
            });
        if let Some(image) = newest {
            found.insert(pattern.key(), facts(image));
        }
    }
    Ok(found)
}

/// Returns one image.
pub(crate) async fn by_id(clients: &Clients, id: &str) -> Result<Option<ImageFacts>, ProviderError> {
    let request = clients.ec2.describe_images().image_ids(id).send();
    match clients.call(Api::ec2("DescribeImages"), request).await {
        Ok(answer) => Ok(answer.images().first().map(facts)),
        Err(failed) => Err(failed.into()),
    }
}

pub(crate) fn facts(image: &Image) -> ImageFacts {
    let root = image.root_device_name().unwrap_or_default();
    let size = image
        .block_device_mappings()
        .iter()
        .find(|mapping| mapping.device_name() == Some(root))
        .and_then(|mapping| mapping.ebs()?.volume_size());
    ImageFacts {
        id: image.image_id().unwrap_or_default().to_owned(),
        name: image.name().unwrap_or_default().to_owned(),
        created: image.creation_date().unwrap_or_default().to_owned(),
        architecture: image
            .architecture()
            .map(|architecture| architecture.as_str().to_owned())
            .unwrap_or_default(),
        root_device: root.to_owned(),
        root_gib: size.unwrap_or_default().into(),
    }
}
