//! GPU specs: `:`-separated tokens in any order, as dstack reads them.
//!
//! A token is a vendor (`nvidia`, `amd`, …), or names when it starts with a letter, or memory when it holds a letter,
//! or else a count. A count that is left out means one or more.

use std::fmt;

use gabion_engine::config::{FromNode, MapReader, Node, OneOrMany};
use gabion_engine::diagnostic::Diagnostics;

use super::memory::Memory;
use super::range::Range;

/// Makers of accelerators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Google (TPU).
    Google,
    /// Intel.
    Intel,
    /// Tenstorrent.
    Tenstorrent,
}

impl Vendor {
    fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "nvidia" => Self::Nvidia,
            "amd" => Self::Amd,
            "google" | "tpu" => Self::Google,
            "intel" => Self::Intel,
            "tenstorrent" | "tt" => Self::Tenstorrent,
            _ => return None,
        })
    }
}

impl fmt::Display for Vendor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nvidia => "nvidia",
            Self::Amd => "amd",
            Self::Google => "google",
            Self::Intel => "intel",
            Self::Tenstorrent => "tenstorrent",
        })
    }
}

/// Which accelerators, and how many.
#[derive(Clone, Debug, PartialEq)]
pub struct GpuSpec {
    /// The maker; `None` when it follows from the names or does not matter.
    pub vendor: Option<Vendor>,
    /// Acceptable names; empty when any will do.
    pub names: Vec<String>,
    /// How many.
    pub count: Range<u32>,
    /// Memory of each.
    pub memory: Option<Range<Memory>>,
    /// Memory of all together.
    pub total_memory: Option<Range<Memory>>,
    /// The least CUDA compute capability, as written: `8.0`.
    pub compute_capability: Option<String>,
}

impl GpuSpec {
    /// Returns whether at least one accelerator is asked for.
    pub fn is_needed(&self) -> bool {
        self.count.min.unwrap_or(0) > 0
    }

    fn of_count(count: Range<u32>) -> Self {
        Self {
            vendor: None,
            names: Vec::new(),
            count,
            memory: None,
            total_memory: None,
            compute_capability: None,
        }
    }

    /// Reads the one-line form.
    ///
    /// # Errors
    /// A sentence that says what is wrong.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (mut vendor, mut names, mut memory, mut count) = (None, None, None, None);
        for token in text.split(':') {
            let token = token.trim();
            let twice = |what: &str| Err(format!("`{text}` has two {what}; `{token}` is the second."));
            if token.is_empty() {
                return Err(format!(
                    "`{text}` has an empty part between or beside its colons."
                ));
            }
            if let Some(found) = Vendor::parse(token) {
                if vendor.replace(found).is_some() {
                    return twice("vendors");
                }
            } else if token.starts_with(|c: char| c.is_ascii_alphabetic()) {
                let list: Vec<String> = token.split(',').map(|name| name.trim().to_owned()).collect();
                if list.iter().any(String::is_empty) {
                    return Err(format!("`{token}` has an empty name between its commas."));
                }
                if names.replace(list).is_some() {
                    return twice("names");
                }
            } else if token.contains(|c: char| c.is_ascii_alphabetic()) {
                if memory.replace(Range::<Memory>::parse(token)?).is_some() {
                    return twice("amounts of memory");
                }
            } else if count.replace(Range::<u32>::parse(token)?).is_some() {
                return twice("counts");
            }
        }
        Ok(Self {
            vendor,
            names: names.unwrap_or_default(),
            count: count.unwrap_or(Range::at_least(1)),
            memory,
            total_memory: None,
            compute_capability: None,
        })
    }
}

impl fmt::Display for GpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.vendor.map(|vendor| vendor.to_string()));
        if !self.names.is_empty() {
            parts.push(self.names.join(","));
        }
        parts.extend(self.memory.map(|memory| memory.to_string()));
        parts.push(self.count.to_string());
        f.write_str(&parts.join(":"))
    }
}

impl FromNode for GpuSpec {
    fn expected() -> String {
        "a GPU spec such as `A100:40GB:2`, a count or a map".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            let mut map = MapReader::open(node, "gpu spec", problems)?;
            let vendor_node = map.get("vendor").cloned();
            let names = map.optional::<OneOrMany<String>>("name");
            let count = map.or::<Range<u32>>("count", Range::at_least(1));
            let memory = map.optional::<Range<Memory>>("memory");
            let total_memory = map.optional::<Range<Memory>>("total_memory");
            let compute_capability = map.optional::<String>("compute_capability");
            map.finish();
            let vendor = match &vendor_node {
                None => None,
                Some(node) => match node.text().and_then(Vendor::parse) {
                    Some(vendor) => Some(vendor),
                    None => {
                        problems.push(
                            node.error("unknown-word", "unknown word")
                                .detail("This is no maker of accelerators that gabion knows.")
                                .hint("write `nvidia`, `amd`, `google`, `intel` or `tenstorrent`"),
                        );
                        return None;
                    }
                },
            };
            return Some(Self {
                vendor,
                names: names?.map(|names| names.0).unwrap_or_default(),
                count: count?,
                memory: memory?,
                total_memory: total_memory?,
                compute_capability: compute_capability?,
            });
        }
        let Some(text) = node.text() else {
            problems.push(node.wrong_type(&Self::expected()));
            return None;
        };
        let spec = match text.parse::<u32>() {
            Ok(count) => Ok(Self::of_count(Range::exactly(count))),
            Err(_) => Self::parse(text),
        };
        spec.map_err(|why| {
            problems.push(
                node.error("bad-gpu-spec", "bad GPU spec")
                    .detail(why)
                    .hint("write parts with colons between, in any order: `nvidia:A100:40GB..80GB:2`"),
            );
        })
        .ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_in_any_order() {
        let cases = [
            ("8GB..24GB:1", "8GB..24GB:1"),
            ("MI300X:1", "MI300X:1"),
            ("2:A100:40GB", "A100:40GB:2"),
            ("H100,H200:8", "H100,H200:8"),
            ("nvidia:24GB..", "nvidia:24GB..:1.."),
            ("24GB", "24GB:1.."),
            ("8", "8"),
        ];
        for (text, printed) in cases {
            assert_eq!(GpuSpec::parse(text).unwrap().to_string(), printed, "{text}");
        }
    }

    #[test]
    fn doubled_and_empty_tokens_are_refused() {
        for text in [
            "A100:H100",
            "nvidia:amd",
            "8GB:16GB",
            "1:2",
            "A100::2",
            ":1",
            "A100,:1",
            "1.5",
        ] {
            assert!(GpuSpec::parse(text).is_err(), "{text}");
        }
    }
}
