//! Durations: seconds, or a number with a unit (`30s`, `5m`, `2h`, `3d`, `1w`); some can be switched off.

use std::time::Duration;

use gabion_engine::config::{FromNode, Node, NodeKind};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::Term;

const UNITS: [(u64, char); 5] = [(604_800, 'w'), (86_400, 'd'), (3600, 'h'), (60, 'm'), (1, 's')];

/// Prints a duration in the largest unit that it is a whole number of: `90s`, `5m`.
pub fn print(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let fits = |(unit, _): &&(u64, char)| seconds >= *unit && seconds.is_multiple_of(*unit);
    match UNITS.iter().find(fits) {
        Some((unit, letter)) => format!("{}{letter}", seconds / unit),
        None => format!("{seconds}s"),
    }
}

/// A limit of time, or none: `off`, `no` and `false` switch it off, `true` means the default.
///
/// `DEFAULT` is in seconds; a negative one means that it is off unless set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<const DEFAULT: i64> {
    /// No limit.
    Off,
    /// After this time.
    After(Duration),
}

impl<const DEFAULT: i64> Default for Limit<DEFAULT> {
    fn default() -> Self {
        u64::try_from(DEFAULT).map_or(Self::Off, |seconds| Self::After(Duration::from_secs(seconds)))
    }
}

impl<const DEFAULT: i64> Limit<DEFAULT> {
    /// Returns the time, unless it is off.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Off => None,
            Self::After(duration) => Some(duration),
        }
    }

    fn read(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.as_bool() {
            Some(false) => Some(Self::Off),
            Some(true) => Some(Self::default()),
            None if node
                .text()
                .and_then(|text| text.trim().parse::<i64>().ok())
                .is_some_and(|n| n < 0) =>
            {
                problems.push(
                    node.error("bad-duration", "bad duration")
                        .detail("A duration cannot be negative.")
                        .hint("write `off` for no limit"),
                );
                None
            }
            None if node.text().is_none() => {
                problems.push(node.wrong_type(&<Self as FromNode>::expected()));
                None
            }
            None => Duration::from_node(node, problems).map(Self::After),
        }
    }
}

impl<const DEFAULT: i64> FromNode for Limit<DEFAULT> {
    fn expected() -> String {
        format!("{}, or `off`", Duration::expected())
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        Self::read(node, problems)
    }
}

impl<const DEFAULT: i64> Term for Limit<DEFAULT> {
    fn write(&self) -> Yaml {
        match self {
            Self::Off => "off".into(),
            Self::After(duration) => duration.write(),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "integer", "minimum": 0},
                {"type": "string", "pattern": "^( *[0-9]+ *[smhdw]?|off|no|on|yes)$"},
                {"type": "boolean"},
            ],
            "title": "duration, or `off`",
            "examples": [90, "30s", "2m", "off"],
        })
    }
}

/// How long something may be idle: a [`Limit`] that any negative number switches off too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IdleLimit<const DEFAULT: i64>(pub Limit<DEFAULT>);

impl<const DEFAULT: i64> FromNode for IdleLimit<DEFAULT> {
    fn expected() -> String {
        Limit::<DEFAULT>::expected()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let number = match &node.kind {
            NodeKind::Int(number) => Some(*number),
            NodeKind::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(number) if number < 0 => Some(Self(Limit::Off)),
            _ => Limit::read(node, problems).map(Self),
        }
    }
}

impl<const DEFAULT: i64> Term for IdleLimit<DEFAULT> {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        let mut schema = Limit::<DEFAULT>::schema();
        schema["anyOf"][0] = json!({"type": "integer"});
        schema["anyOf"][1] = json!({"type": "string", "pattern": "^( *-?[0-9]+ *[smhdw]?|off|no|on|yes)$"});
        schema
    }
}
