//! `scaling`: when a service gets more replicas, and when fewer.

use std::time::Duration;

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, keyword, map_type, plain_map};

keyword! {
    /// What is measured.
    pub enum Metric: "a metric to scale on" {
        /// Requests per second.
        Rps = "rps",
        /// The time to the first token, in seconds. An extension of gabion's.
        Ttft = "ttft",
        /// The time between tokens, in seconds. An extension of gabion's.
        Itl = "itl",
    }
}

map_type! {
    /// When there are more replicas, and when fewer.
    pub struct Scaling: "scaling rule" {
        /// What is measured: requests per second, or, as extensions of gabion's, the time to the first token and the time between tokens.
        metric: Metric,
        /// What is aimed at: requests per second for each replica; of `ttft` and `itl` seconds, within which answers are to be.
        target: Positive,
        /// The share of answers, in percent, that is to be within the target; of `ttft` and `itl` only, and 90 if not given. An extension of gabion's.
        percentile: Option<Spanned<Percentile>> = None,
        /// Over how long it is measured.
        window: Window = Window(Duration::from_secs(60)),
        /// How long after a change there may be more replicas.
        scale_up_delay: Duration = Duration::from_secs(300),
        /// How long after a change there may be fewer replicas.
        scale_down_delay: Duration = Duration::from_secs(600),
    }
    check Scaling::check;
}

plain_map!(Scaling, "a map of `metric` and `target`");

impl Scaling {
    fn check(&self, map: &mut MapReader<'_>) {
        let Some(percentile) = self.percentile.as_ref().filter(|_| self.metric == Metric::Rps) else {
            return;
        };
        map.problems().push(
            Diagnostic::error("misplaced-key", "misplaced key")
                .detail("Requests per second are counted, and have no percentiles: each replica is to have `target` of them.")
                .at(percentile.span.clone())
                .hint("remove `percentile`, or scale on times: `metric: ttft` or `metric: itl`"),
        );
    }
}

/// A share of answers, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Percentile(pub u8);

impl FromNode for Percentile {
    fn expected() -> String {
        "a whole number from 1 to 99".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = u16::from_node(node, problems)?;
        match u8::try_from(number) {
            Ok(percent @ 1..=99) => Some(Self(percent)),
            _ => {
                problems.push(node.wrong_type(&Self::expected()));
                None
            }
        }
    }
}

impl Term for Percentile {
    fn write(&self) -> Yaml {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["integer", "string"], "minimum": 1, "maximum": 99, "pattern": "^[1-9][0-9]?$", "examples": [90]})
    }
}

/// A number above zero.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Positive(pub f64);

impl FromNode for Positive {
    fn expected() -> String {
        "a number above 0".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = f64::from_node(node, problems)?;
        if number > 0.0 {
            return Some(Self(number));
        }
        problems.push(node.wrong_type(&Self::expected()));
        None
    }
}

impl Term for Positive {
    fn write(&self) -> Yaml {
        self.0.into()
    }

    fn schema() -> Json {
        json!({"type": ["number", "string"], "exclusiveMinimum": 0, "examples": [10]})
    }
}

/// The time over which requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(pub Duration);

const WINDOWS: [u64; 3] = [30, 60, 300];

impl FromNode for Window {
    fn expected() -> String {
        "`30s`, `60s` or `300s`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let window = Duration::from_node(node, problems)?;
        if WINDOWS.contains(&window.as_secs()) {
            return Some(Self(window));
        }
        problems.push(
            node.error("bad-window", "bad window")
                .detail("Requests are counted over 30, 60 or 300 seconds.")
                .hint("write `30s`, `60s` or `300s`"),
        );
        None
    }
}

impl Term for Window {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        json!({"enum": [30, 60, 300, "30", "60", "300", "30s", "60s", "300s", "1m", "5m"]})
    }
}
