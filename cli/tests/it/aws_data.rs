//! What is looked up in an account and not managed.

use crate::aws_account::{Account, mentions};

const FOUND: &str = "\
type: data
kind: aws_vpc
name: main
properties: {region: eu-west-1, default: true}
---
type: data
kind: aws_availability_zones
name: zones
properties: {region: eu-west-1, state: available}
---
type: data
kind: aws_subnet
name: first
properties:
  region: eu-west-1
  vpc_id: ${{ data.aws_vpc.main.id }}
  availability_zone: ${{ data.aws_availability_zones.zones.names[0] }}
---
type: data
kind: aws_ami
name: linux
properties:
  region: eu-west-1
  owners: [amazon]
  most_recent: true
  filter:
    - {name: name, values: [\"al2023-ami-2023*-x86_64\"]}
---
type: resource
kind: aws_instance
name: box
properties:
  region: eu-west-1
  instance_type: t3.micro
  ami: ${{ data.aws_ami.linux.id }}
  subnet_id: ${{ data.aws_subnet.first.id }}
";

#[test]
fn a_machine_stands_in_what_was_there() {
    let account = Account::open();
    let project = account.project(FOUND);
    project.exits(0, &["validate"]);
    let planned = project.exits(0, &["plan"]);
    mentions(
        &planned,
        &[
            "al2023-ami-2023",
            "data.aws_vpc.main",
            "data.aws_subnet.first",
            "eu-west-1a",
        ],
    );
    project.apply();
    let again = project.exits(0, &["plan", "--detailed-exitcode"]);
    mentions(&again, &["data.aws_ami.linux"]);
    project.exits(0, &["destroy", "-y"]);
}

#[test]
fn what_is_not_there_or_not_the_only_one_is_told() {
    let account = Account::open();
    let plan = |documents: &str| account.project(documents).exits(1, &["plan"]);
    let said = plan(
        "type: data\nkind: aws_vpc\nname: v\nproperties: {region: eu-west-1, cidr_block: 10.99.0.0/16}\n",
    );
    mentions(
        &said,
        &[
            "EC2 DescribeVpcs in eu-west-1: no network matches",
            "10.99.0.0/16",
            "there is vpc-",
            "main.gabion.yml",
        ],
    );
    let said = plan(
        "type: data\nkind: aws_subnet\nname: s\nproperties: {region: eu-west-1, default_for_az: true}\n",
    );
    mentions(
        &said,
        &["EC2 DescribeSubnets in eu-west-1: 3 match", "subnet-", "say more"],
    );
    let said =
        plan("type: data\nkind: aws_ami\nname: a\nproperties: {region: eu-west-1, owners: [amazon]}\n");
    mentions(&said, &["images match", "most_recent: true"]);
    // Anybody may publish an image of that name.
    let said = plan(
        "type: data\nkind: aws_ami\nname: a\nproperties:\n  region: eu-west-1\n  most_recent: true\n  filter: [{name: name, values: [\"al2023-ami-2023*\"]}]\n",
    );
    mentions(&said, &["anybody's", "owners:"]);
    let said = plan("type: data\nkind: aws_route53_zone\nname: z\nproperties: {name: nowhere.example}\n");
    mentions(&said, &["no hosted zone matches", "nowhere.example"]);
    let said = plan("type: data\nkind: aws_route53_zone\nname: z\n");
    mentions(&said, &["Neither `name` nor `zone_id`"]);
}

#[test]
fn a_zone_is_found_by_its_whole_name() {
    let account = Account::open();
    account.boto3(&serde_json::json!([
        ["route53", "create_hosted_zone", {"Name": "example.com", "CallerReference": "a"}],
        ["route53", "create_hosted_zone", {"Name": "eu.example.com", "CallerReference": "b"}],
    ]));
    let project = account.project(
        "type: data\nkind: aws_route53_zone\nname: z\nproperties: {name: Example.com}\n---\n\
         type: resource\nkind: gabion_data\nname: box\nproperties: {input: \"${{ data.aws_route53_zone.z.name_servers }}\"}\n",
    );
    let planned = project.exits(0, &["plan"]);
    mentions(&planned, &["name = \"example.com\"", "ns-"]);
}
