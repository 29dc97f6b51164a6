//! Regions: what is asked about them, and what is known.

use std::collections::{BTreeMap, BTreeSet};

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{RecordedView, Survey, SurveyFailure};
use gabion_engine::value::{Attributes, Value};

use super::settings::AwsSettings;
use super::{AWS, AWS_REGION, dns};
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
    let mut regions: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let on_aws = gateways
        .iter()
        .map(|gateway| &gateway.document)
        .filter(|gateway| gateway.backend.value.name() == AWS);
    for gateway in on_aws {
        let Some(region) = &gateway.region else { continue };
        let hosts = regions.entry(region.value.as_str()).or_default();
        let domain = gateway.domain.as_ref();
        hosts.extend(domain.map(|domain| dns::record_name(&domain.value)));
    }
    regions
        .into_iter()
        .filter_map(|(region, hosts)| survey(region, &hosts, settings))
        .collect()
}

/// Returns what has to be found out about a region, and about the zones of host names.
pub(crate) fn survey(region: &str, hosts: &BTreeSet<String>, settings: &AwsSettings) -> Option<Survey> {
    let mut inputs = Attributes::new();
    inputs.insert("region".into(), region.into());
    if let Some(profile) = &settings.profile {
        inputs.insert("profile".into(), Value::string(&profile.value));
    }
    if let Some(vpc) = settings.vpc_id(region) {
        inputs.insert("vpc_id".into(), Value::string(&vpc.value));
    }
    if !hosts.is_empty() {
        let hosts = hosts.iter().map(|host| Value::from(host.as_str())).collect();
        inputs.insert("hosts".into(), Value::List(hosts));
        if let Some(nameserver) = settings.acme.nameserver() {
            inputs.insert("nameserver".into(), nameserver.into());
        }
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
