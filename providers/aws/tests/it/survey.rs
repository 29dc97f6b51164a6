//! What a region offers.

use gabion_aws::facts::image_key;
use gabion_engine::value::Value;

use crate::support::{REGION, Server, World, inputs, on_both_servers, texts};

on_both_servers!(a_region_tells_its_types_zones_network_images_and_hosted_zones);

async fn a_region_tells_its_types_zones_network_images_and_hosted_zones(server: Server) {
    let world = World::open(server).await;
    let zone = inputs([("name", "facts.example.com".into())]);
    let zone = world.create("aws_route53_zone.facts", &zone).await;
    let other = inputs([("name", "example.com".into())]);
    world.create("aws_route53_zone.other", &other).await;
    let image = Value::map([
        ("owner", Value::from("amazon")),
        ("name", "al2023-ami-2023*".into()),
        ("architecture", "x86_64".into()),
    ]);
    let wanted = inputs([
        ("region", REGION.into()),
        ("instance_types", texts(&["g5.*", "t3.*"])),
        ("images", Value::List(vec![image])),
        ("hosts", texts(&["*.facts.example.com"])),
    ]);
    let facts = world.provider.survey(&wanted).await.unwrap();
    assert_eq!(facts.region, REGION);
    let small = facts
        .instance_types
        .iter()
        .find(|kind| kind.name == "g5.xlarge")
        .unwrap();
    assert_eq!((small.vcpus, small.memory_mib), (4, 16384));
    assert_eq!(
        (small.gpus[0].vendor.as_str(), small.gpus[0].count),
        ("nvidia", 1)
    );
    assert!(small.gpus[0].memory_mib > 20_000 && small.spot && !small.zones.is_empty());
    assert!(
        facts
            .instance_types
            .iter()
            .all(|kind| kind.name.starts_with("g5.") || kind.name.starts_with("t3."))
    );
    assert!(facts.zones.contains(&format!("{REGION}a")));
    assert!(facts.vpc.as_ref().unwrap().default);
    assert!(!facts.subnets.is_empty());
    let image = &facts.images[&image_key("amazon", "al2023-ami-2023*", Some("x86_64"))];
    assert!(image.id.starts_with("ami-"));
    let found = facts.public_zone("*.facts.example.com").unwrap();
    assert_eq!(found.name, "facts.example.com");
    let servers: Vec<&str> = found.name_servers.iter().map(String::as_str).collect();
    assert!(!servers.is_empty());
    assert_eq!(zone.state.attributes["name_servers"], texts(&servers));
    let other = facts.public_zone("*.example.com").unwrap();
    assert_eq!(
        (other.name.as_str(), other.name_servers.len()),
        ("example.com", 0)
    );
    let attributes = facts.to_attributes();
    assert_eq!(
        gabion_aws::facts::RegionFacts::from_attributes(&attributes),
        facts
    );
}
