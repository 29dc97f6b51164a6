//! The names of regions, for whoever mistyped one.
//!
//! AWS opens new regions now and then, so a name that is not here is asked for before anybody is told that it is wrong.

use std::collections::BTreeMap;

use aws_sdk_ec2::Client;
use gabion_engine::diagnostic::did_you_mean;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::{AttributePath, Value};

use crate::clients::{Clients, Place};
use crate::error::Api;

/// The regions that AWS lists ("AWS Regions", and those of its other partitions).
const KNOWN: [&str; 39] = [
    "af-south-1",
    "ap-east-1",
    "ap-east-2",
    "ap-northeast-1",
    "ap-northeast-2",
    "ap-northeast-3",
    "ap-south-1",
    "ap-south-2",
    "ap-southeast-1",
    "ap-southeast-2",
    "ap-southeast-3",
    "ap-southeast-4",
    "ap-southeast-5",
    "ap-southeast-6",
    "ap-southeast-7",
    "ca-central-1",
    "ca-west-1",
    "cn-north-1",
    "cn-northwest-1",
    "eu-central-1",
    "eu-central-2",
    "eu-north-1",
    "eu-south-1",
    "eu-south-2",
    "eu-west-1",
    "eu-west-2",
    "eu-west-3",
    "eusc-de-east-1",
    "il-central-1",
    "me-central-1",
    "me-south-1",
    "mx-central-1",
    "sa-east-1",
    "us-east-1",
    "us-east-2",
    "us-gov-east-1",
    "us-gov-west-1",
    "us-west-1",
    "us-west-2",
];

/// What EC2 answers to whoever signs for a region that it is not.
const NOT_MINE: [&str; 4] = [
    "AuthFailure",
    "SignatureDoesNotMatch",
    "InvalidClientTokenId",
    "UnrecognizedClientException",
];

pub(crate) fn is_known(region: &str) -> bool {
    KNOWN.contains(&region)
}

/// Returns the way out for somebody whose region does not answer and is not known here.
pub(crate) fn hint(region: &str) -> String {
    let nearest = match did_you_mean(region, KNOWN) {
        Some(nearest) => format!("did you mean `{nearest}`? "),
        None => String::new(),
    };
    format!(
        "{nearest}`{region}` is none of the regions that this build knows: {}",
        KNOWN.join(", ")
    )
}

/// Returns the name of the fact that nobody answers for a place.
pub(crate) fn fact(place: &Place) -> Option<String> {
    let region = place.region.as_ref()?;
    let profile = place.profile.as_deref().unwrap_or_default();
    Some(format!("region/{profile}/{region}"))
}

/// Finds out whether a region that is not known here answers; returns what went wrong.
pub(crate) async fn problem(clients: &Clients) -> Option<String> {
    let ec2: &Client = &clients.ec2;
    let request = ec2.describe_availability_zones().send();
    let failed = clients
        .call(Api::ec2("DescribeAvailabilityZones"), request)
        .await
        .err()?;
    let is_elsewhere = match &failed.code {
        Some(code) => NOT_MINE.contains(&code.as_str()),
        // Without credentials nothing was sent.
        None => failed.error.class == ErrorClass::Transient,
    };
    is_elsewhere.then_some(failed.error.message)
}

/// Returns the error of a resource in a region of which it was found out that nobody answers there; a variable of the
/// environment may have named the region.
pub(crate) fn refusal(
    place: &Place,
    variable: Option<&str>,
    facts: &BTreeMap<String, Value>,
) -> Option<ProviderError> {
    let region = place.region.as_deref()?;
    let said = facts.get(&fact(place)?)?.as_str()?;
    let hint = hint(region);
    let error = |message| ProviderError::new(ErrorClass::Invalid, message);
    Some(match variable {
        None => error(format!("There is no region `{region}` to ask. {said}"))
            .with_hint(hint)
            .at(AttributePath::root("region")),
        Some(variable) => error(format!(
            "{variable} names the region `{region}`, and there is none of that name to ask. {said}"
        ))
        .with_hint(format!(
            "correct {variable}, or set `region` of the resource: {hint}"
        )),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_region_is_named_first() {
        assert!(hint("eu-west-9").starts_with("did you mean `eu-west-1`?"));
        assert!(hint("euwest1").contains("did you mean `eu-west-1`?"));
        assert!(hint("moon").starts_with("`moon` is none"));
        assert!(KNOWN.is_sorted());
    }
}
