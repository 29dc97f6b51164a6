//! Errors name the API, the code, the request and the way out, and say what can be done.

use aws_credential_types::credential_fn::provide_credentials_fn;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_credential_types::provider::error::CredentialsError;
use gabion_engine::provider::{Effect, ErrorClass, ProviderError};
use gabion_engine::value::Attributes;
use gabion_testing::aws::Fault;

use crate::support::{Server, World, inputs, operation, uid, with};

async fn refused(world: &World, machine: &Attributes) -> ProviderError {
    world
        .try_create(operation(), uid(), "aws_instance.web", machine)
        .await
        .unwrap_err()
}

/// The message holds all of these, and the hint this.
#[track_caller]
fn says(error: &ProviderError, class: ErrorClass, message: &[&str], hint: &str) {
    assert_eq!((error.class, error.effect), (class, Effect::None), "{error:?}");
    for part in message {
        assert!(error.message.contains(part), "{part}: {}", error.message);
    }
    let said = error.hint.as_deref().unwrap_or_default();
    assert!(said.contains(hint), "{hint}: {said}");
}

#[tokio::test]
async fn each_refusal_names_api_region_code_request_and_the_way_out() {
    let world = World::open(Server::Moto).await;
    let machine = inputs([
        ("ami", world.image().await.as_str().into()),
        ("instance_type", "t3.micro".into()),
    ]);
    for (status, code, class, hint) in [
        (403, "UnauthorizedOperation", ErrorClass::Denied, "policy"),
        (400, "RequestExpired", ErrorClass::Denied, "aws sso login"),
        (
            401,
            "AuthFailure",
            ErrorClass::Denied,
            "aws sts get-caller-identity",
        ),
        (401, "OptInRequired", ErrorClass::Denied, "enable-region"),
        (400, "VcpuLimitExceeded", ErrorClass::NoCapacity, "quota"),
        (
            500,
            "InsufficientInstanceCapacity",
            ErrorClass::NoCapacity,
            "availability_zone",
        ),
    ] {
        world
            .aws
            .fault("RunInstances", Fault::Refused(status, code.to_owned()));
        let error = refused(&world, &machine).await;
        says(
            &error,
            class,
            &["EC2 RunInstances in eu-west-1", code, "request "],
            hint,
        );
    }
    let wrong = with(&machine, "ami", "ami-00000000000000000".into());
    let error = refused(&world, &wrong).await;
    says(
        &error,
        ErrorClass::NotFound,
        &[
            "EC2 DescribeImages",
            "InvalidAMIID.NotFound",
            "ami-00000000000000000",
            "request ",
        ],
        "one region only",
    );
    let wrong = with(&machine, "instance_type", "t9.giant".into());
    let error = refused(&world, &wrong).await;
    says(
        &error,
        ErrorClass::NotFound,
        &["EC2 RunInstances", "t9.giant", "request "],
        "instance_type",
    );
}

#[tokio::test]
async fn throttled_and_unavailable_calls_may_be_made_again_and_a_servers_failure_may_not() {
    let world = World::open(Server::Moto).await;
    let nothing = Attributes::new();
    for (status, code, class, effect) in [
        (503, "RequestLimitExceeded", ErrorClass::Throttled, Effect::None),
        (503, "Unavailable", ErrorClass::Transient, Effect::None),
        (500, "InternalError", ErrorClass::Uncertain, Effect::Unknown),
    ] {
        world
            .aws
            .fault("AllocateAddress", Fault::Refused(status, code.to_owned()));
        let error = world
            .try_create(operation(), uid(), "aws_eip.gw", &nothing)
            .await
            .unwrap_err();
        assert_eq!((error.class, error.effect), (class, effect), "{error:?}");
        assert_eq!(
            world
                .aws
                .take_calls()
                .iter()
                .filter(|call| *call == "AllocateAddress")
                .count(),
            1,
            "the SDK made the call again"
        );
    }
}

#[tokio::test]
async fn a_machine_without_credentials_is_told_how_to_get_some() {
    let world = World::open(Server::Moto).await;
    let endpoint = world.aws.endpoint();
    let loader: gabion_aws::Loader = std::sync::Arc::new(move |_| {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
            .region(aws_config::Region::new("eu-west-1"))
            .endpoint_url(&endpoint)
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(SharedCredentialsProvider::new(provide_credentials_fn(|| async {
                Err(CredentialsError::not_loaded(
                    "no providers in chain provided credentials",
                ))
            })))
            .build();
        Box::pin(async move { config })
    });
    let world = World {
        provider: gabion_aws::provider(loader),
        ..world
    };
    let error = world
        .try_create(operation(), uid(), "aws_eip.gw", &Attributes::new())
        .await
        .unwrap_err();
    says(
        &error,
        ErrorClass::Denied,
        &["EC2 AllocateAddress", "credentials"],
        "aws sso login",
    );
}

#[tokio::test]
async fn nobody_listening_is_no_effect() {
    let world = World::open(Server::Moto).await;
    let loader: gabion_aws::Loader = std::sync::Arc::new(|_| {
        let config = aws_config::SdkConfig::builder()
            .behavior_version(aws_config::BehaviorVersion::v2026_01_12())
            .region(aws_config::Region::new("eu-west-1"))
            .endpoint_url("http://127.0.0.1:9")
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .credentials_provider(SharedCredentialsProvider::new(
                aws_credential_types::Credentials::new("a", "b", None, None, "test"),
            ))
            .build();
        Box::pin(async move { config })
    });
    let world = World {
        provider: gabion_aws::provider(loader),
        ..world
    };
    let error = world
        .try_create(operation(), uid(), "aws_eip.gw", &Attributes::new())
        .await
        .unwrap_err();
    says(&error, ErrorClass::Transient, &["EC2 AllocateAddress"], "region");
}
