//! Asking for offers without a plan: for a project's services, or for what somebody says.

use std::collections::BTreeSet;

use gabion_engine::config::{Keyword, Project, Spanned, Survey};
use gabion_engine::diagnostic::{Diagnostics, SourceFile, Span};

use super::need::OfferNeed;
use crate::document::profile::SpotPolicy;
use crate::document::resources::Resources;
use crate::family;
use crate::grammar::cpu::CpuSpec;
use crate::grammar::gpu::GpuSpec;
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;
use crate::lower::AwsSettings;
use crate::term::Line;

/// Something that offers are asked for.
#[derive(Clone, Debug)]
pub struct OfferRequest {
    /// Whom it is for: `qwen/default`; empty when somebody asks without a document.
    pub what: String,
    /// What is asked for, in the document's words.
    pub wish: String,
    /// The region.
    pub region: String,
    resources: Resources,
    has_image: bool,
    wishes: Wishes,
}

/// What somebody says on the command line. What is left out is left open; beside a document's, it wins.
#[derive(Clone, Debug, Default)]
pub struct Words {
    /// Accelerators: `24GB..:1`.
    pub gpu: Option<String>,
    /// Processors: `8..`.
    pub cpu: Option<String>,
    /// Memory: `32GB..`.
    pub memory: Option<String>,
    /// Whether interruptible machines will do.
    pub spot_policy: Option<String>,
    /// The most that it may cost, in dollars an hour.
    pub max_price: Option<f64>,
    /// The types that will do.
    pub instance_types: Vec<String>,
}

#[derive(Clone, Debug)]
struct Wishes {
    spot_policy: SpotPolicy,
    max_price: Option<f64>,
    instance_types: Vec<String>,
    zones: Vec<String>,
    reserved: bool,
}

impl OfferRequest {
    /// Returns the requests of a project's services that are on AWS, each in the region of its gateway; of those in the
    /// files only, where some are named.
    #[must_use]
    pub fn of_project(project: &Project, files: Option<&BTreeSet<std::sync::Arc<str>>>) -> Vec<Self> {
        let read = family::read_project(project);
        let mut requests = Vec::new();
        for placed in &read.services {
            if files.is_some_and(|files| !files.contains(&*placed.reference.place.file)) {
                continue;
            }
            let service = &placed.document;
            let Some(region) = family::region_of(service, &read.gateways) else {
                continue;
            };
            for member in service.members() {
                let profile = &service.profile;
                requests.push(Self {
                    what: format!("{}/{}", service.name.value, member.name),
                    wish: wish(member.resources),
                    region: region.clone(),
                    resources: member.resources.clone(),
                    has_image: member.image.is_some(),
                    wishes: Wishes {
                        spot_policy: profile.spot_policy,
                        max_price: profile.max_price.as_ref().map(|price| price.0),
                        instance_types: profile.instance_types.clone(),
                        zones: profile.availability_zones.clone(),
                        reserved: profile.reservation.is_some(),
                    },
                });
            }
        }
        requests
    }

    /// Returns the request that words make.
    ///
    /// # Errors
    /// A sentence about the word that says nothing.
    pub fn of_words(words: &Words, region: &str) -> Result<Self, String> {
        let here = Span::of_file(&SourceFile::new("", ""));
        let mut resources = Resources::default();
        if let Some(text) = &words.gpu {
            resources.gpu = Spanned::new(GpuSpec::parse(text)?, here.clone());
        }
        if let Some(text) = &words.cpu {
            resources.cpu = Spanned::new(CpuSpec::parse(text)?, here);
        }
        if let Some(text) = &words.memory {
            resources.memory = Range::<Memory>::parse(text)?;
        }
        let spot_policy = match &words.spot_policy {
            None => SpotPolicy::OnDemand,
            Some(text) => {
                let known = SpotPolicy::WORDS.iter().find(|(word, _)| word == text);
                let (_, policy) = known.ok_or_else(|| {
                    format!("`{text}` is no spot policy: write `spot`, `on-demand` or `auto`.")
                })?;
                *policy
            }
        };
        Ok(Self {
            what: String::new(),
            wish: wish(&resources),
            region: region.to_owned(),
            resources,
            has_image: false,
            wishes: Wishes {
                spot_policy,
                max_price: words.max_price,
                instance_types: words.instance_types.clone(),
                zones: Vec::new(),
                reserved: false,
            },
        })
    }

    /// Returns what a machine for it must be.
    #[must_use]
    pub fn need(&self) -> OfferNeed<'_> {
        OfferNeed {
            resources: &self.resources,
            has_image: self.has_image,
            spot_policy: self.wishes.spot_policy,
            max_price: self.wishes.max_price,
            instance_types: &self.wishes.instance_types,
            zones: &self.wishes.zones,
            reserved: self.wishes.reserved,
        }
    }

    /// Returns what has to be found out about its region.
    #[must_use]
    pub fn survey(&self, project: &Project) -> Option<Survey> {
        let settings = AwsSettings::of(&project.settings, &mut Diagnostics::new());
        crate::lower::aws_survey(&self.region, &BTreeSet::new(), &settings)
    }
}

/// Returns the regions of a project's gateways on AWS, and those that its settings name.
#[must_use]
pub fn regions(project: &Project) -> Vec<String> {
    let read = family::read_project(project);
    let of_gateways = read
        .gateways
        .iter()
        .filter(|gateway| gateway.document.backend.value.name() == crate::lower::AWS)
        .filter_map(|gateway| gateway.document.region.as_ref())
        .map(|region| region.value.clone());
    let settings = AwsSettings::of(&project.settings, &mut Diagnostics::new());
    let all: BTreeSet<String> = of_gateways.chain(settings.region_names()).collect();
    all.into_iter().collect()
}

/// Says what is asked for, in the document's words.
pub(crate) fn wish(resources: &Resources) -> String {
    if resources.gpu.value.is_needed() {
        format!("`gpu: {}`", resources.gpu.value)
    } else {
        format!("`cpu: {}`, `memory: {}`", resources.cpu.value, resources.memory)
    }
}
