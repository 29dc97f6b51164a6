//! The choice of a machine: its type, image and subnet. What was chosen before stands for as long as it meets the need.

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::RecordedView;
use gabion_engine::diagnostic::{Diagnostic, Span};
use gabion_engine::value::{Attributes, Value};

use super::machine::INSTANCE;
use super::network::{self, Wanted};
use super::region::Region;
use super::settings::AwsSettings;
use crate::grammar::gpu::Vendor;
use crate::offers::catalogue::{self, Family, ImagePattern};
use crate::offers::{self, Market, Offer, OfferNeed, Offers, RegionFacts, Subnet, image_key};

/// How many of the other offers are told, and asked for when there is no capacity for those before them.
const ALTERNATIVES: usize = 4;
/// In how many other zones an offer is asked for before the next one is.
const OTHER_ZONES: usize = 2;

/// What is asked for.
pub(super) struct Asked<'a> {
    /// The machine's name.
    pub(super) machine: &'a str,
    /// What it must be.
    pub(super) need: OfferNeed<'a>,
    /// The least that its disk has, in GB.
    pub(super) disk_gb: u64,
    /// The reservation that it comes from.
    pub(super) reservation: Option<&'a str>,
    /// Whether it has a public address.
    pub(super) has_public_address: bool,
    /// The zone that is best.
    pub(super) near: Option<&'a str>,
    /// Whom it is for, for people: `the gateway`, `qwen/default`.
    pub(super) what: String,
    /// What was asked for, in the document's words.
    pub(super) wish: String,
    /// Where it is asked for.
    pub(super) span: Span,
}

/// What was chosen; what nobody knows yet is missing.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    pub(super) instance_type: Option<String>,
    pub(super) family: Option<&'static Family>,
    pub(super) vcpus: u32,
    pub(super) is_spot: bool,
    pub(super) image: &'static ImagePattern,
    pub(super) image_id: Option<String>,
    pub(super) subnet_id: Option<String>,
    pub(super) zone: Option<String>,
    pub(super) disk_gib: i64,
    pub(super) reservation: Option<String>,
    /// The user of the gateway, for those who come through it.
    pub(super) gateway_user: &'static str,
    pub(super) notes: Vec<String>,
    /// What it is, for people.
    pub(super) label: String,
    /// What is made in its place when there is no capacity for it, in this order.
    pub(super) others: Vec<Choice>,
}

/// The user of Ubuntu's images.
const USER: &str = "ubuntu";

impl Choice {
    /// What is known before anything was chosen: what is recorded.
    fn unknown(asked: &Asked<'_>, kept: &Kept) -> Self {
        let family = kept
            .instance_type
            .as_deref()
            .and_then(|name| catalogue::family(name.split('.').next().unwrap_or(name)));
        let needs_gpu = asked.need.resources.gpu.value.is_needed();
        let usual = catalogue::family(if needs_gpu { "g4dn" } else { "t3" });
        Self {
            instance_type: kept.instance_type.clone(),
            family: None,
            vcpus: 0,
            is_spot: kept.is_spot,
            image: family.or(usual).unwrap_or(&catalogue::families()[0]).image(),
            image_id: kept.image_id.clone(),
            subnet_id: kept.subnet_id.clone(),
            zone: None,
            disk_gib: i64::try_from(asked.disk_gb).unwrap_or(i64::MAX),
            reservation: asked.reservation.map(str::to_owned),
            gateway_user: USER,
            notes: Vec::new(),
            label: String::new(),
            others: Vec::new(),
        }
    }

    /// An offer in a subnet, from an image.
    fn of(
        asked: &Asked<'_>,
        facts: &RegionFacts,
        offer: &Offer<'_>,
        subnet: &Subnet,
        image_id: String,
    ) -> Self {
        let image = offer.family.image();
        let newest = facts.images.get(&image_key(
            &image.owner,
            &image.pattern,
            &offer.family.architecture,
        ));
        let least = newest.map_or(0, |image| image.root_gib).max(image.root_gb);
        let disk = asked.disk_gb.max(least);
        Self {
            instance_type: Some(offer.instance_type.name.clone()),
            family: Some(offer.family),
            vcpus: offer.instance_type.vcpus,
            is_spot: offer.market == Market::Spot,
            image,
            image_id: Some(image_id),
            subnet_id: Some(subnet.id.clone()),
            zone: Some(subnet.availability_zone.clone()),
            disk_gib: i64::try_from(disk).unwrap_or(i64::MAX),
            reservation: asked.reservation.map(str::to_owned),
            gateway_user: USER,
            notes: Vec::new(),
            label: format!(
                "{} at {} in {}",
                offer.instance_type.name,
                offer.cost(),
                subnet.availability_zone
            ),
            others: Vec::new(),
        }
    }
}

/// What is recorded of a choice.
#[derive(Default)]
struct Kept {
    instance_type: Option<String>,
    image_id: Option<String>,
    subnet_id: Option<String>,
    is_spot: bool,
}

impl Kept {
    fn of(attributes: &Attributes) -> Self {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        let market = attributes.get("instance_market_options").and_then(Value::as_list);
        Self {
            instance_type: text("instance_type"),
            image_id: text("ami"),
            subnet_id: text("subnet_id"),
            is_spot: market.is_some_and(|blocks| !blocks.is_empty()),
        }
    }

    fn market(&self) -> Market {
        if self.is_spot {
            Market::Spot
        } else {
            Market::OnDemand
        }
    }
}

/// Chooses; the second is why nothing could be chosen, and then the first is what is known anyway.
pub(super) fn choose(
    asked: &Asked<'_>,
    region: &Region,
    recorded: &dyn RecordedView,
    settings: &AwsSettings,
) -> (Choice, Option<Diagnostic>) {
    let address = ResourceAddress::of(INSTANCE, asked.machine);
    let address = address.expect("names in documents are checked before lowering");
    let is_upgraded = recorded.is_upgraded(&address);
    let kept = recorded
        .attributes(&address)
        .filter(|_| !is_upgraded)
        .map(|attributes| Kept::of(&attributes))
        .unwrap_or_default();
    let unknown = Choice::unknown(asked, &kept);
    let Region::Known(facts) = region else {
        return (unknown, None);
    };
    match known(asked, facts, &kept, settings) {
        Ok(choice) => (choice, None),
        Err(why) => (unknown, Some(*why)),
    }
}

fn known(
    asked: &Asked<'_>,
    facts: &RegionFacts,
    kept: &Kept,
    settings: &AwsSettings,
) -> Result<Choice, Box<Diagnostic>> {
    let found = offers::find(facts, &asked.need);
    let mut notes = Vec::new();
    let standing = standing(asked, facts, kept);
    if let (None, Some(before)) = (&standing, &kept.instance_type) {
        notes.push(format!(
            "{}: {before} no longer meets what is asked for, and another type is chosen.",
            asked.what
        ));
    }
    let wanted = Wanted {
        zones: asked.need.zones,
        near: asked.near,
        has_public_address: asked.has_public_address,
        kept: kept.subnet_id.as_deref(),
    };
    let candidates: Vec<&Offer<'_>> = match &standing {
        Some(offer) => vec![offer],
        None => found.offers.iter().collect(),
    };
    if candidates.is_empty() {
        return Err(Box::new(unmet(asked, facts, &found)));
    }
    let mut placed = candidates.into_iter().filter_map(|offer| {
        let subnet = network::subnet(facts, offer.instance_type, wanted, settings)?;
        Some((offer, subnet))
    });
    let Some((offer, subnet)) = placed.next() else {
        return Err(Box::new(no_subnet(asked, facts, settings)));
    };
    match &standing {
        None => notes.push(why(asked, facts, offer, &found)),
        Some(offer) => notes.extend(better(asked, facts, offer, &found)),
    }
    let image = offer.family.image();
    let key = image_key(&image.owner, &image.pattern, &offer.family.architecture);
    let newest = facts.images.get(&key);
    let before = kept.instance_type.as_deref();
    let image_id = match (&kept.image_id, newest) {
        // Another type of the same kind starts from the same image.
        (Some(kept), newest) if kept_pattern(before) == Some(image) => {
            if let Some(newest) = newest.filter(|newest| newest.id != *kept) {
                notes.push(format!(
                    "{}: its image {kept} stands; there is a newer one, {} ({}). {}",
                    asked.what,
                    newest.id,
                    newest.name,
                    way_to_upgrade(asked)
                ));
            }
            kept.clone()
        }
        (_, Some(newest)) => newest.id.clone(),
        (_, None) => return Err(Box::new(no_image(asked, facts, image))),
    };
    let chosen = Choice::of(asked, facts, offer, subnet, image_id);
    Ok(Choice {
        others: others(asked, facts, (offer, subnet), &chosen, &found, wanted, settings),
        notes,
        ..chosen
    })
}

/// Returns what else is asked for when there is no capacity: what was chosen in other zones, then the next offers. They
/// start from images of the same user, since what runs on the machine is set up for that one.
fn others(
    asked: &Asked<'_>,
    facts: &RegionFacts,
    (offer, subnet): (&Offer<'_>, &Subnet),
    chosen: &Choice,
    found: &Offers<'_>,
    wanted: Wanted<'_>,
    settings: &AwsSettings,
) -> Vec<Choice> {
    // A reservation is of one type in one zone.
    if asked.reservation.is_some() {
        return Vec::new();
    }
    let image = |offer: &Offer<'_>| {
        let image = offer.family.image();
        if image == chosen.image {
            return chosen.image_id.clone();
        }
        let key = image_key(&image.owner, &image.pattern, &offer.family.architecture);
        Some(facts.images.get(&key)?.id.clone())
    };
    let zones = network::other_subnets(facts, offer.instance_type, wanted, subnet, settings)
        .into_iter()
        .take(OTHER_ZONES)
        .map(|subnet| (offer, subnet));
    let anywhere = Wanted { kept: None, ..wanted };
    let next = found
        .offers
        .iter()
        .filter(|other| is_other(other, offer))
        .filter(|other| other.family.image().user == chosen.image.user)
        .filter_map(|other| {
            Some((
                other,
                network::subnet(facts, other.instance_type, anywhere, settings)?,
            ))
        })
        .take(ALTERNATIVES);
    zones
        .chain(next)
        .filter_map(|(offer, subnet)| Some(Choice::of(asked, facts, offer, subnet, image(offer)?)))
        .collect()
}

fn is_other(other: &Offer<'_>, offer: &Offer<'_>) -> bool {
    other.instance_type.name != offer.instance_type.name || other.market != offer.market
}

/// Returns the pattern of the image that a type's machines are made from.
fn kept_pattern(instance_type: Option<&str>) -> Option<&'static ImagePattern> {
    let family = instance_type?.split('.').next()?;
    Some(catalogue::family(family)?.image())
}

/// Returns the offer that was taken before, if it still meets the need. What it costs has no say in that: prices move
/// without anybody's doing.
fn standing<'a>(asked: &Asked<'_>, facts: &'a RegionFacts, kept: &Kept) -> Option<Offer<'a>> {
    let name = kept.instance_type.as_deref()?;
    let at_any_price = OfferNeed {
        max_price: None,
        ..asked.need
    };
    let found = offers::find(facts, &at_any_price);
    let market = kept.market();
    found
        .offers
        .into_iter()
        .find(|offer| offer.instance_type.name == name && offer.market == market)
}

/// Says what was chosen, why, and what comes next.
fn why(asked: &Asked<'_>, facts: &RegionFacts, offer: &Offer<'_>, found: &Offers<'_>) -> String {
    let count = found.offers.len();
    let reason = match (count, offer.price) {
        (1, _) => "the only offer that meets".to_owned(),
        (_, Some(_)) => format!("the cheapest of {count} offers that meet"),
        (_, None) => format!("the smallest of {count} offers that meet"),
    };
    let mut text = format!(
        "{}: {} ({}), {} in {}, is {reason} {}.",
        asked.what,
        offer.instance_type.name,
        offer.describe(),
        offer.cost(),
        facts.region,
        asked.wish
    );
    let next: Vec<String> = found
        .offers
        .iter()
        .filter(|other| is_other(other, offer))
        .take(ALTERNATIVES)
        .map(|other| format!("{} {}", other.instance_type.name, other.cost()))
        .collect();
    if !next.is_empty() {
        text.push_str(&format!(" Next: {}", next.join(", ")));
        let more = count.saturating_sub(1 + next.len());
        text.push_str(&match more {
            0 => ".".to_owned(),
            more => format!(", and {more} more."),
        });
    }
    if found.offers.iter().any(|offer| offer.price.is_some()) {
        text.push_str(&format!(" List prices of {}.", offers::price_date(facts)));
    }
    text
}

/// Says that something better could be had.
fn better(asked: &Asked<'_>, facts: &RegionFacts, offer: &Offer<'_>, found: &Offers<'_>) -> Option<String> {
    let best = found.offers.first()?;
    let is_cheaper = match (best.price, offer.price) {
        (Some(best), Some(now)) => best < now,
        _ => false,
    };
    is_cheaper.then(|| {
        format!(
            "{}: {} at {} stands; {} would cost {} in {}. {}",
            asked.what,
            offer.instance_type.name,
            offer.cost(),
            best.instance_type.name,
            best.cost(),
            facts.region,
            way_to_upgrade(asked)
        )
    })
}

fn way_to_upgrade(asked: &Asked<'_>) -> String {
    format!(
        "`gabion plan --upgrade '{INSTANCE}.{}'` shows what taking it would change.",
        asked.machine
    )
}

fn unmet(asked: &Asked<'_>, facts: &RegionFacts, found: &Offers<'_>) -> Diagnostic {
    let mut detail = format!(
        "No machine in {} meets {} of {}.",
        facts.region, asked.wish, asked.what
    );
    let vendors = asked.need.resources.gpu.value.vendors();
    let has_maker = |vendor: &Vendor| {
        let mut families = catalogue::families().iter();
        families.any(|family| family.vendor.as_deref() == Some(&vendor.to_string()))
    };
    if let Some(vendor) = vendors.first().filter(|vendor| !has_maker(vendor)) {
        detail.push_str(&format!(
            " gabion makes no machines with {} accelerators on AWS.",
            title(*vendor)
        ));
    }
    if !found.closest.is_empty() {
        detail.push_str(" What comes closest:");
        for miss in &found.closest {
            let price = miss.price.map_or_else(
                || "price unknown".to_owned(),
                |price| format!("{price} on demand"),
            );
            detail.push_str(&format!(
                "\n    {} ({price}): {}",
                miss.instance_type.name,
                miss.lacks.join(", ")
            ));
        }
    }
    let way_out = match asked.machine.rsplit_once('/') {
        Some((group, _)) => format!("{group}/*"),
        None => asked.machine.to_owned(),
    };
    Diagnostic::error("unmet-need", "resources not available")
        .detail(detail)
        .at(asked.span.clone())
        .hint(format!(
            "ask for something else, or plan the rest without it:\n    gabion plan --exclude '{INSTANCE}.{way_out}'"
        ))
}

fn title(vendor: Vendor) -> &'static str {
    match vendor {
        Vendor::Nvidia => "NVIDIA",
        Vendor::Amd => "AMD",
        Vendor::Google => "Google",
        Vendor::Intel => "Intel",
        Vendor::Tenstorrent => "Tenstorrent",
    }
}

fn no_image(asked: &Asked<'_>, facts: &RegionFacts, image: &ImagePattern) -> Diagnostic {
    Diagnostic::error("no-image", "no image for a machine")
        .detail(format!(
            "{}: {} has no image `{}` of `{}`.",
            asked.what, facts.region, image.pattern, image.owner
        ))
        .at(asked.span.clone())
        .hint("choose another region, or see whether the account may use public images")
}

fn no_subnet(asked: &Asked<'_>, facts: &RegionFacts, settings: &AwsSettings) -> Diagnostic {
    let vpc = match &facts.vpc {
        Some(vpc) => format!("VPC {}", vpc.id),
        None => {
            return Diagnostic::error("no-vpc", "no network for a machine")
                .detail(format!("{}: {} has no default VPC.", asked.what, facts.region))
                .at(asked.span.clone())
                .hint("in gabion.yml, set `vpc_id` of the backend");
        }
    };
    let needs_nat = !asked.has_public_address;
    let mut detail = format!(
        "{}: no subnet of {vpc} in {} will do. It must be in a zone that offers the type{}, and lead to the internet{}.",
        asked.what,
        facts.region,
        if settings.subnet_ids.is_empty() {
            ""
        } else {
            " and among the backend's `subnet_ids`"
        },
        if needs_nat {
            " by a NAT gateway, since the machine has no public address"
        } else {
            ""
        },
    );
    for subnet in &facts.subnets {
        detail.push_str(&format!(
            "\n    {} in {}: egress {}",
            subnet.id,
            subnet.availability_zone,
            match subnet.egress.as_str() {
                "" => "unknown",
                egress => egress,
            }
        ));
    }
    Diagnostic::error("no-subnet", "no subnet for a machine")
        .detail(detail)
        .at(asked.span.clone())
        .hint("in gabion.yml, set other `subnet_ids`, or `public_ip: true`")
}
