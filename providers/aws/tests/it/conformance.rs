//! The provider passes the suite that every provider runs.

use std::sync::Arc;

use async_trait::async_trait;
use gabion_engine::provider::Provider;
use gabion_engine::value::{Attributes, Value};
use gabion_testing::aws::{Fault, between};
use gabion_testing::conformance::{Case, Subject};

use crate::support::{KEY, REGION, Server, World, block, inputs, on_both_servers, texts, with};

on_both_servers!(
    security_groups_pass,
    rules_pass,
    key_pairs_and_placement_groups_pass,
    addresses_pass,
    instances_pass,
    volumes_and_attachments_pass,
    zones_pass,
    records_pass
);

struct Account {
    world: World,
    /// Which of the calls that make something loses its answer.
    losing: &'static str,
    cases: Vec<Case>,
}

#[async_trait]
impl Subject for Account {
    fn provider(&self) -> Arc<dyn Provider> {
        self.world.provider.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        self.cases.clone()
    }

    async fn lose_next_answer(&self) -> bool {
        if self.losing.is_empty() {
            return false;
        }
        self.world.aws.clear_faults();
        self.world.aws.fault(self.losing, Fault::AnswerLost);
        true
    }
}

/// Runs the suite over some cases; the types that they leave out have theirs in other tests of this file.
async fn passes(world: World, losing: &'static str, cases: Vec<Case>) {
    let types: Vec<String> = cases
        .iter()
        .map(|case| case.address.resource_type.to_string())
        .collect();
    let account = Account { world, losing, cases };
    let violations: Vec<String> = gabion_testing::conformance::violations(&account)
        .await
        .into_iter()
        .filter(|line| {
            let other = line.ends_with("there is no case for this type");
            !other || types.iter().any(|name| line.starts_with(&format!("{name}:")))
        })
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

fn tags(entries: &[(&str, &str)]) -> Value {
    Value::map(entries.iter().map(|(name, value)| (*name, Value::from(*value))))
}

async fn vpc(world: &World) -> String {
    let filter = [("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "true")];
    let vpcs = world.aws.ec2(REGION, "DescribeVpcs", &filter).await;
    between(&vpcs, "<vpcId>", "</vpcId>").unwrap().to_owned()
}

async fn group(world: &World, name: &str) -> String {
    let made = [("GroupName", name), ("GroupDescription", "for a test")];
    let made = world.aws.ec2(REGION, "CreateSecurityGroup", &made).await;
    between(&made, "<groupId>", "</groupId>").unwrap().to_owned()
}

fn web() -> Value {
    block([
        ("protocol", "tcp".into()),
        ("from_port", Value::Int(443)),
        ("to_port", Value::Int(443)),
        ("cidr_blocks", texts(&["0.0.0.0/0", "10.0.0.0/8"])),
    ])
}

async fn security_groups_pass(server: Server) {
    let world = World::open(server).await;
    let plain = inputs([("tags", tags(&[("team", "ml")]))]);
    let ruled = inputs([
        ("name", "ruled".into()),
        ("vpc_id", vpc(&world).await.as_str().into()),
        ("ingress", web()),
        ("egress", Value::List(Vec::new())),
    ]);
    let cases = vec![
        Case::new("aws_security_group", "plain", plain.clone())
            .update(with(&plain, "tags", tags(&[("team", "web"), ("env", "prod")])))
            .replace(with(&plain, "name", "other".into())),
        Case::new("aws_security_group", "ruled", ruled.clone()).update(with(
            &ruled,
            "ingress",
            block([
                ("protocol", "-1".into()),
                ("from_port", Value::Int(0)),
                ("to_port", Value::Int(0)),
                ("self", Value::Bool(true)),
            ]),
        )),
    ];
    passes(world, "CreateSecurityGroup", cases).await;
}

async fn rules_pass(server: Server) {
    let world = World::open(server).await;
    let (one, other) = (group(&world, "one").await, group(&world, "other").await);
    let http = inputs([
        ("security_group_id", one.as_str().into()),
        ("ip_protocol", "tcp".into()),
        ("from_port", Value::Int(80)),
        ("to_port", Value::Int(80)),
        ("cidr_ipv4", "0.0.0.0/0".into()),
        ("description", "the world".into()),
    ]);
    let ingress = Case::new("aws_vpc_security_group_ingress_rule", "http", http.clone())
        .update(with(&http, "cidr_ipv4", "10.0.0.0/8".into()))
        .replace(with(&http, "security_group_id", other.as_str().into()));
    passes(world, "AuthorizeSecurityGroupIngress", vec![ingress]).await;

    let world = World::open(server).await;
    let (one, other) = (group(&world, "one").await, group(&world, "other").await);
    let out = inputs([
        ("security_group_id", one.as_str().into()),
        ("ip_protocol", "-1".into()),
        ("referenced_security_group_id", other.as_str().into()),
    ]);
    let egress = Case::new("aws_vpc_security_group_egress_rule", "out", out.clone()).update(with(
        &out,
        "tags",
        tags(&[("team", "ml")]),
    ));
    passes(world, "AuthorizeSecurityGroupEgress", vec![egress]).await;
}

async fn key_pairs_and_placement_groups_pass(server: Server) {
    let world = World::open(server).await;
    let key = inputs([("key_name", "ada".into()), ("public_key", KEY.into())]);
    let case = Case::new("aws_key_pair", "ada", key.clone())
        .update(with(&key, "tags", tags(&[("team", "ml")])))
        .replace(with(&key, "key_name", "bob".into()));
    passes(world, "ImportKeyPair", vec![case]).await;

    let world = World::open(server).await;
    let close = inputs([("name", "close".into()), ("strategy", "cluster".into())]);
    let case = Case::new("aws_placement_group", "close", close.clone())
        .update(with(&close, "tags", tags(&[("team", "ml")])))
        .replace(with(&close, "strategy", "spread".into()));
    passes(world, "CreatePlacementGroup", vec![case]).await;
}

async fn addresses_pass(server: Server) {
    let world = World::open(server).await;
    let plain = inputs([("tags", tags(&[("team", "ml")]))]);
    let case = Case::new("aws_eip", "plain", plain.clone()).update(with(&plain, "tags", Value::Null));
    passes(world, "AllocateAddress", vec![case]).await;
}

async fn instances_pass(server: Server) {
    let world = World::open(server).await;
    let (image, group) = (world.image().await, group(&world, "web").await);
    let machine = inputs([
        ("ami", image.as_str().into()),
        ("instance_type", "t3.micro".into()),
        ("vpc_security_group_ids", texts(&[&group])),
        ("user_data", "#cloud-config\n".into()),
        (
            "root_block_device",
            block([("volume_size", Value::Int(20)), ("encrypted", Value::Bool(true))]),
        ),
        ("tags", tags(&[("team", "ml")])),
    ]);
    let case = Case::new("aws_instance", "web", machine.clone())
        .update(with(
            &with(&machine, "instance_type", "t3.small".into()),
            "tags",
            tags(&[("team", "web")]),
        ))
        .replace(with(
            &machine,
            "user_data",
            "#cloud-config\npackages: [jq]\n".into(),
        ));
    passes(world, "RunInstances", vec![case]).await;
}

async fn volumes_and_attachments_pass(server: Server) {
    let world = World::open(server).await;
    let zone = format!("{REGION}a");
    let disk = inputs([
        ("availability_zone", zone.as_str().into()),
        ("size", Value::Int(10)),
    ]);
    let case = Case::new("aws_ebs_volume", "disk", disk.clone())
        .update(with(&disk, "tags", tags(&[("team", "ml")])))
        .replace(with(&disk, "size", Value::Int(5)));
    passes(world, "CreateVolume", vec![case]).await;

    let world = World::open(server).await;
    let image = world.image().await;
    let machine = inputs([
        ("ami", image.as_str().into()),
        ("instance_type", "t3.micro".into()),
        ("availability_zone", zone.as_str().into()),
    ]);
    let machine = world.create("aws_instance.web", &machine).await;
    let disk = world.create("aws_ebs_volume.disk", &disk).await;
    let tie = inputs([
        ("device_name", "/dev/sdf".into()),
        ("volume_id", disk.state.id.as_str().into()),
        ("instance_id", machine.state.id.as_str().into()),
    ]);
    let case = Case::new("aws_volume_attachment", "disk", tie.clone()).replace(with(
        &tie,
        "device_name",
        "/dev/sdg".into(),
    ));
    passes(world, "AttachVolume", vec![case]).await;
}

fn zone() -> Attributes {
    inputs([
        ("name", "zone.example.com".into()),
        ("force_destroy", Value::Bool(true)),
    ])
}

async fn zones_pass(server: Server) {
    let world = World::open(server).await;
    let zone = zone();
    let case = Case::new("aws_route53_zone", "zone", zone.clone())
        .update(with(&zone, "comment", "another".into()))
        .replace(with(&zone, "name", "other.example.com".into()));
    passes(world, "CreateHostedZone", vec![case]).await;
}

async fn records_pass(server: Server) {
    let world = World::open(server).await;
    let made = world.create("aws_route53_zone.zone", &zone()).await;
    let id = made.state.id.as_str();
    let record = |name: &str, kind: &str, values: &[&str]| {
        inputs([
            ("zone_id", id.into()),
            ("name", name.into()),
            ("type", kind.into()),
            ("ttl", Value::Int(60)),
            ("records", texts(values)),
        ])
    };
    let wildcard = record("*.zone.example.com", "A", &["192.0.2.1"]);
    let alias = inputs([
        ("zone_id", id.into()),
        ("name", "alias.zone.example.com".into()),
        ("type", "A".into()),
        (
            "alias",
            block([
                ("name", "target.zone.example.com".into()),
                ("zone_id", id.into()),
                ("evaluate_target_health", Value::Bool(false)),
            ]),
        ),
    ]);
    let cases = vec![
        Case::new("aws_route53_record", "wildcard", wildcard.clone())
            .update(with(&wildcard, "records", texts(&["192.0.2.7", "192.0.2.8"])))
            .replace(with(&wildcard, "name", "x.zone.example.com".into())),
        Case::new(
            "aws_route53_record",
            "text",
            record("_t.zone.example.com", "TXT", &["\"a \\\"b\\\" c\""]),
        ),
        Case::new(
            "aws_route53_record",
            "six",
            record("six.zone.example.com", "AAAA", &["2001:db8::1"]),
        ),
        Case::new(
            "aws_route53_record",
            "name",
            record("n.zone.example.com", "CNAME", &["other.example.com"]),
        ),
        Case::new("aws_route53_record", "alias", alias),
    ];
    passes(world, "ChangeResourceRecordSets", cases).await;
}

/// A build that never heard of moto still checks the schemas.
#[tokio::test]
async fn schemas_make_sense() {
    let loader: gabion_aws::Loader = Arc::new(|_| unreachable!("schemas need no configuration"));
    let provider = gabion_aws::provider(loader);
    assert_eq!(provider.schema().resource_types.len(), 11);
    struct Schemas(Arc<gabion_aws::AwsProvider>);
    #[async_trait]
    impl Subject for Schemas {
        fn provider(&self) -> Arc<dyn Provider> {
            self.0.clone()
        }
        async fn cases(&self) -> Vec<Case> {
            Vec::new()
        }
    }
    let violations = gabion_testing::conformance::violations(&Schemas(provider)).await;
    let others: Vec<_> = violations
        .iter()
        .filter(|line| !line.ends_with("there is no case for this type"))
        .collect();
    assert!(others.is_empty(), "{others:?}");
}
