//! Reaching S3 and what is compatible with it.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::state::envelope::Envelope;
use gabion_engine::state::{StateStore, StoreError};
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key, S3ConditionalPut};
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};

use super::place::Reason;
use super::settings::{ObjectSettings, check_endpoint};
use super::store::{ObjectOptions, ObjectStateStore};

/// How long a request is tried again.
const REQUEST: Duration = Duration::from_secs(30);
/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(5);

/// What is taken from the environment, under any of these names.
const ENVIRONMENT: &[(&[&str], Key)] = &[
    (&["AWS_ACCESS_KEY_ID"], Key::AccessKeyId),
    (&["AWS_SECRET_ACCESS_KEY"], Key::SecretAccessKey),
    (&["AWS_SESSION_TOKEN"], Key::Token),
    (&["AWS_WEB_IDENTITY_TOKEN_FILE"], Key::WebIdentityTokenFile),
    (&["AWS_ROLE_ARN"], Key::RoleArn),
    (&["AWS_ROLE_SESSION_NAME"], Key::RoleSessionName),
    (&["AWS_ENDPOINT_URL_STS"], Key::StsEndpoint),
    (
        &["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI"],
        Key::ContainerCredentialsRelativeUri,
    ),
    (
        &["AWS_CONTAINER_CREDENTIALS_FULL_URI"],
        Key::ContainerCredentialsFullUri,
    ),
    (
        &["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"],
        Key::ContainerAuthorizationTokenFile,
    ),
    (&["AWS_EC2_METADATA_SERVICE_ENDPOINT"], Key::MetadataEndpoint),
];

/// Opens the state of a project, or of one of its stacks, in a bucket; nothing is read yet.
///
/// Credentials come from `environment` alone: keys, a web identity, a container's or an instance's role.
///
/// # Errors
/// When what is set cannot be used.
pub fn open(
    settings: &ObjectSettings,
    environment: &dyn Fn(&str) -> Option<String>,
    project: &str,
    stack: Option<&str>,
    envelope: Envelope,
) -> Result<Arc<dyn StateStore>, StoreError> {
    let options = ObjectOptions {
        envelope,
        ..ObjectOptions::default()
    };
    Ok(Arc::new(open_with(
        settings,
        environment,
        project,
        stack,
        options,
    )?))
}

/// Like [`open`], with everything that can be chosen; the location and the heartbeat's connections are set here.
///
/// # Errors
/// When what is set cannot be used.
pub fn open_with(
    settings: &ObjectSettings,
    environment: &dyn Fn(&str) -> Option<String>,
    project: &str,
    stack: Option<&str>,
    options: ObjectOptions,
) -> Result<ObjectStateStore, StoreError> {
    let read = |names: &[&str]| {
        names
            .iter()
            .find_map(|name| environment(name).filter(|value| !value.is_empty()))
    };
    let endpoint = match &settings.endpoint {
        Some(endpoint) => Some(endpoint.clone()),
        None => read(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]),
    };
    let prefix: Vec<&str> = settings
        .prefix
        .split('/')
        .chain([project, stack.unwrap_or("default")])
        .filter(|part| !part.is_empty())
        .collect();
    let prefix = prefix.join("/");
    let mut location = format!("s3://{}/{prefix}", settings.bucket);
    let refuse = |location: &str, why: String| StoreError::Io {
        location: location.to_owned(),
        what: "setting up access".to_owned(),
        source: Box::new(Reason::Unfit(why)),
    };
    if let Some(endpoint) = &endpoint {
        check_endpoint(endpoint, settings.allow_http)
            .map_err(|bad| refuse(&location, format!("the endpoint: {}; {}", bad.detail, bad.hint)))?;
        location = format!("{location} at {}", endpoint.trim_end_matches('/'));
    }
    let mut builder = AmazonS3Builder::new()
        .with_bucket_name(&settings.bucket)
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        // Not every compatible service deletes many objects in one request.
        .with_disable_bulk_delete(endpoint.is_some())
        .with_client_options(
            ClientOptions::new()
                // The store bounds each request by what it moves.
                .with_timeout_disabled()
                .with_connect_timeout(CONNECT)
                .with_allow_http(endpoint.as_ref().is_some_and(|url| url.starts_with("http://"))),
        )
        .with_retry(RetryConfig {
            backoff: BackoffConfig {
                init_backoff: Duration::from_millis(100),
                max_backoff: Duration::from_secs(3),
                base: 2.0,
            },
            max_retries: 5,
            retry_timeout: REQUEST,
        });
    let region = settings
        .region
        .clone()
        .or_else(|| read(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    if let Some(region) = region {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = endpoint {
        builder = builder.with_endpoint(endpoint);
    }
    for (names, key) in ENVIRONMENT {
        if let Some(value) = read(names) {
            builder = builder.with_config(*key, value);
        }
    }
    crate::tls::install();
    let build = || -> Result<Arc<dyn ObjectStore>, StoreError> {
        let built = builder.clone().build();
        built
            .map(|store| Arc::new(store) as Arc<dyn ObjectStore>)
            .map_err(|error| refuse(&location, Reason::from(error).to_string()))
    };
    let objects = build()?;
    let options = ObjectOptions {
        renewing: Some(build()?),
        location: location.clone(),
        ..options
    };
    Ok(ObjectStateStore::new(objects, &prefix, options))
}
