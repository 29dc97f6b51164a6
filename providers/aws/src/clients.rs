//! Clients of AWS: one pair for each profile and region that the project's resources name, made when first needed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{Region, SdkConfig};
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use futures_util::future::BoxFuture;
use gabion_engine::address::ResourceType;
use gabion_engine::provider::{ErrorClass, ProviderError};
use gabion_engine::value::{Attributes, Value};

use crate::error::{Api, Failed, judge};
use crate::pace::Pace;
use crate::wait::Looks;

/// How long one request may take, its answer read.
const REQUEST: Duration = Duration::from_secs(30);

/// Loads the SDK's configuration of a profile of the shared configuration; `None` is what the SDK's own chain finds.
///
/// It is called at most once a profile, and only when something of AWS is read or made. Credentials, region, endpoints
/// and the HTTP client are its business; retries are off whatever it says.
pub type Loader = Arc<dyn Fn(Option<String>) -> BoxFuture<'static, SdkConfig> + Send + Sync>;

/// Where objects are: a profile of the shared configuration and a region; `None` is what the SDK's own chain finds.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The profile.
    pub profile: Option<String>,
    /// The region.
    pub region: Option<String>,
}

impl Place {
    /// Returns the place that attributes name.
    #[must_use]
    pub fn of(attributes: &Attributes) -> Self {
        let text = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            profile: text("profile"),
            region: text("region"),
        }
    }

    /// Returns the place of an object of a type. What is in Route 53 is in no region, and asked in the one that has its API.
    #[must_use]
    pub fn of_type(resource_type: &ResourceType, attributes: &Attributes) -> Self {
        Self::of(attributes).for_type(resource_type)
    }

    /// Returns the place where an object of a type is looked for.
    pub(crate) fn for_type(mut self, resource_type: &ResourceType) -> Self {
        if self.region.is_none() && resource_type.as_str().starts_with(ROUTE_53) {
            self.region = Some(ROUTE_53_REGION.to_owned());
        }
        self
    }
}

/// What the types of Route 53 begin with.
const ROUTE_53: &str = "aws_route53_";

/// The region of its API.
const ROUTE_53_REGION: &str = "us-east-1";

/// The clients of one place.
#[derive(Clone)]
pub(crate) struct Clients {
    pub(crate) ec2: aws_sdk_ec2::Client,
    pub(crate) route53: aws_sdk_route53::Client,
    /// The region's name.
    pub(crate) region: Arc<str>,
    /// How fast each API is called.
    pace: Arc<Pace>,
    /// What many calls wait for, looked at together.
    pub(crate) looks: Arc<Looks>,
}

impl Clients {
    /// Makes a call, at the pace that its API bears, and judges its failure.
    pub(crate) async fn call<T, E>(
        &self,
        api: Api,
        request: impl Future<Output = Result<T, SdkError<E, HttpResponse>>>,
    ) -> Result<T, Failed>
    where
        E: ProvideErrorMetadata + std::error::Error + Send + Sync + 'static,
    {
        self.pace.turn(api.operation).await;
        match request.await {
            Ok(answer) => {
                self.pace.went_well(api.operation);
                Ok(answer)
            }
            Err(error) => {
                let failed = judge(api, &self.region, &error);
                if failed.error.class == ErrorClass::Throttled {
                    self.pace.throttled(api.operation);
                }
                Err(failed)
            }
        }
    }
}

/// All clients of a run.
pub(crate) struct ClientPool {
    loader: Loader,
    poll: Duration,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    configs: BTreeMap<Option<String>, Arc<tokio::sync::OnceCell<SdkConfig>>>,
    clients: BTreeMap<Place, Clients>,
    /// Where the project has, or will have, objects.
    places: BTreeSet<Place>,
}

impl fmt::Debug for ClientPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientPool").finish_non_exhaustive()
    }
}

impl ClientPool {
    pub(crate) fn new(loader: Loader, poll: Duration) -> Self {
        Self {
            loader,
            poll,
            known: Mutex::default(),
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Every change is a plain insertion.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that the project has objects somewhere.
    pub(crate) fn note(&self, place: Place) {
        self.known().places.insert(place);
    }

    /// Returns where the project has objects.
    pub(crate) fn places(&self) -> Vec<Place> {
        self.known().places.iter().cloned().collect()
    }

    /// Returns the clients of a place.
    pub(crate) async fn clients(&self, place: &Place) -> Result<Clients, ProviderError> {
        if let Some(clients) = self.known().clients.get(place) {
            return Ok(clients.clone());
        }
        let cell = self
            .known()
            .configs
            .entry(place.profile.clone())
            .or_default()
            .clone();
        let config = cell.get_or_init(|| (self.loader)(place.profile.clone())).await;
        let region = match &place.region {
            Some(region) => Region::new(region.clone()),
            None => config.region().cloned().ok_or_else(|| {
                ProviderError::new(
                    ErrorClass::Invalid,
                    "It is not known in which region of AWS this is: neither the resource nor the environment nor the \
                     shared configuration names one.",
                )
                .with_hint("set `region` of the resource, or AWS_REGION, or `region` of the profile")
            })?,
        };
        // Those that name a region and those that it is found for share their clients.
        let named = Place {
            profile: place.profile.clone(),
            region: Some(region.to_string()),
        };
        let mut known = self.known();
        let clients = known
            .clients
            .entry(named)
            .or_insert_with(|| make(config, region, self.poll))
            .clone();
        known.clients.insert(place.clone(), clients.clone());
        Ok(clients)
    }
}

fn make(config: &SdkConfig, region: Region, poll: Duration) -> Clients {
    let timeouts = || {
        TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(5))
            .operation_attempt_timeout(REQUEST)
            .build()
    };
    // The engine retries: two layers that do hide throttling, and repeat what must not be repeated blindly.
    let ec2 = aws_sdk_ec2::config::Builder::from(config)
        .region(region.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .build();
    let route53 = aws_sdk_route53::config::Builder::from(config)
        .region(region.clone())
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts())
        .build();
    Clients {
        ec2: aws_sdk_ec2::Client::from_conf(ec2),
        route53: aws_sdk_route53::Client::from_conf(route53),
        region: region.as_ref().into(),
        pace: Arc::default(),
        looks: Arc::new(Looks::new(poll)),
    }
}
