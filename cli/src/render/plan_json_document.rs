//! A plan as one JSON document, which is never in memory as a whole.
//!
//! A plan says some things of each of its objects at six places of the document. These lists are made item by item while
//! they are written. What readers get is [`PlanJson`](super::plan_json_types::PlanJson), whose keys these types repeat; a
//! test reads it and writes it again, and gets the same text.

use std::collections::BTreeMap;
use std::fmt;

use gabion_engine::data::DataRead;
use gabion_engine::plan::change::{Action, Change, Reason};
use gabion_engine::plan::{Mode, OutputChange, Plan};
use gabion_engine::value::Value;
use gabion_engine::world::Refresh;
use serde::Serialize;
use serde_json::Value as Json;

use super::catalogue::Catalogue;
use super::plan_json::{
    dependencies, detail, drift_change, drift_json, expression, known, operation_word, output_changes,
    output_value, policy, price, recovery, resource, resource_change, shape, summary_json,
};
use super::plan_json_types::*;
use super::streamed::{Made, write_json};
use super::view::PlanContext;

/// A version of Terraform that writes this format. Checkov and others take a file for a plan only if it names one.
const TERRAFORM: &str = "1.11.4";

/// Writes a plan as JSON.
pub(crate) fn write_plan(out: &mut dyn fmt::Write, plan: &Plan, context: PlanContext<'_>) -> fmt::Result {
    write_json(out, &document(plan, context))
}

#[derive(Serialize)]
struct Document<'a> {
    format_version: &'a str,
    terraform_version: &'a str,
    variables: BTreeMap<String, Json>,
    planned_values: Values<'a>,
    #[serde(skip_serializing_if = "Made::is_empty")]
    resource_drift: Made<'a, ResourceChangeJson>,
    resource_changes: Made<'a, ResourceChangeJson>,
    output_changes: BTreeMap<String, ChangeJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prior_state: Option<PriorState<'a>>,
    configuration: Configuration<'a>,
    timestamp: String,
    applyable: bool,
    complete: bool,
    errored: bool,
    gabion: Gabion<'a>,
}

#[derive(Serialize)]
struct Values<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    outputs: BTreeMap<String, OutputJson>,
    root_module: Module<'a, ResourceJson>,
}

#[derive(Serialize)]
struct Module<'a, T: Serialize> {
    #[serde(skip_serializing_if = "Made::is_empty")]
    resources: Made<'a, T>,
}

#[derive(Serialize)]
struct PriorState<'a> {
    format_version: &'a str,
    terraform_version: &'a str,
    values: Values<'a>,
}

#[derive(Serialize)]
struct Configuration<'a> {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    provider_config: BTreeMap<String, ProviderConfigJson>,
    root_module: Module<'a, ConfigResourceJson>,
}

#[derive(Serialize)]
struct Gabion<'a> {
    format_version: u32,
    project: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a str>,
    mode: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
    serial: u64,
    refresh: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    untrusted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    commit: Option<&'a str>,
    configuration_digest: &'a str,
    summary: SummaryJson,
    changes: Made<'a, ChangeDetailJson>,
    drift: Made<'a, DriftJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    price: Option<PriceJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<PolicyJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    recovery: Vec<RecoveryJson>,
    steps: Made<'a, StepJson>,
    endpoints: BTreeMap<String, Json>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    notes: Vec<NoteJson>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

fn document<'a>(plan: &'a Plan, context: PlanContext<'a>) -> Document<'a> {
    let catalogue = context.catalogue;
    let basis = &plan.basis;
    Document {
        format_version: "1.2",
        terraform_version: TERRAFORM,
        variables: BTreeMap::new(),
        planned_values: planned_values(plan, catalogue),
        resource_drift: Made::by(move || {
            plan.drift
                .iter()
                .filter_map(|drift| drift_change(drift, catalogue))
        }),
        resource_changes: Made::by(move || {
            plan.changes
                .iter()
                .map(|change| resource_change(change, catalogue))
        }),
        output_changes: output_changes(plan),
        prior_state: (basis.lineage.is_some() || !plan.data.is_empty()).then(|| PriorState {
            format_version: "1.0",
            terraform_version: TERRAFORM,
            values: prior_values(plan, catalogue),
        }),
        configuration: configuration(plan, catalogue),
        timestamp: basis.gathered_at.to_string(),
        applyable: plan.has_changes() && plan.blocked.is_empty() && plan.denials().next().is_none(),
        complete: plan.left_out.is_empty() && plan.unsettled.is_empty(),
        errored: false,
        gabion: gabion(plan, context),
    }
}

fn planned_values<'a>(plan: &'a Plan, catalogue: &'a Catalogue) -> Values<'a> {
    let resources = move || {
        plan.changes
            .iter()
            .filter(|change| !matches!(change.action, Action::Delete | Action::Forget))
            .filter_map(|change| resource(change, change.after.as_ref()?, catalogue))
    };
    values(plan, |output| &output.after, Made::by(resources))
}

fn prior_values<'a>(plan: &'a Plan, catalogue: &'a Catalogue) -> Values<'a> {
    let resources = move || {
        plan.changes
            .iter()
            .filter(|change| !change.deposed)
            .filter_map(|change| {
                let mut resource = resource(change, change.before.as_ref()?, catalogue)?;
                resource.tainted = change.reasons.contains(&Reason::Tainted);
                if let Some(previous) = &change.previous_address {
                    resource.address = previous.to_string();
                    resource.name = previous.name.to_string();
                }
                Some(resource)
            })
            .chain(plan.data.iter().map(|read| data_resource(read, catalogue)))
    };
    values(plan, |output| &output.before, Made::by(resources))
}

fn values<'a>(
    plan: &Plan,
    side: impl Fn(&OutputChange) -> &Option<Value>,
    resources: Made<'a, ResourceJson>,
) -> Values<'a> {
    let outputs = plan.outputs.iter();
    let outputs = outputs
        .filter_map(|(name, output)| Some((name.to_string(), output_value(side(output).as_ref()?))))
        .collect();
    Values {
        outputs,
        root_module: Module { resources },
    }
}

fn configuration<'a>(plan: &'a Plan, catalogue: &'a Catalogue) -> Configuration<'a> {
    let declared = move || {
        plan.changes
            .iter()
            .filter(|change| change.inputs.is_some() && !change.deposed)
    };
    let mut providers = BTreeMap::new();
    for change in declared() {
        let name = change.provider.as_str();
        if !providers.contains_key(name) {
            let config = ProviderConfigJson {
                name: name.to_owned(),
                full_name: catalogue.source(&change.provider),
            };
            providers.insert(name.to_owned(), config);
        }
    }
    for read in &plan.data {
        let name = read.provider.as_str();
        providers
            .entry(name.to_owned())
            .or_insert_with(|| ProviderConfigJson {
                name: name.to_owned(),
                full_name: catalogue.source(&read.provider),
            });
    }
    let resources = move || {
        declared()
            .filter_map(|change| declared_resource(change, catalogue))
            .chain(plan.data.iter().map(declared_data))
    };
    Configuration {
        provider_config: providers,
        root_module: Module {
            resources: Made::by(resources),
        },
    }
}

fn declared_resource(change: &Change, catalogue: &Catalogue) -> Option<ConfigResourceJson> {
    let inputs = catalogue.masked(&change.address.resource_type, change.inputs.as_ref()?);
    Some(ConfigResourceJson {
        address: change.address.to_string(),
        mode: "managed".into(),
        resource_type: change.address.resource_type.to_string(),
        name: change.address.name.to_string(),
        provider_config_key: change.provider.to_string(),
        expressions: inputs
            .iter()
            .map(|(name, value)| (name.to_string(), expression(value)))
            .collect(),
        schema_version: catalogue.schema_version(&change.address.resource_type),
        depends_on: dependencies(change),
    })
}

/// What was read, as Terraform's format has it: in the state that the plan started from.
fn data_resource(read: &DataRead, catalogue: &Catalogue) -> ResourceJson {
    let value = Value::Map(read.attributes.clone());
    ResourceJson {
        address: format!("data.{}", read.address),
        mode: "data".into(),
        resource_type: read.address.resource_type.to_string(),
        name: read.address.name.to_string(),
        provider_name: catalogue.source(&read.provider),
        schema_version: 0,
        values: known(&value),
        sensitive_values: shape(&value, &|leaf| matches!(leaf, Value::Secret(_))),
        depends_on: Vec::new(),
        tainted: false,
    }
}

fn declared_data(read: &DataRead) -> ConfigResourceJson {
    ConfigResourceJson {
        address: format!("data.{}", read.address),
        mode: "data".into(),
        resource_type: read.address.resource_type.to_string(),
        name: read.address.name.to_string(),
        provider_config_key: read.provider.to_string(),
        expressions: read
            .inputs
            .iter()
            .map(|(name, value)| (name.to_string(), expression(value)))
            .collect(),
        schema_version: 0,
        depends_on: Vec::new(),
    }
}

fn gabion<'a>(plan: &'a Plan, context: PlanContext<'a>) -> Gabion<'a> {
    let basis = &plan.basis;
    let catalogue = context.catalogue;
    let steps = move || {
        plan.steps.iter().map(|step| StepJson {
            id: step.id.0,
            address: plan
                .changes
                .get(step.change)
                .map(|change| change.address.to_string())
                .unwrap_or_default(),
            operation: operation_word(step.operation).to_owned(),
            after: step.after.iter().map(|id| id.0).collect(),
        })
    };
    Gabion {
        format_version: 1,
        project: &plan.project,
        stack: basis.stack.as_deref(),
        mode: match plan.mode {
            Mode::Apply => "apply",
            Mode::Destroy => "destroy",
        },
        digest: context.digest,
        lineage: basis.lineage.map(|lineage| lineage.to_string()),
        serial: basis.serial,
        refresh: match basis.refresh {
            Refresh::Full => "full",
            Refresh::Minimal => "minimal",
            Refresh::None => "none",
        },
        untrusted: basis.untrusted,
        commit: basis.commit.as_deref(),
        configuration_digest: &basis.configuration,
        summary: summary_json(plan),
        changes: Made::by(move || plan.changes.iter().map(|change| detail(plan, change, catalogue))),
        drift: Made::by(move || plan.drift.iter().map(drift_json)),
        price: plan.prices.as_ref().map(price),
        policy: plan.policy.as_ref().map(policy),
        recovery: recovery(plan),
        steps: Made::by(steps),
        endpoints: plan
            .endpoints
            .iter()
            .map(|(name, value)| (name.to_string(), known(value)))
            .collect(),
        notes: plan
            .notes
            .iter()
            .map(|note| NoteJson {
                message: note.message.to_string(),
                place: note.place.as_ref().map(ToString::to_string),
            })
            .collect(),
        left_out: plan.left_out.iter().map(ToString::to_string).collect(),
    }
}
