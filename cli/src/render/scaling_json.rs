//! The wire types of `gabion reconcile`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A line of `gabion reconcile --format json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScalingEventJson {
    /// The version of this form: `1.0`.
    pub format_version: String,
    /// When it happened.
    pub time: String,
    /// What happened.
    pub event: ScalingStepJson,
    /// The replica group: `qwen/default`.
    pub group: String,
    /// The number that it had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u32>,
    /// The number that it is to have.
    pub to: u32,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// How the `gabion scale` that sets it ended; absent when a signal ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
}

/// What happens to a number of replicas.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScalingStepJson {
    /// It begins to be set.
    Scaling,
    /// It would be set, without `--dry-run`.
    WouldScale,
    /// Setting it ended, with `exit_code`.
    Ended,
}

impl ScalingEventJson {
    /// Makes an event of now.
    pub(crate) fn new(event: ScalingStepJson, group: &str, to: u32) -> Self {
        Self {
            format_version: "1.0".to_owned(),
            time: jiff::Timestamp::now().to_string(),
            event,
            group: group.to_owned(),
            from: None,
            to,
            why: None,
            exit_code: None,
        }
    }
}
