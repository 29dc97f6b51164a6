//! Rounds of faults and kills on AWS: after each, the next apply leaves nothing twice, nothing unknown and nothing to do.
//!
//! `GABION_TEST_AWS_ROUNDS` says how many rounds there are, `GABION_TEST_AWS_SEED` what happens in them; `cargo xtask
//! aws-rounds` sets both.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use gabion_testing::aws::{Fault, all_between, between};
use gabion_testing::fake::fault::Random;

use crate::aws_account::Account;
use crate::harness::Project;

/// How many rounds the normal test run has.
const ROUNDS: u64 = 5;
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

/// A group, some machines in it, an address of the first, and its record.
fn documents(image: &str, machines: u64, edition: u64) -> String {
    let mut text = format!(
        "type: resource\nkind: aws_security_group\nname: web\nproperties:\n  description: web\n  tags: {{edition: \
         'e{edition}'}}\n---\ntype: resource\nkind: aws_route53_zone\nname: main\nproperties:\n  name: \
         rounds.example.com\n---\ntype: resource\nkind: aws_eip\nname: gw\nproperties:\n  instance: ${{{{ aws_instance.m0.id \
         }}}}\n---\ntype: resource\nkind: aws_route53_record\nname: gw\nproperties:\n  zone_id: ${{{{ \
         aws_route53_zone.main.zone_id }}}}\n  name: '*.rounds.example.com'\n  type: A\n  ttl: {}\n  records: ['${{{{ \
         aws_eip.gw.public_ip }}}}']\n",
        60 + edition % 3
    );
    for machine in 0..machines {
        // Other user data is another machine.
        let edition = edition / 2 + machine;
        text.push_str(&format!(
            "---\ntype: resource\nkind: aws_instance\nname: m{machine}\nproperties:\n  ami: {image}\n  instance_type: \
             t3.micro\n  vpc_security_group_ids: ['${{{{ aws_security_group.web.id }}}}']\n  user_data: e{edition}\n"
        ));
    }
    text
}

/// What goes wrong in a round.
fn faults(account: &Account, random: &mut Random) -> Vec<String> {
    const OPERATIONS: [&str; 9] = [
        "RunInstances",
        "TerminateInstances",
        "AllocateAddress",
        "AssociateAddress",
        "CreateSecurityGroup",
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

#[test]
fn rounds_of_faults_and_kills_leave_no_orphan_no_duplicate_and_nothing_to_do() {
    let seed = number("GABION_TEST_AWS_SEED", 1);
    let rounds = number("GABION_TEST_AWS_ROUNDS", ROUNDS);
    let account = Account::open();
    let image = account.image();
    let project = account.project("");
    for round in 0..rounds {
        // Each round by itself follows from the seed and its number.
        let mut random = Random::new(seed.wrapping_mul(1_000_003).wrapping_add(round));
        let wanted = 1 + random.below(3);
        project.write("main.gabion.yml", documents(&image, wanted, random.below(12)));
        let faults = faults(&account, &mut random);
        let struck = strike(&project, &mut random);
        account.aws.clear_faults();
        let told = format!("seed {seed}, round {round}: {faults:?}, {struck}");
        let mut last = String::new();
        let settled = (0..TRIES).any(|_| {
            let said = project.run(&["apply", "-y"]);
            last = said.all();
            said.code == 0 && project.run(&["plan", "--detailed-exitcode"]).code == 0
        });
        assert!(settled, "{told}\n{last}");
        let expected: BTreeMap<String, usize> = (0..wanted)
            .map(|machine| (format!("aws_instance.m{machine}"), 1))
            .collect();
        assert_eq!(machines(&account), expected, "{told}");
        for action in ["DescribeAddresses", "DescribeSecurityGroups"] {
            let text = account.ec2(action, &[]);
            assert_eq!(text.matches("<key>gabion:uid</key>").count(), 1, "{told}: {text}");
        }
        let zones = account.wait(account.aws.route53("GET", "/2013-04-01/hostedzone", ""));
        assert_eq!(all_between(&zones, "<Id>", "</Id>").len(), 1, "{told}: {zones}");
    }
    println!("rounds: {rounds}, orphans: 0, duplicates: 0");
}
