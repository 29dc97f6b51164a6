//! What documents need and the machine that runs gabion has: what does not fit is told at its key, before anything is made.

use std::collections::BTreeMap;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, Project, Purpose, RecordedView, Sources, Survey, SurveyResult, no_secrets,
};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::state::record::Status;
use gabion_engine::value::{Attributes, Value};
use gabion_inference::Inference;

/// A machine that was looked at, with units on it or elsewhere.
#[derive(Default)]
struct Known {
    surveyed: BTreeMap<ResourceAddress, SurveyResult>,
    /// The machine of each unit.
    units: BTreeMap<ResourceAddress, &'static str>,
}

fn address(resource_type: &str, name: &str) -> ResourceAddress {
    ResourceAddress::of(resource_type, name).expect("a test fails by panicking")
}

impl Known {
    /// A machine of 4 processors, 16 GB and a disk of 200 GB.
    fn machine(gpus: usize) -> Self {
        let gpu = Value::map([
            ("vendor", Value::from("nvidia")),
            ("name", "NVIDIA L4".into()),
            ("memory_mib", Value::Int(23_034)),
        ]);
        let facts = Attributes::from([
            ("arch".into(), "x86_64".into()),
            ("cpus".into(), Value::Int(4)),
            ("memory_mib".into(), Value::Int(16 * 1024 - 300)),
            ("disk_gib".into(), Value::Int(200)),
            ("gpus".into(), Value::List(vec![gpu; gpus])),
        ]);
        Self {
            surveyed: BTreeMap::from([(address("local_machine", "local"), Ok(facts))]),
            units: BTreeMap::new(),
        }
    }

    fn with(mut self, unit: &str, machine: &'static str) -> Self {
        self.units.insert(address("host_unit", unit), machine);
        self
    }
}

impl RecordedView for Known {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        self.units
            .keys()
            .filter(|unit| unit.resource_type.as_str() == resource_type)
            .filter(|unit| unit.name.as_str().starts_with(prefix))
            .map(|unit| (unit.clone(), Status::Ready))
            .collect()
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        let machine = self.units.get(address)?;
        Some(Attributes::from([("machine".into(), (*machine).into())]))
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.surveyed.get(address)
    }
}

fn with<T>(known: &Known, purpose: Purpose, then: impl FnOnce(LowerInputs<'_>) -> T) -> T {
    let registry = DocumentRegistry::new().with(Inference);
    then(LowerInputs {
        purpose,
        registry: &registry,
        recorded: known,
        environment: &|_| None,
        secret: &no_secrets,
        version: "0.1.0",
    })
}

fn read(text: &str) -> (Project, Diagnostics) {
    Project::parse(Sources::from_texts("/project", [("a.dstack.yml", text)]))
}

fn lowered(text: &str, known: &Known, purpose: Purpose) -> Vec<String> {
    let (project, mut problems) = read(text);
    let (_, found) = with(known, purpose, |inputs| project.lower(inputs, &problems));
    problems.extend(found);
    let said = |problem: &Diagnostic| {
        let place = problem.primary.as_ref().map(ToString::to_string);
        let (severity, detail) = (problem.severity.as_str(), &problem.detail);
        format!("{severity} {}: {detail}", place.unwrap_or_default())
    };
    problems
        .iter()
        .filter(|problem| problem.code == "unmet-need")
        .map(said)
        .collect()
}

fn planned(text: &str, known: &Known) -> Vec<String> {
    lowered(text, known, Purpose::Plan)
}

const TASK: &str = "type: task\nname: job\ncommands: [run]\n";

#[test]
fn what_the_machine_lacks_is_told_at_its_key() {
    let text =
        format!("{TASK}resources:\n  cpu: 8..\n  memory: 64GB..\n  disk: {{size: 1TB}}\n  gpu: H100:1\n");
    insta::assert_snapshot!(planned(&text, &Known::machine(0)).join("\n"), @r"
    error a.dstack.yml:5:8: `cpu: 8..` is asked for, and the machine that runs gabion (backend `local`) has 4 CPUs.
    error a.dstack.yml:6:11: `memory: 64GB..` is asked for, and the machine that runs gabion (backend `local`) has 16GB.
    error a.dstack.yml:7:9: `disk: 1TB` is asked for, and the machine that runs gabion (backend `local`) has a disk of 200GB.
    error a.dstack.yml:8:8: `gpu: H100:1` cannot be met: backend `local` offers no accelerators.
    ");
    let arm = format!("{TASK}image: a/b\nresources: {{cpu: 'arm:2'}}\n");
    insta::assert_snapshot!(planned(&arm, &Known::machine(0)).join("\n"), @r"
    error a.dstack.yml:5:18: `cpu: arm:2` is asked for, and the machine that runs gabion (backend `local`) has x86_64 processors.
    ");
    let gpu = format!("{TASK}resources: {{gpu: 'L4:1'}}\n");
    insta::assert_snapshot!(planned(&gpu, &Known::machine(2)).join("\n"), @r"
    error a.dstack.yml:4:18: `gpu: L4:1` cannot be met: backend `local` offers no accelerators; the 2 GPUs (NVIDIA L4) of this machine are not given out.
    ");
}

#[test]
fn more_than_is_asked_for_will_do_and_what_is_not_written_is_not_asked_for() {
    let known = Known::machine(0);
    // By default 100 GB of disk and 8 GB of memory are asked for where machines are chosen.
    let small = Known::machine(0);
    for resources in [
        "",
        "resources: {}\n",
        "resources: {cpu: 2, memory: 1GB..8GB, disk: 50GB}\n",
        "resources: {cpu: x86, memory: 16GB, gpu: 0, shm_size: 1TB}\n",
    ] {
        let text = format!("{TASK}{resources}");
        assert_eq!(planned(&text, &known), Vec::<String>::new(), "{resources}");
        assert_eq!(planned(&text, &small), Vec::<String>::new(), "{resources}");
    }
}

#[test]
fn each_group_is_measured_and_an_alias_is_told_too() {
    let text = "type: service\nname: qwen\nport: 8000\nauth: false\ngateway: false\ngroups:\n  - name: small\n    replicas: 1\n    \
                commands: [serve $PORT]\n    resources: {memory: 8GB}\n  - name: large\n    replicas: 1\n    commands: [serve \
                $PORT]\n    resources: {memory: 32GB}\n---\ntype: task\nname: nodes\ngroups:\n  - {nodes: 1, commands: [a], \
                resources: &need {cpu: 16}}\n  - {nodes: 1, commands: [b], resources: {<<: *need, memory: 1GB}}\n";
    insta::assert_snapshot!(planned(text, &Known::machine(0)).join("\n"), @r"
    error a.dstack.yml:14:25: `memory: 32GB` is asked for, and the machine that runs gabion (backend `local`) has 16GB.
    error a.dstack.yml:19:54: `cpu: 16` is asked for, and the machine that runs gabion (backend `local`) has 4 CPUs.
    error a.dstack.yml:19:54: `cpu: 16` is asked for, and the machine that runs gabion (backend `local`) has 4 CPUs.
    ");
}

#[test]
fn what_runs_there_already_stays_with_a_warning() {
    let text = format!("{TASK}resources: {{memory: 64GB}}\n");
    let here = Known::machine(0).with("job/default/0", "local");
    assert!(planned(&text, &here)[0].starts_with("warning a.dstack.yml:4:21: "));
    for (unit, machine) in [("job/default/0", "gpu/10.0.0.7"), ("jobs/default/0", "local")] {
        let elsewhere = Known::machine(0).with(unit, machine);
        assert!(
            planned(&text, &elsewhere)[0].starts_with("error "),
            "{unit} {machine}"
        );
    }
}

#[test]
fn a_check_of_what_is_written_does_not_depend_on_the_machine() {
    let text = format!("{TASK}user: nobody-at-all\nresources: {{memory: 64GB}}\n");
    assert_eq!(
        lowered(&text, &Known::machine(0), Purpose::Validate),
        Vec::<String>::new()
    );
    let users = |purpose| {
        let (project, problems) = read(&text);
        let known = Known::default();
        let (configuration, _) = with(&known, purpose, |inputs| project.lower(inputs, &problems));
        let user = |name: &str| configuration.resources[0].inputs.get(name).cloned();
        user("user")
    };
    assert_eq!(users(Purpose::Validate), None);
    assert_eq!(users(Purpose::Plan), Some("nobody-at-all".into()));
}

#[test]
fn the_machine_is_looked_at_where_a_document_asks_for_something() {
    let surveys = |text: &str| -> Vec<Survey> {
        let (project, _) = read(text);
        with(&Known::default(), Purpose::Plan, |inputs| project.surveys(inputs))
    };
    let asked = |text: &str| {
        let found = surveys(text);
        assert!(found.len() <= 1, "{found:?}");
        let inputs = found.first().map(|survey| survey.inputs.clone());
        let names = inputs.unwrap_or_default();
        names
            .keys()
            .map(|name| name.to_string())
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(asked(TASK), "");
    assert_eq!(asked(&format!("{TASK}resources: {{shm_size: 1GB}}\n")), "");
    assert_eq!(
        asked(&format!("{TASK}resources: {{cpu: 1}}\nfleets: [gpu]\n")),
        ""
    );
    assert_eq!(asked(&format!("{TASK}image: a/b\n")), "images machine");
    assert_eq!(
        asked(&format!("{TASK}resources: {{cpu: 1}}\n")),
        "accelerators machine resources"
    );
    let group = "type: task\nname: job\ngroups: [{nodes: 1, commands: [a], resources: {gpu: 1}}]\n";
    let found = surveys(group);
    assert_eq!(found[0].inputs.get("accelerators"), Some(&Value::Bool(true)));
}
