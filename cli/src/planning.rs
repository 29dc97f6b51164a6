//! From a project to a plan: load, gather, plan. Changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Reference, Resolved, Scope, Target, Template};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::gather::{GatherError, GatherRequest, data, gather};
use gabion_engine::plan::glob::AddressGlob;
use gabion_engine::plan::options::{PlanInput, PlanOptions};
use gabion_engine::plan::planner::{PREVENT_DESTROY, plan};
use gabion_engine::plan::{Mode, Plan};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::resource::{Configuration, Import};
use gabion_engine::revert::{self, RevertRequest};
use gabion_engine::state::event::Holder;
use gabion_engine::state::fingerprint::FingerprintKey;
use gabion_engine::state::{Clock, State, SystemClock};
use gabion_engine::value::{Fingerprint, Secret, TemplateText, Value};
use gabion_engine::words::sentence;
use gabion_engine::world::{Refresh, World};
use gabion_inference::offers::PriceBook;

use crate::args::{RefreshArg, Selection};
use crate::context::Context;
use crate::failure::Failure;
use crate::lasting::{Lasting, lasting};
use crate::options::{Options, Trust};
use crate::policy;
use crate::pricing;
use crate::project::{About, LoadedProject, commit, print_warnings};
use crate::render::events::Events;
use crate::render::gather::GatherDisplay;
use crate::render::plan_events::Told;
use crate::review;
use crate::scaling::Wanted;
use crate::secrets::ProjectSecrets;
use crate::wiring;

/// What to plan.
pub(crate) struct PlanRequest<'a> {
    /// What the plan is for.
    pub(crate) mode: Mode,
    /// What it covers.
    pub(crate) selection: &'a Selection,
    /// How much of the world is read.
    pub(crate) refresh: Refresh,
    /// Whether objects are looked for that carry the project's mark and are in no record.
    pub(crate) unmanaged: bool,
    /// An object to import beside those that documents name: its address and id.
    pub(crate) import: Option<(&'a ResourceAddress, &'a str)>,
    /// Somebody else who is writing the state.
    pub(crate) in_flight: Option<Holder>,
    /// The key that makes secrets comparable.
    pub(crate) key: Option<Arc<FingerprintKey>>,
    /// Where the course of it is written, line by line, beside what people see.
    pub(crate) events: Option<&'a Events>,
    /// A number of replicas that a person chose, in place of the recorded one.
    pub(crate) scale: Option<&'a Wanted>,
}

/// A plan and everything that it was made from. What grows with the project is kept until the process ends.
pub(crate) struct Planned {
    /// The plan.
    pub(crate) plan: &'static Plan,
    /// What blocks it, if anything does; then it is shown and never applied.
    pub(crate) blocked: Option<Diagnostics>,
    /// What was declared.
    pub(crate) configuration: Lasting<Configuration>,
    /// What was found in the world.
    pub(crate) world: Lasting<World>,
    /// What it is applied with.
    pub(crate) providers: ProviderRegistry,
}

/// Makes a plan.
pub(crate) async fn make(
    context: &Context,
    project: &LoadedProject,
    state: &State,
    request: PlanRequest<'_>,
) -> Result<Planned, Failure> {
    let lowered = lower(context, project, state, &request).await?;
    plan_lowered(context, project, state, None, request, lowered).await
}

/// Makes a plan of a project that is not planned again, and lets its documents go: they are as large as what they mean.
/// Where a state of the past is given, the plan leads back to it.
pub(crate) async fn make_once(
    context: &Context,
    project: &mut LoadedProject,
    state: &State,
    past: Option<&State>,
    request: PlanRequest<'_>,
) -> Result<Planned, Failure> {
    project.project.share_with(state);
    let lowered = lower(context, project, state, &request).await?;
    project.release_documents();
    plan_lowered(context, project, state, past, request, lowered).await
}

/// What the documents of a project mean.
struct Lowered {
    configuration: Configuration,
    /// What machines cost.
    book: PriceBook,
}

async fn lower(
    context: &Context,
    project: &LoadedProject,
    state: &State,
    request: &PlanRequest<'_>,
) -> Result<Lowered, Failure> {
    let Context { options, printer } = context;
    let selected = project.select(&request.selection.files)?;
    let about = selected.as_ref().map_or(About::Everything, About::Files);
    let mut book = PriceBook::default();
    let mut configuration = match request.mode {
        Mode::Apply => {
            let upgrades = globs("--upgrade", &request.selection.upgrade)?;
            let known = match options.trust {
                Trust::Full => wiring::survey(options, project, state, upgrades.clone()).await?,
                Trust::Untrusted { .. } => wiring::not_surveyed(options, project, state, upgrades.clone())?,
            };
            book = PriceBook::new(known.region_facts());
            let configuration = match request.scale {
                Some(wanted) => {
                    let configuration = project.lower(options, printer, about, &wanted.over(&known))?;
                    wanted.check(&configuration)?;
                    configuration
                }
                None => project.lower(options, printer, about, &known)?,
            };
            check_upgrades(&upgrades, &configuration)?;
            configuration
        }
        // What it takes to delete an object is in its record, also when the configuration is broken or gone.
        Mode::Destroy => Configuration {
            project: project.project.settings.project.value.as_str().into(),
            digest: project.project.sources.digest().into(),
            ..Configuration::default()
        },
    };
    if let Some((address, id)) = request.import {
        add_import(&mut configuration, address, id)?;
    }
    configuration.share_with(state);
    Ok(Lowered { configuration, book })
}

async fn plan_lowered(
    context: &Context,
    project: &LoadedProject,
    state: &State,
    past: Option<&State>,
    request: PlanRequest<'_>,
    lowered: Lowered,
) -> Result<Planned, Failure> {
    let Context { options, printer } = context;
    let directory = project.directory()?.to_owned();
    let Lowered {
        mut configuration,
        book,
    } = lowered;
    let mut plan_options = plan_options(&request, project, options, commit(&directory))?;
    if request.scale.is_some() {
        plan_options
            .targets
            .retain(|pattern| is_there(pattern, &configuration, state));
    }
    let providers = wiring::providers(options, &configuration.project, state)?;
    // The past has its values; what the files read now is nothing to it. Nothing is read for whoever is not trusted.
    if past.is_none() && options.trust == Trust::Full {
        read_data(&request, &mut configuration, &providers, project, context).await?;
    }
    if let Some(past) = past {
        configuration = revert::configuration(RevertRequest {
            past,
            present: state,
            configuration: &configuration,
            providers: &providers,
            key: request.key.as_deref(),
        });
    }
    let world = match options.trust {
        Trust::Untrusted { .. } => World::recorded(state, request.in_flight, SystemClock.now()),
        Trust::Full => read_world(&request, state, &configuration, &providers, context).await?,
    };
    let input = PlanInput {
        configuration: &configuration,
        state,
        world: &world,
        providers: &providers,
        options: &plan_options,
    };
    let (plan, problems) = plan(&input);
    let Some(mut plan) = plan else {
        return Err(problems.into());
    };
    if options.trust != Trust::Full {
        review::note_unresolved(&mut plan);
    }
    plan.prices = pricing::of(&plan, state, &book);
    plan.policy = policy::evaluate(&project.project.settings.policy, &plan)?;
    if past.is_some() {
        let lost = revert::lost_secrets(&plan);
        if lost.has_errors() {
            return Err(lost.into());
        }
    }
    let (blocking, others): (Vec<_>, Vec<_>) = problems
        .into_iter()
        .partition(|problem| problem.code == PREVENT_DESTROY);
    print_warnings(printer, &others.into_iter().collect());
    Ok(Planned {
        plan: lasting(plan),
        blocked: (!blocking.is_empty()).then(|| blocking.into_iter().collect()),
        configuration: Lasting::new(configuration),
        world: Lasting::new(world),
        providers,
    })
}

/// Reads what data documents ask for.
async fn read_data(
    request: &PlanRequest<'_>,
    configuration: &mut Configuration,
    providers: &ProviderRegistry,
    project: &LoadedProject,
    context: &Context,
) -> Result<(), Failure> {
    let Some(first) = configuration.data.first() else {
        return Ok(());
    };
    if request.refresh == Refresh::None {
        return Err(Failure::new("data is not read")
            .detail(format!(
                "With `--refresh none` nothing of the world is read, and the plan needs what `data.{}` finds ({}).",
                first.address, first.place
            ))
            .hint("plan with `--refresh minimal`, or write the value itself in its place"));
    }
    let mut told = Told {
        display: GatherDisplay::new(&context.printer),
        events: request.events,
    };
    let limits = wiring::gather_limits(&context.options);
    let sources = &project.project.sources;
    let read = data::read_data(configuration, providers, sources, &limits, &mut told).await;
    told.display.end();
    Ok(read?)
}

/// Reads what a plan is made from.
pub(crate) async fn read_world(
    request: &PlanRequest<'_>,
    state: &State,
    configuration: &Configuration,
    providers: &ProviderRegistry,
    context: &Context,
) -> Result<World, Failure> {
    let gather_request = GatherRequest {
        state,
        configuration,
        providers,
        refresh: request.refresh,
        unmanaged: request.unmanaged,
        lease: request.in_flight.clone(),
        fingerprints: request.key.as_deref(),
        now: SystemClock.now(),
    };
    let mut told = Told {
        display: GatherDisplay::new(&context.printer),
        events: request.events,
    };
    let limits = wiring::gather_limits(&context.options);
    let world = gather(gather_request, &limits, &mut told).await;
    told.display.end();
    world.map_err(|error| gather_failure(&error))
}

fn add_import(configuration: &mut Configuration, address: &ResourceAddress, id: &str) -> Result<(), Failure> {
    let declared = configuration
        .resources
        .iter()
        .find(|resource| resource.address == *address);
    let Some(resource) = declared else {
        let known: Vec<String> = configuration
            .resources
            .iter()
            .map(|resource| resource.address.to_string())
            .collect();
        let near =
            gabion_engine::diagnostic::did_you_mean(&address.to_string(), known.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "declare it first:\n    type: resource\n    kind: {}\n    name: {}\n    properties: {{}}",
                address.resource_type, address.name
            ),
        };
        return Err(Failure::new("the address is not declared")
            .detail(format!(
                "The configuration declares no {address}, so the next apply would delete what is imported."
            ))
            .hint(hint));
    };
    let place = resource.document.place.clone();
    configuration.directives.imports.push(Import {
        to: address.clone(),
        id: id.into(),
        place,
    });
    Ok(())
}

fn plan_options(
    request: &PlanRequest<'_>,
    project: &LoadedProject,
    options: &Options,
    commit: Option<Arc<str>>,
) -> Result<PlanOptions, Failure> {
    let selection = request.selection;
    Ok(PlanOptions {
        mode: request.mode,
        targets: globs("--target", &selection.target)?,
        excludes: globs("--exclude", &selection.exclude)?,
        only: None,
        replace: selection.replace.clone(),
        files: project.select(&selection.files)?,
        stack: options.stack.as_deref().map(Arc::from),
        commit,
        sources: project.project.sources.clone(),
        // Those that the configuration refers to were read when it was given its meaning.
        secrets: project
            .secrets()
            .at_hand()
            .filter(|_| options.trust == Trust::Full)
            .map(|(name, value)| {
                let template = TemplateText::new(format!("${{{{ {name} }}}}"));
                (name.into(), Secret::new(Some(template), value))
            })
            .collect(),
        key: request.key.clone(),
    })
}

/// Returns whether a pattern fits anything that is declared or recorded.
fn is_there(pattern: &AddressGlob, configuration: &Configuration, state: &State) -> bool {
    let declared = configuration.resources.iter().map(|resource| &resource.address);
    let recorded = state
        .current_records()
        .chain(state.deposed_records())
        .map(|record| &record.address);
    declared.chain(recorded).any(|address| pattern.matches(address))
}

/// Reports a pattern of `--upgrade` that no resource fits: whoever mistypes one would wait for nothing.
fn check_upgrades(upgrades: &[AddressGlob], configuration: &Configuration) -> Result<(), Failure> {
    let fits = |pattern: &AddressGlob| {
        let mut resources = configuration.resources.iter();
        resources.any(|resource| pattern.matches(&resource.address))
    };
    match upgrades.iter().find(|pattern| !fits(pattern)) {
        None => Ok(()),
        Some(pattern) => Err(Failure::new("a selection matches nothing")
            .detail(format!("No resource fits `--upgrade {pattern}`."))
            .hint("name a resource as a plan shows it, `*` standing for anything")),
    }
}

fn globs(flag: &str, texts: &[String]) -> Result<Vec<AddressGlob>, Failure> {
    texts
        .iter()
        .map(|text| {
            text.parse::<AddressGlob>()
                .map_err(|error| Failure::new(format!("not a pattern for {flag}")).because(&error))
        })
        .collect()
}

/// Returns how much of the world is read.
pub(crate) fn refresh(arg: RefreshArg) -> Refresh {
    match arg {
        RefreshArg::Full => Refresh::Full,
        RefreshArg::Minimal => Refresh::Minimal,
        RefreshArg::None => Refresh::None,
    }
}

fn gather_failure(error: &GatherError) -> Failure {
    let failure = Failure::new("the world cannot be read")
        .detail(format!("{}\nNothing was changed.", sentence(&error.to_string())));
    match error {
        GatherError::Facts { error, .. } | GatherError::List { error, .. } => match &error.hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        },
        GatherError::NoProvider { .. } => failure.hint("use a build of gabion that has its provider"),
    }
}

/// Returns the present fingerprints of the secrets that a plan relied on.
pub(crate) fn secret_fingerprints(
    plan: &Plan,
    secrets: &ProjectSecrets,
    key: Option<&FingerprintKey>,
) -> BTreeMap<Arc<str>, Option<Fingerprint>> {
    plan.bindings
        .secrets
        .keys()
        .map(|template| {
            let value = evaluate_secret(template, secrets);
            let fingerprint = key.zip(value).map(|(key, value)| key.fingerprint(&value));
            (template.clone(), fingerprint)
        })
        .collect()
}

/// Returns what a template of secrets gives now, if it gives one.
pub(crate) fn evaluate_secret(template: &str, secrets: &ProjectSecrets) -> Option<Value> {
    let scope = |reference: &Reference| match &reference.target {
        Target::Environment(_) | Target::Secret(_) => secrets
            .value(&reference.target)
            .map_or(Resolved::Missing, Resolved::Known),
        _ => Resolved::Unknown,
    };
    let scope: &dyn Scope = &scope;
    match Template::parse(template).ok()?.evaluate(scope).ok()? {
        Value::Secret(secret) => secret.expose().cloned(),
        _ => None,
    }
}
