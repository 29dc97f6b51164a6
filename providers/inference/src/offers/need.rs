//! What is asked of a machine in a cloud.

use crate::document::profile::SpotPolicy;
use crate::document::resources::Resources;

/// How a machine is bought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Market {
    /// For as long as it is wanted.
    OnDemand,
    /// Until somebody else pays more.
    Spot,
}

impl Market {
    /// Returns its name in sentences.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::OnDemand => "on demand",
            Self::Spot => "spot",
        }
    }
}

/// What a machine must be, and how it may be bought.
#[derive(Clone, Copy, Debug)]
pub struct OfferNeed<'a> {
    /// What it must have.
    pub resources: &'a Resources,
    /// Whether the program brings its own image, so that accelerators need not be NVIDIA's by themselves.
    pub has_image: bool,
    /// How it may be bought.
    pub spot_policy: SpotPolicy,
    /// The most that it may cost, in dollars an hour.
    pub max_price: Option<f64>,
    /// The types that will do; all if none are given.
    pub instance_types: &'a [String],
    /// The zones that will do; all if none are given.
    pub zones: &'a [String],
    /// Whether only a machine that has been reserved will do, which is bought already.
    pub reserved: bool,
}

impl<'a> OfferNeed<'a> {
    /// Asks for resources, and leaves the rest open.
    #[must_use]
    pub fn of(resources: &'a Resources) -> Self {
        Self {
            resources,
            has_image: false,
            spot_policy: SpotPolicy::OnDemand,
            max_price: None,
            instance_types: &[],
            zones: &[],
            reserved: false,
        }
    }

    /// Returns the ways in which it may be bought, the better one first.
    pub(super) fn markets(&self) -> &'static [Market] {
        match self.spot_policy {
            _ if self.reserved => &[Market::OnDemand],
            SpotPolicy::OnDemand => &[Market::OnDemand],
            SpotPolicy::Spot => &[Market::Spot],
            SpotPolicy::Auto => &[Market::Spot, Market::OnDemand],
        }
    }
}
