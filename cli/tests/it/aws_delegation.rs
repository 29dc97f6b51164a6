//! A hosted zone that is in the account, and whether the world asks it.

use std::net::Ipv4Addr;

use gabion_testing::aws::{all_between, between};
use gabion_testing::dns::NameServer;

use crate::aws_account::{Account, mentions};

const DOMAIN: &str = "example.com";

/// Makes the domain's hosted zone; returns its id and its name servers.
fn zone(account: &Account) -> (String, Vec<String>) {
    let request = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{DOMAIN}</Name>\
         <CallerReference>{DOMAIN}</CallerReference></CreateHostedZoneRequest>"
    );
    let made = account.wait(account.aws.route53("POST", "/2013-04-01/hostedzone", &request));
    let id = between(&made, "<Id>/hostedzone/", "</Id>").unwrap().to_owned();
    let servers = all_between(&made, "<NameServer>", "</NameServer>");
    (id, servers.into_iter().map(str::to_owned).collect())
}

#[test]
fn a_zone_that_the_world_does_not_ask_is_told_at_plan() {
    let account = Account::own();
    let (id, servers) = zone(&account);
    let dns = NameServer::start(Ipv4Addr::LOCALHOST).unwrap();
    let nameserver = format!("    acme: {{nameserver: '{}'}}\n    ssh_key:", dns.address());
    let project = account.seed("    ssh_key:", &nameserver);
    // The account has no image for the service's machine; the gateway is enough.
    std::fs::remove_file(project.directory().join("qwen.dstack.yml")).unwrap();
    let not_delegated = format!("The hosted zone `{DOMAIN}` ({id}) is not delegated to");

    let said = project.exits(0, &["plan"]);
    mentions(&said, &[&not_delegated, "`example.com` has no name servers"]);
    mentions(&said, &["aws_route53_record.my-gateway"]);
    for server in &servers {
        mentions(&said, &[server]);
    }
    assert!(dns.asked().contains(DOMAIN));

    dns.delegate(DOMAIN, &["ns1.registrar.example", "ns2.registrar.example"]);
    let said = project.exits(0, &["plan"]);
    let asked = "the name servers of `example.com` are ns1.registrar.example, ns2.registrar.example";
    mentions(&said, &[&not_delegated, asked]);

    let own: Vec<&str> = servers.iter().map(String::as_str).collect();
    dns.delegate(DOMAIN, &own);
    let said = project.exits(0, &["plan"]);
    assert!(!said.all().contains("not delegated"), "{}", said.all());

    // Nobody answers: nothing is known, and nothing is said.
    drop(dns);
    let said = project.exits(0, &["plan"]);
    assert!(!said.all().contains("not delegated"), "{}", said.all());
}
