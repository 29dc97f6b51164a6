//! Plans: what apply will do, and why, as data.

pub mod bindings;
mod cause;
pub mod change;
pub mod check;
mod claims;
pub(crate) mod condition;
mod contract;
mod decide;
mod decisions;
mod evaluate;
pub mod file;
mod finding;
pub mod glob;
mod known;
mod moves;
pub mod options;
mod order;
pub(crate) mod path;
pub mod planner;
pub mod policy;
pub mod price;
pub mod problem;
mod removal;
mod replacement;
mod result;
pub mod resume;
mod roll;
pub mod same;
mod selection;
pub mod step;
mod steps;
mod summary;
mod swap;
mod together;
pub(crate) mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::address::{Lineage, OperationId, ResourceAddress, Uid};
use crate::data::DataRead;
use crate::provider::{CallAction, Observation};
use crate::state::event::{ObjectMove, RecordUpgrade};
use crate::value::{Attributes, Fingerprint, Value};
use crate::world::Refresh;

use change::{Change, Drift, Note};
use policy::PolicyReport;
use price::PlanPrices;
use step::Step;

/// The version of a plan's written form.
///
/// 1: what an object's declaration and state say is all written down.
/// 2: what is as it is where nothing is said is left out.
pub const PLAN_FORMAT_VERSION: u32 = 2;

/// A finished plan. Same documents, state and world give the same plan, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The version of this form.
    pub format_version: u32,
    /// The project's name.
    pub project: Arc<str>,
    /// What it is for.
    pub mode: Mode,
    /// What it was made from.
    pub basis: Basis,
    /// Calls without a recorded result that recovery has found out about; apply records these first.
    pub settlements: Vec<Settlement>,
    /// Calls that are still in flight or could not be found out about; their objects are not touched.
    pub unsettled: Vec<Unsettled>,
    /// Recorded objects that are proved to be gone; apply records that before its steps.
    pub vanished: Vec<Uid>,
    /// Records of an older schema version, in the present one; apply records these before its steps, so that it happens
    /// once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub upgrades: BTreeMap<Uid, RecordUpgrade>,
    /// Renames, which apply records before its steps.
    pub moves: Vec<ObjectMove>,
    /// Objects that the plan leaves as they are and that differ from their records in what the configuration does not
    /// ask for: apply records these attributes before its steps.
    pub accepted: BTreeMap<Uid, Attributes>,
    /// Objects whose protection forbids what the plan would do to them. Such a plan is shown and never applied.
    pub blocked: Vec<ResourceAddress>,
    /// What happens to each object, sorted by address, deposed objects after current ones.
    pub changes: Vec<Change>,
    /// What was read for it and is not managed, sorted by address: its changes have these values in them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub data: Vec<DataRead>,
    /// The calls that carry the changes out.
    pub steps: Vec<Step>,
    /// What the world changed behind our back.
    pub drift: Vec<Drift>,
    /// The project's outputs, where they change or exist.
    pub outputs: BTreeMap<Arc<str>, OutputChange>,
    /// Addresses that people use once the plan is applied (a service's URL), by name; unknown where apply fills them.
    pub endpoints: Attributes,
    /// What people should know about the plan as a whole.
    pub notes: Vec<Note>,
    /// What its objects cost; `None` when nothing in it has a price.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<PlanPrices>,
    /// What the project's policy says about it; `None` when nobody asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<PolicyReport>,
    /// How many changes a selection (`--target`, `--exclude`, `-f`) left out, by address.
    pub left_out: Vec<ResourceAddress>,
    /// What must not have moved when the plan is applied.
    pub bindings: Bindings,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// To make the world what the configuration says.
    #[default]
    Apply,
    /// To delete everything that is recorded.
    Destroy,
}

/// What a plan was made from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Basis {
    /// The state's lineage; `None` when there is no state yet.
    pub lineage: Option<Lineage>,
    /// The stack, if it is a named one. Shown, not binding: the lineage is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stack: Option<Arc<str>>,
    /// The state's serial; 0 when there is no state yet.
    pub serial: u64,
    /// When the world was gathered: the only clock time in a plan.
    pub gathered_at: Timestamp,
    /// How much of the world was read.
    pub refresh: Refresh,
    /// Whether it was made for somebody who is not trusted: from records alone, and with no secret resolved.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untrusted: bool,
    /// The commit of the configuration, if it is in a git checkout. Shown, not binding.
    pub commit: Option<Arc<str>>,
    /// The SHA-256 of the configuration's files, in hexadecimal. Shown, not binding.
    pub configuration: Arc<str>,
}

/// A call without a recorded result, and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settlement {
    /// The call.
    pub operation: OperationId,
    /// The object.
    pub uid: Uid,
    /// Its address.
    pub address: ResourceAddress,
    /// What the call was to do; plans of earlier versions do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<CallAction>,
    /// What was found, sealed. Never `Unknown`.
    pub observation: Observation,
    /// Whether the call had been settled as absent before, and its object turned up after that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

/// A call that cannot be settled now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Unsettled {
    /// The call.
    pub operation: OperationId,
    /// The object's address.
    pub address: ResourceAddress,
    /// Why, as a sentence for people.
    pub reason: String,
}

/// An output before and after.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputChange {
    /// What it is; `None` when it is new.
    pub before: Option<Value>,
    /// What it shall be; `None` when it goes. Unknown where apply fills it.
    pub after: Option<Value>,
}

/// What a plan writes and relied on. Only if one of these moved is it stale.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Bindings {
    /// Addresses at which no object may have appeared.
    pub absent: Vec<ResourceAddress>,
    /// Records that the plan changes or read from, with the serial at which each last changed.
    pub records: BTreeMap<Uid, u64>,
    /// For each object that goes, the objects that depended on it.
    pub dependants: BTreeMap<Uid, Vec<Uid>>,
    /// Exclusive claims that the plan's creations make, none of which anybody else may hold.
    pub claims: Vec<Arc<str>>,
    /// Secrets, by template, with the fingerprint that each had; `None` when there was no key.
    pub secrets: BTreeMap<Arc<str>, Option<Fingerprint>>,
}
