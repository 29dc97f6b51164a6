//! `type: volume`: network storage.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};

use super::rules::is_set;
use crate::grammar::duration::{IdleLimit, Limit};
use crate::grammar::memory::Memory;
use crate::grammar::tags::Tags;
use crate::term::{keyword, map_type, read_map};

keyword! {
    /// Backends that have volumes.
    pub enum VolumeBackend: "a backend with volumes" {
        /// AWS.
        Aws = "aws",
        /// GCP.
        Gcp = "gcp",
        /// RunPod.
        Runpod = "runpod",
        /// Kubernetes.
        Kubernetes = "kubernetes",
        /// Daytona.
        Daytona = "daytona",
        /// Lium.
        Lium = "lium",
    }
}

map_type! {
    /// A volume document. Which keys it has besides its name depends on its backend.
    pub struct Volume: "volume" {
        /// Its name, unique among the volumes.
        name: Spanned<String>,
        /// The backend that it is on.
        backend: Spanned<VolumeBackend>,
        /// The region that it is in.
        region: Option<Spanned<String>> = None,
        /// The availability zone that it is in.
        availability_zone: Option<String> = None,
        /// Its size; for a volume that is made.
        size: Option<Spanned<Memory>> = None,
        /// The volume that is there already.
        volume_id: Option<Spanned<String>> = None,
        /// The claim that is there already, on Kubernetes.
        claim_name: Option<Spanned<String>> = None,
        /// The class of the claim that is made, on Kubernetes.
        storage_class_name: Option<String> = None,
        /// How the claim that is made may be mounted, on Kubernetes; `ReadWriteOnce` if not given.
        access_modes: Option<Vec<String>> = None,
        /// Whether it can only be read, on Kubernetes.
        read_only: Option<bool> = None,
        /// How long it may be unused before it is deleted; for a volume that is made.
        auto_cleanup_duration: Spanned<IdleLimit<-1>> => IdleLimit::<-1>(Limit::Off),
        /// Tags for what is made.
        tags: Tags = Tags::default(),
    }
    known ["type"]
    check Volume::check;
}

impl FromNode for Volume {
    fn expected() -> String {
        "a volume document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        read_map(node, problems)
    }
}

/// The keys that a backend's volumes have besides those of all.
fn keys_of(backend: VolumeBackend) -> &'static [&'static str] {
    match backend {
        VolumeBackend::Aws | VolumeBackend::Gcp => &["region", "availability_zone", "size", "volume_id"],
        VolumeBackend::Runpod => &["region", "availability_zone", "size", "volume_id"],
        VolumeBackend::Kubernetes => &[
            "region",
            "size",
            "claim_name",
            "storage_class_name",
            "access_modes",
            "read_only",
        ],
        VolumeBackend::Daytona | VolumeBackend::Lium => &["volume_id"],
    }
}

const BACKEND_KEYS: [&str; 8] = [
    "region",
    "availability_zone",
    "size",
    "volume_id",
    "claim_name",
    "storage_class_name",
    "access_modes",
    "read_only",
];

impl Volume {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let backend = self.backend.value;
        for key in BACKEND_KEYS {
            if keys_of(backend).contains(&key) {
                continue;
            }
            if let Some(span) = map.key_span(key) {
                map.problems().push(
                    Diagnostic::error("misplaced-key", "misplaced key")
                        .detail(format!("A volume on `{backend}` has no key `{key}`."))
                        .at(span)
                        .related(self.backend.span.clone(), "its backend")
                        .hint(format!("remove `{key}`")),
                );
            }
        }
        let here = map.node().span.clone();
        let needs_region = matches!(
            backend,
            VolumeBackend::Aws | VolumeBackend::Gcp | VolumeBackend::Runpod
        );
        if needs_region && !is_set(map, "region") {
            map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail(format!("A volume on `{backend}` needs the key `region`."))
                    .at(here.clone())
                    .hint("add `region: …`"),
            );
        }
        if backend == VolumeBackend::Kubernetes {
            self.access_modes
                .get_or_insert_with(|| vec!["ReadWriteOnce".to_owned()]);
            self.read_only.get_or_insert(false);
        }
        let existing = self.volume_id.as_ref().or(self.claim_name.as_ref());
        if existing.is_none() && self.size.is_none() {
            let hint = match backend {
                VolumeBackend::Kubernetes => "add `size: 100GB`, or `claim_name: …` of one that is there",
                VolumeBackend::Daytona | VolumeBackend::Lium => "add `volume_id: …` of one that is there",
                _ => "add `size: 100GB`, or `volume_id: …` of one that is there",
            };
            // A backend without sizes makes volumes without one.
            if keys_of(backend).contains(&"size") {
                map.problems().push(
                    Diagnostic::error("missing-key", "missing key")
                        .detail("A volume is made with a `size`, or is there already.")
                        .at(here)
                        .hint(hint),
                );
            }
        }
        if let Some(existing) = existing.filter(|_| self.auto_cleanup_duration.value.0 != Limit::Off) {
            map.problems().push(
                Diagnostic::error("exclusive-keys", "keys that exclude each other")
                    .detail("A volume that was there already is never deleted, so nothing cleans it up.")
                    .at(self.auto_cleanup_duration.span.clone())
                    .related(existing.span.clone(), "the volume that is there")
                    .hint("remove `auto_cleanup_duration`"),
            );
        }
    }
}
