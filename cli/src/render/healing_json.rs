//! The wire types of healing: the report of `gabion heal --dry-run`, and the lines of `gabion reconcile`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The answer of `gabion heal --dry-run --format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealReportJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// The project's name.
    pub project: String,
    /// The state's serial.
    pub serial: u64,
    /// When the world was read.
    pub timestamp: String,
    /// What is gone or has ended, and would be brought back.
    pub needs: Vec<HealedObjectJson>,
    /// What is not as it was applied and is left as it is.
    pub left: Vec<HealedObjectJson>,
}

/// An object that is not as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealedObjectJson {
    /// Its address.
    pub address: String,
    /// What is wrong with it, for people, as the end of a sentence that begins with it.
    pub why: String,
}

/// A line of `gabion reconcile --format json` about what is gone or has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HealingEventJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// When it happened.
    pub time: String,
    /// What happened.
    pub event: HealingStepJson,
    /// The objects that it is about.
    pub objects: Vec<HealedObjectJson>,
    /// How the `gabion heal` that brings them back ended; absent when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// What happens to objects that are gone or have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealingStepJson {
    /// They begin to be brought back.
    Healing,
    /// They would be brought back, without `--dry-run`.
    WouldHeal,
    /// Bringing them back ended, with `exit_code`.
    Healed,
}

impl HealingEventJson {
    /// Makes an event of now.
    pub(crate) fn new(event: HealingStepJson, objects: Vec<HealedObjectJson>) -> Self {
        Self {
            format_version: "1.0".to_owned(),
            time: jiff::Timestamp::now().to_string(),
            event,
            objects,
            exit_code: None,
        }
    }
}
