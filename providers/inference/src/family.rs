//! The document family of dstack's types.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{
    self, Document, DocumentFamily, DocumentType, FromNode, LowerContext, Lowered, MapReader, Naming, Node,
    Purpose, ResolvedDocument, Settings, Spanned, SpannedTemplate, Survey, Target,
};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::state::record::Status;

use crate::document::dev_environment::DevEnvironment;
use crate::document::fleet::Fleet;
use crate::document::gateway::Gateway;
use crate::document::preset::Preset;
use crate::document::service::Service;
use crate::document::task::Task;
use crate::document::volume::Volume;
use crate::explain;
use crate::lower::{
    self, AcmeSettings, AwsSettings, Context, Placed, RecordedSlot, Services, Serving, Unread, unsupported,
};
use crate::profiles::Profiles;
use crate::term::excerpt;
use crate::traps;

/// How long a replica on the local backend may take to become ready unless `ready_timeout` says otherwise.
const READY_TIMEOUT: Duration = Duration::from_secs(600);

/// dstack's documents.
#[derive(Debug, Default, Clone, Copy)]
pub struct Inference;

const TYPES: [DocumentType; 7] = [
    DocumentType {
        name: "dev-environment",
        summary: "A machine to work on, with an editor's server and what a project needs.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "fleet",
        summary: "Machines for services, tasks and development environments: made in a cloud, or reached by SSH.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "gateway",
        summary: "A place where requests come in, with a router for the services behind it.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "preset",
        summary: "A search for the best way to serve a model. gabion reads it, and makes none.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "service",
        summary: "A model or web service: replicas of a program, reached through a gateway.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "task",
        summary: "A program that runs to its end, on one node or several.",
        naming: Naming::FromFile,
    },
    DocumentType {
        name: "volume",
        summary: "Network storage that services, tasks and development environments mount.",
        naming: Naming::FromFile,
    },
];

/// Returns what a document type of this crate is, in a sentence.
pub(crate) fn summary(document_type: &str) -> &'static str {
    let known = TYPES.iter().find(|known| known.name == document_type);
    known.map_or("", |known| known.summary)
}

impl DocumentFamily for Inference {
    fn types(&self) -> &[DocumentType] {
        &TYPES
    }

    fn lower(&self, documents: &[&Document], context: &LowerContext<'_>) -> (Lowered, Diagnostics) {
        let mut problems = Diagnostics::new();
        let profiles = Profiles::read(context.profiles, context.profile, &mut problems);
        let mut read = Documents::default();
        for document in documents {
            read.add(document, &profiles, &mut problems);
        }
        if context.purpose == Purpose::Plan {
            unsupported::check(&read, &mut problems);
        }
        let recorded = context.recorded;
        let local = BackendSettings::of(lower::LOCAL, context.settings, &mut problems);
        let machines = BackendSettings::of(lower::SSH, context.settings, &mut problems);
        let services = Services {
            local: local.systemd,
            ssh: machines.systemd,
        };
        let context = Context {
            purpose: context.purpose,
            project_directory: context.directory.display().to_string(),
            root: context.root.cloned(),
            backends: context
                .settings
                .backends
                .iter()
                .map(|backend| backend.plugin_type.value.clone())
                .collect(),
            ready_timeout: local.ready_timeout,
            machine_ready_timeout: machines.ready_timeout,
            aws: AwsSettings::of(context.settings, &mut problems),
            acme: [(lower::LOCAL, local.acme), (lower::SSH, machines.acme)].into(),
            tokens: context
                .settings
                .tokens
                .iter()
                .map(|(label, token)| (label.clone(), token.template.text().to_owned()))
                .collect(),
            slots: recorded_slots(context),
            counts: recorded_counts(context),
            local_runtime: lower::local_runtime(recorded),
            local_facts: lower::local_facts(recorded),
            unread: read.unread.clone().and_unknown(context.incomplete),
        };
        let mut tasks = read.tasks.clone();
        for environment in &read.dev_environments {
            if context.purpose == Purpose::Plan {
                lower::check_environment(environment, &mut problems);
            }
            tasks.push(lower::as_task(environment));
        }
        let documents = Serving {
            gateways: &read.gateways,
            services: &read.services,
            fleets: &read.fleets,
            tasks: &tasks,
        };
        let mut lowered = lower::lower(documents, &context, recorded, &mut problems);
        let fleet = lower::surveys(&read.fleets, recorded);
        let fleet = fleet.into_iter().map(|survey| survey.address).collect();
        lower::choose_runtimes(
            &mut lowered,
            &services,
            &fleet,
            context.purpose,
            recorded,
            &mut problems,
        );
        (lowered, problems)
    }

    fn surveys(&self, documents: &[&Document], context: &LowerContext<'_>) -> Vec<Survey> {
        let mut unshown = Diagnostics::new();
        let profiles = Profiles::read(context.profiles, context.profile, &mut unshown);
        let mut read = Documents::default();
        let has_places =
            |document: &&&Document| matches!(document.document_type.value.as_str(), "fleet" | "gateway");
        for document in documents.iter().filter(has_places) {
            read.add(document, &profiles, &mut unshown);
        }
        let mut surveys = lower::surveys(&read.fleets, context.recorded);
        let settings = AwsSettings::of(context.settings, &mut unshown);
        surveys.extend(lower::aws_surveys(&read.gateways, &settings));
        let runs = |document: &&&Document| {
            matches!(
                document.document_type.value.as_str(),
                "service" | "task" | "dev-environment"
            )
        };
        let nodes = documents.iter().filter(runs).map(|document| &document.node);
        let backends: Vec<&str> = context
            .settings
            .backends
            .iter()
            .map(|backend| backend.plugin_type.value.as_str())
            .collect();
        surveys.extend(lower::local_survey(nodes, &backends));
        surveys
    }

    fn resolve(&self, document: &Document, context: &LowerContext<'_>) -> Option<ResolvedDocument> {
        let mut unshown = Diagnostics::new();
        let profiles = Profiles::read(context.profiles, context.profile, &mut unshown);
        let mut read = Documents::default();
        read.add(document, &profiles, &mut unshown);
        if unshown.has_errors() {
            return None;
        }
        explain::resolved(&read, document)
    }

    fn json_schema(&self, document_type: &str) -> Option<serde_json::Value> {
        crate::schema::json_schema(document_type)
    }
}

/// Reads the documents of a project, and leaves their problems to lowering.
pub(crate) fn read_project(project: &config::Project) -> Documents {
    let mut unshown = Diagnostics::new();
    let profiles = Profiles::read(project.profiles.as_ref(), project.profile.as_ref(), &mut unshown);
    let mut read = Documents::default();
    for document in &project.documents {
        read.add(document, &profiles, &mut unshown);
    }
    read
}

/// Returns the region of the gateway that a service goes through, if it is on AWS.
pub(crate) fn region_of(service: &Service, gateways: &[Placed<Gateway>]) -> Option<String> {
    let gateway = lower::gateway_among(service, gateways)?;
    let is_on_aws = gateway.backend.value.name() == lower::AWS;
    gateway
        .region
        .as_ref()
        .filter(|_| is_on_aws)
        .map(|region| region.value.clone())
}

/// Documents, read.
#[derive(Debug, Default)]
pub(crate) struct Documents {
    pub(crate) dev_environments: Vec<Placed<DevEnvironment>>,
    pub(crate) fleets: Vec<Placed<Fleet>>,
    pub(crate) gateways: Vec<Placed<Gateway>>,
    pub(crate) presets: Vec<Placed<Preset>>,
    pub(crate) services: Vec<Placed<Service>>,
    pub(crate) tasks: Vec<Placed<Task>>,
    pub(crate) volumes: Vec<Placed<Volume>>,
    /// Those that could not be read.
    pub(crate) unread: Unread,
}

impl Documents {
    fn add(&mut self, document: &Document, profiles: &Profiles<'_>, problems: &mut Diagnostics) {
        fn read<T: FromNode>(
            document: &Document,
            node: Node,
            into: &mut Vec<Placed<T>>,
            problems: &mut Diagnostics,
        ) -> bool {
            let Some(value) = T::from_node(&node, problems) else {
                return false;
            };
            into.push(Placed {
                document: value,
                node,
                reference: document.reference(),
                type_span: document.document_type.span.clone(),
            });
            true
        }
        let document_type = document.document_type.value.as_str();
        let is_named = check_name(document, problems);
        let (tasks, fleets) = (self.tasks.len(), self.fleets.len());
        let environments = self.dev_environments.len();
        let node = profiles.merged(&document.node, document_type, document.span());
        let mut found = Diagnostics::new();
        traps::check(&node, &mut found);
        let is_read = match document_type {
            "dev-environment" => read(document, node, &mut self.dev_environments, &mut found),
            "fleet" => read(document, node, &mut self.fleets, &mut found),
            "gateway" => read(document, node, &mut self.gateways, &mut found),
            "preset" => read(document, node, &mut self.presets, &mut found),
            "service" => read(document, node, &mut self.services, &mut found),
            "task" => read(document, node, &mut self.tasks, &mut found),
            "volume" => read(document, node, &mut self.volumes, &mut found),
            _ => true,
        };
        if !(is_read && is_named) {
            self.unread.add(document_type, document.name());
        }
        // Nothing can be made of a document whose name cannot be part of an address.
        if !is_named {
            self.tasks.truncate(tasks);
            self.dev_environments.truncate(environments);
            self.fleets.truncate(fleets);
        }
        let at = document.span();
        problems.extend(found.into_iter().map(|problem| profiles.explained(problem, at)));
    }
}

/// Reports a name that a document cannot have, and returns whether it is good. Those of services and gateways are checked
/// where they are used.
fn check_name(document: &Document, problems: &mut Diagnostics) -> bool {
    let what = document.document_type.value.as_str();
    let Some(name) = document
        .name
        .as_ref()
        .filter(|_| !matches!(what, "service" | "gateway"))
    else {
        return true;
    };
    match config::check_name(&name.value) {
        Ok(_) => true,
        Err(why) => {
            problems.push(config::bad_name(what, name, why));
            false
        }
    }
}

/// Settings of a backend of this build: `backends: [{type: local, ready_timeout: 60s}]`.
#[derive(Clone, Debug)]
struct BackendSettings {
    ready_timeout: Duration,
    agent_path: Option<String>,
    sudo: Option<SudoSettings>,
    /// Whom certificates are asked from.
    acme: AcmeSettings,
    /// Where it is said that programs are services of systemd.
    systemd: Option<Span>,
}

/// How root is become on machines behind SSH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SudoSettings {
    /// The secret that `sudo` asks for; `None` where it asks for nothing.
    pub secret: Option<String>,
}

impl BackendSettings {
    fn of(name: &str, settings: &Settings, problems: &mut Diagnostics) -> Self {
        let mut found = Self {
            ready_timeout: READY_TIMEOUT,
            agent_path: None,
            sudo: None,
            acme: AcmeSettings::default(),
            systemd: None,
        };
        let backend = settings
            .backends
            .iter()
            .find(|backend| backend.plugin_type.value == name);
        let Some(node) = backend
            .map(|backend| &backend.node)
            .filter(|node| node.as_map().is_some())
        else {
            return found;
        };
        let Some(mut map) = MapReader::open(node, format!("{name} backend"), problems) else {
            return found;
        };
        map.known(&["type"]);
        if name == lower::SSH {
            found.agent_path = map.optional("agent_path").flatten();
            let allowed = map.or("sudo", false).unwrap_or(false);
            let password = map.optional::<SpannedTemplate>("sudo_password").flatten();
            let secret = password.and_then(|password| whole_secret(&password, map.problems()));
            found.sudo = (allowed || secret.is_some()).then_some(SudoSettings { secret });
        }
        let runtime = map.optional::<Spanned<String>>("runtime").flatten();
        found.systemd = runtime.and_then(|runtime| systemd(&runtime, map.problems()));
        found.acme = map.optional("acme").flatten().unwrap_or_default();
        let timeout = map.or("ready_timeout", READY_TIMEOUT);
        map.finish();
        found.ready_timeout = timeout.unwrap_or(READY_TIMEOUT);
        found
    }
}

/// Returns where it is said that programs are services of systemd.
fn systemd(runtime: &Spanned<String>, problems: &mut Diagnostics) -> Option<Span> {
    match runtime.value.as_str() {
        "systemd" => return Some(runtime.span.clone()),
        "process" => {}
        other => problems.push(
            Diagnostic::error("unknown-runtime", "unknown runtime")
                .detail(format!("A backend runs programs by no `{}`.", excerpt(other)))
                .at(runtime.span.clone())
                .hint("use `process` or `systemd`; documents with an `image` run in containers anyway"),
        ),
    }
    None
}

/// Returns the name of the secret that a template is; a problem when it is anything else.
fn whole_secret(password: &SpannedTemplate, problems: &mut Diagnostics) -> Option<String> {
    match password.template.single().map(|reference| &reference.target) {
        Some(Target::Secret(name)) => Some(name.to_string()),
        _ => {
            problems.push(
                Diagnostic::error("bad-password", "password that is no secret")
                    .detail("`sudo_password` must be exactly one secret.")
                    .at(password.span.clone())
                    .hint("declare it under `secrets` and write `${{ secrets.NAME }}`"),
            );
            None
        }
    }
}

/// Returns how root is become on machines behind SSH, where the settings say that it may be.
pub fn sudo(settings: &Settings) -> Option<SudoSettings> {
    BackendSettings::of(lower::SSH, settings, &mut Diagnostics::new()).sudo
}

/// Returns the file of the agent's program for machines behind SSH, as the settings name it.
pub fn agent_path(settings: &Settings) -> Option<String> {
    let mut unshown = Diagnostics::new();
    let of_fleets = BackendSettings::of(lower::SSH, settings, &mut unshown).agent_path;
    of_fleets.or_else(|| AwsSettings::of(settings, &mut unshown).agent_path)
}

/// Returns the slots of every replica group that has one, by the path before the slot.
fn recorded_slots(context: &LowerContext<'_>) -> BTreeMap<String, Vec<RecordedSlot>> {
    let mut slots: BTreeMap<String, Vec<RecordedSlot>> = BTreeMap::new();
    for (address, status) in context.recorded.under("host_unit", "") {
        let Some((group, slot)) = lower::slot_of(address.name.as_str()) else {
            continue;
        };
        let needs_repair = status != Status::Ready;
        let of_group = slots.entry(group.to_owned()).or_default();
        // A replica with several nodes is one.
        match of_group.iter_mut().find(|known| known.slot == slot) {
            Some(known) => known.needs_repair |= needs_repair,
            None => of_group.push(RecordedSlot { slot, needs_repair }),
        }
    }
    slots
}

/// Returns the counts that were chosen for replica groups with a range, by the group's path.
fn recorded_counts(context: &LowerContext<'_>) -> BTreeMap<String, u32> {
    let counts = context.recorded.under("replica_count", "");
    let count = |(address, _): (ResourceAddress, Status)| {
        let count = context.recorded.attribute(&address, "count")?.as_int()?;
        Some((address.name.to_string(), u32::try_from(count).ok()?))
    };
    counts.into_iter().filter_map(count).collect()
}
