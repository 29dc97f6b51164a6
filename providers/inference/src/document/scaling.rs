//! `scaling`: when a service gets more replicas, and when fewer.

use std::time::Duration;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Term, keyword, map_type, plain_map};

keyword! {
    /// What is measured.
    pub enum Metric: "a metric to scale on" {
        /// Requests per second.
        Rps = "rps",
    }
}

map_type! {
    /// When there are more replicas, and when fewer.
    pub struct Scaling: "scaling rule" {
        /// What is measured.
        metric: Metric,
        /// What of it each replica should have.
        target: Positive,
        /// Over how long it is measured.
        window: Window = Window(Duration::from_secs(60)),
        /// How long after a change there may be more replicas.
        scale_up_delay: Duration = Duration::from_secs(300),
        /// How long after a change there may be fewer replicas.
        scale_down_delay: Duration = Duration::from_secs(600),
    }
}

plain_map!(Scaling, "a map of `metric` and `target`");

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
