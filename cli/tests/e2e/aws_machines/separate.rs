//! A service in parts: its router, its prefill and its decode workers, each on a machine of its own.

use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::thread;

use super::cloud::{Cloud, Dns};
use super::replaced_gateway::{Done, REPLACE, REPLACED, Report, answered, ask, planned, served_in_plain};
use crate::harness::Project;
use crate::harness::lan::Lan;

const ROUTER: &str = "aws_instance.qwen/router/0";

/// The programs of which machines have some: routers, engines, relays, agents.
const PROGRAMS: [&str; 4] = ["smg::router", "engine --model-path", "agent relay", "agent serve"];

/// Which programs run on the machine of an instance.
fn on(cloud: &Cloud<'_>, project: &Project, instance: &str) -> [usize; 4] {
    let id = project.attribute(instance, "id");
    cloud.on(id.as_str().unwrap(), PROGRAMS).0
}

/// Has the router not look for tokenizers: nobody on the network has any.
fn without_tokenizers(project: &Project) {
    project.edit(
        "qwen.dstack.yml",
        "--policy round_robin",
        "--policy round_robin --disable-tokenizer-autoload",
    );
}

/// Checks what a plan does that moves the router: with its group and with what is beside the gateway; workers stay.
#[track_caller]
fn moves_the_router(project: &Project, group: &str, beside: &str) {
    let changes = planned(project, &[]);
    let expected = [
        (ROUTER, Some(group)),
        ("aws_security_group.qwen/router", Some(group)),
        (
            "aws_vpc_security_group_ingress_rule.qwen/replicas/router",
            Some(group),
        ),
        ("host_unit.agent/qwen/router/0", Some(group)),
        ("host_unit.qwen/router/0", Some(group)),
        (
            "aws_vpc_security_group_ingress_rule.qwen/replicas/relay",
            Some(beside),
        ),
        ("host_unit.my-gateway/router/qwen", Some(beside)),
        ("gateway_route.qwen", Some("update")),
        ("host_unit.qwen/prefill/0/relay", Some("create+delete")),
        ("router_worker.qwen/decode/0", Some("create+delete")),
        ("aws_vpc_security_group_ingress_rule.qwen/replicas/workers", None),
        ("host_unit.qwen/prefill/0", None),
        ("aws_instance.qwen/prefill/0", None),
    ];
    for (address, what) in expected {
        assert_eq!(changes.get(address).map(String::as_str), what, "{address}");
    }
}

/// Checks that nobody was cut off: the rule that lets in who sends requests from now on stood before relays that take them, and
/// the one before it went after all that was reached by it.
#[track_caller]
fn rules_change(events: &str, new: &str, old: &str) {
    let at = |what: [&str; 2], address: &str| {
        let words = [what[0], what[1], address].map(|word| format!("\"{word}\""));
        let is_it = |line: &str| words.iter().all(|word| line.contains(word));
        let found = events.lines().position(is_it);
        found.unwrap_or_else(|| panic!("no {what:?} of {address} in {events}"))
    };
    let rule = |name: &str| format!("aws_vpc_security_group_ingress_rule.qwen/replicas/{name}");
    let made = at(["step_finished", "create"], &rule(new));
    let gone = at(["step_started", "delete"], &rule(old));
    assert!(
        at(["step_finished", "update"], "gateway_route.qwen") < gone,
        "{events}"
    );
    for worker in ["prefill", "decode"] {
        let relay = format!("host_unit.qwen/{worker}/0/relay");
        assert!(
            made < at(["step_started", "create"], &relay),
            "{worker}: {events}"
        );
        assert!(
            at(["step_finished", "delete"], &relay) < gone,
            "{worker}: {events}"
        );
    }
}

/// Has the router of the example be beside the gateway, and not in a group.
fn beside_the_gateway(project: &Project) {
    let service = project.read("qwen.dstack.yml");
    let (before, after) = service.split_once("replicas:\n").unwrap();
    let (_, workers) = after.split_once("  # Reads prompts.").unwrap();
    project.write(
        "qwen.dstack.yml",
        &format!(
            "{before}router: {{type: sglang, policy: round_robin, pd_disaggregation: true}}\nreplicas:\n  # Reads prompts.{workers}"
        ),
    );
}

#[test]
fn a_service_in_parts_answers_while_its_router_moves_into_a_group_and_back() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project_of("prefill-decode", |mut project| {
        served_in_plain(&project);
        without_tokenizers(&project);
        let in_a_group = project.read("qwen.dstack.yml");
        beside_the_gateway(&project);
        project.apply();
        assert_eq!(on(&cloud, &project, "aws_instance.my-gateway"), [1, 0, 0, 1]);
        let units = |project: &Project| {
            ["prefill", "decode"].map(|worker| {
                let unit = project.attribute(&format!("host_unit.qwen/{worker}/0"), "id");
                unit.to_string()
            })
        };
        let workers = units(&project);
        let public = cloud.wildcard().unwrap();
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            for keeps in [false, true] {
                let (cloud, done, report) = (&cloud, &done, &report);
                scope.spawn(move || ask(|| cloud.wildcard(), keeps, done, report));
            }
            answered(&report, public, 8);
            project.write("qwen.dstack.yml", &in_a_group);
            moves_the_router(&project, "create", "delete");
            let apply = ["apply", "-y", "--events", "into.ndjson"];
            project.run(&apply).succeeds();
            rules_change(&project.read("into.ndjson"), "router", "relay");
            assert_eq!(on(&cloud, &project, "aws_instance.my-gateway"), [0, 0, 0, 1]);
            assert_eq!(on(&cloud, &project, ROUTER), [1, 0, 1, 1]);
            project.plan_is_empty();

            beside_the_gateway(&project);
            moves_the_router(&project, "delete", "create");
            let apply = ["apply", "-y", "--events", "back.ndjson"];
            project.run(&apply).succeeds();
            rules_change(&project.read("back.ndjson"), "relay", "router");
            assert_eq!(on(&cloud, &project, "aws_instance.my-gateway"), [1, 0, 0, 1]);
            let so_far = report.lock().unwrap().at(public);
            answered(&report, public, so_far + 8);
        });
        let report = report.into_inner().unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
        assert_eq!(units(&project), workers);
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(4);
    });
    assert_eq!(cloud.left(), before);
}

#[test]
fn a_router_and_workers_of_both_kinds_answer_while_another_machine_takes_the_routers_place() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project_of("prefill-decode", |mut project| {
        served_in_plain(&project);
        without_tokenizers(&project);
        project.apply();
        assert_eq!(on(&cloud, &project, "aws_instance.my-gateway"), [0, 0, 0, 1]);
        assert_eq!(on(&cloud, &project, ROUTER), [1, 0, 1, 1]);
        for worker in ["prefill", "decode"] {
            let instance = format!("aws_instance.qwen/{worker}/0");
            assert_eq!(on(&cloud, &project, &instance), [0, 1, 1, 0], "{worker}");
        }
        let public = cloud.wildcard().unwrap();
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            for keeps in [false, true] {
                let (cloud, done, report) = (&cloud, &done, &report);
                scope.spawn(move || ask(|| cloud.wildcard(), keeps, done, report));
            }
            answered(&report, public, 8);
            project.plan_is_empty();
            project.run(&["drift"]).exits(0);

            // One more worker is one more machine, and nothing else changes.
            project.edit(
                "qwen.dstack.yml",
                "decode\n    count: 1",
                "decode\n    count: 1..2\n    scaling: {metric: rps, target: 10}",
            );
            project.run(&["scale", "qwen/decode", "2", "-y"]).succeeds();
            assert_eq!(on(&cloud, &project, "aws_instance.qwen/decode/1"), [0, 1, 1, 0]);
            project.plan_is_empty();

            // Another machine of the router: workers are registered there before requests go there.
            let replace = ["--replace", ROUTER];
            let changes = planned(&project, &replace);
            let what = |address: &str| changes.get(address).map(String::as_str);
            for beside in [
                ROUTER,
                "ssh_host.qwen/router/0",
                "host_unit.agent/qwen/router/0",
                "host_unit.qwen/router/0",
                "host_unit.qwen/router/0/relay",
                "host_unit.qwen/prefill/0/relay",
                "router_worker.qwen/prefill/0",
            ] {
                assert_eq!(what(beside), Some("create+delete"), "{beside}");
            }
            assert_eq!(what("gateway_route.qwen"), Some("update"));
            for stays in ["host_unit.qwen/prefill/0", "host_unit.qwen/decode/0"] {
                assert_eq!(what(stays), None, "{stays}");
            }
            let old = project.attribute(ROUTER, "id");
            project.run(&[&["apply", "-y"], &replace[..]].concat()).succeeds();
            assert_eq!(on(&cloud, &project, ROUTER), [1, 0, 1, 1]);
            // What was on the old one was stopped there.
            assert_eq!(cloud.on(old.as_str().unwrap(), PROGRAMS).0, [0; 4]);
            project.run(&["scale", "qwen/decode", "1", "-y"]).succeeds();
            let so_far = report.lock().unwrap().at(public);
            answered(&report, public, so_far + 8);
        });
        let report = report.into_inner().unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(6);
    });
    assert_eq!(cloud.left(), before);
}

#[test]
fn another_machine_of_the_gateway_goes_on_with_the_router_and_one_that_ended_is_made_anew() {
    let Some(lan) = Lan::start() else { return };
    let Some(cloud) = Cloud::open(&lan, Dns::Account) else {
        return;
    };
    let before = cloud.left();
    cloud.with_project_of("prefill-decode", |mut project| {
        served_in_plain(&project);
        without_tokenizers(&project);
        // Others remember the record for a second: nobody waits for longer.
        project.edit(
            "gabion.yml",
            "    admin_cidrs:",
            "    record_ttl: 1s\n    admin_cidrs:",
        );
        project.apply();
        let old = cloud.wildcard().unwrap();
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            for keeps in [false, true] {
                let (cloud, done, report) = (&cloud, &done, &report);
                scope.spawn(move || ask(|| cloud.wildcard(), keeps, done, report));
            }
            answered(&report, old, 8);
            let changes = planned(&project, &REPLACED);
            for stays in [ROUTER, "host_unit.qwen/router/0", "router_worker.qwen/decode/0"] {
                assert_eq!(changes.get(stays), None, "{changes:#?}");
            }
            project.run(&REPLACE).succeeds();
            let new = cloud.wildcard().unwrap();
            assert_ne!(new, old);
            answered(&report, new, 8);
        });
        let report = report.into_inner().unwrap();
        assert!(report.failures.is_empty(), "{report:?}");
        project.plan_is_empty();

        // The router's machine ends by itself.
        let ended = project.attribute(ROUTER, "id");
        cloud.terminate(ended.as_str().unwrap());
        project.run(&["drift"]).exits(2).says(ROUTER);
        project.apply();
        let (done, report) = (AtomicBool::new(false), Mutex::new(Report::default()));
        thread::scope(|scope| {
            let _done = Done(&done);
            scope.spawn(|| ask(|| cloud.wildcard(), true, &done, &report));
            answered(&report, cloud.wildcard().unwrap(), 4);
        });
        project.plan_is_empty();
        project.run(&["drift"]).exits(0);
        project.destroy();
        cloud.machines_are_as_left(5);
    });
    assert_eq!(cloud.left(), before);
}
