//! Low-level resources on AWS, through the command line: made, changed behind gabion's back, put back, and gone.

use gabion_testing::aws::{Fault, all_between};

use crate::aws_account::{Account, mentions, output};
use crate::harness::Project;

/// A gateway in small: group, rules, key, machine, address, zone and record.
fn gateway(image: &str) -> String {
    format!(
        "type: resource
kind: aws_security_group
name: web
properties:
  ingress:
    - {{protocol: tcp, from_port: 443, to_port: 443, cidr_blocks: [0.0.0.0/0]}}
---
type: resource
kind: aws_vpc_security_group_egress_rule
name: out
properties:
  security_group_id: ${{{{ aws_security_group.web.id }}}}
  ip_protocol: '-1'
  cidr_ipv4: 0.0.0.0/0
---
type: resource
kind: aws_key_pair
name: ada
properties:
  key_name: ada
  public_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada
---
type: resource
kind: aws_instance
name: gw
properties:
  ami: {image}
  instance_type: t3.micro
  key_name: ${{{{ aws_key_pair.ada.key_name }}}}
  vpc_security_group_ids: ['${{{{ aws_security_group.web.id }}}}']
  root_block_device: [{{volume_size: 20}}]
  tags: {{team: ml}}
---
type: resource
kind: aws_eip
name: gw
properties:
  instance: ${{{{ aws_instance.gw.id }}}}
---
type: resource
kind: aws_route53_zone
name: main
properties:
  name: gw.example.com
---
type: resource
kind: aws_route53_record
name: gw
properties:
  zone_id: ${{{{ aws_route53_zone.main.zone_id }}}}
  name: '*.gw.example.com'
  type: A
  ttl: 60
  records: ['${{{{ aws_eip.gw.public_ip }}}}']
"
    )
}

#[test]
fn a_gateway_is_made_drift_on_it_is_told_and_put_back_and_nothing_is_left_at_the_end() {
    let account = Account::open();
    let project = account.project(&gateway(&account.image()));
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    project.exits(0, &["drift"]);
    let instance = output(&project, "aws_instance.gw", "id");
    let group = output(&project, "aws_security_group.web", "id");

    // Another client changes a tag, opens a port, stops the machine and takes the address away.
    let tag = [
        ("ResourceId.1", instance.as_str()),
        ("Tag.1.Key", "team"),
        ("Tag.1.Value", "other"),
    ];
    account.ec2("CreateTags", &tag);
    let open = [
        ("GroupId", group.as_str()),
        ("IpPermissions.1.IpProtocol", "tcp"),
        ("IpPermissions.1.FromPort", "22"),
        ("IpPermissions.1.ToPort", "22"),
        ("IpPermissions.1.IpRanges.1.CidrIp", "0.0.0.0/0"),
    ];
    account.ec2("AuthorizeSecurityGroupIngress", &open);
    let association = output(&project, "aws_eip.gw", "association_id");
    account.ec2("DisassociateAddress", &[("AssociationId", association.as_str())]);
    account.ec2("StopInstances", &[("InstanceId.1", instance.as_str())]);
    let said = project.exits(2, &["drift"]);
    mentions(
        &said,
        &[
            "aws_security_group.web",
            "ingress",
            "aws_instance.gw",
            "tags.team",
            "stopped",
            "aws_eip.gw",
        ],
    );
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    assert_eq!(
        output(&project, "aws_instance.gw", "id"),
        instance,
        "it was replaced"
    );
    let text = account.ec2("DescribeInstances", &[("InstanceId.1", instance.as_str())]);
    assert!(text.contains("<name>running</name>"));
    let text = account.ec2("DescribeSecurityGroups", &[("GroupId.1", group.as_str())]);
    assert!(!text.contains("<fromPort>22</fromPort>"), "{text}");

    project.exits(0, &["destroy", "-y"]);
    let left = account.ec2("DescribeInstances", &[]);
    assert!(!left.contains("<name>running</name>"), "{left}");
    for (action, tag) in [
        ("DescribeAddresses", "<publicIp>"),
        ("DescribeKeyPairs", "<keyName>"),
    ] {
        let left = account.ec2(action, &[]);
        assert!(!left.contains(tag), "{left}");
    }
    assert!(!account.ec2("DescribeSecurityGroups", &[]).contains(&group));
    let zones = account.wait(account.aws.route53("GET", "/2013-04-01/hostedzone", ""));
    assert!(!zones.contains("gw.example.com"), "{zones}");
}

#[test]
fn a_lost_answer_is_settled_by_the_next_apply_without_a_second_machine() {
    let account = Account::open();
    let image = account.image();
    let project = account.project(&format!(
        "type: resource\nkind: aws_instance\nname: gw\nproperties:\n  ami: {image}\n  instance_type: t3.micro\n"
    ));
    account.aws.fault("RunInstances", Fault::AnswerLost);
    let said = project.exits(6, &["apply", "-y"]);
    mentions(&said, &["EC2 RunInstances in eu-west-1", "aws_instance.gw"]);
    project.apply();
    project.exits(0, &["plan", "--detailed-exitcode"]);
    let running = [
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
    ];
    let text = account.ec2("DescribeInstances", &running);
    assert_eq!(
        all_between(&text, "<instanceId>", "</instanceId>").len(),
        1,
        "{text}"
    );
}

#[test]
fn a_project_without_aws_asks_nobody_there() {
    let project = Project::with("type: resource\nkind: gabion_data\nname: a\nproperties:\n  input: 1\n")
        .set("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        .set("AWS_PROFILE", "no-such-profile");
    project.apply();
    project.exits(0, &["drift"]);
}
