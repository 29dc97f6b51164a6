//! What planning gets.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::address::ResourceAddress;
use crate::config::Sources;
use crate::plan::Mode;
use crate::plan::glob::AddressGlob;
use crate::provider::ProviderRegistry;
use crate::resource::Configuration;
use crate::state::State;
use crate::state::fingerprint::FingerprintKey;
use crate::value::Secret;
use crate::world::World;

/// Everything that a plan is a function of.
#[derive(Debug, Clone, Copy)]
pub struct PlanInput<'a> {
    /// What people want.
    pub configuration: &'a Configuration,
    /// What is recorded.
    pub state: &'a State,
    /// What is there.
    pub world: &'a World,
    /// What each type of resource means.
    pub providers: &'a ProviderRegistry,
    /// What the plan is to cover.
    pub options: &'a PlanOptions,
}

/// What a plan is to cover, and what it may look secrets up in.
#[derive(Clone, Default)]
pub struct PlanOptions {
    /// What the plan is for.
    pub mode: Mode,
    /// Only these, and what they depend on; all when empty.
    pub targets: Vec<AddressGlob>,
    /// None of these, nor what depends on them.
    pub excludes: Vec<AddressGlob>,
    /// Only these, and nothing of what they depend on or what depends on them; all when `None`.
    pub only: Option<BTreeSet<ResourceAddress>>,
    /// Objects to replace whether or not anything differs.
    pub replace: Vec<ResourceAddress>,
    /// Only documents of these files (relative to the project directory); all when `None`.
    ///
    /// What left the configuration is then deleted only if its document still stands in one of them.
    pub files: Option<BTreeSet<Arc<str>>>,
    /// The stack, if it is a named one; shown in the plan.
    pub stack: Option<Arc<str>>,
    /// The commit of the configuration, shown in the plan.
    pub commit: Option<Arc<str>>,
    /// The configuration's files, to show the lines that problems are about.
    pub sources: Sources,
    /// What `env.NAME` and `secrets.NAME` stand for, by that very text, where one template mixes them with attributes.
    pub secrets: BTreeMap<Arc<str>, Secret>,
    /// The key of fingerprints; without it secrets are not compared.
    pub key: Option<Arc<FingerprintKey>>,
}

impl fmt::Debug for PlanOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PlanOptions")
            .field("mode", &self.mode)
            .field("targets", &self.targets)
            .field("excludes", &self.excludes)
            .field("only", &self.only)
            .field("replace", &self.replace)
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}
