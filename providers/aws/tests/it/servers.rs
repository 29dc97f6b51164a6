//! Moto and the cloud of our own are asked the same, and answer alike wherever moto is right.

use std::collections::BTreeMap;

use gabion_testing::aws::{Aws, all_between, between};

use crate::support::{REGION, Server};

/// A question: an action, its parameters, and the elements of the answer that both must tell alike. `{NAME}` stands for
/// what an earlier answer told.
struct Question {
    action: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    alike: &'static [&'static str],
    /// An element of the answer and the name that it goes by from here on.
    keep: &'static [(&'static str, &'static str)],
}

const fn ask(
    action: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    alike: &'static [&'static str],
    keep: &'static [(&'static str, &'static str)],
) -> Question {
    Question {
        action,
        parameters,
        alike,
        keep,
    }
}

/// A public key, as EC2 takes it.
const KEY: &str = "c3NoLWVkMjU1MTkgQUFBQUMzTnphQzFsWkRJMU5URTVBQUFBSUFBQkFnTUVCUVlIQ0FrS0N3d05EZzhRRVJJVEZCVVdGeGdaR2hzY0hSNGYgYWRh";

const QUESTIONS: &[Question] = &[
    ask(
        "DescribeVpcs",
        &[("Filter.1.Name", "is-default"), ("Filter.1.Value.1", "true")],
        &["cidrBlock", "isDefault"],
        &[("vpcId", "VPC")],
    ),
    ask(
        "DescribeImages",
        &[
            ("Owner.1", "amazon"),
            ("Filter.1.Name", "name"),
            ("Filter.1.Value.1", "al2023-ami-2023*-x86_64"),
        ],
        &[],
        &[("imageId", "IMAGE")],
    ),
    ask(
        "DescribeImages",
        &[("ImageId.1", "ami-00000000000000000")],
        &[],
        &[],
    ),
    ask(
        "DescribeInstanceTypes",
        &[("InstanceType.1", "g5.xlarge")],
        &["defaultVCpus", "sizeInMiB", "count"],
        &[],
    ),
    // Security groups and rules.
    ask(
        "CreateSecurityGroup",
        &[("GroupName", "web"), ("GroupDescription", "for a test")],
        &[],
        &[("groupId", "GROUP")],
    ),
    ask(
        "CreateSecurityGroup",
        &[("GroupName", "web"), ("GroupDescription", "again")],
        &[],
        &[],
    ),
    ask(
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", "{GROUP}"),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "443"),
            ("IpPermissions.1.ToPort", "443"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ],
        &["isEgress", "ipProtocol", "fromPort", "toPort", "cidrIpv4"],
        &[("securityGroupRuleId", "RULE")],
    ),
    ask(
        "AuthorizeSecurityGroupIngress",
        &[
            ("GroupId", "{GROUP}"),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "443"),
            ("IpPermissions.1.ToPort", "443"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ],
        &[],
        &[],
    ),
    ask(
        "DescribeSecurityGroups",
        &[("Filter.1.Name", "group-id"), ("Filter.1.Value.1", "{GROUP}")],
        &[
            "groupName",
            "groupDescription",
            "ipProtocol",
            "fromPort",
            "cidrIp",
        ],
        &[],
    ),
    ask(
        "RevokeSecurityGroupIngress",
        &[
            ("GroupId", "{GROUP}"),
            ("IpPermissions.1.IpProtocol", "tcp"),
            ("IpPermissions.1.FromPort", "80"),
            ("IpPermissions.1.ToPort", "80"),
            ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
        ],
        &[],
        &[],
    ),
    ask(
        "DescribeSecurityGroups",
        &[("GroupId.1", "sg-00000000000000000")],
        &[],
        &[],
    ),
    // Keys.
    ask(
        "ImportKeyPair",
        &[("KeyName", "ada"), ("PublicKeyMaterial", KEY)],
        &["keyName"],
        &[],
    ),
    ask(
        "ImportKeyPair",
        &[("KeyName", "ada"), ("PublicKeyMaterial", KEY)],
        &[],
        &[],
    ),
    ask("DescribeKeyPairs", &[("KeyName.1", "nobody")], &[], &[]),
    ask("DeleteKeyPair", &[("KeyName", "nobody")], &[], &[]),
    // Machines.
    ask(
        "RunInstances",
        &[
            ("ImageId", "{IMAGE}"),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("KeyName", "nobody"),
        ],
        &[],
        &[],
    ),
    ask(
        "RunInstances",
        &[
            ("ImageId", "{IMAGE}"),
            ("InstanceType", "t3.micro"),
            ("MinCount", "1"),
            ("MaxCount", "1"),
            ("KeyName", "ada"),
            ("SecurityGroupId.1", "{GROUP}"),
            ("MetadataOptions.HttpTokens", "required"),
            ("BlockDeviceMapping.1.DeviceName", "/dev/xvda"),
            ("BlockDeviceMapping.1.Ebs.VolumeSize", "20"),
            ("BlockDeviceMapping.1.Ebs.VolumeType", "gp3"),
            ("TagSpecification.1.ResourceType", "instance"),
            ("TagSpecification.1.Tag.1.Key", "team"),
            ("TagSpecification.1.Tag.1.Value", "ml"),
        ],
        &["instanceType", "keyName", "httpTokens", "key", "value"],
        &[("instanceId", "INSTANCE")],
    ),
    ask(
        "DescribeInstances",
        &[
            ("Filter.1.Name", "tag:team"),
            ("Filter.1.Value.1", "m*"),
            ("Filter.2.Name", "instance-id"),
            ("Filter.2.Value.1", "{INSTANCE}"),
            ("Filter.2.Value.2", "i-00000000000000000"),
        ],
        &[
            "instanceId",
            "instanceType",
            "keyName",
            "tenancy",
            "sourceDestCheck",
            "deviceName",
            "key",
        ],
        &[("volumeId", "ROOT")],
    ),
    ask(
        "DescribeInstances",
        &[("InstanceId.1", "i-00000000000000000")],
        &[],
        &[],
    ),
    ask(
        "DescribeVolumes",
        &[("VolumeId.1", "{ROOT}")],
        &["size", "volumeType", "device"],
        &[],
    ),
    // Volumes.
    ask(
        "CreateVolume",
        &[
            ("AvailabilityZone", "eu-west-1a"),
            ("Size", "5"),
            ("VolumeType", "gp3"),
        ],
        &["size", "volumeType"],
        &[("volumeId", "VOLUME")],
    ),
    ask("DeleteVolume", &[("VolumeId", "{ROOT}")], &[], &[]),
    ask("DeleteVolume", &[("VolumeId", "{VOLUME}")], &[], &[]),
    ask("DeleteVolume", &[("VolumeId", "{VOLUME}")], &[], &[]),
    // Addresses.
    ask(
        "AllocateAddress",
        &[("Domain", "vpc")],
        &["domain"],
        &[("allocationId", "ADDRESS")],
    ),
    ask(
        "DescribeAddresses",
        &[
            ("Filter.1.Name", "allocation-id"),
            ("Filter.1.Value.1", "eipalloc-00000000"),
        ],
        &[],
        &[],
    ),
    ask(
        "DisassociateAddress",
        &[("AssociationId", "eipassoc-00000000")],
        &[],
        &[],
    ),
    ask("ReleaseAddress", &[("AllocationId", "{ADDRESS}")], &[], &[]),
    ask("ReleaseAddress", &[("AllocationId", "{ADDRESS}")], &[], &[]),
    // The end.
    ask(
        "TerminateInstances",
        &[("InstanceId.1", "{INSTANCE}")],
        &["instanceId"],
        &[],
    ),
    ask(
        "TerminateInstances",
        &[("InstanceId.1", "i-00000000000000000")],
        &[],
        &[],
    ),
];

/// The first of each element that a test looks at, in order: what an answer tells, ids by the names that they go by.
type Told = Result<Vec<(&'static str, Vec<String>)>, String>;

async fn answers(aws: &Aws) -> Vec<Told> {
    let mut known: BTreeMap<&str, String> = BTreeMap::new();
    let mut told = Vec::new();
    for question in QUESTIONS {
        let parameters: Vec<(&str, String)> = question
            .parameters
            .iter()
            .map(|(name, value)| {
                let stands_for = value.strip_prefix('{').and_then(|rest| rest.strip_suffix('}'));
                (
                    *name,
                    stands_for.map_or_else(|| (*value).to_owned(), |name| known[name].clone()),
                )
            })
            .collect();
        let parameters: Vec<(&str, &str)> = parameters
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = aws.try_ec2(REGION, question.action, &parameters).await;
        for (element, name) in question.keep {
            let text = answer.as_ref().unwrap();
            let value = between(text, &format!("<{element}>"), &format!("</{element}>"));
            known.insert(
                name,
                value
                    .unwrap_or_else(|| panic!("no {element} in {text}"))
                    .to_owned(),
            );
        }
        told.push(answer.map_err(|(code, _)| code).map(|text| {
            let values = question.alike.iter().map(|element| {
                let (start, end) = (format!("<{element}>"), format!("</{element}>"));
                let mut values: Vec<String> = all_between(&text, &start, &end)
                    .into_iter()
                    .map(|value| {
                        let named = known.iter().find(|(_, id)| id.as_str() == value);
                        named.map_or_else(|| value.to_lowercase(), |(name, _)| (*name).to_owned())
                    })
                    .collect();
                values.sort();
                values.dedup();
                (*element, values)
            });
            values.collect()
        }));
    }
    told
}

#[tokio::test]
async fn ec2_is_the_same_on_both() {
    let (moto, own) = (Server::Moto.open().await, Server::Own.open().await);
    let (moto, own) = (answers(&moto).await, answers(&own).await);
    let differences: Vec<String> = QUESTIONS
        .iter()
        .zip(moto.iter().zip(&own))
        .filter(|(_, (moto, own))| moto != own)
        .map(|(question, (moto, own))| {
            let parameters = question.parameters;
            format!("{} {parameters:?}: moto {moto:?}, ours {own:?}", question.action)
        })
        .collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// A batch of changes: action, name, type and value of each. None is of a wildcard, which moto keeps by another name than
/// Route 53, and none has several changes, of which moto makes those
/// that it can.
fn batch(changes: &[(&str, &str, &str, &str)]) -> String {
    let changes: String = changes
        .iter()
        .map(|(action, name, kind, value)| {
            format!(
                "<Change><Action>{action}</Action><ResourceRecordSet><Name>{name}</Name><Type>{kind}</Type><TTL>60</TTL>\
                 <ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords>\
                 </ResourceRecordSet></Change>"
            )
        })
        .collect();
    format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         {changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    )
}

async fn records(aws: &Aws) -> Vec<Result<Vec<String>, String>> {
    let create = "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
        <Name>alike.example.com</Name><CallerReference>once</CallerReference></CreateHostedZoneRequest>";
    let made = aws.route53("POST", "/2013-04-01/hostedzone", create).await;
    let id = between(&made, "<Id>/hostedzone/", "</Id>").unwrap();
    let path = format!("/2013-04-01/hostedzone/{id}/rrset");
    let mut told = Vec::new();
    for changes in [
        &[("CREATE", "gw.alike.example.com", "A", "192.0.2.1")][..],
        &[("CREATE", "gw.alike.example.com", "A", "192.0.2.1")],
        &[("UPSERT", "gw.alike.example.com", "A", "192.0.2.3")],
        &[("CREATE", "gw.other.example.com", "A", "192.0.2.1")],
        &[("CREATE", "t.alike.example.com", "TXT", "&quot;say&quot;")],
        &[("DELETE", "t.alike.example.com", "TXT", "&quot;say&quot;")],
    ] {
        let answer = aws.try_route53("POST", &path, &batch(changes)).await;
        told.push(answer.map(|_| Vec::new()).map_err(|(code, _)| code));
        let list = aws.route53("GET", &path, "").await;
        let sets = all_between(&list, "<ResourceRecordSet>", "</ResourceRecordSet>");
        let sets = sets
            .iter()
            .filter(|set| !set.contains(">NS<") && !set.contains(">SOA<"));
        told.push(Ok(sets
            .map(|set| {
                let part = |tag: &str| between(set, &format!("<{tag}>"), "</").unwrap_or_default();
                format!(
                    "{} {} {} {}",
                    part("Name"),
                    part("Type"),
                    part("TTL"),
                    part("Value").replace("&quot;", "\"")
                )
            })
            .chain(between(&list, "<IsTruncated>", "</").map(str::to_owned))
            .collect()));
    }
    let zone = format!("/2013-04-01/hostedzone/{id}");
    for (method, path) in [
        ("DELETE", zone.as_str()),
        ("GET", "/2013-04-01/hostedzone/ZNOWHERE"),
        ("GET", "/2013-04-01/hostedzone/ZNOWHERE/rrset"),
    ] {
        let answer = aws.try_route53(method, path, "").await;
        told.push(answer.map(|_| Vec::new()).map_err(|(code, _)| code));
    }
    let last = batch(&[("DELETE", "gw.alike.example.com", "A", "192.0.2.3")]);
    aws.route53("POST", &path, &last).await;
    let answer = aws.try_route53("DELETE", &zone, "").await;
    told.push(answer.map(|_| Vec::new()).map_err(|(code, _)| code));
    told
}

#[tokio::test]
async fn route_53_is_the_same_on_both() {
    let (moto, own) = (Server::Moto.open().await, Server::Own.open().await);
    assert_eq!(records(&own).await, records(&moto).await);
}
