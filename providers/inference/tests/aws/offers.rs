//! Which types of machines are offered and chosen.

use gabion_engine::address::ResourceAddress;
use gabion_engine::resource::{Configuration, Resource};
use gabion_engine::value::Attributes;
use gabion_inference::offers::{RegionFacts, TypePrices};

use crate::scene::{
    Known, applied, assert_shown, changed, errors, examples, facts, find, known, lower, notes, text,
};

#[test]
fn who_asks_for_what_the_region_lacks_is_told_what_comes_closest() {
    let (configuration, problems) = lower(&examples().join("amd"), &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let (address, why) = configuration.unmet.first_key_value().unwrap();
    assert_eq!(configuration.unmet.len(), 1);
    assert_eq!(address.to_string(), "aws_instance.qwen/default/0");
    let place = why.primary.as_ref().unwrap();
    assert_eq!(
        (place.to_string().as_str(), place.text()),
        ("qwen.dstack.yml:18:8", "MI300X:1")
    );
    assert_shown(
        "amd.txt",
        &format!(
            "{}\n\nhint: {}\n",
            why.detail,
            why.hint.as_deref().unwrap_or_default()
        ),
    );
    // The gateway has what it needs.
    assert_eq!(
        text(&configuration, "aws_instance.my-gateway", "instance_type"),
        "t3.small"
    );
}

/// The resources without what may be made in their place, which moves with the prices and matters to what is made anew.
fn as_asked(configuration: &Configuration) -> Vec<Resource> {
    let mut resources = configuration.resources.clone();
    for resource in &mut resources {
        resource.alternatives = Default::default();
    }
    resources
}

#[test]
fn what_was_chosen_stands_when_a_newer_image_and_a_cheaper_type_appear() {
    let before = facts();
    let (first, _) = lower(&examples().join("nvidia"), &known(&before));
    let mut after = facts();
    for (key, image) in &mut after.images {
        if key.contains("/x86_64") {
            image.id = format!("{}9", image.id);
            image.name = image.name.replace("202503", "202504");
        }
    }
    let half = TypePrices {
        on_demand: Some(0.5615),
        spot: None,
    };
    after.prices = [("g5.xlarge".to_owned(), half)].into();
    after.prices_date = Some("2025-04-01".to_owned());

    let (second, problems) = lower(&examples().join("nvidia"), &applied(&first, known(&after)));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert_eq!(as_asked(&first), as_asked(&second));
    assert_shown("pinned.txt", &notes(&second).join("\n"));

    let mut asked = applied(&first, known(&after));
    asked.upgraded = ["aws_instance.qwen/default/0".to_owned()].into();
    let (third, _) = lower(&examples().join("nvidia"), &asked);
    let machine = "aws_instance.qwen/default/0";
    assert_eq!(text(&third, machine, "instance_type"), "g5.xlarge");
    assert_eq!(text(&third, machine, "ami"), "ami-0a1b2c3d4e5f600039");
    let gateway = "aws_instance.my-gateway";
    assert_eq!(find(&first, gateway).inputs, find(&third, gateway).inputs);
}

#[test]
fn what_no_longer_meets_the_need_is_chosen_anew() {
    let (first, _) = lower(&examples().join("nvidia"), &known(&facts()));
    let larger = [("qwen.dstack.yml", "8GB..24GB:1", "20GB..:1")];
    let (second, problems) = changed("nvidia", &larger, &applied(&first, known(&facts())));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert_eq!(
        text(&second, "aws_instance.qwen/default/0", "instance_type"),
        "g5.xlarge"
    );
    let told = notes(&second);
    assert!(
        told.iter()
            .any(|note| note.starts_with("`qwen/default`: g4dn.xlarge no longer meets")),
        "{told:?}"
    );
}

#[test]
fn the_documents_wishes_are_heeded() {
    let chosen = |keys: &str, facts: &RegionFacts| {
        let with = format!("port: 8000\n{keys}\nmodel");
        let (configuration, problems) = changed(
            "nvidia",
            &[("qwen.dstack.yml", "port: 8000\nmodel", &with)],
            &known(facts),
        );
        assert_eq!(errors(&problems), Vec::<&str>::new(), "{keys}: {problems:?}");
        let machine = find(&configuration, "aws_instance.qwen/default/0").inputs.clone();
        let unmet = configuration.unmet.values().next().map(|why| why.detail.clone());
        (machine, unmet)
    };
    let name = |machine: &Attributes| machine["instance_type"].as_str().unwrap_or("none").to_owned();
    let facts = facts();
    let (machine, _) = chosen("instance_types: [g5.xlarge, g5.2xlarge]", &facts);
    assert_eq!(name(&machine), "g5.xlarge");
    let (machine, _) = chosen("availability_zones: [eu-west-1c]", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert_eq!(machine["subnet_id"], "subnet-0a1b2c3d4e5f60002".into());
    let (machine, why) = chosen(
        "availability_zones: [eu-west-1c]\ninstance_types: [g5.xlarge]",
        &facts,
    );
    assert_eq!(name(&machine), "none");
    assert!(
        why.unwrap()
            .contains("g5.xlarge ($1.123/h on demand): it is in eu-west-1a, eu-west-1b only")
    );
    let (_, why) = chosen("max_price: 0.5", &facts);
    assert!(
        why.unwrap()
            .contains("$0.587/h on demand, and `max_price` is 0.5")
    );
    let (machine, _) = chosen("max_price: 0.6", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert!(!machine.contains_key("instance_market_options"));
    let (machine, _) = chosen("spot_policy: spot", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert!(machine.contains_key("instance_market_options"));
    let (machine, _) = chosen("reservation: cr-0123", &facts);
    assert!(format!("{:?}", machine["capacity_reservation_specification"]).contains("cr-0123"));
    // A spot price that is known beats the list price on demand.
    let mut with_spot = facts.clone();
    let spot = TypePrices {
        on_demand: None,
        spot: Some(0.4),
    };
    with_spot.prices = [("g5.xlarge".to_owned(), spot)].into();
    let (machine, _) = chosen("spot_policy: auto", &with_spot);
    assert_eq!(name(&machine), "g5.xlarge");
    assert!(machine.contains_key("instance_market_options"));
}

#[test]
fn a_region_without_prices_shows_those_of_another_and_says_so() {
    let mut facts = facts();
    facts.region = "eu-north-1".to_owned();
    let mut known = Known::default();
    let region = ResourceAddress::of("aws_region", "eu-north-1").unwrap();
    known.surveyed.insert(region, Ok(facts.to_attributes()));
    let there = [("gateway.dstack.yml", "eu-west-1", "eu-north-1")];
    let (configuration, problems) = changed("nvidia", &there, &known);
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let told = notes(&configuration).join("\n");
    assert!(
        told.contains("$0.526/h on demand (the price of us-east-1) in eu-north-1"),
        "{told}"
    );
}

#[test]
fn more_processors_than_the_quota_are_refused_where_it_is_known() {
    let mut facts = facts();
    facts.vcpu_quotas = [("g".to_owned(), 4), ("standard".to_owned(), 5)].into();
    let replicas = [(
        "qwen.dstack.yml",
        "port: 8000\nmodel",
        "port: 8000\nreplicas: 2\nmodel",
    )];
    let (configuration, _) = changed("nvidia", &replicas, &known(&facts));
    let unmet: Vec<(String, &str)> = configuration
        .unmet
        .iter()
        .map(|(address, why)| (address.to_string(), why.code))
        .collect();
    assert_eq!(unmet, [("aws_instance.qwen/default/1".to_owned(), "over-quota")]);
}
