//! The fake cloud in this process: what tests hold.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::api::{
    AdminRequest, Answer, ApiError, ApiErrorCode, ApiRequest, CloudClient, Described, Dump, Fields, Settings,
};
use super::cloud::{Cloud, Outlook};
use super::fault::{Chaos, Fault, FaultRule};
use super::provider::FakeProvider;

/// A fake cloud in this process. Clones are the same cloud.
///
/// Its time is tokio's, so that a test with paused time decides how it passes.
#[derive(Clone)]
pub struct FakeCloud {
    cloud: Arc<Mutex<Cloud>>,
    began: Instant,
}

impl FakeCloud {
    /// Starts an empty cloud; what it leaves to chance follows from the seed.
    pub fn new(seed: u64) -> Self {
        Self {
            cloud: Arc::new(Mutex::new(Cloud::new(seed))),
            began: Instant::now(),
        }
    }

    /// Returns a provider that manages this cloud's objects.
    pub fn provider(&self) -> FakeProvider {
        FakeProvider::new(Arc::new(self.clone()))
    }

    /// Makes it misbehave by a rule.
    pub fn fault(&self, rule: FaultRule) {
        self.administer(AdminRequest::Fault(rule))
            .expect("a rule is always taken");
    }

    /// Makes it misbehave by chance.
    pub fn chaos(&self, chaos: Chaos) {
        self.lock().chaos = chaos;
    }

    /// Takes back every rule and all chance: from now on nothing goes wrong but what is under way already.
    pub fn calm(&self) {
        self.lock().calm();
    }

    /// Changes how it behaves.
    pub fn configure(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.lock().settings);
    }

    /// Sets what it answers when asked for facts.
    pub fn set_fact(&self, name: &str, value: serde_json::Value) {
        self.lock().facts.insert(name.to_owned(), value);
    }

    /// Changes an attribute of an object behind everybody's back.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn mutate(&self, id: &str, name: &str, value: serde_json::Value) {
        let fields: Fields = [(name.to_owned(), value)].into();
        self.administer(AdminRequest::Mutate {
            id: id.to_owned(),
            fields,
        })
        .expect("a test mutates what is there");
    }

    /// Removes an object behind everybody's back.
    ///
    /// # Panics
    /// When there is no such object.
    pub fn remove(&self, id: &str) {
        self.administer(AdminRequest::Remove { id: id.to_owned() })
            .expect("a test removes what is there");
    }

    /// Returns everything that it has and did.
    pub fn dump(&self) -> Dump {
        self.administer(AdminRequest::Dump)
            .ok()
            .flatten()
            .expect("a dump is always answered")
    }

    /// Returns the objects that it has of one type.
    pub fn objects(&self, resource_type: &str) -> Vec<Described> {
        let mut objects = self.dump().objects;
        objects.retain(|object| object.resource_type == resource_type);
        objects
    }

    /// Does what an administrator says.
    ///
    /// # Errors
    /// When the object that it is about is not there.
    pub fn administer(&self, request: AdminRequest) -> Result<Option<Dump>, ApiError> {
        let now = self.now();
        self.lock().administer(now, request)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn lock(&self) -> MutexGuard<'_, Cloud> {
        self.cloud
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[async_trait]
impl CloudClient for FakeCloud {
    async fn send(&self, request: ApiRequest) -> Answer {
        let now = self.now();
        let fate = self.lock().receive(now, &request);
        let refused = |code, message: &str| Answer::Refused(ApiError::new(code, message));
        assert!(
            fate.fault != Some(Fault::Panic),
            "the fake cloud's client was told to panic"
        );
        // Half of the time passes before the effect and half after it, so that a caller who gives up may have caused
        // it or not.
        tokio::time::sleep(fate.delay / 2).await;
        match fate.fault {
            Some(Fault::Throttle) => return refused(ApiErrorCode::Throttled, "too many requests"),
            Some(Fault::Transient) => return refused(ApiErrorCode::Unavailable, "try again in a moment"),
            Some(Fault::Deny) => return refused(ApiErrorCode::Denied, "these credentials do not allow it"),
            Some(Fault::NoCapacity) => return refused(ApiErrorCode::NoCapacity, "there is no room for it"),
            Some(Fault::Invalid) => return refused(ApiErrorCode::Invalid, "this can never work"),
            Some(Fault::LoseRequest) => return Answer::Lost,
            Some(Fault::Late(delay)) => {
                let due = self.now() + delay;
                self.lock().defer(due, request);
                return Answer::Lost;
            }
            Some(Fault::Hang) => return std::future::pending().await,
            Some(Fault::Slow(delay)) => tokio::time::sleep(delay).await,
            Some(
                Fault::LoseResponse | Fault::HangAfter | Fault::NeverReady | Fault::Withdraw | Fault::Panic,
            )
            | None => {}
        }
        let outlook = match fate.fault {
            Some(Fault::NeverReady) => Outlook::NeverReady,
            Some(Fault::Withdraw) => Outlook::Withdrawn,
            _ => Outlook::Works,
        };
        let now = self.now();
        let result = self.lock().handle(now, request, outlook);
        tokio::time::sleep(fate.delay / 2).await;
        match (fate.fault, result) {
            (Some(Fault::LoseResponse), _) => Answer::Lost,
            (Some(Fault::HangAfter), _) => std::future::pending().await,
            (_, Ok(response)) => Answer::Done(response),
            (_, Err(error)) => Answer::Refused(error),
        }
    }
}
