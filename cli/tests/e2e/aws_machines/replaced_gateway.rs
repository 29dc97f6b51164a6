//! Another machine takes the place of a gateway's while clients ask.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::cloud::{Cloud, Dns, NAMES, TOKEN};
use crate::harness::lan::Lan;
use crate::harness::{Connection, Endpoint, PlanView, Project, eventually};

/// The pause between two requests of a client.
const PACE: Duration = Duration::from_millis(50);

/// What became of requests to the gateway's name.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// How many were answered at each address.
    answered: BTreeMap<Ipv4Addr, u64>,
    /// What went wrong, with the second in which the request began.
    pub(super) failures: Vec<(f32, String)>,
}

impl Report {
    pub(super) fn at(&self, address: Ipv4Addr) -> u64 {
        self.answered.get(&address).copied().unwrap_or_default()
    }
}

/// Ends the clients, however the test ends.
pub(super) struct Done<'a>(pub(super) &'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Asks the gateway's models at the address that its name leads to, whoever says which that is: over a new connection each
/// time, or over one for as long as the gateway keeps it.
pub(super) fn ask(
    leads_to: impl Fn() -> Option<Ipv4Addr>,
    keeps: bool,
    done: &AtomicBool,
    report: &Mutex<Report>,
) {
    let started = Instant::now();
    let endpoint = Endpoint {
        base: "http://gateway/v1".to_owned(),
        model: "qwen/qwen2.5-0.5b-instruct".to_owned(),
        token: Some(TOKEN.to_owned()),
    };
    let mut kept: Option<(Ipv4Addr, Connection)> = None;
    while !done.load(Ordering::SeqCst) {
        let began = started.elapsed().as_secs_f32();
        let asked = match kept.take() {
            Some(kept) => Ok(kept),
            None => leads_to()
                .ok_or_else(|| "the name leads nowhere".to_owned())
                .and_then(|at| Ok((at, Connection::open_at((at, 80).into(), NAMES[0])?))),
        };
        let answered = asked.and_then(|(at, connection)| {
            let mut request = endpoint.request("is all well?", 4, false);
            if !keeps {
                request = request.header("connection", "close");
            }
            let (response, connection) = connection.send(&request)?.whole()?;
            match response.status {
                200 => Ok((at, connection)),
                status => Err(format!("{at}: {status}: {}", response.text())),
            }
        });
        let mut report = report.lock().unwrap();
        match answered {
            Ok((at, connection)) => {
                *report.answered.entry(at).or_default() += 1;
                kept = connection.map(|connection| (at, connection));
            }
            Err(failure) => report.failures.push((began, failure)),
        }
        drop(report);
        thread::sleep(PACE);
    }
}

/// What is replaced.
const GATEWAY: &str = "aws_instance.my-gateway";

/// Asks for another machine in the place of a gateway's.
pub(super) const REPLACED: [&str; 2] = ["--replace", GATEWAY];

/// Has another machine take the place of a gateway's.
pub(super) const REPLACE: [&str; 4] = ["apply", "-y", REPLACED[0], REPLACED[1]];

/// Returns what a plan does, by address.
pub(super) fn planned(project: &Project, more: &[&str]) -> BTreeMap<String, String> {
    let plan = [&["plan", "--format", "json"], more].concat();
    PlanView(project.run(&plan).succeeds().json()).changes()
}

#[test]
fn a_gateway_in_a_zone_answers_every_request_while_another_machine_takes_its_place() {
    answers_every_request_while(1, |_, project| {
        let changes = planned(project, &REPLACED);
        let what = |address: &str| changes.get(address).map(String::as_str);
        for beside in [
            "aws_instance.my-gateway",
            "aws_eip.my-gateway",
            "host_unit.agent/my-gateway",
            "gateway_listener.my-gateway",
            "router_worker.qwen/default/0",
            "gateway_route.qwen",
        ] {
            assert_eq!(what(beside), Some("create+delete"), "{beside}");
        }
        assert_eq!(what("aws_route53_record.my-gateway"), Some("update"));
        assert_eq!(what("host_unit.qwen/default/0"), None);
        project.run(&REPLACE).succeeds();
    });
}

#[test]
fn one_of_several_replicas_answers_every_request_and_the_replicas_stay() {
    answers_every_request_while(2, |cloud, project| {
        let replicas = ["qwen/default/0", "qwen/default/1"];
        let units = |project: &Project| {
            replicas.map(|replica| {
                project
                    .attribute(&format!("host_unit.{replica}"), "id")
                    .to_string()
            })
        };
        let before = units(project);
        // Half of it is never planned.
        let changes = planned(project, &[&REPLACED[..], &["--target", GATEWAY]].concat());
        let what = |address: &str| changes.get(address).map(String::as_str);
        assert_eq!(what("aws_route53_record.my-gateway"), Some("update"));
        for replica in replicas {
            let worker = format!("router_worker.{replica}");
            assert_eq!(what(&worker), Some("create+delete"), "{changes:#?}");
            assert_eq!(what(&format!("host_unit.{replica}")), None);
        }
        assert_eq!(what("gateway_route.qwen"), Some("create+delete"));
        project.run(&REPLACE).succeeds();
        assert_eq!(units(project), before);
        assert_eq!(cloud.anywhere("agent serve"), 1);
    });
}

#[test]
fn one_whose_instance_was_terminated_is_made_anew_before_names_follow() {
    in_a_zone(|cloud, mut project| {
        served_in_plain(&project);
        project.apply();
        let old = cloud.wildcard().unwrap();
        let instance = project.attribute("aws_instance.my-gateway", "id");
        cloud.terminate(instance.as_str().unwrap());

        project.run(&["drift"]).exits(2).says("aws_instance.my-gateway");
        let changes = planned(&project, &[]);
        let what = |address: &str| changes.get(address).map(String::as_str);
        assert_eq!(what("aws_instance.my-gateway"), Some("create"), "{changes:#?}");
        assert_eq!(what("aws_eip.my-gateway"), Some("create+delete"));
        assert_eq!(what("aws_route53_record.my-gateway"), Some("update"));
        assert_eq!(what("host_unit.qwen/default/0"), None);

        project
            .run(&["apply", "-y", "--events", "repaired.ndjson"])
            .succeeds();
        let events = project.read("repaired.ndjson");
        let at = |event: &str, address: &str| {
            let is_it = |line: &str| {
                line.contains(&format!("\"{event}\"")) && line.contains(&format!("\"{address}\""))
            };
            events
                .lines()
                .position(is_it)
                .unwrap_or_else(|| panic!("no {event} of {address} in {events}"))
        };
        // Nobody waits for an instance that is known to have ended.
        assert!(!events.contains("see whether the machine is gone"), "{events}");
        let led = at("step_started", "aws_route53_record.my-gateway");
        for served in [
            "gateway_listener.my-gateway",
            "router_worker.qwen/default/0",
            "gateway_route.qwen",
        ] {
            assert!(at("step_finished", served) < led, "{served} in {events}");
        }
        let new = cloud.wildcard().unwrap();
        assert_ne!(new, old);
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            scope.spawn(|| ask(|| cloud.wildcard(), true, &done, &report));
            answered(&report, new, 4);
        });
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(2);
    });
}

#[test]
fn it_answers_every_request_when_the_replacement_is_killed_and_goes_on() {
    answers_every_request_while(1, |cloud, project| {
        killed_with_two_agents(cloud, project, &REPLACE);
        project.apply();
    });
}

#[test]
fn it_answers_every_request_when_the_replacement_is_killed_before_the_new_machine_was_met() {
    answers_every_request_while(1, |cloud, project| {
        killed_before_it_was_met(cloud, project);
        project.apply();
    });
}

/// Begins a replacement, or goes on with one, and kills it when agents run on both machines.
pub(super) fn killed_with_two_agents(cloud: &Cloud<'_>, project: &Project, arguments: &[&str]) {
    let killed = project.start(arguments);
    eventually("two agents", Duration::from_secs(120), || {
        match cloud.anywhere("agent serve") {
            2 => Ok(()),
            count => Err(format!("{count} agents")),
        }
    });
    drop(killed.kill());
}

/// Begins a replacement, and kills it while it waits for the new machine's first answer.
pub(super) fn killed_before_it_was_met(cloud: &Cloud<'_>, project: &Project) {
    cloud.hold_addresses(true);
    killed_at(project, "ssh_host.my-gateway", "connect");
    cloud.hold_addresses(false);
}

/// Begins a replacement, and kills it while the new machine is in the making.
pub(super) fn killed_before_it_was_made(cloud: &Cloud<'_>, project: &Project) {
    cloud.hold_keys(true);
    killed_at(project, GATEWAY, "read the host key");
    cloud.hold_keys(false);
}

/// Begins a replacement, and kills it in a phase of what is done with a resource.
fn killed_at(project: &Project, address: &str, phase: &str) {
    let arguments = [&REPLACE[..], &["--events", "killed.ndjson"]].concat();
    let killed = project.start(&arguments);
    let phase = format!("\"{phase}\"");
    eventually("the phase", Duration::from_secs(120), || {
        let events = std::fs::read_to_string(project.directory().join("killed.ndjson"));
        let events = events.unwrap_or_default();
        let is_it = |line: &str| line.contains(address) && line.contains(&phase);
        match events.lines().any(is_it) {
            true => Ok(()),
            false => Err(events),
        }
    });
    drop(killed.kill());
}

#[test]
fn one_with_certificates_has_new_ones_once_names_lead_to_its_new_machine() {
    in_a_zone(|cloud, mut project| {
        project.apply();
        let old = cloud.wildcard().unwrap();
        cloud.completion(old);
        let plan = [&["plan", "--format", "json"], &REPLACED[..]].concat();
        project.run(&plan).says("new connections over HTTPS fail");
        project.run(&REPLACE).succeeds();
        let new = cloud.wildcard().unwrap();
        assert_ne!(new, old);
        cloud.completion(new);
        project.plan_is_empty();
        project.destroy();
        cloud.machines_are_as_left(3);
    });
}

/// Gives a test a project whose gateway is in a zone, and leaves nothing behind. Others remember its record for a second, so
/// that nobody waits for longer.
fn in_a_zone(test: impl FnOnce(&Cloud<'_>, Project) + Send) {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project(|project| {
        project.edit(
            "gabion.yml",
            "    admin_cidrs:",
            "    record_ttl: 1s\n    admin_cidrs:",
        );
        test(&cloud, project);
    });
    assert_eq!(cloud.left(), before);
}

/// Has the gateway serve over HTTP alone.
pub(super) fn served_in_plain(project: &Project) {
    project.edit(
        "gateway.dstack.yml",
        "domain: example.com",
        "domain: example.com\ncertificate: null",
    );
}

/// Waits until so many requests were answered at an address.
pub(super) fn answered(report: &Mutex<Report>, at: Ipv4Addr, times: u64) {
    eventually("answers", Duration::from_secs(60), || {
        let report = report.lock().unwrap();
        match report.at(at) >= times {
            true => Ok(()),
            false => Err(format!("{report:?}")),
        }
    });
}

/// Has clients ask a gateway in a zone, with so many replicas, while its machine is replaced; none may fail, and nothing may
/// be left behind.
fn answers_every_request_while(replicas: usize, replacing: impl FnOnce(&Cloud<'_>, &Project) + Send) {
    in_a_zone(|cloud, mut project| {
        served_in_plain(&project);
        project.edit(
            "qwen.dstack.yml",
            "port: 8000",
            &format!("port: 8000\nreplicas: {replicas}"),
        );
        project.apply();
        let old = cloud.wildcard().unwrap();
        let instance = |project: &Project| {
            let id = project.attribute("aws_instance.my-gateway", "id");
            id.as_str().unwrap().to_owned()
        };
        let old_instance = instance(&project);
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            for keeps in [false, true] {
                let (done, report) = (&done, &report);
                scope.spawn(move || ask(|| cloud.wildcard(), keeps, done, report));
            }
            answered(&report, old, 8);
            replacing(cloud, &project);
            let new = cloud.wildcard().unwrap();
            assert_ne!(new, old);
            answered(&report, new, 8);
        });
        let report = report.into_inner().unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
        let new_instance = instance(&project);
        assert_ne!(new_instance, old_instance);
        let programs = ["smg::router", "agent relay", "agent serve"];
        assert_eq!(cloud.on(&new_instance, programs), ([1, 0, 1], Vec::new()));
        // They were stopped there, and did not only go with the machine.
        assert_eq!(cloud.on(&old_instance, programs), ([0, 0, 0], Vec::new()));
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(2 + replicas);
    });
}
