//! Without a zone the address of a gateway stays: it moves to another machine once all stands there.

use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::cloud::{Cloud, Dns};
use super::replaced_gateway::{
    Done, REPLACE, REPLACED, Report, answered, ask, killed_before_it_was_made, killed_before_it_was_met,
    killed_with_two_agents, planned, served_in_plain,
};
use crate::harness::Project;
use crate::harness::lan::Lan;

#[test]
fn the_old_machine_serves_until_all_stands_on_the_new_one() {
    an_address_moves(|cloud, project, clients| {
        let plan = [&["plan"], &REPLACED[..]].concat();
        project.run(&plan).says("open connections are cut then");
        let changes = planned(project, &REPLACED);
        let what = |address: &str| changes.get(address).map(String::as_str);
        assert_eq!(what("aws_eip.my-gateway"), Some("update"));
        for beside in [
            "aws_instance.my-gateway",
            "ssh_host.my-gateway",
            "gateway_listener.my-gateway",
            "router_worker.qwen/default/0",
            "gateway_route.qwen",
        ] {
            assert_eq!(what(beside), Some("create+delete"), "{beside}");
        }
        assert_eq!(what("host_unit.qwen/default/0"), None);

        // All but the move.
        cloud.refuse(Some("AssociateAddress"));
        project.run(&REPLACE).exits(6).says("AssociateAddress");
        assert_eq!(cloud.anywhere("agent serve"), 2);
        assert_eq!(cloud.anywhere("smg::router"), 2);
        clients.are_answered();
        clients.were_never_refused();
        let left = planned(project, &[]);
        let made = left.values().filter(|what| what.contains("create"));
        assert_eq!(made.count(), 0, "{left:#?}");
        assert_eq!(left.get("aws_eip.my-gateway").map(String::as_str), Some("update"));

        cloud.refuse(None);
        project.apply();
    });
}

#[test]
fn a_replacement_that_was_killed_goes_on_and_the_old_machine_serves_until_then() {
    an_address_moves(|cloud, project, clients| {
        killed_before_it_was_met(cloud, project);
        clients.are_answered();
        killed_with_two_agents(cloud, project, &["apply", "-y"]);
        clients.are_answered();
        clients.were_never_refused();
        project.apply();
    });
}

#[test]
fn one_that_was_killed_before_the_new_machine_was_made_goes_on_and_the_old_one_serves_until_then() {
    an_address_moves(|cloud, project, clients| {
        killed_before_it_was_made(cloud, project);
        clients.are_answered();
        // All but the move.
        cloud.refuse(Some("AssociateAddress"));
        project.run(&["apply", "-y"]).exits(6).says("AssociateAddress");
        assert_eq!(cloud.anywhere("smg::router"), 2);
        clients.are_answered();
        clients.were_never_refused();
        cloud.refuse(None);
        project.apply();
    });
}

#[test]
fn one_whose_instance_was_terminated_is_made_anew_before_the_address_follows() {
    without_a_zone(|cloud, project| {
        let address = cloud.elastic_address().unwrap();
        let old = instance(&project);
        cloud.terminate(&old);
        let changes = planned(&project, &[]);
        let what = |address: &str| changes.get(address).map(String::as_str);
        assert_eq!(what("aws_instance.my-gateway"), Some("create"), "{changes:#?}");
        assert_eq!(what("aws_eip.my-gateway"), Some("update"));
        project.apply();
        with_clients(address, |clients| clients.are_answered());
        only_the_new_one_is_left(cloud, project, address, &old);
    });
}

#[test]
fn a_machine_that_was_made_without_an_address_of_its_own_stays_until_another_takes_its_place() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project(|project| {
        served_in_plain(&project);
        // In a zone it has none, as all had that earlier versions made.
        project.apply();
        cloud.know_no_zone();
        let changes = planned(&project, &[]);
        for stays in [
            "aws_instance.my-gateway",
            "ssh_host.my-gateway",
            "aws_eip.my-gateway",
        ] {
            assert_eq!(changes.get(stays), None, "{changes:#?}");
        }
        project.apply();
        project.plan_is_empty();
        let (address, old) = (cloud.elastic_address().unwrap(), instance(&project));
        with_clients(address, |clients| {
            clients.are_answered();
            project.run(&REPLACE).succeeds();
            clients.are_answered();
            let report = clients.report.lock().unwrap();
            assert!(report.failures.len() <= 3, "{report:?}");
        });
        cloud.ends_with_its_instance(&old);
        only_the_new_one_is_left(&cloud, project, address, &old);
    });
    assert_eq!(cloud.left(), before);
}

/// Those who ask at the address.
struct Clients<'a> {
    address: Ipv4Addr,
    report: &'a Mutex<Report>,
}

impl Clients<'_> {
    /// Waits until some more requests were answered.
    fn are_answered(&self) {
        let before = self.report.lock().unwrap().at(self.address);
        answered(self.report, self.address, before + 8);
    }

    #[track_caller]
    fn were_never_refused(&self) {
        let report = self.report.lock().unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
    }
}

/// Gives a test a project whose gateway serves over HTTP, is in no zone and was applied, and leaves nothing behind.
fn without_a_zone(test: impl FnOnce(&Cloud<'_>, Project) + Send) {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Elsewhere) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project(|project| {
        served_in_plain(&project);
        project.apply();
        project.plan_is_empty();
        test(&cloud, project);
    });
    assert_eq!(cloud.left(), before);
}

/// Returns the instance of the gateway.
fn instance(project: &Project) -> String {
    let id = project.attribute("aws_instance.my-gateway", "id");
    id.as_str().unwrap().to_owned()
}

/// Checks that the new machine of a gateway is all that there is, and takes it away.
fn only_the_new_one_is_left(cloud: &Cloud<'_>, mut project: Project, address: Ipv4Addr, old: &str) {
    assert_eq!(cloud.elastic_address(), Some(address));
    let new = instance(&project);
    assert_ne!(new, old);
    let programs = ["smg::router", "agent relay", "agent serve"];
    assert_eq!(cloud.on(&new, programs), ([1, 0, 1], Vec::new()));
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);
    project.destroy();
    cloud.machines_are_as_left(2);
}

/// Has a client ask a gateway without a zone while its machine is replaced: it is answered before and after, and nothing may
/// be left behind.
fn an_address_moves(replacing: impl FnOnce(&Cloud<'_>, &Project, &Clients<'_>) + Send) {
    without_a_zone(|cloud, project| {
        let address = cloud.elastic_address().unwrap();
        let old = instance(&project);
        with_clients(address, |clients| {
            clients.are_answered();
            replacing(cloud, &project, clients);
            // What was under way when it moved was cut off.
            clients.are_answered();
            let report = clients.report.lock().unwrap();
            assert!(report.failures.len() <= 3, "{report:?}");
        });
        cloud.ends_with_its_instance(&old);
        only_the_new_one_is_left(cloud, project, address, &old);
    });
}

/// Has a client ask at an address meanwhile.
fn with_clients(address: Ipv4Addr, meanwhile: impl FnOnce(&Clients<'_>)) {
    let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
    thread::scope(|scope| {
        let _done = Done(&done);
        scope.spawn(|| ask(|| Some(address), false, &done, &report));
        let report = &report;
        meanwhile(&Clients { address, report });
    });
}
