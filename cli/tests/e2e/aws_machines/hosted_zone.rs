//! The account has the domain's hosted zone.

use std::net::Ipv4Addr;

use super::cloud::{Cloud, Dns};
use crate::harness::lan::Lan;

#[test]
fn the_seeds_files_serve_a_completion_over_https_and_leave_an_empty_account() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project(|mut project| {
        project.apply();
        let public = project.attribute("aws_eip.my-gateway", "public_ip");
        let public: Ipv4Addr = public.as_str().unwrap().parse().unwrap();
        assert_eq!(cloud.wildcard(), Some(public), "{}", cloud.records());
        let replica = cloud.completion(public);
        // Each program is on its own machine: the replica's is reached through the gateway's alone.
        let on = |name: &str| {
            let id = project.attribute(name, "id");
            let programs = ["smg::router", "engine --model-path", "agent relay", "agent serve"];
            cloud.on(id.as_str().unwrap(), programs)
        };
        assert_eq!(on("aws_instance.my-gateway"), ([1, 0, 0, 1], Vec::new()));
        assert_eq!(on("aws_instance.qwen/default/0"), ([0, 1, 1, 0], vec![replica]));
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(2);
    });
    assert_eq!(cloud.left(), before);
}
