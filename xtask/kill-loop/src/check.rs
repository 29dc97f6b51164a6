//! What the cloud has and what runs, against what the log says and the configuration wants.

use std::collections::{BTreeMap, BTreeSet};

use gabion_host::process::ProcessStat;

use crate::Failure;
use crate::project::Project;
use crate::run::until;
use crate::world::World;

/// What is wrong after a recovery. All of it must be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Findings {
    /// Objects of the cloud that the log does not know.
    pub lost: Vec<String>,
    /// Addresses with more than one object.
    pub duplicated: Vec<String>,
    /// Objects that the log knows and the cloud has not, or that nobody asked for.
    pub wrong: Vec<String>,
    /// Units that do not run, run twice or that nobody knows.
    pub units: Vec<String>,
}

impl Findings {
    /// Returns whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares everything; the last apply must have succeeded.
///
/// # Errors
/// When something cannot be looked at.
pub fn findings(project: &Project, world: &World) -> Result<Findings, Failure> {
    let mut findings = Findings::default();
    let list = project
        .run(&["state", "list", "--format", "json"])?
        .exits(0)?
        .json()?;
    let records: Vec<Record> = list["records"]
        .as_array()
        .ok_or("the list of the state has no records")?
        .iter()
        .map(Record::read)
        .collect();
    let known: BTreeSet<(&str, &str)> = records
        .iter()
        .map(|record| (record.kind(), &*record.id))
        .collect();
    let dump = project.cloud.dump()?;
    let mut by_address: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for object in &dump.objects {
        let name = format!("{} {}", object.resource_type, object.id);
        if !known.contains(&(&*object.resource_type, &*object.id)) {
            findings.lost.push(name.clone());
        }
        let address = object.marks.address.clone().unwrap_or_default();
        by_address.entry(address).or_default().push(name);
    }
    for (address, objects) in by_address {
        if objects.len() > 1 {
            findings
                .duplicated
                .push(format!("{address}: {}", objects.join(", ")));
        }
    }
    let there: BTreeSet<(&str, &str)> = dump
        .objects
        .iter()
        .map(|object| (&*object.resource_type, &*object.id))
        .collect();
    for record in &records {
        if record.kind() != "host_unit" && !there.contains(&(record.kind(), &*record.id)) {
            findings
                .wrong
                .push(format!("{} is not in the cloud", record.address));
        }
        if record.status != "ready" || record.deposed {
            findings
                .wrong
                .push(format!("{} is {}", record.address, record.status));
        }
    }
    let wanted = world.addresses();
    let recorded: BTreeSet<String> = records.iter().map(|record| record.address.clone()).collect();
    for address in wanted.symmetric_difference(&recorded) {
        findings
            .wrong
            .push(format!("{address} is wanted or recorded, not both"));
    }
    let units: BTreeSet<&str> = records
        .iter()
        .filter(|record| record.kind() == "host_unit")
        .map(|record| &*record.id)
        .collect();
    findings.units = unit_findings(project, &units);
    Ok(findings)
}

/// Returns what is wrong with the units, when exactly these must run.
fn unit_findings(project: &Project, known: &BTreeSet<&str>) -> Vec<String> {
    let mut findings = Vec::new();
    let units = project.units();
    for unit in &units {
        match (known.contains(&*unit.uid), unit.is_running()) {
            (true, false) => findings.push(format!("unit {} does not run", unit.uid)),
            (false, true) => findings.push(format!("unit {} runs and is not recorded", unit.uid)),
            _ => {}
        }
    }
    for uid in known {
        if !units.iter().any(|unit| unit.uid == *uid) {
            findings.push(format!("unit {uid} has no directory"));
        }
    }
    // What a killed run was about to become may take a moment to notice that it is not wanted.
    let strays = || -> Vec<i32> {
        let of_units: BTreeSet<i32> = units
            .iter()
            .filter(|unit| known.contains(&*unit.uid))
            .flat_map(crate::project::Unit::session)
            .collect();
        let mut strays = project.processes();
        strays.retain(|pid| !of_units.contains(pid));
        strays
    };
    if until("only known processes", || strays().is_empty()).is_err() {
        for pid in strays() {
            let session = ProcessStat::read(pid).map(|stat| stat.session);
            findings.push(format!("process {pid} (session {session:?}) belongs to no unit"));
        }
    }
    findings
}

/// Returns what is left after a destroy.
///
/// # Errors
/// When the cloud does not answer.
pub fn left(project: &Project) -> Result<Vec<String>, Failure> {
    let objects = project.cloud.dump()?.objects;
    let mut left: Vec<String> = objects
        .iter()
        .map(|object| format!("{} {}", object.resource_type, object.id))
        .collect();
    // A unit's processes end before its deletion is called done, those of a killed run soon after.
    if until("no process", || project.processes().is_empty()).is_err() {
        left.extend(project.processes().iter().map(|pid| format!("process {pid}")));
    }
    Ok(left)
}

struct Record {
    address: String,
    id: String,
    status: String,
    deposed: bool,
}

impl Record {
    fn read(json: &serde_json::Value) -> Self {
        let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
        Self {
            address: text("address"),
            id: text("id"),
            status: text("status"),
            deposed: json["deposed"].as_bool().unwrap_or_default(),
        }
    }

    fn kind(&self) -> &str {
        self.address.split_once('.').map_or("", |(kind, _)| kind)
    }
}
