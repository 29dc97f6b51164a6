//! Schedules: `minute hour day month weekday`, in UTC.

use std::fmt;

use gabion_engine::config::{FromNode, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::term::{Line, Term, excerpt, read_line};

/// A schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cron {
    fields: [Vec<Part>; 5],
}

/// A part of a field, between commas.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// `*`, `*/2`.
    Any { step: Option<u32> },
    /// `5`, `1-5`, `1-5/2`.
    Numbers {
        first: u32,
        last: Option<u32>,
        step: Option<u32>,
    },
    /// The last day of the month.
    LastDay,
}

struct Field {
    what: &'static str,
    min: u32,
    max: u32,
    /// Words for the numbers from `min` on.
    words: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field {
        what: "minute",
        min: 0,
        max: 59,
        words: &[],
    },
    Field {
        what: "hour",
        min: 0,
        max: 23,
        words: &[],
    },
    Field {
        what: "day",
        min: 1,
        max: 31,
        words: &[],
    },
    Field {
        what: "month",
        min: 1,
        max: 12,
        words: &[
            "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
        ],
    },
    Field {
        what: "weekday",
        min: 0,
        max: 6,
        words: &["mon", "tue", "wed", "thu", "fri", "sat", "sun"],
    },
];

impl Field {
    fn value(&self, text: &str) -> Option<u32> {
        let word = self.words.iter().position(|word| word.eq_ignore_ascii_case(text));
        let number = match word {
            Some(at) => self.min + u32::try_from(at).ok()?,
            None => digits(text)?,
        };
        (self.min..=self.max).contains(&number).then_some(number)
    }

    fn part(&self, text: &str) -> Option<Part> {
        if self.what == "day" && text.eq_ignore_ascii_case("last") {
            return Some(Part::LastDay);
        }
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => (
                range,
                Some(digits(step).filter(|step| (1..=self.max).contains(step))?),
            ),
            None => (text, None),
        };
        if range == "*" {
            return Some(Part::Any { step });
        }
        let (first, last) = match range.split_once('-') {
            Some((first, last)) => (self.value(first)?, Some(self.value(last)?)),
            None => (self.value(range)?, None),
        };
        let in_order = last.is_none_or(|last| first <= last);
        in_order.then_some(Part::Numbers { first, last, step })
    }
}

fn digits(text: &str) -> Option<u32> {
    let good = !text.is_empty() && text.len() <= 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    good.then(|| text.parse().ok())?
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self {
            Self::LastDay => return f.write_str("last"),
            Self::Any { step } => {
                f.write_str("*")?;
                step
            }
            Self::Numbers { first, last, step } => {
                write!(f, "{first}")?;
                last.map_or(Ok(()), |last| write!(f, "-{last}"))?;
                step
            }
        };
        step.map_or(Ok(()), |step| write!(f, "/{step}"))
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = self.fields.iter().map(|parts| {
            let parts: Vec<String> = parts.iter().map(ToString::to_string).collect();
            parts.join(",")
        });
        f.write_str(&fields.collect::<Vec<_>>().join(" "))
    }
}

impl Line for Cron {
    const WHAT: &'static str = "a schedule such as `0 8 * * mon-fri`";
    const CODE: &'static str = "bad-schedule";
    const SUMMARY: &'static str = "bad schedule";
    const HINT: &'static str =
        "write minute, hour, day, month and weekday (`mon` to `sun`): `0 8 * * mon-fri`";

    fn parse(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        if words.len() != FIELDS.len() {
            return Err(format!(
                "`{}` has {} fields; a schedule has 5.",
                excerpt(text),
                words.len()
            ));
        }
        let mut fields = <[Vec<Part>; 5]>::default();
        for ((field, word), parts) in FIELDS.iter().zip(words).zip(&mut fields) {
            for part in word.split(',') {
                let read = field.part(part).ok_or_else(|| {
                    format!(
                        "`{}` cannot be the {} of a schedule, which is from {} to {}.",
                        excerpt(part),
                        field.what,
                        field.min,
                        field.max
                    )
                });
                parts.push(read?);
            }
        }
        Ok(Self { fields })
    }
}

impl FromNode for Cron {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_line(node, problems)
    }
}

impl Term for Cron {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({"type": "string", "pattern": "^\\s*(\\S+\\s+){4}\\S+\\s*$", "examples": ["0 8 * * mon-fri"]})
    }
}
