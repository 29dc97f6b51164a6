//! What applying a plan takes, and what it gives.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::event::StepOutcome;
use super::scheduler::ScheduleError;
use crate::address::{IdSource, Lineage, ProviderName, RandomIds, ResourceAddress};
use crate::gather::GatherLimits;
use crate::plan::Plan;
use crate::plan::step::{StepId, StepOperation};
use crate::provider::ProviderRegistry;
use crate::retry::RetryPolicy;
use crate::state::fingerprint::FingerprintKey;
use crate::state::journal::JournalError;
use crate::value::{Attributes, Value};

/// Where the values of `env.NAME` and `secrets.NAME` come from; the engine looks nowhere by itself.
pub trait SecretLookup: Send + Sync {
    /// Returns a variable of the environment.
    fn environment(&self, name: &str) -> Option<Value>;

    /// Returns a secret of the project.
    fn secret(&self, name: &str) -> Option<Value>;
}

/// No variables and no secrets.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoSecrets;

impl SecretLookup for NoSecrets {
    fn environment(&self, _: &str) -> Option<Value> {
        None
    }

    fn secret(&self, _: &str) -> Option<Value> {
        None
    }
}

impl SecretLookup for BTreeMap<String, Value> {
    /// The entry `env.NAME`.
    fn environment(&self, name: &str) -> Option<Value> {
        self.get(&format!("env.{name}")).cloned()
    }

    /// The entry `secrets.NAME`.
    fn secret(&self, name: &str) -> Option<Value> {
        self.get(&format!("secrets.{name}")).cloned()
    }
}

/// A plan to carry out.
#[derive(Clone)]
pub struct ApplyRequest<'a> {
    /// The plan. That nothing it relies on has moved is checked before.
    pub plan: &'a Plan,
    /// The plan's digest: a run of the same plan goes on where an earlier one stopped.
    pub digest: Arc<str>,
    /// The providers of the run.
    pub providers: &'a ProviderRegistry,
    /// Each provider's facts, as gathered for the plan.
    pub facts: &'a BTreeMap<ProviderName, BTreeMap<String, Value>>,
    /// Where secrets come from.
    pub secrets: &'a dyn SecretLookup,
    /// The key that makes secrets comparable, if there is one.
    pub fingerprints: Option<Arc<FingerprintKey>>,
    /// The command, for the log: `apply`, `destroy`.
    pub operation: String,
    /// Who runs it, for the log.
    pub who: String,
}

/// How a plan is carried out.
#[derive(Clone)]
pub struct ApplyOptions {
    /// How many calls run at a time, beside those that only wait.
    pub parallelism: usize,
    /// When and how often a call without effect is made again.
    pub retry: RetryPolicy,
    /// How long one look at what an earlier run left may take.
    pub look_timeout: Duration,
    /// How long cancelled calls have to return.
    pub grace: Duration,
    /// Where operation ids and uids come from.
    pub ids: Arc<dyn IdSource>,
}

impl Default for ApplyOptions {
    fn default() -> Self {
        Self {
            parallelism: 10,
            retry: RetryPolicy::default(),
            look_timeout: GatherLimits::default().call_timeout,
            grace: Duration::from_secs(5),
            ids: Arc::new(RandomIds),
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ApplyReport {
    /// How each step ended, in the order of the plan.
    pub steps: Vec<StepReport>,
    /// How many steps were done, those included that proved unneeded.
    pub done: usize,
    /// How many failed.
    pub failed: usize,
    /// How many were not started.
    pub skipped: usize,
    /// How many may or may not have happened.
    pub uncertain: usize,
    /// The serial of the state afterwards, with the lease given back: what the next command sees.
    pub serial: u64,
    /// Whether a person stopped it.
    pub interrupted: bool,
    /// The project's outputs as they are recorded now, sealed.
    pub outputs: Attributes,
    /// The addresses that people use, by name; those that did not become known are missing.
    pub endpoints: Attributes,
}

impl ApplyReport {
    /// Returns whether every step was done.
    pub fn is_complete(&self) -> bool {
        self.failed == 0 && self.skipped == 0 && self.uncertain == 0
    }

    pub(super) fn count(&mut self, outcome: &StepOutcome) {
        *match outcome {
            StepOutcome::Done | StepOutcome::Unneeded => &mut self.done,
            StepOutcome::Failed(_) => &mut self.failed,
            StepOutcome::Uncertain(_) => &mut self.uncertain,
            StepOutcome::Skipped { .. } => &mut self.skipped,
        } += 1;
    }

    /// Returns how many steps ended how, for the log.
    pub(super) fn summary(&self) -> BTreeMap<Arc<str>, u64> {
        [
            ("done", self.done),
            ("failed", self.failed),
            ("skipped", self.skipped),
            ("uncertain", self.uncertain),
        ]
        .into_iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| (name.into(), count as u64))
        .collect()
    }
}

/// How one step ended.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step.
    pub step: StepId,
    /// The object's address.
    pub address: ResourceAddress,
    /// What was done.
    pub operation: StepOperation,
    /// How it ended.
    pub outcome: StepOutcome,
}

/// Why a run as a whole did not go on. A step that failed is no such error.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The plan cannot be carried out by this build; nothing was done.
    #[error("the plan is broken: {0}")]
    BrokenPlan(#[from] ScheduleError),
    /// The plan was made for another state; nothing was done.
    #[error("the plan was made for the state {planned}, and this one is {found}")]
    OtherState {
        /// The plan's.
        planned: Lineage,
        /// This one's.
        found: Lineage,
    },
    /// The plan asks for what this build cannot do; nothing was done.
    #[error("no provider in this build manages `{address}`")]
    NoProvider {
        /// The address.
        address: ResourceAddress,
    },
    /// The plan would do what protection forbids; nothing was done.
    #[error("the plan would delete what is protected: {}", addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Blocked {
        /// The protected objects.
        addresses: Vec<ResourceAddress>,
    },
    /// What the plan records before its first step could not be prepared; nothing was done.
    #[error("`{address}`: {reason}")]
    Unprepared {
        /// The address.
        address: ResourceAddress,
        /// Why, as a sentence for people.
        reason: String,
    },
    /// The state could not be written. No more steps were started; what was sent before is in the log as an intent,
    /// and the next run finds out what became of it.
    #[error("{source}")]
    Log {
        /// Why.
        #[source]
        source: JournalError,
        /// What was done so far, as far as it is recorded.
        report: Box<ApplyReport>,
    },
    /// The lease was lost or could not be kept. No more steps were started.
    #[error("the lease on the state was lost, so that another run may be writing")]
    LeaseLost {
        /// What was done so far, as far as it is recorded.
        report: Box<ApplyReport>,
    },
}
