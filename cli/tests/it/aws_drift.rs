//! What another client changes of every kind on AWS: told precisely, and repaired with as little as it takes.

use std::collections::BTreeMap;
use std::thread;

use serde_json::{Value as Json, json};

use crate::aws_account::{Account, output};
use crate::harness::Project;

/// One of every kind.
fn every_kind(image: &str) -> String {
    let documents = [
        (
            "aws_security_group",
            "web",
            "ingress: [{protocol: tcp, from_port: 443, to_port: 443, cidr_blocks: [0.0.0.0/0]}]\n  tags: {team: ml}",
        ),
        ("aws_security_group", "admin", "description: for people"),
        (
            "aws_vpc_security_group_ingress_rule",
            "ssh",
            "security_group_id: ${{ aws_security_group.admin.id }}\n  ip_protocol: tcp\n  from_port: 22\n  to_port: 22\n  \
             cidr_ipv4: 192.0.2.0/24",
        ),
        (
            "aws_vpc_security_group_egress_rule",
            "out",
            "security_group_id: ${{ aws_security_group.admin.id }}\n  ip_protocol: tcp\n  from_port: 80\n  to_port: 80\n  \
             cidr_ipv4: 198.51.100.0/24",
        ),
        (
            "aws_key_pair",
            "ada",
            "key_name: ada\n  public_key: ssh-ed25519 \
             AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada\n  tags: {team: ml}",
        ),
        (
            "aws_placement_group",
            "near",
            "name: near\n  strategy: cluster\n  tags: {team: ml}",
        ),
        (
            "aws_instance",
            "gw",
            "ami: IMAGE\n  instance_type: t3.micro\n  availability_zone: eu-west-1a\n  key_name: ${{ \
             aws_key_pair.ada.key_name }}\n  vpc_security_group_ids: ['${{ aws_security_group.web.id }}']\n  tags: {team: ml}",
        ),
        (
            "aws_ebs_volume",
            "data",
            "availability_zone: eu-west-1a\n  size: 8\n  tags: {team: ml}",
        ),
        (
            "aws_volume_attachment",
            "data",
            "device_name: /dev/sdf\n  volume_id: ${{ aws_ebs_volume.data.id }}\n  instance_id: ${{ aws_instance.gw.id }}",
        ),
        (
            "aws_eip",
            "gw",
            "instance: ${{ aws_instance.gw.id }}\n  tags: {team: ml}",
        ),
        (
            "aws_route53_zone",
            "main",
            "name: gw.example.com\n  comment: ours\n  tags: {team: ml}",
        ),
        (
            "aws_route53_record",
            "gw",
            "zone_id: ${{ aws_route53_zone.main.zone_id }}\n  name: '*.gw.example.com'\n  type: A\n  ttl: 60\n  records: ['${{ \
             aws_eip.gw.public_ip }}']",
        ),
    ];
    let documents = documents.map(|(kind, name, properties)| {
        format!("type: resource\nkind: {kind}\nname: {name}\nproperties:\n  {properties}\n")
    });
    documents.join("---\n").replace("IMAGE", image)
}

/// Checks what a plan does: address by address, and nothing else.
#[track_caller]
fn does(project: &Project, expected: &[(&str, &[&str])]) {
    let said = project.exits(2, &["plan", "--detailed-exitcode", "--format", "json"]);
    let plan = said.json();
    let does: BTreeMap<&str, Vec<&str>> = plan["resource_changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| {
            let actions = change["change"]["actions"].as_array().unwrap();
            let actions = actions.iter().filter_map(Json::as_str).collect();
            (change["address"].as_str().unwrap(), actions)
        })
        .filter(|(_, actions)| *actions != ["no-op"])
        .collect();
    let expected: BTreeMap<&str, Vec<&str>> = expected
        .iter()
        .map(|(address, actions)| (*address, actions.to_vec()))
        .collect();
    assert_eq!(does, expected, "{}", project.exits(0, &["plan"]).out);
}

/// Returns what `gabion drift` tells that has to be put back: `vanished`, or each attribute's recorded and actual value.
#[track_caller]
fn told(project: &Project) -> BTreeMap<String, Json> {
    let report = project.exits(2, &["drift", "--format", "json"]).json();
    let text = |value: &Json| value.as_str().unwrap().to_owned();
    report["drift"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|drift| {
            let kind = &drift["kind"];
            if kind != "changed" {
                return Some((text(&drift["address"]), kind.clone()));
            }
            let changed: serde_json::Map<String, Json> = drift["attributes"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|attribute| attribute["verdict"] == "reverted")
                .map(|attribute| {
                    let values = json!([attribute["recorded"], attribute["actual"]]);
                    (text(&attribute["path"]), values)
                })
                .collect();
            // What nobody asked for, as a machine's address from the pool, is taken as it is.
            (!changed.is_empty()).then(|| (text(&drift["address"]), Json::Object(changed)))
        })
        .collect()
}

/// Returns the drift of objects that are gone.
fn gone(addresses: &[&str]) -> BTreeMap<String, Json> {
    addresses
        .iter()
        .map(|address| ((*address).to_owned(), json!("vanished")))
        .collect()
}

/// The ids of all that is recorded.
fn ids(project: &Project) -> BTreeMap<String, String> {
    let listed = project.exits(0, &["state", "list", "--format", "json"]).json();
    let all = listed["records"].as_array().unwrap();
    all.iter()
        .map(|resource| {
            let text = |name: &str| resource[name].as_str().unwrap_or_default().to_owned();
            (text("address"), text("id"))
        })
        .collect()
}

fn records(zone: &str, action: &str, value: &str) -> Json {
    let record = json!({
        "Name": "*.gw.example.com", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": value}]
    });
    let batch = json!({"Changes": [{"Action": action, "ResourceRecordSet": record}]});
    json!(["route53", "change_resource_record_sets", {"HostedZoneId": zone, "ChangeBatch": batch}])
}

#[test]
fn what_another_client_changes_of_any_kind_is_told_and_set_back_in_place() {
    let account = Account::open();
    let project = account.project(&every_kind(&account.image()));
    project.apply();
    project.exits(0, &["drift"]);
    let made = ids(&project);
    let id = |address: &str| made[address].clone();
    let (instance, volume) = (id("aws_instance.gw"), id("aws_ebs_volume.data"));
    let zone = output(&project, "aws_route53_zone.main", "zone_id");

    // Everything of which something can be changed in place.
    let tagged = [
        instance.clone(),
        volume.clone(),
        id("aws_security_group.web"),
        output(&project, "aws_key_pair.ada", "key_pair_id"),
        output(&project, "aws_placement_group.near", "placement_group_id"),
        output(&project, "aws_eip.gw", "allocation_id"),
    ];
    let mut calls: Vec<Json> = tagged
        .iter()
        .map(|id| {
            let tags = json!([{"Key": "team", "Value": "other"}]);
            json!(["ec2", "create_tags", {"Resources": [id], "Tags": tags}])
        })
        .collect();
    let open =
        json!([{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]);
    let association = output(&project, "aws_eip.gw", "association_id");
    calls.extend([
        json!(["ec2", "authorize_security_group_ingress",
            {"GroupId": id("aws_security_group.web"), "IpPermissions": open}]),
        json!(["ec2", "disassociate_address", {"AssociationId": association}]),
        json!(["ec2", "stop_instances", {"InstanceIds": [instance]}]),
        json!(["route53", "update_hosted_zone_comment", {"Id": zone, "Comment": "theirs"}]),
        records(&zone, "UPSERT", "192.0.2.9"),
    ]);
    let recorded = |address: &str, name: &str| output(&project, address, name);
    let web = json!({"cidr_blocks": ["0.0.0.0/0"], "from_port": 443, "protocol": "tcp", "to_port": 443});
    let ssh = json!({"cidr_blocks": ["0.0.0.0/0"], "from_port": 22, "protocol": "tcp", "to_port": 22});
    let tag = json!(["ml", "other"]);
    let expected = json!({
        "aws_ebs_volume.data": {"tags.team": tag},
        "aws_eip.gw": {
            "association_id": [association, null],
            "instance": [instance, null],
            "private_ip": [recorded("aws_eip.gw", "private_ip"), null],
            "tags.team": tag,
        },
        "aws_instance.gw": {
            "instance_state": ["running", "stopped"],
            "public_dns": [recorded("aws_instance.gw", "public_dns"), null],
            "public_ip": [recorded("aws_instance.gw", "public_ip"), null],
            "tags.team": tag,
        },
        "aws_key_pair.ada": {"tags.team": tag},
        "aws_placement_group.near": {"tags.team": tag},
        "aws_route53_record.gw": {"records": [[recorded("aws_eip.gw", "public_ip")], ["192.0.2.9"]]},
        "aws_route53_zone.main": {"comment": ["ours", "theirs"]},
        "aws_security_group.web": {"ingress": [[web], [ssh, web]], "tags.team": tag},
    });
    account.boto3(&Json::Array(calls));
    assert_eq!(json!(told(&project)), expected);
    let update: &[&str] = &["update"];
    does(
        &project,
        &[
            ("aws_ebs_volume.data", update),
            ("aws_eip.gw", update),
            ("aws_instance.gw", update),
            ("aws_key_pair.ada", update),
            ("aws_placement_group.near", update),
            ("aws_route53_record.gw", update),
            ("aws_route53_zone.main", update),
            ("aws_security_group.web", update),
        ],
    );
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    assert_eq!(ids(&project), made, "something was replaced");
}

#[test]
fn what_another_client_removes_of_any_kind_is_told_and_it_alone_is_made_again() {
    let account = Account::open();
    let project = account.project(&every_kind(&account.image()));
    project.apply();
    let made = ids(&project);
    let id = |address: &str| made[address].clone();
    let (instance, volume) = (id("aws_instance.gw"), id("aws_ebs_volume.data"));
    // The server wants to be told more than AWS does.
    let detach = json!({"VolumeId": volume, "InstanceId": instance, "Device": "/dev/sdf"});
    let zone = output(&project, "aws_route53_zone.main", "zone_id");
    let address = output(&project, "aws_eip.gw", "public_ip");
    let association = output(&project, "aws_eip.gw", "association_id");
    let allocation = output(&project, "aws_eip.gw", "allocation_id");
    let rule = |address: &str| {
        let id = made[address].clone();
        json!([id.split_once('@').map_or(id.as_str(), |(id, _)| id)])
    };
    let admin = id("aws_security_group.admin");
    account.boto3(&json!([
        ["ec2", "detach_volume", detach],
        ["ec2", "delete_volume", {"VolumeId": volume}],
        ["ec2", "disassociate_address", {"AssociationId": association}],
        ["ec2", "release_address", {"AllocationId": allocation}],
        ["ec2", "terminate_instances", {"InstanceIds": [instance]}],
        ["ec2", "delete_key_pair", {"KeyName": "ada"}],
        ["ec2", "delete_placement_group", {"GroupName": "near"}],
        ["ec2", "revoke_security_group_ingress",
            {"GroupId": admin, "SecurityGroupRuleIds": rule("aws_vpc_security_group_ingress_rule.ssh")}],
        ["ec2", "revoke_security_group_egress",
            {"GroupId": admin, "SecurityGroupRuleIds": rule("aws_vpc_security_group_egress_rule.out")}],
        records(&zone, "DELETE", &address),
        ["route53", "delete_hosted_zone", {"Id": zone}],
    ]));
    let removed = [
        "aws_ebs_volume.data",
        "aws_eip.gw",
        "aws_instance.gw",
        "aws_key_pair.ada",
        "aws_placement_group.near",
        "aws_route53_record.gw",
        "aws_route53_zone.main",
        "aws_volume_attachment.data",
        "aws_vpc_security_group_egress_rule.out",
        "aws_vpc_security_group_ingress_rule.ssh",
    ];
    let create: &[&str] = &["create"];
    // Both wait until what is so young and not found is known to be gone.
    thread::scope(|scope| {
        scope.spawn(|| assert_eq!(told(&project), gone(&removed)));
        does(&project, &removed.map(|address| (address, create)));
    });
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let now = ids(&project);
    for group in ["aws_security_group.web", "aws_security_group.admin"] {
        assert_eq!(now[group], made[group], "it was replaced");
    }
}
