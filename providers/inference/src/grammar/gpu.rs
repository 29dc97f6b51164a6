//! Accelerators in one line: tokens between colons in any order (`A100:40GB:2`, `nvidia:24GB..`, `8`), or a map.

use std::fmt;

use gabion_engine::config::{FromNode, Keyword, Node, NodeKind, OneOrMany, Template};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use super::gpu_names::vendor_of;
use super::memory::Memory;
use super::range::Range;
use super::tokens::{Refusal, Token, tokens};
use crate::term::{Line, Term, excerpt, keyword, map_schema, map_type, read_line, read_map, write_map};

keyword! {
    /// Makers of accelerators.
    pub enum Vendor: "a maker of accelerators" {
        /// NVIDIA.
        Nvidia = "nvidia",
        /// AMD.
        Amd = "amd",
        /// Google (TPU).
        Google = "google" | "tpu",
        /// Intel.
        Intel = "intel",
        /// Tenstorrent.
        Tenstorrent = "tenstorrent" | "tt",
    }
}

impl Vendor {
    fn parse(text: &str) -> Option<Self> {
        let known = Self::WORDS
            .iter()
            .find(|(word, _)| word.eq_ignore_ascii_case(text));
        known.map(|(_, vendor)| *vendor)
    }
}

map_type! {
    /// Which accelerators, and how many.
    pub struct GpuSpec: "gpu spec" {
        /// The maker; it follows from the names if not given.
        vendor: Option<VendorWord> = None,
        /// Acceptable names; any if not given.
        name: GpuNames = GpuNames::default(),
        /// How many.
        count: Range<u32> = Range::at_least(1),
        /// The memory of each.
        memory: Option<Range<Memory>> = None,
        /// The memory of all together.
        total_memory: Option<Range<Memory>> = None,
        /// The least CUDA compute capability.
        compute_capability: Option<ComputeCapability> = None,
    }
}

/// A [`Vendor`] in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VendorWord(pub Vendor);

impl FromNode for VendorWord {
    fn expected() -> String {
        Vendor::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        match node.text().and_then(Vendor::parse) {
            Some(vendor) => Some(Self(vendor)),
            None => Vendor::from_node(node, problems).map(Self),
        }
    }
}

impl Term for VendorWord {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        Vendor::schema()
    }
}

/// Names of accelerators, of which any will do; none means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GpuNames(pub Vec<String>);

impl FromNode for GpuNames {
    fn expected() -> String {
        "a name, or a list of names".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut names = OneOrMany::<String>::from_node(node, problems)?.0;
        for name in &mut names {
            if let Some(rest) = name.strip_prefix("tpu-") {
                problems.push(
                    Diagnostic::warning("deprecated-name", "deprecated name")
                        .detail(format!("`{name}` is now called `{rest}`."))
                        .at(node.span.clone())
                        .hint(format!("write `{rest}`")),
                );
                *name = rest.to_owned();
            }
        }
        Some(Self(names))
    }
}

impl Term for GpuNames {
    fn write(&self) -> Yaml {
        if self.0.is_empty() {
            Yaml::Null
        } else {
            self.0.write()
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}],
            "title": "name or list of names",
            "examples": ["A100", ["A100", "H100"]],
        })
    }
}

/// A CUDA compute capability: `8.0`, or `[8, 0]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ComputeCapability {
    /// The part before the point.
    pub major: u16,
    /// The part after it.
    pub minor: u16,
}

impl fmt::Display for ComputeCapability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl Line for ComputeCapability {
    const WHAT: &'static str = "a compute capability such as `8.0`";
    const CODE: &'static str = "bad-gpu-spec";
    const SUMMARY: &'static str = "bad GPU spec";
    const HINT: &'static str = "write two numbers with a point between: `8.0`";

    fn parse(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            text.bytes()
                .all(|b| b.is_ascii_digit())
                .then(|| text.parse().ok())
                .flatten()
        };
        let parts = text.trim().split_once('.');
        let numbers = parts.and_then(|(major, minor)| Some((number(major)?, number(minor)?)));
        match numbers {
            Some((major, minor)) => Ok(Self { major, minor }),
            None => Err(format!("`{}` is no compute capability.", excerpt(text))),
        }
    }
}

impl FromNode for ComputeCapability {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if let Some([major, minor]) = node.as_list() {
            return Some(Self {
                major: u16::from_node(major, problems)?,
                minor: u16::from_node(minor, problems)?,
            });
        }
        read_line(node, problems)
    }
}

impl Term for ComputeCapability {
    fn write(&self) -> Yaml {
        self.to_string().into()
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                {"type": "number"},
                {"type": "string", "pattern": "^ *[0-9]+\\.[0-9]+ *$"},
                {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
            ],
            "title": "compute capability",
            "examples": ["8.0", [8, 0]],
        })
    }
}

impl GpuSpec {
    /// Returns whether at least one accelerator is asked for.
    pub fn is_needed(&self) -> bool {
        self.count.min.unwrap_or(0) > 0
    }

    /// Returns whether any number of accelerators is fine, none included.
    pub fn is_anything(&self) -> bool {
        *self == Self::anything()
    }

    /// What a document without `gpu` asks for: any number, none included.
    pub fn anything() -> Self {
        Self::of_count(Range::at_least(0))
    }

    fn of_count(count: Range<u32>) -> Self {
        Self {
            vendor: None,
            name: GpuNames::default(),
            count,
            memory: None,
            total_memory: None,
            compute_capability: None,
        }
    }

    /// Returns the makers that may be meant: the one that is set, else those of the names that are known.
    pub fn vendors(&self) -> Vec<Vendor> {
        if let Some(vendor) = self.vendor {
            return vec![vendor.0];
        }
        let mut vendors: Vec<Vendor> = self.name.0.iter().filter_map(|name| vendor_of(name)).collect();
        vendors.sort_unstable();
        vendors.dedup();
        vendors
    }

    /// Returns the maker: the one that is set; else the one of all names, when all are known and it is one; else,
    /// without names and on the default image, NVIDIA.
    pub fn vendor(&self, has_own_image: bool) -> Option<Vendor> {
        if self.vendor.is_some() || !self.is_needed() {
            return self.vendor.map(|vendor| vendor.0);
        }
        if self.name.0.is_empty() {
            return (!has_own_image).then_some(Vendor::Nvidia);
        }
        let all_known = self.name.0.iter().all(|name| vendor_of(name).is_some());
        match self.vendors().as_slice() {
            [one] if all_known => Some(*one),
            _ => None,
        }
    }
}

impl fmt::Display for GpuSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        parts.extend(self.vendor.map(|vendor| vendor.0.to_string()));
        if !self.name.0.is_empty() {
            parts.push(self.name.0.join(","));
        }
        parts.extend(self.memory.map(|memory| memory.to_string()));
        parts.push(self.count.to_string());
        f.write_str(&parts.join(":"))
    }
}

impl Line for GpuSpec {
    const WHAT: &'static str = "a GPU spec such as `A100:40GB:2`, a count or a map";
    const CODE: &'static str = "bad-gpu-spec";
    const SUMMARY: &'static str = "bad GPU spec";
    const HINT: &'static str = "write parts with colons between, in any order: `nvidia:A100:40GB..80GB:2`";

    fn parse(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|refusal| refusal.why)
    }

    fn culprit(text: &str) -> Option<std::ops::Range<usize>> {
        Self::read(text).err()?.range
    }
}

impl GpuSpec {
    /// Reads the one-line form; of a bad one, the part that is wrong is known.
    fn read(text: &str) -> Result<Self, Refusal> {
        let (mut vendor, mut names, mut memory, mut count) = (None, None, None, None);
        let shown = excerpt(text);
        for Token { text: token, range } in tokens(text) {
            let token = token.as_str();
            let refused = |why: String| Refusal {
                why,
                range: Some(range.clone()),
            };
            let twice = |what: &str| {
                Err(refused(format!(
                    "`{shown}` has two {what}; `{}` is the second.",
                    excerpt(token)
                )))
            };
            if token.is_empty() {
                return Err(refused(format!(
                    "`{shown}` has an empty part between or beside its colons."
                )));
            }
            if let Some(found) = Vendor::parse(token) {
                if vendor.replace(VendorWord(found)).is_some() {
                    return twice("vendors");
                }
            } else if token.starts_with(char::is_alphabetic) {
                let list: Vec<String> = token.split(',').map(str::to_owned).collect();
                if list.iter().any(String::is_empty) {
                    return Err(refused(format!(
                        "`{}` has an empty name between its commas.",
                        excerpt(token)
                    )));
                }
                if names.replace(list).is_some() {
                    return twice("names");
                }
            } else if token.contains(char::is_alphabetic) {
                if memory
                    .replace(Range::<Memory>::parse(token).map_err(refused)?)
                    .is_some()
                {
                    return twice("amounts of memory");
                }
            } else if count
                .replace(Range::<u32>::parse(token).map_err(refused)?)
                .is_some()
            {
                return twice("counts");
            }
        }
        Ok(Self {
            vendor,
            name: GpuNames(names.unwrap_or_default()),
            count: count.unwrap_or(Range::at_least(1)),
            memory,
            total_memory: None,
            compute_capability: None,
        })
    }
}

/// Says that a spec without a count asks for one or more, which many take for one.
fn note_count(node: &Node, problems: &mut Diagnostics) {
    let mut note = Diagnostic::note("gpu-count", "GPU spec without a count")
        .detail("Without a count this asks for one or more, so that a machine with several will do.")
        .at(node.span.clone())
        .hint(match node.text() {
            Some(text) => format!("write `{text}:1` for exactly one, `{text}:1..` for one or more"),
            None => "write `count: 1` for exactly one, `count: 1..` for one or more".to_owned(),
        });
    if let Some(alias) = node.alias.as_ref().filter(|alias| **alias != node.span) {
        note = note.related(alias.clone(), "used here");
    }
    problems.push(note);
}

impl FromNode for GpuSpec {
    fn expected() -> String {
        Self::WHAT.to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        if node.as_map().is_some() {
            let spec: Self = read_map(node, problems)?;
            let asks = spec.vendor.is_some() || !spec.name.0.is_empty() || spec.memory.is_some();
            if asks && node.get("count").is_none_or(Node::is_null) {
                note_count(node, problems);
            }
            return Some(spec);
        }
        // What an expression gives is not known here, and would be taken for a name.
        let is_expression = node.as_str().is_some_and(Template::is_in);
        if is_expression || matches!(node.kind, NodeKind::Float(_)) {
            problems.push(node.wrong_type(Self::WHAT));
            return None;
        }
        let mut spec: Self = read_line(node, problems)?;
        for name in &mut spec.name.0 {
            if let Some(rest) = name.strip_prefix("tpu-") {
                problems.push(
                    Diagnostic::warning("deprecated-name", "deprecated name")
                        .detail(format!("`{name}` is now called `{rest}`."))
                        .at(node.span.clone())
                        .hint(format!("write `{rest}`, after the vendor: `tpu:{rest}`")),
                );
                *name = rest.to_owned();
            }
        }
        let is_count = |token: &str| Range::<u32>::parse(token).is_ok();
        if !node.text().is_some_and(|text| text.split(':').any(is_count)) {
            note_count(node, problems);
        }
        Some(spec)
    }
}

impl Term for GpuSpec {
    fn write(&self) -> Yaml {
        write_map(self)
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": ["integer", "string"], "minimum": 0}, map_schema::<Self>()],
            "title": "GPU spec",
            "examples": ["A100:40GB:2", "nvidia:24GB..", 8, {"name": ["A100", "H100"], "count": 2, "memory": "40GB.."}],
        })
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
            ("tpu : v5p-8", "google:v5p-8:1.."),
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

    #[test]
    fn the_part_that_is_wrong_is_known() {
        let cases = [
            ("nvidia:40GB:A100:H100:1", "H100"),
            ("A100 : 1 : 2", "2"),
            ("A100:40GiB:1", "40GiB"),
            ("A100,,H100:8", "A100,,H100"),
            ("A100::2", ":"),
            ("8..2:A100", "8..2"),
        ];
        for (text, wrong) in cases {
            assert_eq!(
                GpuSpec::culprit(text).map(|part| &text[part]),
                Some(wrong),
                "{text}"
            );
        }
        assert_eq!(GpuSpec::culprit("A100:1"), None);
    }

    #[test]
    fn the_vendor_follows_from_the_names() {
        let cases = [
            ("H100,A100:8", false, Some(Vendor::Nvidia)),
            ("MI300X:8", false, Some(Vendor::Amd)),
            ("H100,MI300X", false, None),
            ("H100,XYZ9", false, None),
            ("24GB", false, Some(Vendor::Nvidia)),
            ("24GB", true, None),
            ("v5litepod-4", true, Some(Vendor::Google)),
            ("amd:24GB", true, Some(Vendor::Amd)),
            ("0", false, None),
        ];
        for (text, has_own_image, vendor) in cases {
            assert_eq!(
                GpuSpec::parse(text).unwrap().vendor(has_own_image),
                vendor,
                "{text}"
            );
        }
    }
}
