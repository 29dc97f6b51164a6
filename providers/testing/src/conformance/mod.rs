//! The suite that every provider runs: what the engine relies on and no type can say.
//!
//! A provider's tests implement [`Subject`] and call [`check`], which panics with every violation at once.

mod calls;
mod lifecycle;
mod recovery;
mod schema;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use gabion_engine::address::{IdSource, Lineage, ObjectId, RandomIds, ResourceAddress, Uid};
use gabion_engine::provider::{FactsRequest, ObjectState, Provider, RecordedObject};
use gabion_engine::schema::ResourceSchema;
use gabion_engine::value::{Attributes, Value};

/// A provider under test, in a world where its objects can be made.
#[async_trait]
pub trait Subject: Send + Sync {
    /// Returns the provider.
    fn provider(&self) -> Arc<dyn Provider>;

    /// Returns what to try, at least one case for each resource type. Cases are run one after the other; one may rely on
    /// the world that this call prepared, not on another case.
    async fn cases(&self) -> Vec<Case>;

    /// Makes the answer to the next creation get lost after its effect. Returns whether this world can do that.
    async fn lose_next_answer(&self) -> bool {
        false
    }

    /// Whether an object is nothing but its record, so that no unknown id can be told from a known one.
    fn record_is_object(&self) -> bool {
        false
    }

    /// How long one call may take in this world.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }
}

/// One object to make, change and delete.
#[derive(Debug, Clone)]
pub struct Case {
    /// Its address.
    pub address: ResourceAddress,
    /// The inputs to make it with.
    pub inputs: Attributes,
    /// Inputs that it can be changed to in place.
    pub update: Option<Attributes>,
    /// Inputs that it must be replaced for.
    pub replace: Option<Attributes>,
    /// A text that is secret in the inputs and must show nowhere.
    pub secret: Option<String>,
}

impl Case {
    /// Starts a case.
    ///
    /// # Panics
    /// When type or name are not well formed.
    pub fn new(resource_type: &str, name: &str, inputs: Attributes) -> Self {
        Self {
            address: ResourceAddress::of(resource_type, name).expect("a case's address is well formed"),
            inputs,
            update: None,
            replace: None,
            secret: None,
        }
    }

    /// Adds inputs that it can be changed to in place.
    #[must_use]
    pub fn update(mut self, inputs: Attributes) -> Self {
        self.update = Some(inputs);
        self
    }

    /// Adds inputs that it must be replaced for.
    #[must_use]
    pub fn replace(mut self, inputs: Attributes) -> Self {
        self.replace = Some(inputs);
        self
    }

    /// Names a text in the inputs that must show nowhere.
    #[must_use]
    pub fn secret(mut self, text: &str) -> Self {
        self.secret = Some(text.to_owned());
        self
    }
}

/// Runs the suite.
///
/// # Panics
/// When anything is violated, with all of it.
pub async fn check(subject: &dyn Subject) {
    let violations = violations(subject).await;
    assert!(
        violations.is_empty(),
        "the provider violates its contract:\n{}",
        violations.join("\n")
    );
}

/// Runs the suite and returns every violation, each as a line.
pub async fn violations(subject: &dyn Subject) -> Vec<String> {
    let provider = subject.provider();
    let mut found = schema::check(provider.schema());
    let cases = subject.cases().await;
    for resource_type in provider.schema().resource_types.keys() {
        if !cases
            .iter()
            .any(|case| case.address.resource_type == *resource_type)
        {
            found.push(format!("{resource_type}: there is no case for this type"));
        }
    }
    for case in cases {
        let facts = FactsRequest {
            resources: [(case.address.clone(), case.inputs.clone())].into(),
        };
        let facts = match provider.facts(facts).await {
            Ok(facts) => facts,
            Err(error) => {
                found.push(format!("{}: facts fail: {error}", case.address));
                continue;
            }
        };
        let mut trial = Trial {
            subject,
            provider: provider.clone(),
            case,
            facts,
            lineage: Lineage::from_uuid(RandomIds.next()),
            found: Vec::new(),
        };
        trial.run().await;
        found.extend(trial.found);
    }
    found
}

/// One case under way.
struct Trial<'a> {
    subject: &'a dyn Subject,
    provider: Arc<dyn Provider>,
    case: Case,
    facts: BTreeMap<String, Value>,
    lineage: Lineage,
    found: Vec<String>,
}

impl Trial<'_> {
    async fn run(&mut self) {
        self.plan_of_a_creation();
        if let Some(made) = self.create_and_look().await {
            let made = self.change(made).await;
            self.delete(&made).await;
        }
        self.lose_an_answer().await;
    }

    /// Notes a violation.
    fn violation(&mut self, claim: &str, detail: impl std::fmt::Display) {
        self.found
            .push(format!("{}: {claim}: {detail}", self.case.address));
    }

    /// Notes a violation unless something holds.
    fn holds(&mut self, claim: &str, holds: bool, detail: impl std::fmt::Display) {
        if !holds {
            self.violation(claim, detail);
        }
    }

    fn schema(&self) -> &ResourceSchema {
        self.provider.resource_schema(&self.case.address.resource_type)
    }

    fn recorded(&self, uid: Uid, id: Option<&ObjectId>, made: Option<&Made>) -> RecordedObject {
        RecordedObject {
            uid,
            address: self.case.address.clone(),
            id: id.cloned(),
            inputs: made.map_or_else(|| self.case.inputs.clone(), |made| made.inputs.clone()),
            attributes: made.map(|made| made.state.attributes.clone()).unwrap_or_default(),
            private: made.map(|made| made.state.private.clone()).unwrap_or_default(),
        }
    }

    /// Nothing that a provider says may hold the secret.
    fn hides_the_secret(&mut self, what: &str, text: &str) {
        let leaks = self
            .case
            .secret
            .as_ref()
            .is_some_and(|secret| text.contains(secret.as_str()));
        self.holds("secrets show nowhere", !leaks, what);
    }
}

/// An object that was made.
#[derive(Clone)]
struct Made {
    uid: Uid,
    inputs: Attributes,
    state: ObjectState,
}
