//! Machines that are reached over SSH: which there are, and what they are before anything is planned on them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use gabion_engine::address::{ObjectId, ResourceAddress};
use gabion_engine::apply::SecretLookup;
use gabion_engine::config::{RecordedView, Survey, SurveyFailure, SurveyResult};
use gabion_engine::gather::GatherLimits;
use gabion_engine::plan::Plan;
use gabion_engine::plan::glob::AddressGlob;
use gabion_engine::resource::Configuration;
use gabion_engine::state::State;
use gabion_engine::state::record::Status;
use gabion_engine::value::{Attributes, Value};
use gabion_host::container::{Daemon, check_agent};
use gabion_host::systemd::Sudo;
use gabion_host::transport::Machines;
use gabion_inference::AWS_REGION;
use gabion_inference::offers::RegionFacts;
pub(crate) use gabion_machines::Hosts;
use gabion_machines::SSH_HOST;
use gabion_machines::facts::Facts;
use gabion_machines::hosts::SudoSource;
use gabion_machines::program::{BUILD_HINT, ProgramSource};
use gabion_machines::ssh_host;

use super::machines::containers;
use super::{aws, region_facts};
use crate::failure::Failure;
use crate::options::Options;
use crate::project::LoadedProject;

/// How many machines are looked at at a time.
const AT_A_TIME: usize = 16;

/// How much longer a call may take for each machine.
const PER_MACHINE: Duration = Duration::from_secs(1);

/// Says whose machines they are and where the agent's program is. Nothing is connected.
pub(crate) fn configure(options: &Options, project: &LoadedProject) {
    let settings = &project.project.settings;
    let directory = project.project.sources.directory().to_owned();
    let mut candidates: Vec<PathBuf> = Vec::new();
    candidates.extend(options.environment.set("GABION_AGENT").map(PathBuf::from));
    if let Some(beside) = std::env::current_exe()
        .ok()
        .as_deref()
        .and_then(std::path::Path::parent)
    {
        // In a directory of sources, where `cargo xtask agent` puts it; installed, beside gabion.
        if let Some(target) = beside.parent() {
            candidates.push(target.join("agent").join("gabion-agent"));
        }
        candidates.push(beside.join("gabion-agent"));
    }
    let program = ProgramSource {
        configured: gabion_inference::agent_path(settings).map(|path| directory.join(path)),
        candidates,
    };
    options
        .machines
        .configure(settings.project.value.as_str(), directory, program);
    let sudo = gabion_inference::sudo(settings).map(|sudo| {
        let secrets = project.secrets();
        let source: SudoSource = Arc::new(move || {
            let Some(name) = &sudo.secret else {
                return Ok(Sudo::default());
            };
            match secrets.secret(name) {
                Some(Value::String(password)) => Ok(Sudo {
                    password: Some(password.to_string()),
                }),
                _ => Err(format!(
                    "The secret `{name}` cannot be read, which is `sudo_password` in the settings of the backend `ssh`."
                )),
            }
        });
        source
    });
    options.machines.allow_sudo(sudo);
}

/// Returns the limits within which the world is read. A call that is about many machines connects to each of them first,
/// a few at a time, and a busy machine takes its time for that; and one that makes way for another is not gone when it is
/// away for a moment.
pub(crate) fn gather_limits(options: &Options) -> GatherLimits {
    let machines = u32::try_from(options.machines.names().len()).unwrap_or(u32::MAX);
    let limits = GatherLimits::default();
    GatherLimits {
        call_timeout: limits.call_timeout + PER_MACHINE * machines + options.machines.patience(),
        ..limits
    }
}

/// Makes the machines that a configuration declares known, by the addresses that it has for them.
pub(crate) fn declare(options: &Options, configuration: &Configuration) {
    for resource in &configuration.resources {
        if resource.address.resource_type.as_str() == SSH_HOST
            && let Some(machine) = resource.inputs.get("machine").and_then(Value::as_str)
        {
            match resource.inputs.values().all(Value::is_wholly_known) {
                true => options
                    .machines
                    .declare(machine, ssh_host::address(&resource.inputs)),
                // A machine that is made has its address from then on, and its record has it.
                false => options.machines.expect(machine),
            }
        }
    }
}

/// Makes the machines that are recorded known, as long as no configuration has another address for them.
pub(super) fn declare_recorded(options: &Options, state: &State) {
    for record in state.current_records().chain(state.deposed_records()) {
        if record.address.resource_type.as_str() != SSH_HOST {
            continue;
        }
        // What a template gave is in the attributes.
        let mut known = record.inputs.clone();
        known.extend(record.attributes.clone());
        if let Some(machine) = ssh_host::name(&known) {
            let address = ssh_host::address(&known);
            options.machines.declare_unless_known(&machine, address);
        }
    }
}

/// Says of machines that they have ended, where a plan found that what they were made as is gone, or an earlier run did and
/// recorded it.
pub(crate) fn note_ended(options: &Options, state: &State, plan: &Plan) {
    let gone = plan
        .vanished
        .iter()
        .filter_map(|uid| state.record(*uid)?.id.as_ref());
    let gone: BTreeSet<&str> = gone.map(ObjectId::as_str).collect();
    let mut hosts = state
        .records()
        .filter(|record| record.address.resource_type.as_str() == SSH_HOST)
        .peekable();
    if hosts.peek().is_none() {
        return;
    }
    let there = state.records().filter_map(|record| record.id.as_ref());
    let there: BTreeSet<&str> = there.map(ObjectId::as_str).collect();
    for record in hosts {
        if let Some(instance) = ssh_host::instance(&record.attributes)
            && (gone.contains(instance) || !there.contains(instance))
            && let Some(machine) = ssh_host::name(&record.attributes)
        {
            options.machines.note_ended(&machine);
        }
    }
}

/// A state, what was found of the world beside it, and what is to be chosen anew.
pub(crate) struct Surveyed<'a> {
    state: &'a State,
    found: BTreeMap<ResourceAddress, SurveyResult>,
    upgrades: Vec<AddressGlob>,
}

impl Surveyed<'_> {
    /// Returns what is known of regions.
    pub(crate) fn region_facts(&self) -> Vec<RegionFacts> {
        let regions = self
            .found
            .iter()
            .filter(|(address, _)| address.resource_type.as_str() == AWS_REGION);
        regions
            .filter_map(|(_, found)| Some(RegionFacts::of(found.as_ref().ok()?)))
            .collect()
    }
}

impl RecordedView for Surveyed<'_> {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        self.state.under(resource_type, prefix)
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        RecordedView::attributes(self.state, address)
    }

    fn is_upgraded(&self, address: &ResourceAddress) -> bool {
        self.upgrades.iter().any(|pattern| pattern.matches(address))
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.found.get(address)
    }
}

/// Looks at the machines of the project of which nothing is recorded, and at the regions that its machines are made in.
///
/// # Errors
/// When there are machines, and no program to put on them; when the facts of regions that were named cannot be read.
pub(crate) async fn survey<'a>(
    options: &Options,
    project: &LoadedProject,
    state: &'a State,
    upgrades: Vec<AddressGlob>,
) -> Result<Surveyed<'a>, Failure> {
    let (regions, surveys): (Vec<_>, Vec<_>) = project
        .surveys(options, state)
        .into_iter()
        .partition(|survey| survey.address.resource_type.as_str() == AWS_REGION);
    let regions = look_at_regions(options, regions).await?;
    if surveys.iter().any(|survey| !is_here(survey))
        && let Err(why) = options.machines.check_program()
    {
        return Err(Failure::new("no program for machines")
            .detail(why)
            .hint(BUILD_HINT));
    }
    let unknown = surveys.into_iter().filter(|survey| {
        RecordedView::attributes(state, &survey.address)
            .is_none_or(|attributes| attributes.get("cpus").and_then(Value::as_int).is_none())
    });
    let mut found: BTreeMap<ResourceAddress, SurveyResult> = stream::iter(unknown)
        .map(|survey| look(options, survey))
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    found.extend(regions);
    Ok(Surveyed {
        state,
        found,
        upgrades,
    })
}

/// Finds out what regions have: from the file that is named, else by asking.
///
/// # Errors
/// When the file cannot be read.
pub(crate) async fn look_at_regions(
    options: &Options,
    surveys: Vec<Survey>,
) -> Result<BTreeMap<ResourceAddress, SurveyResult>, Failure> {
    match region_facts::recorded(options, &surveys)? {
        Some(recorded) => Ok(recorded),
        None => aws::look(options, surveys).await,
    }
}

/// Returns a state of whose project nothing was looked at. What regions have is known where the environment names a file
/// that says it, which is none of the project's.
///
/// # Errors
/// When that file cannot be read.
pub(crate) fn not_surveyed<'a>(
    options: &Options,
    project: &LoadedProject,
    state: &'a State,
    upgrades: Vec<AddressGlob>,
) -> Result<Surveyed<'a>, Failure> {
    let mut surveys = project.surveys(options, state);
    surveys.retain(|survey| survey.address.resource_type.as_str() == AWS_REGION);
    Ok(Surveyed {
        state,
        found: region_facts::recorded(options, &surveys)?.unwrap_or_default(),
        upgrades,
    })
}

/// Whether a survey is about the machine that runs gabion.
fn is_here(survey: &Survey) -> bool {
    survey.inputs.get("machine").and_then(Value::as_str) == Some(Machines::LOCAL)
}

/// Connects to what runs containers on this machine.
///
/// # Errors
/// A sentence that says what is missing.
async fn container_daemon(options: &Options) -> Result<Daemon, String> {
    let config = containers(options);
    let agent = config.agent.as_ref().ok_or(
        "the first process of a container is gabion's static agent, and there is none (`cargo xtask agent` builds it).",
    )?;
    check_agent(agent).map_err(|error| format!("{error}."))?;
    let daemon = Daemon::first(&config.sockets).await;
    daemon.map_err(|error| format!("{error}."))
}

/// Returns the version of what runs containers on this machine.
///
/// # Errors
/// A sentence that says what is missing.
pub(crate) async fn container_version(options: &Options) -> Result<String, String> {
    let version = container_daemon(options).await?.version().await;
    version.map_err(|error| format!("{error}."))
}

/// Says of this machine what is asked: what it is made of, and whether it can run containers.
async fn this_machine(options: &Options, asked: &Attributes) -> Attributes {
    let is_asked = |name: &str| asked.get(name) == Some(&Value::Bool(true));
    let mut found = Attributes::new();
    if is_asked("resources") {
        let mut facts = Facts::size(&options.dirs.data);
        if is_asked("accelerators") {
            facts.gpus = Facts::accelerators(options.environment.get("PATH").unwrap_or_default()).await;
        }
        found.extend(facts.to_attributes());
    }
    if asked.contains_key("images") {
        match absent_images(options, asked).await {
            Ok(absent) => found.insert("absent".into(), Value::List(absent)),
            Err(why) => found.insert("no_containers".into(), why.into()),
        };
    }
    found
}

/// Returns which of the images that are asked for are not on this machine.
///
/// # Errors
/// A sentence that says why it runs no containers.
async fn absent_images(options: &Options, asked: &Attributes) -> Result<Vec<Value>, String> {
    let daemon = container_daemon(options).await?;
    let mut absent = Vec::new();
    let images = asked.get("images").and_then(Value::as_list).unwrap_or_default();
    for image in images.iter().filter_map(Value::as_str) {
        let found = daemon.image(image).await;
        let found = found.map_err(|error| format!("{error}."))?;
        absent.extend(found.is_none().then(|| Value::from(image)));
    }
    Ok(absent)
}

async fn look(options: &Options, survey: Survey) -> (ResourceAddress, SurveyResult) {
    if is_here(&survey) {
        return (survey.address, Ok(this_machine(options, &survey.inputs).await));
    }
    let machines = &options.machines;
    let name = survey
        .inputs
        .get("machine")
        .and_then(Value::as_str)
        .unwrap_or_default();
    machines.declare(name, ssh_host::address(&survey.inputs));
    let result = match machines.facts(name).await {
        Ok((facts, key)) => {
            let mut attributes = facts.to_attributes();
            attributes.extend(key.map(|key| ("host_key".into(), Value::from(key))));
            Ok(attributes)
        }
        Err(error) => Err(SurveyFailure {
            message: error.message,
            hint: error.hint,
        }),
    };
    (survey.address, result)
}
