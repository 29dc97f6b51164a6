//! An account, the provider for it, and calls as the engine makes them.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use gabion_aws::AwsProvider;
use gabion_engine::address::{IdSource, Lineage, ObjectId, OperationId, RandomIds, ResourceAddress, Uid};
use gabion_engine::provider::{
    Call, CallAction, CallSink, CreateRequest, DeleteRequest, ObjectState, Observation, ObserveRequest,
    PlanRequest, PlanResponse, PriorObject, Provider, ProviderError, ReadOutcome, ReadRequest,
    RecordedObject, UpdateRequest,
};
use gabion_engine::value::{AttributePath, Attributes, Value};
use gabion_testing::aws::Aws;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The region that tests are in unless they say otherwise.
pub(crate) const REGION: &str = "eu-west-1";

/// How long what a change made may take to show: the servers lag for as long as a test says, which is less than this.
const CONSISTENCY: Duration = Duration::from_secs(2);

/// Which of the servers that stand for AWS: each is an opinion of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Moto,
    Own,
}

impl Server {
    /// Opens an account.
    pub(crate) async fn open(self) -> Aws {
        if self == Self::Own {
            return Aws::own().await;
        }
        #[expect(clippy::disallowed_methods, reason = "tests are told where the server is")]
        let moto = std::env::var("GABION_TEST_AWS")
            .expect("GABION_TEST_AWS is not set; run the tests with: cargo xtask test -p gabion-aws");
        Aws::start(&moto).await
    }
}

/// Makes tests of functions that take a [`Server`]: one of each on moto, and one of all of them beside each other on the cloud
/// of our own, where they wait most of their time.
macro_rules! on_both_servers {
    ($($name:ident),+ $(,)?) => {
        mod on_moto {
            $(#[tokio::test]
            async fn $name() {
                super::$name(crate::support::Server::Moto).await;
            })+
        }

        #[tokio::test]
        async fn all_is_the_same_on_a_cloud_of_our_own() {
            let all: Vec<futures_util::future::BoxFuture<'static, ()>> =
                vec![$(Box::pin($name(crate::support::Server::Own))),+];
            futures_util::future::join_all(all).await;
        }
    };
}
pub(crate) use on_both_servers;

/// A provider, its account, and whose objects they are.
pub(crate) struct World {
    pub(crate) aws: Aws,
    pub(crate) provider: Arc<AwsProvider>,
    pub(crate) lineage: Lineage,
}

/// An object that was made.
pub(crate) struct Made {
    pub(crate) uid: Uid,
    pub(crate) address: ResourceAddress,
    pub(crate) inputs: Attributes,
    pub(crate) state: ObjectState,
}

#[derive(Default)]
pub(crate) struct Notes(pub(crate) Mutex<Vec<ObjectId>>);

#[async_trait]
impl CallSink for Notes {
    async fn checkpoint(
        &self,
        _: OperationId,
        id: ObjectId,
        _: serde_json::Value,
    ) -> Result<(), ProviderError> {
        self.0.lock().unwrap().push(id);
        Ok(())
    }

    fn phase(&self, _: OperationId, _: &str) {}
}

impl World {
    /// Opens an account.
    pub(crate) async fn open(server: Server) -> Self {
        let aws = server.open().await;
        let provider = Arc::new(provider(&aws));
        Self {
            aws,
            provider,
            lineage: Lineage::from_uuid(RandomIds.next()),
        }
    }

    pub(crate) fn call(
        &self,
        operation: OperationId,
        uid: Uid,
        address: &ResourceAddress,
    ) -> (Call, Arc<Notes>) {
        let notes = Arc::new(Notes::default());
        let call = Call {
            operation,
            uid,
            address: address.clone(),
            lineage: self.lineage,
            epoch: 1,
            deadline: Instant::now() + Duration::from_secs(40),
            cancel: CancellationToken::new(),
            sink: notes.clone(),
        };
        (call, notes)
    }

    pub(crate) fn plan(
        &self,
        address: &ResourceAddress,
        desired: &Attributes,
        prior: Option<&Made>,
    ) -> PlanResponse {
        let request = PlanRequest {
            resource_type: address.resource_type.clone(),
            address: address.clone(),
            desired: desired.clone(),
            prior: prior.map(|made| PriorObject {
                inputs: made.inputs.clone(),
                attributes: made.state.attributes.clone(),
                private: made.state.private.clone(),
            }),
            replaces: None,
            facts: std::collections::BTreeMap::new(),
        };
        self.provider.plan(&request).unwrap()
    }

    /// Makes an object as an operation.
    pub(crate) async fn try_create(
        &self,
        operation: OperationId,
        uid: Uid,
        address: &str,
        inputs: &Attributes,
    ) -> Result<ObjectState, ProviderError> {
        let address: ResourceAddress = address.parse().unwrap();
        let planned = self.plan(&address, inputs, None).planned;
        let (call, _) = self.call(operation, uid, &address);
        let request = CreateRequest {
            resource_type: address.resource_type.clone(),
            address,
            inputs: inputs.clone(),
            planned,
        };
        self.provider.create(request, &call).await
    }

    pub(crate) async fn create(&self, address: &str, inputs: &Attributes) -> Made {
        let uid = uid();
        let state = self.try_create(operation(), uid, address, inputs).await.unwrap();
        Made {
            uid,
            address: address.parse().unwrap(),
            inputs: inputs.clone(),
            state,
        }
    }

    pub(crate) async fn try_update(
        &self,
        made: &Made,
        inputs: &Attributes,
    ) -> Result<ObjectState, ProviderError> {
        let planned = self.plan(&made.address, inputs, Some(made)).planned;
        let (call, _) = self.call(operation(), made.uid, &made.address);
        let request = UpdateRequest {
            object: made.recorded(),
            inputs: inputs.clone(),
            planned,
            changed: inputs.keys().map(AttributePath::root).collect(),
        };
        self.provider.update(request, &call).await
    }

    pub(crate) async fn delete(&self, made: &Made) -> Result<(), ProviderError> {
        let (call, _) = self.call(operation(), made.uid, &made.address);
        let object = made.recorded();
        self.provider
            .delete(
                DeleteRequest {
                    object,
                    deposed: false,
                },
                &call,
            )
            .await
    }

    pub(crate) async fn read(&self, made: &Made) -> ReadOutcome {
        let request = ReadRequest {
            resource_type: made.address.resource_type.clone(),
            objects: vec![made.recorded()],
        };
        self.provider.read(request).await.unwrap().remove(0)
    }

    /// Finds out what became of a creation.
    pub(crate) async fn observe(
        &self,
        operation: OperationId,
        uid: Uid,
        address: &str,
        inputs: &Attributes,
    ) -> Observation {
        let request = ObserveRequest {
            action: CallAction::Create,
            operation,
            object: RecordedObject {
                uid,
                address: address.parse().unwrap(),
                id: None,
                inputs: inputs.clone(),
                attributes: Attributes::new(),
                private: serde_json::Value::Null,
            },
            inputs: inputs.clone(),
            lineage: self.lineage,
        };
        self.provider.observe(request).await.unwrap()
    }

    /// Waits until an instance is stopped.
    pub(crate) async fn stopped(&self, id: &str) {
        for _ in 0..600 {
            let text = self
                .aws
                .ec2(REGION, "DescribeInstances", &[("InstanceId.1", id)])
                .await;
            if text.contains("<name>stopped</name>") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{id} does not stop");
    }

    /// Returns the newest image of Amazon's own Linux.
    pub(crate) async fn image(&self) -> String {
        let filters = [
            ("Owner.1", "amazon"),
            ("Filter.1.Name", "name"),
            ("Filter.1.Value.1", "al2023-ami-2023*-x86_64"),
        ];
        let images = self.aws.ec2(REGION, "DescribeImages", &filters).await;
        gabion_testing::aws::between(&images, "<imageId>", "</imageId>")
            .unwrap()
            .to_owned()
    }
}

impl Made {
    pub(crate) fn recorded(&self) -> RecordedObject {
        RecordedObject {
            uid: self.uid,
            address: self.address.clone(),
            id: Some(self.state.id.clone()),
            inputs: self.inputs.clone(),
            attributes: self.state.attributes.clone(),
            private: self.state.private.clone(),
        }
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.state.attributes[name].as_str().unwrap()
    }
}

/// Makes a provider that reaches an account through its proxy, and looks often.
pub(crate) fn provider(aws: &Aws) -> AwsProvider {
    let endpoint = aws.endpoint();
    let account = aws.account().clone();
    let loader = Arc::new(move |_profile: Option<String>| {
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .region(Region::new(REGION))
            .endpoint_url(&endpoint)
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
                &account.access_key,
                &account.secret,
                Some(account.token.clone()),
                None,
                "test",
            )))
            .build();
        Box::pin(async move { config }) as futures_util::future::BoxFuture<'static, SdkConfig>
    });
    AwsProvider::with_poll(loader, Duration::from_millis(50)).with_consistency_within(CONSISTENCY)
}

pub(crate) fn operation() -> OperationId {
    OperationId::from_uuid(RandomIds.next())
}

pub(crate) fn uid() -> Uid {
    Uid::from_uuid(RandomIds.next())
}

/// Makes attributes.
pub(crate) fn inputs<const N: usize>(entries: [(&str, Value); N]) -> Attributes {
    entries.map(|(name, value)| (name.into(), value)).into()
}

pub(crate) fn texts(items: &[&str]) -> Value {
    Value::List(items.iter().map(Value::string).collect())
}

/// Makes a list of one block.
pub(crate) fn block<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::List(vec![Value::map(entries)])
}

/// Returns inputs with one of them changed.
pub(crate) fn with(inputs: &Attributes, name: &str, value: Value) -> Attributes {
    let mut changed = inputs.clone();
    changed.insert(name.into(), value);
    changed
}

/// A public key.
pub(crate) const KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f ada@laptop";
