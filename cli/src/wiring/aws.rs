//! AWS: its provider, and what its regions offer before anything is planned there.
//!
//! Nothing is loaded, and nobody asked, before a resource or a survey needs it. A build without the feature `aws` has no
//! provider of it, and says so to whoever asks.

use std::collections::BTreeMap;

use futures_util::stream::{self, StreamExt};
use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Survey, SurveyFailure, SurveyResult};
use gabion_engine::provider::ProviderRegistry;
use gabion_engine::state::State;

use super::delegation;
use crate::failure::Failure;
use crate::options::Options;

/// How many regions are looked at at a time.
const AT_A_TIME: usize = 4;

/// Adds the provider, which knows where the recorded objects are.
pub(super) fn register(registry: &mut ProviderRegistry, options: &Options, state: &State) {
    options.aws.register(registry, state, options);
}

/// Finds out what regions offer.
///
/// # Errors
/// When that cannot be asked of any of them. What one region does not tell is in its answer.
pub(super) async fn look(
    options: &Options,
    surveys: Vec<Survey>,
) -> Result<BTreeMap<ResourceAddress, SurveyResult>, Failure> {
    let answers = stream::iter(surveys)
        .map(|survey| async move {
            let mut answer = options.aws.survey(&survey.inputs, options).await;
            if let Ok(facts) = &mut answer {
                delegation::look(&survey.inputs, facts).await;
            }
            (survey.address, answer)
        })
        .buffer_unordered(AT_A_TIME)
        .collect()
        .await;
    Ok(answers)
}

#[cfg(feature = "aws")]
pub(crate) use with_provider::Aws;
#[cfg(not(feature = "aws"))]
pub(crate) use without_provider::Aws;

#[cfg(feature = "aws")]
mod with_provider {
    use std::sync::{Arc, OnceLock};

    use async_trait::async_trait;
    use aws_config::BehaviorVersion;
    use aws_smithy_http_client::tls::{self, rustls_provider::CryptoMode};
    use gabion_aws::{Arrivals, AwsProvider, Loader, NamedRegion, Place};
    use gabion_engine::provider::{Call, Provider};
    use gabion_engine::value::Attributes;
    use gabion_machines::Hosts;

    use super::{Options, ProviderRegistry, State, SurveyFailure, SurveyResult};
    use crate::options::Environment;

    /// The provider of AWS, made when it is first needed.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Aws(Arc<OnceLock<Arc<AwsProvider>>>);

    /// The machines, which are reached at addresses that move.
    struct Machines(Hosts);

    #[async_trait]
    impl Arrivals for Machines {
        async fn arrived(&self, address: &str, call: &Call) {
            self.0.arrive(address, call).await;
        }
    }

    impl Aws {
        fn provider(&self, options: &Options) -> &Arc<AwsProvider> {
            self.0.get_or_init(|| {
                let machines = Machines(options.machines.clone());
                let provider = AwsProvider::new(loader())
                    .with_named_region(named_region(&options.environment))
                    .with_arrivals(Arc::new(machines));
                Arc::new(provider)
            })
        }

        pub(super) fn register(&self, registry: &mut ProviderRegistry, state: &State, options: &Options) {
            let provider = self.provider(options);
            let types = &provider.schema().resource_types;
            let records = state.current_records().chain(state.deposed_records());
            for record in records.filter(|record| types.contains_key(&record.address.resource_type)) {
                let mut attributes = record.inputs.clone();
                attributes.extend(
                    record
                        .attributes
                        .iter()
                        .map(|(name, value)| (name.clone(), value.clone())),
                );
                provider.note(Place::of_type(&record.address.resource_type, &attributes));
            }
            registry.register(provider.clone());
        }

        pub(super) async fn survey(&self, inputs: &Attributes, options: &Options) -> SurveyResult {
            match self.provider(options).survey(inputs).await {
                Ok(facts) => Ok(facts.to_attributes()),
                Err(error) => Err(SurveyFailure {
                    message: error.message,
                    hint: error.hint,
                }),
            }
        }
    }

    /// Returns the region that the environment names, as the SDK's own chain finds it there.
    fn named_region(environment: &Environment) -> Option<NamedRegion> {
        ["AWS_REGION", "AWS_DEFAULT_REGION"]
            .into_iter()
            .find_map(|variable| {
                Some(NamedRegion {
                    region: environment.set(variable)?.to_owned(),
                    variable,
                })
            })
    }

    /// Loads what the SDK's own chain finds: variables, shared configuration, single sign-on, roles of machines.
    fn loader() -> Loader {
        Arc::new(|profile| {
            Box::pin(async move {
                let http = aws_smithy_http_client::Builder::new()
                    .tls_provider(tls::Provider::Rustls(CryptoMode::Ring))
                    .build_https();
                let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).http_client(http);
                if let Some(profile) = profile {
                    loader = loader.profile_name(profile);
                }
                loader.load().await
            })
        })
    }
}

#[cfg(not(feature = "aws"))]
mod without_provider {
    use gabion_engine::value::Attributes;

    use super::{Options, ProviderRegistry, State, SurveyFailure, SurveyResult};
    use crate::failure::DEFAULT_FEATURES;

    /// Stands where the provider of AWS is in other builds.
    #[derive(Clone, Debug, Default)]
    pub(crate) struct Aws;

    impl Aws {
        pub(super) fn register(&self, _: &mut ProviderRegistry, _: &State, _: &Options) {}

        pub(super) async fn survey(&self, _: &Attributes, _: &Options) -> SurveyResult {
            Err(SurveyFailure {
                message: "This build of gabion has no provider of AWS.".to_owned(),
                hint: Some(DEFAULT_FEATURES.to_owned()),
            })
        }
    }
}
