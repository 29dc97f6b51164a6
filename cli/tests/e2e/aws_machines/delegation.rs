//! The account has a hosted zone for the domain, and the world asks other name servers.

use gabion_testing::dns::NameServer;

use super::cloud::{Cloud, DOMAIN, Dns, NAMES};
use crate::harness::lan::Lan;

#[test]
fn a_zone_that_the_world_does_not_ask_is_told_before_certificates_are_asked_for() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    let servers = cloud.name_servers();
    cloud.with_project(|mut project| {
        let dns = NameServer::start(lan.network.address()).unwrap();
        dns.delegate(DOMAIN, &["ns1.registrar.example"]);
        project.edit(
            "gabion.yml",
            &format!("nameserver: {}", cloud.authority.nameserver()),
            &format!("nameserver: {}, name_timeout: 1s", dns.address()),
        );

        let told = project.run(&["apply", "-y"]).exits(6);
        let public = cloud.wildcard().unwrap();
        let own = servers.join(", ");
        let asked = format!(
            "the name servers of `{DOMAIN}` are ns1.registrar.example, and not those of its hosted zone, {own}"
        );
        for name in NAMES {
            let progress = format!("waits for {name} A {public}, which does not exist; {asked}");
            assert!(told.stderr.contains(&progress), "no `{progress}`: {told}");
            let failure = format!("`{name}` does not exist, and must lead to {public} alone; {asked}.");
            assert!(told.stderr.contains(&failure), "no `{failure}`: {told}");
        }
        told.says(&format!("where `{DOMAIN}` is registered"));
        cloud.authority_was_asked_for_nothing();

        // Its owner sets the zone's name servers, and so the world finds the record that is there.
        let own: Vec<&str> = servers.iter().map(String::as_str).collect();
        dns.delegate(DOMAIN, &own);
        dns.point(&format!("*.{DOMAIN}"), public.into());
        project.apply();
        cloud.completion(public);
        project.plan_is_empty();
        project.destroy();
        cloud.machines_are_as_left(2);
    });
    assert_eq!(cloud.left(), before);
}
