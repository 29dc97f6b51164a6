//! Processors: `8`, `8..`, `arm:8..`, `x86`, or a map of `arch` and `count`; parts stand in any order.

use std::fmt;

use gabion_engine::config::{FromNode, Keyword, Node};
use gabion_engine::diagnostic::Diagnostics;
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::range::Range;
use super::tokens::{Refusal, Token, tokens};
use crate::term::{Line, Term, excerpt, keyword, map_schema, map_type, read_line, read_map, write_map};

keyword! {
    /// A processor architecture.
    pub enum Architecture: "a processor architecture" {
        /// x86-64.
        X86 = "x86" | "X86",
        /// 64-bit ARM.
        Arm = "arm" | "ARM",
    }
}

map_type! {
    /// How many processor cores, and of which architecture.
    pub struct CpuSpec: "cpu need" {
        /// The architecture; any if not given.
        arch: Option<Architecture> = None,
        /// How many cores.
        count: Range<u32> = Range::at_least(2),
    }
}

impl Default for CpuSpec {
    fn default() -> Self {
        Self {
            arch: None,
            count: Range::at_least(2),
        }
    }
}

impl fmt::Display for CpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(arch) = self.arch {
            write!(f, "{arch}:")?;
        }
        write!(f, "{}", self.count)
    }
}

impl Line for CpuSpec {
    const WHAT: &'static str = "a number of cores such as `8..` or `arm:8..`";
    const CODE: &'static str = "bad-cpu-spec";
    const SUMMARY: &'static str = "bad CPU spec";
    const HINT: &'static str = "write `8`, `2..4`, `8..`, `x86` or `arm:8..`";

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|refusal| refusal.why)
    }

    fn culprit(text: &str) -> Option<std::ops::Range<usize>> {
        Self::read(text).err()?.range
    }
}

impl CpuSpec {
    /// Reads the one-line form; of a bad one, the part that is wrong is known.
    fn read(text: &str) -> Result<Self, Refusal> {
        let (mut arch, mut count) = (None, None);
        for Token { text: token, range } in tokens(text) {
            let token = token.as_str();
            let refused = |why: String| Refusal {
                why,
                range: Some(range.clone()),
            };
            if token.is_empty() {
                return Err(refused(format!(
                    "`{}` has an empty part between or beside its colons.",
                    excerpt(text)
                )));
            }
            if token.contains("..") || token.bytes().all(|byte| byte.is_ascii_digit()) {
                let found = Range::<u32>::parse(token).map_err(refused)?;
                if count.replace(found).is_some() {
                    return Err(refused(format!(
                        "`{}` has two counts; `{token}` is the second.",
                        excerpt(text)
                    )));
                }
                continue;
            }
            let known = Architecture::WORDS
                .iter()
                .find(|(word, _)| word.eq_ignore_ascii_case(token));
            let Some((_, found)) = known else {
                return Err(refused(format!(
                    "`{}` is no processor architecture.",
                    excerpt(token)
                )));
            };
            if arch.replace(*found).is_some() {
                return Err(refused(format!("`{}` has two architectures.", excerpt(text))));
            }
        }
        Ok(Self {
            arch,
            count: count.unwrap_or(Range::at_least(2)),
        })
    }
}

impl FromNode for CpuSpec {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.as_map() {
            // An older form: a range alone.
            Some(entries)
                if !entries.is_empty()
                    && entries
                        .iter()
                        .all(|(key, _)| matches!(key.name.as_str(), "min" | "max")) =>
            {
                let count = Range::from_node(node, problems)?;
                Some(Self { arch: None, count })
            }
            Some(_) => read_map(node, problems),
            None => read_line(node, problems),
        }
    }
}

impl Term for CpuSpec {
    fn write(&self) -> Yaml {
        write_map(self)
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": ["integer", "string"]},
                map_schema::<Self>(),
                {"type": "object", "propertyNames": {"enum": ["min", "max"]}, "additionalProperties": {"type": ["integer", "string"]}},
            ],
            "title": "cores",
            "examples": [8, "8..", "arm:8..", "x86", {"arch": "arm", "count": "8.."}],
        })
    }
}
