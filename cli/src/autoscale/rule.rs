//! When a group gets more replicas, and when fewer, as it was released.

use std::time::Duration;

use gabion_engine::state::record::Record;
use gabion_engine::value::Value;
use jiff::Timestamp;

use crate::wiring::COUNT;

/// The share of answers, in percent, that is at least as good as the target where the rule says nothing.
const PERCENTILE: u8 = 90;

/// What the number of replicas follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Requests per second, for each replica.
    Rps,
    /// The time to the first token, in seconds.
    Ttft,
    /// The time between tokens, in seconds.
    Itl,
}

impl Metric {
    fn of(text: &str) -> Option<Self> {
        match text {
            "rps" => Some(Self::Rps),
            "ttft" => Some(Self::Ttft),
            "itl" => Some(Self::Itl),
            _ => None,
        }
    }
}

/// The rule of a replica group.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rule {
    /// The group, `qwen/default`.
    pub(crate) group: String,
    /// How many replicas it has.
    pub(crate) count: u32,
    /// The least.
    pub(crate) min: u32,
    /// The most.
    pub(crate) max: u32,
    /// What the number follows.
    pub(crate) metric: Metric,
    /// What of it is aimed at: requests per second for each replica, or seconds.
    pub(crate) target: f64,
    /// The share of answers, in percent, that is to be within the target; of times only.
    pub(crate) percentile: u8,
    /// Over how long it is measured.
    pub(crate) window: Duration,
    /// How long after a change there may be more.
    pub(crate) scale_up_delay: Duration,
    /// How long after a change there may be fewer.
    pub(crate) scale_down_delay: Duration,
    /// When the number was recorded.
    pub(crate) changed_at: Option<Timestamp>,
}

impl Rule {
    /// Returns the rule of a recorded count; `None` for another record, or one that says what this gabion does
    /// not understand.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        if record.address.resource_type.as_str() != COUNT {
            return None;
        }
        let number = |name: &str| {
            let number = record.inputs.get(name).and_then(Value::as_int)?;
            u32::try_from(number).ok()
        };
        let seconds = |name: &str| number(name).map(|seconds| Duration::from_secs(seconds.into()));
        let rule = Self {
            group: record.address.name.as_str().to_owned(),
            count: number("count")?,
            min: number("min")?,
            max: number("max")?,
            metric: Metric::of(record.inputs.get("metric")?.as_str()?)?,
            target: match record.inputs.get("target")? {
                Value::Float(target) => *target,
                _ => return None,
            },
            percentile: number("percentile")
                .and_then(|percentile| u8::try_from(percentile).ok())
                .unwrap_or(PERCENTILE),
            window: seconds("window_seconds")?,
            scale_up_delay: seconds("scale_up_delay_seconds")?,
            scale_down_delay: seconds("scale_down_delay_seconds")?,
            changed_at: record.written_at.0,
        };
        let makes_sense = rule.min <= rule.max && rule.target.is_finite() && rule.target > 0.0;
        makes_sense.then_some(rule)
    }

    /// Returns what the number follows, for people.
    pub(crate) fn aim(&self) -> String {
        let Self {
            target, percentile, ..
        } = self;
        match self.metric {
            Metric::Rps => format!("requests, {target} a second for each replica"),
            Metric::Ttft => format!("time to first token, {target} s for {percentile} % of answers"),
            Metric::Itl => format!("time between tokens, {target} s for {percentile} % of answers"),
        }
    }

    /// Returns the service that the group is of.
    pub(crate) fn service(&self) -> &str {
        self.group.split('/').next().unwrap_or(&self.group)
    }
}
