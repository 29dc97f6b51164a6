//! Rounds of faults and kills on AWS: after each, the next apply leaves nothing twice, nothing unknown and nothing to do.
//!
//! Most of them are on a cloud of our own, some on moto, so that there is a second opinion. Rounds wait most of their time (for
//! machines, and for what may turn up late), so several accounts have theirs beside each other, each with a project of its own.
//! `GABION_TEST_AWS_ROUNDS` says how many rounds there are, `GABION_TEST_AWS_SEED` what happens in them, and
//! `GABION_TEST_AWS_BESIDE` how many go on at a time; `cargo xtask aws-rounds` sets them.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use gabion_testing::aws::{Fault, all_between, between};
use gabion_testing::fake::fault::Random;

use crate::aws_account::Account;
use crate::harness::Project;

/// How often a quiet apply may be tried: what came late may be in the way of the first.
const TRIES: usize = 3;

#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs the test says how long it is"
)]
fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(otherwise)
}

/// A group with a rule, a key, some machines, a volume in the first of them, its address, and the address's record.
fn documents(image: &str, machines: u64, edition: u64) -> String {
    let mut text = String::new();
    let mut add = |kind: &str, name: &str, properties: &str| {
        text.push_str(&format!(
            "---\ntype: resource\nkind: {kind}\nname: {name}\nproperties: {{{properties}}}\n"
        ));
    };
    let reference = |path: &str| format!("'${{{{ {path} }}}}'");
    let group = reference("aws_security_group.web.id");
    add(
        "aws_security_group",
        "web",
        &format!("description: web, tags: {{edition: 'e{edition}'}}"),
    );
    add(
        "aws_vpc_security_group_ingress_rule",
        "web",
        &format!(
            "security_group_id: {group}, ip_protocol: tcp, from_port: {port}, to_port: {port}, cidr_ipv4: 0.0.0.0/0",
            port = 443 + edition % 2
        ),
    );
    add(
        "aws_key_pair",
        "ada",
        &format!("key_name: ada, public_key: '{KEY}'"),
    );
    add("aws_route53_zone", "main", "name: rounds.example.com");
    add(
        "aws_eip",
        "gw",
        &format!("instance: {}", reference("aws_instance.m0.id")),
    );
    add(
        "aws_route53_record",
        "gw",
        &format!(
            "zone_id: {}, name: '*.rounds.example.com', type: A, ttl: {}, records: [{}]",
            reference("aws_route53_zone.main.zone_id"),
            60 + edition % 3,
            reference("aws_eip.gw.public_ip")
        ),
    );
    add("aws_ebs_volume", "disk", "availability_zone: eu-west-1a, size: 1");
    add(
        "aws_volume_attachment",
        "disk",
        &format!(
            "device_name: /dev/sdf, volume_id: {}, instance_id: {}",
            reference("aws_ebs_volume.disk.id"),
            reference("aws_instance.m0.id")
        ),
    );
    for machine in 0..machines {
        // Other user data is another machine.
        let edition = edition / 2 + machine;
        add(
            "aws_instance",
            &format!("m{machine}"),
            &format!(
                "ami: {image}, instance_type: t3.micro, availability_zone: eu-west-1a, key_name: ada, user_data: e{edition}, \
                 vpc_security_group_ids: [{group}]"
            ),
        );
    }
    text
}

const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";

/// What goes wrong in a round.
fn faults(account: &Account, random: &mut Random) -> Vec<String> {
    const OPERATIONS: [&str; 14] = [
        "RunInstances",
        "TerminateInstances",
        "AllocateAddress",
        "AssociateAddress",
        "CreateSecurityGroup",
        "AuthorizeSecurityGroupIngress",
        "ImportKeyPair",
        "CreateVolume",
        "AttachVolume",
        "DetachVolume",
        "ChangeResourceRecordSets",
        "CreateHostedZone",
        "DescribeInstances",
        "*",
    ];
    (0..random.below(4))
        .map(|_| {
            let operation = OPERATIONS[random.below(OPERATIONS.len() as u64) as usize];
            let refused = |status, code: &str| Fault::Refused(status, code.to_owned());
            let fault = match random.below(6) {
                0 | 1 => Fault::AnswerLost,
                2 => Fault::RequestLost,
                3 => refused(503, "RequestLimitExceeded"),
                4 => refused(500, "InternalError"),
                _ => refused(500, "InsufficientInstanceCapacity"),
            };
            let told = format!("{operation}: {fault:?}");
            account.aws.fault(operation, fault);
            told
        })
        .collect()
}

/// Applies, and kills the program in the middle of it, or not.
fn strike(project: &Project, random: &mut Random) -> String {
    let mut child = project
        .command(&["apply", "-y"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let after = Duration::from_millis(random.below(4000));
    if random.below(4) > 0 {
        // When it dies is by chance, and nothing here depends on what it had done by then.
        std::thread::sleep(after);
        child.kill().unwrap();
        child.wait().unwrap();
        return format!("killed after {after:?}");
    }
    format!("left alone: {:?}", child.wait().unwrap())
}

/// The living instances by the address on their mark, each of which must be there once.
fn machines(account: &Account) -> BTreeMap<String, usize> {
    let living = [
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
        ("Filter.1.Value.2", "pending"),
        ("Filter.1.Value.3", "stopped"),
        ("Filter.1.Value.4", "stopping"),
    ];
    let text = account.ec2("DescribeInstances", &living);
    let mut ids = all_between(&text, "<instanceId>", "</instanceId>");
    ids.sort_unstable();
    ids.dedup();
    let mut found = BTreeMap::new();
    for mark in text.split("<key>gabion:address</key>").skip(1) {
        let address = between(mark, "<value>", "</value>").unwrap_or_default();
        *found.entry(address.to_owned()).or_default() += 1;
    }
    assert_eq!(
        found.values().sum::<usize>(),
        ids.len(),
        "one is unmarked: {text}"
    );
    found
}

/// What of a kind is in the account, by how many have a mark of ours, and how many there are.
fn there(account: &Account, action: &str, element: &str) -> (usize, usize) {
    let text = account.ec2(action, &[]);
    let marks = text.matches("<key>gabion:uid</key>").count();
    let start = format!("<{element}>");
    let mut ids = all_between(&text, &start, "</");
    ids.sort_unstable();
    ids.dedup();
    (marks, ids.len())
}

/// One round, which by itself follows from the seed and its number.
fn round(account: &Account, project: &Project, image: &str, seed: u64, round: u64) {
    let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
    let wanted = 1 + random.below(3);
    project.write("main.gabion.yml", documents(image, wanted, random.below(12)));
    let lag = Duration::from_millis(random.below(1500));
    account.aws.lag(lag);
    let faults = faults(account, &mut random);
    let struck = strike(project, &mut random);
    account.aws.clear_faults();
    let told = format!("seed {seed}, round {round}: {faults:?}, {struck}, descriptions lag {lag:?}");
    let mut last = String::new();
    let settled = (0..TRIES).any(|_| {
        let said = project.run(&["apply", "-y"]);
        last = said.all();
        said.code == 0 && project.run(&["plan", "--detailed-exitcode"]).code == 0
    });
    assert!(settled, "{told}\n{last}");
    account.aws.lag(Duration::ZERO);
    let expected: BTreeMap<String, usize> = (0..wanted)
        .map(|machine| (format!("aws_instance.m{machine}"), 1))
        .collect();
    assert_eq!(machines(account), expected, "{told}");
    let machines = usize::try_from(wanted).unwrap();
    for (action, element, expected) in [
        ("DescribeAddresses", "allocationId", (1, 1)),
        // The VPC has one of its own.
        ("DescribeSecurityGroups", "groupName", (1, 2)),
        ("DescribeKeyPairs", "keyPairId", (1, 1)),
        // Each machine has a disk, which carries the machine's mark.
        ("DescribeVolumes", "volumeId", (1 + machines, 1 + machines)),
    ] {
        assert_eq!(there(account, action, element), expected, "{told}: {action}");
    }
    let marked = [("Filter.1.Name", "tag-key"), ("Filter.1.Value.1", "gabion:uid")];
    let rules = account.ec2("DescribeSecurityGroupRules", &marked);
    assert_eq!(
        rules.matches("<securityGroupRuleId>").count(),
        1,
        "{told}: {rules}"
    );
    let zones = account.wait(account.aws.route53("GET", "/2013-04-01/hostedzone", ""));
    let ids = all_between(&zones, "<Id>", "</Id>");
    assert_eq!(ids.len(), 1, "{told}: {zones}");
    let path = format!("/2013-04-01{}/rrset", ids[0]);
    let records = account.wait(account.aws.route53("GET", &path, ""));
    // Its own two, and ours.
    assert_eq!(
        records.matches("<ResourceRecordSet>").count(),
        3,
        "{told}: {records}"
    );
}

/// Has rounds, several accounts beside each other.
#[expect(
    clippy::print_stdout,
    reason = "whoever starts a thousand rounds reads how far they are"
)]
fn rounds(open: fn() -> Account, otherwise: u64, beside: u64) {
    let seed = number("GABION_TEST_AWS_SEED", 1);
    let rounds = number("GABION_TEST_AWS_ROUNDS", otherwise);
    let beside = number("GABION_TEST_AWS_BESIDE", beside).clamp(1, rounds.max(1));
    let began = Instant::now();
    thread::scope(|scope| {
        for lane in 0..beside {
            scope.spawn(move || {
                let account = open();
                let image = account.image();
                let project = account.project("");
                for number in (lane..rounds).step_by(usize::try_from(beside).unwrap()) {
                    round(&account, &project, &image, seed, number);
                    println!("round {number}: well, {} s", began.elapsed().as_secs());
                }
            });
        }
    });
    let seconds = began.elapsed().as_secs();
    println!("rounds: {rounds}, seed: {seed}, seconds: {seconds}, orphans: 0, duplicates: 0");
}

#[test]
fn rounds_on_a_cloud_of_our_own_leave_no_orphan_no_duplicate_and_nothing_to_do() {
    rounds(Account::own, 25, 13);
}

#[test]
fn rounds_on_moto_leave_no_orphan_no_duplicate_and_nothing_to_do() {
    rounds(Account::open, 5, 3);
}
