//! `resources`: what a replica, node or instance needs.

use gabion_engine::config::{FromNode, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostics, SourceFile, Span};
use serde_json::{Value as Json, json};
use serde_yaml::Value as Yaml;

use crate::grammar::cpu::CpuSpec;
use crate::grammar::gpu::GpuSpec;
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;
use crate::term::{Term, map_schema, map_type, plain_map, read_map};

map_type! {
    /// What a replica, node or instance needs.
    pub struct Resources: "resource need" {
        /// Processor cores.
        cpu: Spanned<CpuSpec> => CpuSpec::default(),
        /// Memory.
        memory: Range<Memory> = Range::at_least(Memory::gigabytes(8)),
        /// Shared memory.
        shm_size: Option<Memory> = None,
        /// Accelerators.
        gpu: Spanned<GpuSpec> => GpuSpec::anything(),
        /// Disk.
        disk: Disk = Disk::default(),
    }
}

plain_map!(
    Resources,
    "a map of `cpu`, `memory`, `gpu`, `disk` and `shm_size`"
);

impl Resources {
    /// Returns what is needed when nothing is said, as the absence of a key at `at` means it.
    pub fn unsaid(at: &Span) -> Self {
        Self {
            cpu: Spanned::new(CpuSpec::default(), at.clone()),
            memory: Range::at_least(Memory::gigabytes(8)),
            shm_size: None,
            gpu: Spanned::new(GpuSpec::anything(), at.clone()),
            disk: Disk::default(),
        }
    }
}

/// What is needed when nothing is said, at no place.
impl Default for Resources {
    fn default() -> Self {
        Self::unsaid(&Span::of_file(&SourceFile::new("", "")))
    }
}

/// The size of a disk: a range, or `{size: range}`. A bare size means exactly that size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Disk(pub Range<Memory>);

impl Default for Disk {
    fn default() -> Self {
        Self(Range::at_least(Memory::gigabytes(100)))
    }
}

map_type! {
    /// The map form of a disk's size.
    pub struct DiskMap: "disk need" {
        /// How much.
        size: Range<Memory>,
    }
}

impl FromNode for Disk {
    fn expected() -> String {
        "a size such as `100GB..`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let is_range = node.get("min").is_some() || node.get("max").is_some();
        if node.as_map().is_some() && !is_range {
            read_map(node, problems).map(|map: DiskMap| Self(map.size))
        } else {
            Range::from_node(node, problems).map(Self)
        }
    }
}

impl Term for Disk {
    fn write(&self) -> Yaml {
        self.0.write()
    }

    fn schema() -> Json {
        let mut schema = Range::<Memory>::schema();
        if let Some(forms) = schema["anyOf"].as_array_mut() {
            let amount = Memory::schema();
            forms[1] = json!({"type": "object", "propertyNames": {"enum": ["min", "max"]}, "additionalProperties": amount});
            forms.push(map_schema::<DiskMap>());
        }
        schema["title"] = "size or range of sizes".into();
        schema["examples"] = json!(["100GB..", {"size": "100GB"}]);
        schema
    }
}
