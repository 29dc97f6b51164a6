//! Regions: what is asked about them, and what is known.

use std::collections::BTreeSet;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{RecordedView, Survey, SurveyFailure};
use gabion_engine::value::{Attributes, Value};

use super::settings::AwsSettings;
use super::{AWS, AWS_REGION};
use crate::document::gateway::Gateway;
use crate::lower::project::Placed;
use crate::offers::RegionFacts;
use crate::offers::catalogue;

/// What is known of a region.
#[derive(Debug)]
pub(super) enum Region {
    /// Its survey's answer.
    Known(RegionFacts),
    /// Its survey failed.
    Failed(SurveyFailure),
    /// Nobody asked: the configuration is looked at, and not planned.
    Unasked,
}

impl Region {
    /// Returns what is known of a region.
    pub(super) fn of(name: &str, settings: &AwsSettings, recorded: &dyn RecordedView) -> Self {
        let Some(address) = address(name, settings) else {
            return Self::Unasked;
        };
        match recorded.surveyed(&address) {
            Some(Ok(attributes)) => Self::Known(RegionFacts::of(attributes)),
            Some(Err(failure)) => Self::Failed(failure.clone()),
            None => Self::Unasked,
        }
    }

    /// Returns its facts, if they are known.
    pub(super) fn facts(&self) -> Option<&RegionFacts> {
        match self {
            Self::Known(facts) => Some(facts),
            Self::Failed(_) | Self::Unasked => None,
        }
    }
}

/// Returns what has to be found out about the regions of gateways. Replicas are in their gateway's.
pub(crate) fn surveys(gateways: &[Placed<Gateway>], settings: &AwsSettings) -> Vec<Survey> {
    let regions: BTreeSet<&str> = gateways
        .iter()
        .filter(|gateway| gateway.document.backend.value.name() == AWS)
        .filter_map(|gateway| gateway.document.region.as_ref())
        .map(|region| region.value.as_str())
        .collect();
    regions
        .into_iter()
        .filter_map(|region| survey(region, settings))
        .collect()
}

/// Returns what has to be found out about a region.
pub(crate) fn survey(region: &str, settings: &AwsSettings) -> Option<Survey> {
    let mut inputs = Attributes::new();
    inputs.insert("region".into(), region.into());
    if let Some(profile) = &settings.profile {
        inputs.insert("profile".into(), Value::string(&profile.value));
    }
    if let Some(vpc) = settings.vpc_id(region) {
        inputs.insert("vpc_id".into(), Value::string(&vpc.value));
    }
    let families = catalogue::families();
    let images: BTreeSet<(&str, &str, &str)> = families
        .iter()
        .map(|family| {
            let image = family.image();
            (
                image.owner.as_str(),
                image.pattern.as_str(),
                family.architecture.as_str(),
            )
        })
        .collect();
    let images = images.into_iter().map(|(owner, name, architecture)| {
        Value::map([
            ("owner", Value::from(owner)),
            ("name", name.into()),
            ("architecture", architecture.into()),
        ])
    });
    inputs.insert("images".into(), Value::List(images.collect()));
    let types = families
        .iter()
        .map(|family| Value::from(format!("{}.*", family.family)));
    inputs.insert("instance_types".into(), Value::List(types.collect()));
    Some(Survey {
        address: address(region, settings)?,
        inputs,
    })
}

fn address(region: &str, settings: &AwsSettings) -> Option<ResourceAddress> {
    let name = match &settings.profile {
        Some(profile) => format!("{}/{region}", profile.value),
        None => region.to_owned(),
    };
    ResourceAddress::of(AWS_REGION, &name).ok()
}
