//! The operations of the admin protocol on certificates.

use std::sync::Arc;

use crate::agent::Agent;
use crate::protocol::{AdminResponse, AgentError, Certificate, Fence};
use crate::store::{CertificateRecord, stored};

fn invalid(reason: impl Into<String>) -> AgentError {
    AgentError::Invalid {
        reason: reason.into(),
    }
}

/// Reads all certificates, with what is in their files.
pub(crate) async fn list_certificates(agent: &Arc<Agent>) -> Result<AdminResponse, AgentError> {
    let agent = Arc::clone(agent);
    // Their files are looked at.
    let reports = tokio::task::spawn_blocking(move || {
        let records = agent.read(|contents| contents.certificates.clone());
        let report = |record: &CertificateRecord| agent.certificates.report(record);
        records.values().map(report).collect()
    });
    reports
        .await
        .map(AdminResponse::Certificates)
        .map_err(|error| AgentError::Storage {
            reason: error.to_string(),
        })
}

fn check_certificate(certificate: &Certificate) -> Result<(), AgentError> {
    let host = &certificate.host;
    // It is also the name of a directory.
    let is_label = |label: &str| {
        let good =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() < 64 && label.bytes().all(good)
    };
    if host.len() > 253 || !host.contains('.') || !host.split('.').all(is_label) {
        return Err(invalid(format!("`{host}` is no host name in lower case")));
    }
    if certificate.address.is_empty() || !certificate.directory.starts_with("https://") {
        return Err(invalid(
            "a certificate needs the address that its name leads to, and an authority at `https://…`",
        ));
    }
    Ok(())
}

/// Has a host name get a certificate and keep it.
pub(crate) async fn put_certificate(
    agent: &Arc<Agent>,
    certificate: Certificate,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    check_certificate(&certificate)?;
    let host = certificate.host.clone();
    agent
        .change_as(&fence.clone(), move |contents| {
            let listener = contents.listeners.get(&certificate.gateway);
            let Some(listener) = listener else {
                return Err(AgentError::UnknownListener {
                    name: certificate.gateway,
                });
            };
            if listener.object.http_port.is_none() {
                return Err(invalid(format!(
                    "gateway `{}` speaks no HTTPS",
                    certificate.gateway
                )));
            }
            let before = contents.certificates.remove(&certificate.host);
            let (issued, failed) = before.map_or((None, None), |before| (before.issued, before.failed));
            let record = CertificateRecord {
                issued,
                // Whoever asks has changed something, or believes so; an authority's own limit stands.
                failed: failed.filter(|failed| failed.is_limited),
                stored: stored(certificate, &fence),
            };
            contents
                .certificates
                .insert(record.stored.object.host.clone(), record);
            Ok(())
        })
        .await?;
    agent.certificates.look_at(&host);
    Ok(AdminResponse::Done)
}

/// Removes a certificate with its keys.
pub(crate) async fn delete_certificate(
    agent: &Arc<Agent>,
    host: String,
    fence: Fence,
) -> Result<AdminResponse, AgentError> {
    let name = host.clone();
    let is_last = agent
        .change_as(&fence, move |contents| {
            contents.certificates.remove(&name);
            Ok(contents.certificates.is_empty())
        })
        .await?;
    agent.certificates.forget(&host).await;
    let agent = Arc::clone(agent);
    let removed = tokio::task::spawn_blocking(move || {
        let files = &agent.certificates.files;
        files.remove(&host)?;
        // An account without certificates is of no use, and its key is a key.
        if is_last { files.remove_accounts() } else { Ok(()) }
    });
    let storage = |reason: String| AgentError::Storage { reason };
    removed
        .await
        .map_err(|error| storage(error.to_string()))?
        .map_err(|error| storage(error.to_string()))?;
    Ok(AdminResponse::Done)
}
