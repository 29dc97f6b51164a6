//! The account has no hosted zone for the domain: whoever has its DNS adds the record by hand.

use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::cloud::{Cloud, Dns, NAMES};
use crate::harness::lan::Lan;
use crate::harness::{PlanView, Running, eventually};

/// Where the names lead by mistake.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);

/// Longer than making two machines takes.
const MAKING: Duration = Duration::from_secs(240);

/// What an apply says of its steps, as it goes.
fn phases(events: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(events).unwrap_or_default();
    let event = |line: &str| serde_json::from_str::<Value>(line).ok();
    let phase = |event: Value| event["phase"].as_str().map(str::to_owned);
    text.lines().filter_map(event).filter_map(phase).collect()
}

/// Waits until an apply that goes on says that it waits for a record of each name, which does something else.
#[track_caller]
fn waits(run: &mut Running, events: &Path, address: Ipv4Addr, found: &str) {
    eventually("a wait for both names", MAKING, || {
        let phases = phases(events);
        let is_told = |name: &&str| {
            let told = format!("waits for {name} A {address}, which {found}");
            phases.contains(&told)
        };
        match (NAMES.iter().all(is_told), run.is_running()) {
            (true, true) => Ok(()),
            (_, goes_on) => Err(format!("runs: {goes_on}, {phases:#?}")),
        }
    });
}

#[test]
fn without_a_hosted_zone_the_record_is_told_and_certificates_are_asked_for_once_it_is_there() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Elsewhere) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project(|mut project| {
        let plan = project.run(&["plan"]).succeeds();
        assert!(!plan.stdout.contains("aws_route53_record"), "{plan}");
        plan.says("no public hosted zone for `*.example.com`")
            .says("*.example.com A ADDRESS")
            .says("asks for certificates once the names lead there")
            .says("DNS record to add: *.example.com A");

        let events = project.directory().join("events.ndjson");
        let mut run = project.start(&["apply", "-y", "--events", "events.ndjson"]);
        let public = eventually("an address", MAKING, || cloud.elastic_address().ok_or("none"));
        waits(&mut run, &events, public, "does not exist");
        cloud.authority_was_asked_for_nothing();
        let point = |address: Ipv4Addr| {
            for name in NAMES {
                cloud.authority.point(name, address.into()).unwrap();
            }
        };
        point(ELSEWHERE);
        waits(&mut run, &events, public, &format!("leads to {ELSEWHERE}"));
        cloud.authority_was_asked_for_nothing();
        // Somebody adds the record; the apply goes on by itself.
        point(public);
        let applied = run.finish(2 * MAKING).succeeds();
        for name in NAMES {
            let told = format!("waits for {name} A {public}, which does not exist");
            assert_eq!(applied.stderr.matches(&told).count(), 1, "`{told}`: {applied}");
        }
        let log = cloud.authority.log().unwrap();
        assert!(log.contains("calling handler"), "{log}");
        assert_eq!(
            log.matches("Issued certificate serial").count(),
            NAMES.len(),
            "{log}"
        );
        let mut lines = applied.stdout.lines();
        let is_told = |line: &str| {
            let record = line.trim().strip_prefix("DNS record to add: *.example.com A ");
            record.is_some_and(|address| address.trim() == public.to_string())
        };
        assert!(lines.any(is_told), "{applied}");
        let outputs = project.run(&["output", "--format", "json"]).succeeds().json();
        let record = &outputs["endpoints"]["DNS record to add: *.example.com A"];
        assert_eq!(*record, public.to_string(), "{outputs}");
        cloud.completion(public);
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        // The record stays what it is, and so does the address: it can lead to one machine at a time.
        let plan = ["plan", "--format", "json", "--replace", "aws_instance.my-gateway"];
        let plan = PlanView(project.run(&plan).says("open connections are cut").json());
        let changes = plan.changes();
        let what = |address: &str| changes.get(address).map(String::as_str);
        assert_eq!(what("aws_instance.my-gateway"), Some("create+delete"));
        assert_eq!(what("aws_eip.my-gateway"), Some("update"));
        assert_eq!(what("gateway_listener.my-gateway"), Some("create+delete"));
        let old = project.attribute("aws_instance.my-gateway", "id");
        let replace = ["apply", "-y", "--replace", "aws_instance.my-gateway"];
        project.run(&replace).succeeds();
        cloud.ends_with_its_instance(old.as_str().unwrap());
        // It has got its own certificates there.
        cloud.completion(public);
        let log = cloud.authority.log().unwrap();
        assert_eq!(
            log.matches("Issued certificate serial").count(),
            2 * NAMES.len(),
            "{log}"
        );
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(2);
    });
    assert_eq!(cloud.left(), before);
}
