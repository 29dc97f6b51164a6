//! Fleets, and what is placed on their machines: from documents and what is known of the machines alone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, Project, Purpose, RecordedView, Sources, SurveyFailure, SurveyResult,
    load, no_secrets,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::Configuration;
use gabion_engine::state::record::Status;
use gabion_engine::value::{Attributes, Value};
use gabion_inference::Inference;

/// What is known before anything is lowered.
#[derive(Default)]
struct Known {
    recorded: BTreeMap<String, Attributes>,
    surveyed: BTreeMap<ResourceAddress, SurveyResult>,
}

impl RecordedView for Known {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        let addresses = self.recorded.keys().map(|text| {
            text.parse::<ResourceAddress>()
                .expect("a test fails by panicking")
        });
        addresses
            .filter(|address| address.resource_type.as_str() == resource_type)
            .filter(|address| address.name.as_str().starts_with(prefix))
            .map(|address| (address, Status::Ready))
            .collect()
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        self.recorded.get(&address.to_string()).cloned()
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.surveyed.get(address)
    }
}

fn facts(gpus: usize, address: &str) -> Attributes {
    let gpu = Value::map([
        ("vendor", Value::from("nvidia")),
        ("name", "NVIDIA L4".into()),
        ("memory_mib", Value::Int(23_034)),
    ]);
    Attributes::from([
        ("arch".into(), "x86_64".into()),
        ("cpus".into(), Value::Int(32)),
        ("memory_mib".into(), Value::Int(128 * 1024)),
        ("disk_gib".into(), Value::Int(900)),
        ("gpus".into(), Value::List(vec![gpu; gpus])),
        (
            "addresses".into(),
            Value::List(vec![address.into(), "192.168.1.5".into()]),
        ),
    ])
}

fn machine(name: &str) -> ResourceAddress {
    ResourceAddress::of("ssh_host", name).expect("a test fails by panicking")
}

/// What a survey of the example's machines finds.
fn known() -> Known {
    let found = [
        ("edge/203.0.113.10", facts(0, "10.0.0.10")),
        ("gpu/10.0.0.21", facts(2, "10.0.0.21")),
        ("gpu/10.0.0.22", facts(2, "10.0.0.22")),
    ];
    Known {
        surveyed: found.map(|(name, facts)| (machine(name), Ok(facts))).into(),
        ..Known::default()
    }
}

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/machines")
}

fn inputs<'a>(registry: &'a DocumentRegistry, known: &'a Known) -> LowerInputs<'a> {
    LowerInputs {
        purpose: Purpose::Plan,
        registry,
        recorded: known,
        environment: &|_| None,
        secret: &no_secrets,
        version: "0.1.0",
    }
}

fn lower(directory: &Path, known: &Known) -> (Configuration, Diagnostics) {
    let registry = DocumentRegistry::new().with(Inference);
    let (_, configuration, problems) = load(directory, inputs(&registry, known));
    (configuration, problems)
}

/// Lowers the example with a change to one of its files.
fn changed(file: &str, old: &str, new: &str, known: &Known) -> (Configuration, Diagnostics) {
    let directory = tempfile::tempdir().expect("a test fails by panicking");
    for entry in std::fs::read_dir(example())
        .expect("a test fails by panicking")
        .flatten()
    {
        std::fs::copy(entry.path(), directory.path().join(entry.file_name()))
            .expect("a test fails by panicking");
    }
    let path = directory.path().join(file);
    let text = std::fs::read_to_string(&path).expect("a test fails by panicking");
    assert!(text.contains(old), "{text}");
    std::fs::write(path, text.replace(old, new)).expect("a test fails by panicking");
    lower(directory.path(), known)
}

fn placed(configuration: &Configuration) -> BTreeMap<String, String> {
    let machine = |inputs: &Attributes| inputs.get("machine").and_then(Value::as_str).map(str::to_owned);
    configuration
        .resources
        .iter()
        .filter(|resource| resource.address.resource_type.as_str() != "ssh_host")
        .filter_map(|resource| Some((resource.address.to_string(), machine(&resource.inputs)?)))
        .collect()
}

fn codes(problems: &Diagnostics) -> Vec<&str> {
    problems.iter().map(|problem| problem.code).collect()
}

#[test]
fn everything_is_placed_and_every_placed_thing_waits_for_its_machine() {
    let (configuration, problems) = lower(&example(), &known());
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    let lines: Vec<String> = placed(&configuration)
        .into_iter()
        .map(|(address, machine)| format!("{address} on {machine}"))
        .collect();
    insta::assert_snapshot!(lines.join("\n"), @r#"
    gateway_listener.my-gateway on edge/203.0.113.10
    gateway_route.qwen on edge/203.0.113.10
    host_unit.my-gateway/router/qwen on edge/203.0.113.10
    host_unit.qwen/default/0 on gpu/10.0.0.21
    host_unit.qwen/default/0/relay on gpu/10.0.0.21
    host_unit.qwen/default/1 on gpu/10.0.0.22
    host_unit.qwen/default/1/relay on gpu/10.0.0.22
    host_unit.qwen/default/2 on gpu/10.0.0.21
    host_unit.qwen/default/2/relay on gpu/10.0.0.21
    host_unit.qwen/default/3 on gpu/10.0.0.22
    host_unit.qwen/default/3/relay on gpu/10.0.0.22
    host_unit["agent/edge/203.0.113.10"] on edge/203.0.113.10
    router_worker.qwen/default/0 on edge/203.0.113.10
    router_worker.qwen/default/1 on edge/203.0.113.10
    router_worker.qwen/default/2 on edge/203.0.113.10
    router_worker.qwen/default/3 on edge/203.0.113.10
    "#);
    for resource in &configuration.resources {
        let Some(name) = resource.inputs.get("machine").and_then(Value::as_str) else {
            continue;
        };
        if resource.address.resource_type.as_str() == "host_unit" {
            let waits = resource
                .depends_on
                .iter()
                .any(|(address, _)| *address == machine(name));
            assert!(waits, "{}", resource.address);
        }
    }
    let find = |address: &str| {
        let mut resources = configuration.resources.iter();
        &resources
            .find(|resource| resource.address.to_string() == address)
            .expect("a test fails by panicking")
            .inputs
    };
    assert_eq!(
        find("router_worker.qwen/default/0")["url"],
        Value::template("http://10.0.0.21:${{ host_unit.qwen/default/0/relay.port.http }}")
    );
    let argv = find("host_unit.qwen/default/0/relay")["argv"]
        .as_list()
        .expect("a test fails by panicking");
    assert!(argv.contains(&"10.0.0.21:{ports.http}".into()), "{argv:?}");
    assert!(argv.contains(&"10.0.0.10".into()), "{argv:?}");
    assert!(!find("host_unit.qwen/default/0").contains_key("working_dir"));
}

#[test]
fn what_is_recorded_of_a_placement_is_kept_and_the_rest_goes_round_it() {
    let mut known = known();
    let on = |machine: &str| Attributes::from([("machine".into(), machine.into())]);
    for (slot, machine) in [(0, "gpu/10.0.0.22"), (1, "gpu/10.0.0.22"), (2, "gpu/gone")] {
        known
            .recorded
            .insert(format!("host_unit.qwen/default/{slot}"), on(machine));
    }
    let (configuration, problems) = lower(&example(), &known);
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    let placed = placed(&configuration);
    let machines: Vec<&str> = (0..4)
        .map(|slot| placed[&format!("host_unit.qwen/default/{slot}")].as_str())
        .collect();
    assert_eq!(
        machines,
        ["gpu/10.0.0.22", "gpu/10.0.0.22", "gpu/10.0.0.21", "gpu/10.0.0.21"]
    );
    // The order of documents and of what is known has no part in it.
    let (again, _) = lower(&example(), &known);
    assert_eq!(configuration.resources, again.resources);
}

#[test]
fn a_replica_that_fits_nowhere_is_told_of_each_machine_why() {
    let (_, problems) = changed("service.dstack.yml", "replicas: 4", "replicas: 5", &known());
    let problem = problems
        .iter()
        .find(|problem| problem.code == "no-machine")
        .expect("a test fails by panicking");
    assert_eq!(
        problem.detail,
        "No machine can take the replica `qwen/default/4`:\n    \
         edge/203.0.113.10: it is not among the `fleets` or `instances`\n    \
         gpu/10.0.0.21: all its 2 blocks are taken\n    \
         gpu/10.0.0.22: all its 2 blocks are taken"
    );
}

#[test]
fn a_machine_that_cannot_be_reached_is_an_error_at_its_place() {
    let mut known = known();
    let failure = SurveyFailure {
        message: "Machine `gpu/10.0.0.22` (10.0.0.22) cannot be reached: Connection refused.".to_owned(),
        hint: Some("see whether this works: ssh 10.0.0.22".to_owned()),
    };
    known.surveyed.insert(machine("gpu/10.0.0.22"), Err(failure));
    let (_, problems) = lower(&example(), &known);
    let problem = problems
        .iter()
        .find(|problem| problem.code == "unreachable-machine")
        .expect("a test fails by panicking");
    assert!(problem.detail.contains("Connection refused"));
    let place = problem
        .primary
        .as_ref()
        .expect("a test fails by panicking")
        .to_string();
    assert!(place.starts_with("fleets.dstack.yml:"), "{place}");
}

#[test]
fn machines_without_a_private_address_and_services_without_a_gateway_there_are_refused() {
    let known = known();
    let (_, problems) = changed(
        "fleets.dstack.yml",
        "network: 10.0.0.0/24",
        "network: 10.9.0.0/24",
        &known,
    );
    assert_eq!(codes(&problems), ["no-private-address", "no-private-address"]);
    let (_, problems) = changed(
        "service.dstack.yml",
        "name: qwen",
        "name: qwen\ngateway: false",
        &known,
    );
    assert_eq!(codes(&problems), ["out-of-reach"], "{problems:?}");
    let (_, problems) = changed("service.dstack.yml", "fleets: [gpu]", "fleets: [cpu]", &known);
    assert_eq!(codes(&problems)[0], "unknown-fleet", "{problems:?}");
    let (_, problems) = changed("gateway.dstack.yml", "fleets: [edge]", "fleets: [cpu]", &known);
    assert!(codes(&problems).contains(&"no-machine"), "{problems:?}");
}

#[test]
fn the_key_that_was_seen_first_is_pinned_and_a_recorded_one_wins() {
    let key = |text: &str| Attributes::from([("host_key".into(), text.into())]);
    let mut known = known();
    let mut seen = facts(0, "10.0.0.10");
    seen.extend(key("ssh-ed25519 SEEN"));
    known.surveyed.insert(machine("edge/203.0.113.10"), Ok(seen));
    let of = |known: &Known, trusting: bool| {
        let new = if trusting {
            "trust_on_first_use: true\n  hosts: [203.0.113.10]"
        } else {
            "hosts: [203.0.113.10]"
        };
        let (configuration, _) = changed("fleets.dstack.yml", "hosts: [203.0.113.10]", new, known);
        let mut resources = configuration.resources.into_iter();
        let inputs = resources
            .find(|resource| resource.address == machine("edge/203.0.113.10"))
            .expect("a test fails by panicking")
            .inputs;
        inputs.get("host_key").and_then(Value::as_str).map(str::to_owned)
    };
    assert_eq!(of(&known, true).as_deref(), Some("ssh-ed25519 SEEN"));
    assert_eq!(of(&known, false), None);
    known.recorded.insert(
        machine("edge/203.0.113.10").to_string(),
        key("ssh-ed25519 RECORDED"),
    );
    assert_eq!(of(&known, true).as_deref(), Some("ssh-ed25519 RECORDED"));
}

#[test]
fn every_machine_of_a_fleet_is_surveyed() {
    let registry = DocumentRegistry::new().with(Inference);
    let (sources, _) = Sources::load(&example());
    let (project, problems) = Project::parse(sources);
    assert!(!problems.has_errors(), "{problems:?}");
    let known = Known::default();
    let surveys = project.surveys(inputs(&registry, &known));
    let names: Vec<String> = surveys
        .iter()
        .map(|survey| survey.address.name.to_string())
        .collect();
    assert_eq!(names, ["edge/203.0.113.10", "gpu/10.0.0.21", "gpu/10.0.0.22"]);
    let jump = surveys[1].inputs["proxy_jump"]
        .as_map()
        .expect("a test fails by panicking");
    assert_eq!(jump["hostname"], "203.0.113.10".into());
}

fn runtimes(configuration: &Configuration) -> BTreeMap<String, Option<&str>> {
    let units = configuration
        .resources
        .iter()
        .filter(|resource| resource.address.resource_type.as_str() == "host_unit");
    units
        .map(|unit| {
            let runtime = unit.inputs.get("runtime").and_then(Value::as_str);
            (unit.address.to_string(), runtime)
        })
        .collect()
}

#[test]
fn programs_are_services_of_systemd_where_the_backend_says_so_and_the_machines_have_it() {
    let said = ["type: ssh", "type: ssh\n    runtime: systemd"];
    let mut known = known();
    for found in known.surveyed.values_mut().flatten() {
        let runtimes = Value::List(vec!["python3".into(), "systemd".into()]);
        found.insert("runtimes".into(), runtimes);
    }
    let (configuration, problems) = changed("gabion.yml", said[0], said[1], &known);
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    let runtimes = runtimes(&configuration);
    assert!(runtimes.len() > 3, "{runtimes:?}");
    assert!(
        runtimes.values().all(|runtime| *runtime == Some("systemd")),
        "{runtimes:?}"
    );

    for found in known.surveyed.values_mut().flatten() {
        found.insert("runtimes".into(), Value::List(vec!["python3".into()]));
    }
    let (_, problems) = changed("gabion.yml", said[0], said[1], &known);
    assert_eq!(codes(&problems), ["no-systemd"; 3], "{problems:?}");

    let (_, problems) = changed("gabion.yml", said[0], "type: ssh\n    runtime: initd", &known);
    assert_eq!(codes(&problems), ["unknown-runtime"], "{problems:?}");
}

#[test]
fn the_password_of_sudo_is_a_secret_or_refused() {
    let with = |password: &str| format!("type: ssh\n    sudo_password: {password}");
    let (_, problems) = changed("gabion.yml", "type: ssh", &with("hunter2"), &known());
    assert_eq!(codes(&problems), ["bad-password"], "{problems:?}");
    let secret = with("${{ secrets.SUDO }}") + "\nsecrets: {SUDO: {env: SUDO}}";
    let (_, problems) = changed("gabion.yml", "type: ssh", &secret, &known());
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
}

#[test]
fn runs_are_placed_as_replicas_are_and_those_that_run_keep_their_place() {
    let runs = "type: task\nname: train\nfleets: [gpu]\nports: [9000]\ncommands: [train]\nresources: {gpu: 1, disk: 1GB..}\n---\n\
                type: dev-environment\nname: desk\nfleets: [edge]\nresources: {cpu: 1.., disk: 1GB..}\n---\ntype: service";
    let mut known = known();
    let with = |known: &Known, runs: &str| changed("service.dstack.yml", "type: service", runs, known);
    let told = |problems: &Diagnostics| {
        let mut all = problems.iter().filter(|problem| problem.code == "no-machine");
        all.next()
            .map(|problem| problem.detail.lines().next().unwrap_or_default().to_owned())
    };
    // Replicas come first among what is new.
    let (configuration, problems) = with(&known, runs);
    assert_eq!(
        told(&problems).as_deref(),
        Some("No machine can take the task `train`:")
    );
    assert_eq!(
        placed(&configuration)["host_unit.desk/default/0"],
        "edge/203.0.113.10"
    );
    let on_machine = Attributes::from([("machine".into(), "gpu/10.0.0.22".into())]);
    known
        .recorded
        .insert("host_unit.train/default/0".to_owned(), on_machine);
    let (configuration, problems) = with(&known, runs);
    assert_eq!(
        told(&problems).as_deref(),
        Some("No machine can take the replica `qwen/default/3`:")
    );
    let unit = configuration
        .resources
        .iter()
        .find(|resource| resource.address.to_string() == "host_unit.train/default/0")
        .expect("a test fails by panicking");
    assert_eq!(unit.inputs["machine"], "gpu/10.0.0.22".into());
    assert_eq!(unit.inputs["completes"], true.into());
    assert!(
        unit.depends_on
            .iter()
            .any(|(address, _)| *address == machine("gpu/10.0.0.22"))
    );
    assert!(!unit.inputs.contains_key("working_dir"));
    let (_, problems) = with(
        &known,
        &runs.replace("commands", "nodes: 2\nuser: root\ncommands"),
    );
    assert_eq!(
        codes(&problems)[..2],
        ["unsupported-key", "unsupported-key"],
        "{problems:?}"
    );
}

/// What two nodes a replica are made of, with one line of the example's service and fleet instead of another.
fn over_nodes(nodes: u32, fleet: (&str, &str), known: &Known) -> (Configuration, Diagnostics) {
    let directory = tempfile::tempdir().expect("a test fails by panicking");
    let replaced = [
        (
            "service.dstack.yml",
            "replicas: 4",
            format!("replicas: 1\nnodes: {nodes}"),
        ),
        ("fleets.dstack.yml", fleet.0, fleet.1.to_owned()),
    ];
    for entry in std::fs::read_dir(example())
        .expect("a test fails by panicking")
        .flatten()
    {
        let name = entry.file_name();
        let mut text = std::fs::read_to_string(entry.path()).expect("a test fails by panicking");
        for (file, old, new) in replaced.iter().filter(|(file, ..)| name == *file) {
            assert!(text.contains(old), "{file}: {text}");
            text = text.replace(old, new);
        }
        std::fs::write(directory.path().join(name), text).expect("a test fails by panicking");
    }
    lower(directory.path(), known)
}

#[test]
fn a_replica_over_two_nodes_is_on_two_machines_that_know_each_other() {
    let (configuration, problems) = over_nodes(2, ("type", "type"), &known());
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    let find = |address: &str| {
        let mut resources = configuration.resources.iter();
        resources
            .find(|resource| resource.address.to_string() == address)
            .unwrap_or_else(|| panic!("no {address}"))
    };
    let waits = |address: &str, on: &str| {
        let mut waits = find(address).depends_on.iter();
        waits.any(|(address, _)| address.to_string() == on)
    };
    for (rank, machine) in ["gpu/10.0.0.21", "gpu/10.0.0.22"].into_iter().enumerate() {
        let unit = find(&format!("host_unit.qwen/default/0/{rank}"));
        assert_eq!(unit.inputs["machine"], machine.into());
        let group = unit.lifecycle.together.as_ref().map(|together| &*together.group);
        assert_eq!(group, Some("qwen/default/0"));
        let env = |name: &str| {
            let env = unit.inputs["env"].as_map();
            env.and_then(|env| env.get(name)?.as_str().map(str::to_owned))
                .unwrap_or_default()
        };
        let told = [
            "DSTACK_NODE_RANK",
            "DSTACK_NODES_NUM",
            "DSTACK_MASTER_NODE_IP",
            "DSTACK_NODES_IPS",
            "DSTACK_GPUS_PER_NODE",
            "DSTACK_GPUS_NUM",
            "GABION_REPLICA",
        ];
        let rank = rank.to_string();
        let expected = [
            rank.as_str(),
            "2",
            "10.0.0.21",
            "10.0.0.21\n10.0.0.22",
            "2",
            "4",
            "0",
        ];
        assert_eq!(told.map(env), expected);
    }
    // The others are started before the one that needs them, and only that one is asked whether it is ready.
    assert!(waits("host_unit.qwen/default/0/0", "host_unit.qwen/default/0/1"));
    assert!(!waits("host_unit.qwen/default/0/1", "host_unit.qwen/default/0/0"));
    let probes = |rank: u32| {
        let unit = find(&format!("host_unit.qwen/default/0/{rank}"));
        unit.inputs["probes"].as_list().map(<[Value]>::len)
    };
    assert_eq!([0, 1].map(probes), [Some(1), Some(0)]);
    let url = format!("{:?}", find("router_worker.qwen/default/0").inputs["url"]);
    assert!(url.contains("10.0.0.21:"), "{url}");
    let relay = format!("{:?}", find("host_unit.qwen/default/0/relay").inputs["argv"]);
    assert!(relay.contains("host_unit.qwen/default/0/0.port.http"), "{relay}");
}

#[test]
fn nodes_stay_where_they_are_and_never_share_a_machine() {
    let mut known = known();
    for (rank, machine) in [("0", "gpu/10.0.0.22"), ("1", "gpu/10.0.0.22")] {
        known.recorded.insert(
            format!("host_unit.qwen/default/0/{rank}"),
            Attributes::from([("machine".into(), machine.into())]),
        );
    }
    let (configuration, problems) = over_nodes(2, ("type", "type"), &known);
    assert_eq!(codes(&problems), Vec::<&str>::new(), "{problems:?}");
    let placed = placed(&configuration);
    assert_eq!(placed["host_unit.qwen/default/0/0"], "gpu/10.0.0.22");
    assert_eq!(placed["host_unit.qwen/default/0/1"], "gpu/10.0.0.21");
}

#[test]
fn too_few_machines_for_the_nodes_of_a_replica_are_said_at_nodes() {
    let (_, problems) = over_nodes(3, ("type", "type"), &known());
    let problem = problems.iter().next().expect("a test fails by panicking");
    assert_eq!(problem.code, "no-machine");
    let detail = &problem.detail;
    assert!(
        detail.starts_with("No machine can take the node `qwen/default/0/2`:"),
        "{detail}"
    );
    assert!(
        detail.contains("gpu/10.0.0.21: another node of the replica is on it"),
        "{detail}"
    );
    let place = problem.primary.as_ref().map(|span| span.text().to_owned());
    assert_eq!(place.as_deref(), Some("3"));
}
