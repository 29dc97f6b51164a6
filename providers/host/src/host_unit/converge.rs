//! The calls that change a unit. Each brings the unit to what is asked for from wherever it is, so a call that follows a lost one is harmless.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use gabion_engine::address::{ObjectId, ResourceAddress};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, DeleteRequest, Effect, ErrorClass, ObjectState, Observation,
    ObserveRequest, ProviderError, RecordedObject, UpdateRequest,
};
use gabion_engine::redact::Redactor;
use gabion_engine::value::Attributes;

use super::actual::{self, Launch, Private, achieved};
use super::agents;
use super::containers;
use super::error;
use super::inputs::{Inputs, ProbeTarget, unknown_package};
use super::reader::Knowledge;
use super::services;
use crate::container::{self, ContainerSpec};
use crate::package;
use crate::ports::{PortOwner, PortRequest};
use crate::probe::wait_ready;
use crate::provider::HostConfig;
use crate::systemd::ServiceSpec;
use crate::transport::Endpoint;
use crate::unit::{
    self, EnvValue, Fence, LogSettings, Standing, StartRequest, UnitDirectory, UnitError, UnitSpec,
    UnitStatus,
};

/// What is left of a call's time for its own last steps.
pub(super) const MARGIN: Duration = Duration::from_secs(2);

pub(crate) async fn create(
    config: &HostConfig,
    request: CreateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    admit(config, call).await?;
    let recorded = RecordedObject {
        uid: call.uid,
        address: request.address,
        id: None,
        inputs: request.inputs,
        attributes: Attributes::new(),
        private: serde_json::Value::Null,
    };
    until_cancelled(
        call,
        converge(config, &recorded, &request.planned, call, Checkpoint::Needed),
    )
    .await
}

pub(crate) async fn update(
    config: &HostConfig,
    request: UpdateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    admit(config, call).await?;
    let recorded = RecordedObject {
        inputs: request.inputs,
        ..request.object
    };
    until_cancelled(
        call,
        converge(config, &recorded, &request.planned, call, Checkpoint::Done),
    )
    .await
}

pub(crate) async fn delete(
    config: &HostConfig,
    request: DeleteRequest,
    call: &Call,
) -> Result<(), ProviderError> {
    admit(config, call).await?;
    let directory = actual::directory(config, &request.object).map_err(|error| error::unit(&error))?;
    call.phase("stop");
    let recorded = request.object.inputs.clone();
    let (inputs, _) = Inputs::parse(&recorded, Knowledge::Partial);
    let grace = inputs
        .stop_timeout
        .min(call.remaining().saturating_sub(MARGIN * 5));
    let fence = fence(call);
    let _waiting = call.waiting();
    let stopping = async {
        services::discard(config, &directory, &request.object, &fence, grace).await?;
        unit::remove(&directory, &fence, Some(grace), &config.ports).await
    };
    let outcome = tokio::select! {
        outcome = stopping => outcome,
        () = call.cancel.cancelled() => return Err(error::interrupted("the program was being stopped")),
    };
    outcome.map(|_| ()).map_err(|problem| {
        let effect = match problem {
            UnitError::StaleEpoch { .. } | UnitError::NotFound { .. } => Effect::None,
            _ => Effect::Partial,
        };
        error::unit(&problem).with_effect(effect)
    })
}

/// A unit is where its uid says, or nowhere: on one's own machine there is no delay to wait out.
pub(crate) fn observe(config: &HostConfig, request: &ObserveRequest) -> Observation {
    let object = RecordedObject {
        inputs: request.inputs.clone(),
        ..request.object.clone()
    };
    match actual::look(config, &object) {
        Ok(Some(state)) => Observation::Present(state),
        Ok(None) => Observation::Absent,
        Err(error) => Observation::Unknown {
            reason: error.to_string(),
        },
    }
}

/// Refuses the call of a run whose lease was taken over, when a later run has changed this machine since.
async fn admit(config: &HostConfig, call: &Call) -> Result<(), ProviderError> {
    let (root, fence) = (config.data_root.clone(), fence(call));
    tokio::task::spawn_blocking(move || unit::admit_on_machine(&root, &fence))
        .await
        .map_err(|_| error::interrupted("the unit had not been touched"))?
        .map_err(|problem| error::unit(&problem).with_effect(Effect::None))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Checkpoint {
    Needed,
    Done,
}

async fn until_cancelled(
    call: &Call,
    work: impl Future<Output = Result<ObjectState, ProviderError>>,
) -> Result<ObjectState, ProviderError> {
    tokio::select! {
        biased;
        outcome = work => outcome,
        () = call.cancel.cancelled() => Err(error::interrupted("the program was being started")),
    }
}

async fn converge(
    config: &HostConfig,
    recorded: &RecordedObject,
    planned: &Attributes,
    call: &Call,
    checkpoint: Checkpoint,
) -> Result<ObjectState, ProviderError> {
    let (inputs, problems) = Inputs::parse(&recorded.inputs, Knowledge::Whole);
    if let Some(problem) = problems.into_iter().next() {
        return Err(invalid(problem));
    }
    let transport = config.machines.get(&inputs.machine).ok_or_else(|| {
        ProviderError::new(
            ErrorClass::Invalid,
            format!("No machine is named {:?}.", inputs.machine),
        )
    })?;
    let directory = actual::directory(config, recorded).map_err(|error| error::unit(&error))?;

    let package_dir = match &inputs.package {
        None => None,
        Some(name) => {
            let wanted = config
                .packages
                .get(name)
                .ok_or_else(|| invalid(unknown_package(name, config)))?;
            call.phase("package");
            let ensured = package::ensure(&config.package_store, wanted, &|words| call.phase(words)).await;
            Some(ensured.map_err(|error| error::package(&error))?)
        }
    };
    let container = containers::choose(config, &directory, recorded, &inputs, call).await?;
    let service = services::choose(config, &directory, &inputs)?;
    let image = container.as_ref().map(|container| container.image.clone());
    let ports = {
        let draft = Draft {
            config: config.clone(),
            directory: directory.clone(),
            address: recorded.address.clone(),
            inputs: inputs.clone(),
            package_dir,
            container,
            service,
            fence: fence(call),
        };
        tokio::task::spawn_blocking(move || draft.write())
            .await
            .map_err(|_| error::interrupted("the unit was being written"))??
    };
    let mut private = Private {
        ports,
        image,
        ..Private::default()
    };
    if checkpoint == Checkpoint::Needed {
        call.checkpoint(&ObjectId::new(unit_name(&directory)), &private.to_value())
            .await?;
    }
    run(config, &directory, planned, call).await?;
    private.launch = directory.mark().ok().flatten().map(Launch::of);

    call.phase("ready");
    let _waiting = call.waiting();
    ready(&directory, &inputs, &private, transport.as_ref(), call).await?;
    let recorded = RecordedObject {
        private: private.to_value(),
        ..recorded.clone()
    };
    achieved(&directory, &recorded, planned)
        .await
        .map_err(|error| error.with_effect(Effect::Partial))
}

fn invalid(problem: AttributeProblem) -> ProviderError {
    let mut error = ProviderError::new(ErrorClass::Invalid, problem.message).at(problem.path);
    error.hint = problem.hint;
    error
}

/// Takes the unit's secret values out of words that the program had a part in.
fn redact(error: ProviderError, inputs: &Inputs) -> ProviderError {
    let mut redactor = Redactor::default();
    for value in inputs.env.values() {
        if let EnvValue::Secret(value) = value {
            redactor.learn_text(value);
        }
    }
    redactor.error(error)
}

/// A unit that is about to be written.
struct Draft {
    config: HostConfig,
    directory: UnitDirectory,
    address: ResourceAddress,
    inputs: Inputs,
    package_dir: Option<PathBuf>,
    container: Option<ContainerSpec>,
    service: Option<ServiceSpec>,
    fence: Fence,
}

impl Draft {
    /// Leases the ports and writes the directory.
    fn write(self) -> Result<BTreeMap<String, u16>, ProviderError> {
        let existed = self.directory.exists();
        let outcome = self.lease().and_then(|ports| {
            self.put(&ports).map_err(|problem| {
                let effect = match problem {
                    UnitError::StaleEpoch { .. } | UnitError::Invalid { .. } => Effect::None,
                    // It may be in its place although the last step of putting it there failed.
                    _ if existed || self.directory.exists() => Effect::Unknown,
                    _ => Effect::None,
                };
                error::unit(&problem).with_effect(effect)
            })?;
            Ok(ports)
        });
        outcome.map_err(|error| {
            if existed || self.directory.exists() {
                return error;
            }
            match self.config.ports.release(&unit_name(&self.directory)) {
                Ok(_) => error,
                Err(problem) => {
                    error.with_detail([format!("Its ports could not be released either: {problem}")])
                }
            }
        })
    }

    fn lease(&self) -> Result<BTreeMap<String, u16>, ProviderError> {
        let owner = PortOwner {
            uid: unit_name(&self.directory),
            label: format!("{} of project {}", self.address, self.config.project),
            directory: self.directory.path().to_owned(),
        };
        // Fixed ports first, so that a range does not take one of them.
        let (fixed, any): (Vec<_>, Vec<_>) = self
            .inputs
            .ports
            .iter()
            .partition(|(_, request)| matches!(request, PortRequest::Exact(_)));
        fixed
            .into_iter()
            .chain(any)
            .map(|(name, request)| {
                self.config
                    .ports
                    .lease(&owner, name, request)
                    .map(|port| (name.clone(), port))
                    .map_err(|error| error::port(name, &error))
            })
            .collect()
    }

    fn put(&self, ports: &BTreeMap<String, u16>) -> Result<(), UnitError> {
        let inputs = &self.inputs;
        let spec = UnitSpec {
            project: self.fence.lineage.clone(),
            uid: unit_name(&self.directory),
            address: self.address.to_string(),
            role: inputs.role.clone(),
            argv: inputs.argv.clone(),
            env: inputs.env.clone(),
            base_env: self.base_env(),
            working_dir: inputs.working_dir.clone(),
            files: inputs.files.clone(),
            ports: ports.clone(),
            package_dir: self.package_dir.clone(),
            log: LogSettings::default(),
            stop_duration: inputs.stop_timeout,
            supervision: inputs.supervision.clone(),
            container: self.container.clone(),
            service: self.service.clone(),
        };
        unit::write(&self.config.data_root, &spec, &self.fence).map(|_| ())
    }

    /// The basic environment is chosen once: a unit is not restarted because gabion is run from another shell.
    fn base_env(&self) -> BTreeMap<String, String> {
        // An image has its own.
        if self.container.is_some() {
            return BTreeMap::new();
        }
        self.directory
            .launch()
            .map_or_else(|_| self.config.base_env.clone(), |launch| launch.base_env)
    }
}

/// Has the program running as written. One that runs as it was launched with just that is left alone.
async fn run(
    config: &HostConfig,
    directory: &UnitDirectory,
    planned: &Attributes,
    call: &Call,
) -> Result<(), ProviderError> {
    let partial = |error: UnitError| error::unit(&error).with_effect(Effect::Partial);
    if has_had_its_run(directory).map_err(partial)? {
        return Ok(());
    }
    services::place(config, directory, &fence(call))
        .await
        .map_err(partial)?;
    match look(directory).await {
        Ok((UnitStatus::Running { mark }, wanted))
            if mark.launched == wanted
                && keeps_its_container(directory).await.map_err(partial)?
                && services::keeps_its_service(directory).await.map_err(partial)? =>
        {
            return agents::upgrade(config, directory, &mark, planned, call).await;
        }
        Ok((UnitStatus::Running { .. }, _)) => {
            call.phase("stop");
            let grace = directory
                .launch()
                .map_err(partial)?
                .stop_duration()
                .min(call.remaining().saturating_sub(MARGIN * 5));
            let _waiting = call.waiting();
            services::stop(config, directory, &fence(call), grace)
                .await
                .map_err(partial)?;
            unit::stop(directory, &fence(call), Some(grace))
                .await
                .map_err(partial)?;
        }
        // Not running, or its mark is damaged: starting sorts that out.
        Ok(_) | Err(UnitError::Damaged { .. }) => {
            // Of a service something else may run.
            services::stop(config, directory, &fence(call), MARGIN * 5)
                .await
                .map_err(partial)?;
        }
        Err(error) => return Err(partial(error)),
    }
    call.phase("start");
    if services::start(config, directory, &fence(call))
        .await
        .map_err(partial)?
    {
        return Ok(());
    }
    unit::start(&StartRequest {
        directory: directory.clone(),
        shim: config.shim.clone(),
        fence: Some(fence(call)),
    })
    .await
    .map(|_| ())
    .map_err(partial)
}

/// Whether the unit's container, if it has one, is as it should be. That somebody else restarted it is taken note of.
async fn keeps_its_container(directory: &UnitDirectory) -> Result<bool, UnitError> {
    let Some(spec) = directory.launch()?.container else {
        return Ok(true);
    };
    let supervised =
        unit::standing(directory).is_ok_and(|standing| matches!(standing, Standing::Retrying { .. }));
    let look = container::look(directory).await?;
    if !supervised && !look.is_some_and(|look| look.is_as_asked(&spec)) {
        return Ok(false);
    }
    container::settle(directory).await?;
    Ok(true)
}

/// Whether a program that is meant to end has been started and has ended, well or not: only a replacement runs it again.
fn has_had_its_run(directory: &UnitDirectory) -> Result<bool, UnitError> {
    let supervision = directory.launch()?.supervision;
    if !supervision.is_some_and(|supervision| supervision.completes) {
        return Ok(false);
    }
    Ok(match unit::standing(directory) {
        Ok(Standing::NeverStarted | Standing::Running { .. } | Standing::Retrying { .. }) => false,
        // It never ran, so it may yet.
        Ok(Standing::Failed { exit: None, .. }) => false,
        Ok(_) => true,
        Err(UnitError::Damaged { .. }) => false,
        Err(error) => return Err(error),
    })
}

async fn look(directory: &UnitDirectory) -> Result<(UnitStatus, String), UnitError> {
    let directory = directory.clone();
    let looked = move || Ok((unit::inspect(&directory)?, directory.launch_digest()?));
    tokio::task::spawn_blocking(looked)
        .await
        .map_err(std::io::Error::other)?
}

async fn ready(
    directory: &UnitDirectory,
    inputs: &Inputs,
    private: &Private,
    transport: &dyn crate::transport::Transport,
    call: &Call,
) -> Result<(), ProviderError> {
    let patience = inputs.ready_timeout.min(call.remaining().saturating_sub(MARGIN));
    let begun = tokio::time::Instant::now();
    if inputs.container.is_some() {
        started(directory, patience).await;
    }
    for (target, probe) in &inputs.probes {
        let endpoint = match target {
            ProbeTarget::Port(name) => {
                Endpoint::loopback(private.ports.get(name).copied().unwrap_or_default())
            }
            ProbeTarget::Socket(path) => Endpoint::Unix(directory.path().join(path)),
        };
        let left = patience.saturating_sub(begun.elapsed());
        wait_ready(transport, &endpoint, std::slice::from_ref(probe), directory, left)
            .await
            .map_err(|error| redact(error::not_ready(&error), inputs))?;
    }
    // A program that is meant to end may have ended by now.
    let completes = inputs
        .supervision
        .as_ref()
        .is_some_and(|supervision| supervision.completes);
    if inputs.probes.is_empty() && !completes {
        wait_ready(transport, &Endpoint::loopback(0), &[], directory, patience)
            .await
            .map_err(|error| redact(error::not_ready(&error), inputs))?;
        if inputs.container.is_some() && is_ending(directory).await {
            wait_ready(transport, &Endpoint::loopback(0), &[], directory, patience)
                .await
                .map_err(|error| redact(error::not_ready(&error), inputs))?;
        }
    }
    Ok(())
}

/// Whether a unit's container has ended by now, or soon has: its keeper then ends within moments.
async fn is_ending(directory: &UnitDirectory) -> bool {
    const KEEPER: Duration = Duration::from_secs(10);
    match container::look(directory).await {
        Ok(Some(look)) if look.trouble().is_some() => {}
        _ => return false,
    }
    let running = || unit::inspect(directory).is_ok_and(|unit| unit.is_running());
    let deadline = tokio::time::Instant::now() + KEEPER;
    while running() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    true
}

/// Waits until a unit's container runs, or its keeper does not; what is wrong is told by who looks next.
async fn started(directory: &UnitDirectory, patience: Duration) {
    const LOOK: Duration = Duration::from_millis(50);
    let waiting = async {
        while !container::is_started(directory)
            && unit::inspect(directory).is_ok_and(|unit| unit.is_running())
        {
            tokio::time::sleep(LOOK).await;
        }
    };
    // What takes too long is told by who looks next, too.
    let _ = tokio::time::timeout(patience, waiting).await;
}

fn unit_name(directory: &UnitDirectory) -> String {
    directory
        .path()
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

pub(super) fn fence(call: &Call) -> Fence {
    Fence {
        lineage: call.lineage.to_string(),
        operation: call.operation.to_string(),
        epoch: call.epoch,
    }
}
