//! How the certificates of gateways are, as their agents tell.

use gabion_engine::address::ResourceType;
use gabion_engine::provider::{Provider, ProviderError, ProviderRegistry, ReadOutcome, ReadRequest};
use gabion_engine::state::State;
use gabion_engine::state::record::Record;
use gabion_engine::upgrade::recorded_object;
use gabion_engine::value::Attributes;
use gabion_gateway::GATEWAY_CERTIFICATE;

use crate::render::ps_json::CertificateJson;

/// Reads the recorded certificates, each agent in one call.
pub(crate) async fn certificates(state: &State, providers: &ProviderRegistry) -> Vec<CertificateJson> {
    let resource_type = ResourceType::new(GATEWAY_CERTIFICATE).expect("a resource type of this build");
    let Some(provider) = providers.provider(&resource_type) else {
        return Vec::new();
    };
    let records: Vec<&Record> = state
        .current_records()
        .filter(|record| record.address.resource_type == resource_type)
        .collect();
    if records.is_empty() {
        return Vec::new();
    }
    match read(&**provider, resource_type, &records).await {
        Ok(outcomes) => records
            .into_iter()
            .zip(outcomes)
            .map(|(record, outcome)| report(record, outcome))
            .collect(),
        Err(error) => records
            .into_iter()
            .map(|record| unknown(record, &error.message))
            .collect(),
    }
}

async fn read(
    provider: &dyn Provider,
    resource_type: ResourceType,
    records: &[&Record],
) -> Result<Vec<ReadOutcome>, ProviderError> {
    let objects = records.iter().map(|record| recorded_object(record, provider));
    let objects = objects.collect::<Result<_, _>>()?;
    let request = ReadRequest {
        resource_type,
        objects,
    };
    provider.read(request).await
}

fn report(record: &Record, outcome: ReadOutcome) -> CertificateJson {
    match outcome {
        ReadOutcome::Present(seen) => CertificateJson {
            issuer: text(&seen.attributes, "issuer"),
            not_after: text(&seen.attributes, "not_after"),
            problem: text(&seen.attributes, "problem"),
            ..named(record)
        },
        ReadOutcome::Absent => CertificateJson {
            problem: Some("its gateway knows nothing of it".to_owned()),
            ..named(record)
        },
        ReadOutcome::CannotTell { reason } => unknown(record, &reason),
    }
}

fn unknown(record: &Record, why: &str) -> CertificateJson {
    CertificateJson {
        problem: Some(format!("nothing is known of it now: {why}")),
        ..named(record)
    }
}

fn named(record: &Record) -> CertificateJson {
    CertificateJson {
        address: record.address.to_string(),
        host: text(&record.inputs, "host").unwrap_or_default(),
        gateway: text(&record.inputs, "gateway"),
        issuer: None,
        not_after: None,
        problem: None,
    }
}

fn text(attributes: &Attributes, name: &str) -> Option<String> {
    attributes.get(name)?.as_str().map(str::to_owned)
}
