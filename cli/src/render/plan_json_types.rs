//! The wire types of the JSON plan: Terraform's format 1.2, and one key of gabion's own.

use std::collections::BTreeMap;

use gabion_engine::provider::CallAction;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

/// A plan, as `gabion plan --format json` and `gabion show --format json` print it.
///
/// The keys are those of Terraform's JSON plan, format version 1.2, so that its tools read it. What that format lacks
/// is under `gabion`. Values that are secret are null, with `true` in the matching `*_sensitive` object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanJson {
    /// The version of the format: `1.2`.
    pub format_version: String,
    /// A version of Terraform that writes this format: its tools know a plan by this key. gabion's own is not in it.
    #[serde(default)]
    pub terraform_version: String,
    /// The project's variables, by name.
    pub variables: BTreeMap<String, Json>,
    /// Everything as it shall be.
    pub planned_values: ValuesJson,
    /// What changed outside gabion.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resource_drift: Vec<ResourceChangeJson>,
    /// What happens to each object.
    pub resource_changes: Vec<ResourceChangeJson>,
    /// What happens to each output.
    pub output_changes: BTreeMap<String, ChangeJson>,
    /// Everything as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prior_state: Option<StateJson>,
    /// What the configuration declares.
    pub configuration: ConfigurationJson,
    /// When the world was read.
    pub timestamp: String,
    /// Whether there is anything to apply.
    pub applyable: bool,
    /// Whether applying it makes the world what the configuration says.
    pub complete: bool,
    /// Whether planning failed; always false, because a failed plan prints diagnostics.
    pub errored: bool,
    /// What Terraform's format lacks.
    pub gabion: GabionJson,
}

/// The values of all resources.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ValuesJson {
    /// The outputs, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub outputs: BTreeMap<String, OutputJson>,
    /// The resources.
    pub root_module: ModuleJson,
}

/// The value of one output.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OutputJson {
    /// Whether it is secret.
    pub sensitive: bool,
    /// The value; absent when only apply knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Json>,
}

/// The resources of the only module there is.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ModuleJson {
    /// The resources, by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ResourceJson>,
}

/// One resource's values.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceJson {
    /// The address.
    pub address: String,
    /// `managed`, or `data` for what is read and not managed.
    pub mode: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// The name within its type.
    pub name: String,
    /// The provider, as Terraform's tools know it.
    pub provider_name: String,
    /// The version of the type's schema.
    pub schema_version: u32,
    /// The attributes; those that only apply knows are absent.
    pub values: Json,
    /// The shape of `values`, with true where a value is secret.
    pub sensitive_values: Json,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
    /// Whether it was marked for replacement.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tainted: bool,
}

/// The state that the plan started from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StateJson {
    /// The version of this part: `1.0`.
    pub format_version: String,
    /// As in the plan.
    #[serde(default)]
    pub terraform_version: String,
    /// The values.
    pub values: ValuesJson,
}

/// What happens to one object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ResourceChangeJson {
    /// The address.
    pub address: String,
    /// The address that it had before a move.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_address: Option<String>,
    /// `managed`, or `data` for what is read and not managed.
    pub mode: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// The name within its type.
    pub name: String,
    /// The provider, as Terraform's tools know it.
    pub provider_name: String,
    /// The key of an object whose address another one has taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deposed: Option<String>,
    /// The change.
    pub change: ChangeJson,
    /// Why, in one of Terraform's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action_reason: Option<String>,
}

/// A change of a value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeJson {
    /// What is done: `no-op`, `create`, `update`, `delete`, `forget`, or two of them for a replacement, in their order.
    pub actions: Vec<String>,
    /// The value as it is; null when there is none.
    pub before: Json,
    /// The value as it shall be; null when there shall be none. What only apply knows is absent.
    pub after: Json,
    /// The shape of `after`, with true where only apply knows the value.
    pub after_unknown: Json,
    /// The shape of `before`, with true where a value is secret.
    pub before_sensitive: Json,
    /// The shape of `after`, with true where a value is secret.
    pub after_sensitive: Json,
    /// The attributes that force a replacement, as lists of keys and indexes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub replace_paths: Vec<Vec<Json>>,
    /// What is imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub importing: Option<ImportingJson>,
}

/// What is imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportingJson {
    /// The object's id.
    pub id: String,
}

/// What the configuration declares.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigurationJson {
    /// The providers in use, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub provider_config: BTreeMap<String, ProviderConfigJson>,
    /// The resources.
    pub root_module: ConfigModuleJson,
}

/// One provider in use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfigJson {
    /// Its name here.
    pub name: String,
    /// Its name as Terraform's tools know it.
    pub full_name: String,
}

/// The declared resources.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigModuleJson {
    /// The resources, by address.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ConfigResourceJson>,
}

/// One declared resource.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfigResourceJson {
    /// The address.
    pub address: String,
    /// `managed`, or `data` for what is read and not managed.
    pub mode: String,
    /// The resource type.
    #[serde(rename = "type")]
    pub resource_type: String,
    /// The name within its type.
    pub name: String,
    /// The provider's name here.
    pub provider_config_key: String,
    /// The inputs: a constant value, or the references that fill it.
    pub expressions: BTreeMap<String, Json>,
    /// The version of the type's schema.
    pub schema_version: u32,
    /// What it depends on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub depends_on: Vec<String>,
}

/// What Terraform's format lacks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GabionJson {
    /// The version of this part.
    pub format_version: u32,
    /// The project's name.
    pub project: String,
    /// The stack, if it is a named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// What the plan is for: `apply` or `destroy`.
    pub mode: String,
    /// The saved plan's digest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The state's identifier for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lineage: Option<String>,
    /// The state's serial.
    pub serial: u64,
    /// How much of the world was read: `full`, `minimal` or `none`.
    pub refresh: String,
    /// Whether it was made for somebody who is not trusted: from records alone, and with no secret resolved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// The commit of the configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The SHA-256 of the configuration's files.
    pub configuration_digest: String,
    /// How many objects each kind of change concerns.
    pub summary: SummaryJson,
    /// What is said about each change, in the order of `resource_changes`.
    pub changes: Vec<ChangeDetailJson>,
    /// What is said about each drift, in the order of `resource_drift`, and about what could not be read.
    pub drift: Vec<DriftJson>,
    /// What the plan's objects cost; absent when nothing in it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<PriceJson>,
    /// What the project's policy says about the plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyJson>,
    /// What recovery found about calls whose answer was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recovery: Vec<RecoveryJson>,
    /// The calls that carry the plan out, and their order.
    pub steps: Vec<StepJson>,
    /// Addresses that people use once the plan is applied; null where only apply knows.
    pub endpoints: BTreeMap<String, Json>,
    /// What people should know about the plan as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<NoteJson>,
    /// Changes that the selection leaves out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// How many objects each kind of change concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SummaryJson {
    /// Made.
    pub create: usize,
    /// Changed in place.
    pub update: usize,
    /// Replaced.
    pub replace: usize,
    /// Deleted.
    pub destroy: usize,
    /// No longer managed.
    pub forget: usize,
    /// Renamed.
    #[serde(rename = "move")]
    pub moved: usize,
    /// Brought under management.
    pub import: usize,
}

/// What is said about one change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangeDetailJson {
    /// The address.
    pub address: String,
    /// The object's identifier for life.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<String>,
    /// The document that declares it, such as `service qwen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// Where that document starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// Whether the object was protected against being destroyed, and the configuration protects it no longer.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unprotects: bool,
    /// Why, from the reason down to the place in the configuration.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub because: Vec<String>,
    /// The expressions that fill what only apply knows, by attribute path.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub unknown: BTreeMap<String, String>,
    /// Resolved choices that later plans keep.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub pins: BTreeMap<String, PinJson>,
    /// What is made in its place when there is no capacity for it, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<AlternativeJson>,
    /// What else people should read with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// What may be made in place of an object.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AlternativeJson {
    /// What it is, for people.
    pub offer: String,
    /// The inputs that differ from those of the change; null where there is none.
    pub inputs: BTreeMap<String, serde_json::Value>,
}

/// A resolved choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PinJson {
    /// What was chosen.
    pub value: Json,
    /// What it was chosen from.
    pub chosen_from: Json,
}

/// What is said about one object that drifted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DriftJson {
    /// The address.
    pub address: String,
    /// `vanished`, `changed` or `cannot_tell`.
    pub kind: String,
    /// When what it is compared with was recorded; absent when an earlier version recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded_at: Option<String>,
    /// Why it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The attributes that differ.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<AttributeDriftJson>,
}

/// A difference in one attribute between record, world and configuration.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AttributeDriftJson {
    /// Which attribute.
    pub path: String,
    /// What was recorded; null when it was absent or is secret.
    pub recorded: Json,
    /// What is there; null when it is absent or secret.
    pub actual: Json,
    /// What the configuration asks for; null when it does not say or it is secret.
    pub desired: Json,
    /// `reverted`, `accepted`, `ignored` or `cannot_tell`.
    pub verdict: String,
    /// Whether it is secret.
    pub sensitive: bool,
}

/// What a plan's objects cost, in US dollars.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PriceJson {
    /// Of which day the prices are.
    pub date: String,
    /// What everything costs now.
    pub before: SumJson,
    /// What everything costs once the plan is applied.
    pub after: SumJson,
    /// What the plan adds an hour; less than nothing where it saves.
    pub increase_per_hour: f64,
    /// The same a month of 730 hours.
    pub increase_per_month: f64,
    /// Each object that costs something.
    pub objects: Vec<ObjectPriceJson>,
}

/// A sum of prices.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SumJson {
    /// US dollars an hour.
    pub per_hour: f64,
    /// US dollars a month of 730 hours.
    pub per_month: f64,
    /// How many objects' prices are not known and missing in it.
    pub unknown: usize,
}

/// What one object costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ObjectPriceJson {
    /// The address.
    pub address: String,
    /// What it costs now; absent when it is not there yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<RateJson>,
    /// What it costs once the plan is applied; absent when it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<RateJson>,
}

/// What something costs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RateJson {
    /// US dollars an hour; null when nobody knows.
    pub per_hour: Option<f64>,
}

/// What the project's policy says about a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyJson {
    /// How many rules were looked at.
    pub rules: usize,
    /// What they object to.
    pub rulings: Vec<RulingJson>,
}

/// What one rule objects to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RulingJson {
    /// `deny` or `warn`.
    pub effect: String,
    /// The rule's name.
    pub rule: String,
    /// The resource, unless it is about the plan as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// What is wrong.
    pub message: String,
    /// Where the rule stands.
    pub place: String,
}

/// What recovery found about one call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RecoveryJson {
    /// The object's address.
    pub address: String,
    /// The call's idempotency key.
    pub operation: String,
    /// What the call was to do; left out of one that is `unsettled`, and where the plan does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<CallAction>,
    /// `present`, `absent`, `late` (its creation had been given up, and it turned up after that) or `unsettled`.
    pub found: String,
    /// Why it could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One call of the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepJson {
    /// Its number.
    pub id: u32,
    /// The object's address.
    pub address: String,
    /// `create`, `update`, `delete`, `delete_with` or `check`.
    pub operation: String,
    /// The steps that must be done before it.
    pub after: Vec<u32>,
}

/// A note on the plan as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoteJson {
    /// What people should know.
    pub message: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
}
