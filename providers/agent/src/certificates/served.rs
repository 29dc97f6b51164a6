//! What listeners know of certificates: which one serves which name, and what answers an authority's challenges.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::types::CertificateFacts;

/// The certificates and challenges that are served at the moment.
#[derive(Debug, Default)]
pub(crate) struct Served {
    /// Listener by host name, of all host names that are to have a certificate.
    hosts: RwLock<BTreeMap<String, String>>,
    certificates: RwLock<BTreeMap<String, (CertificateFacts, Arc<CertifiedKey>)>>,
    /// What answers a challenge, by its token.
    challenges: RwLock<BTreeMap<String, String>>,
}

impl Served {
    /// Says which host names there are, and of which listener; certificates of others are dropped.
    pub(crate) fn set_hosts(&self, hosts: BTreeMap<String, String>) {
        let mut certificates = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        certificates.retain(|host, _| hosts.contains_key(host));
        *self.hosts.write().unwrap_or_else(PoisonError::into_inner) = hosts;
    }

    /// Returns whether a listener is to serve a host name.
    pub(crate) fn has_host(&self, gateway: &str, host: &str) -> bool {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).is_some_and(|of| of == gateway)
    }

    /// Serves a certificate from now on; connections that are open keep theirs. Does nothing for a name that nobody wants.
    pub(crate) fn put(&self, host: &str, facts: CertificateFacts, key: Arc<CertifiedKey>) {
        let mut certificates = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        if hosts.contains_key(host) {
            certificates.insert(host.to_owned(), (facts, key));
        }
    }

    /// Returns what is known of the certificate that is served for a host name.
    pub(crate) fn facts(&self, host: &str) -> Option<CertificateFacts> {
        let certificates = self.certificates.read().unwrap_or_else(PoisonError::into_inner);
        certificates.get(host).map(|(facts, _)| facts.clone())
    }

    /// Answers a challenge until the returned value is dropped.
    pub(crate) fn answer(self: &Arc<Self>, token: &str, answer: String) -> Answering {
        let mut challenges = self.challenges.write().unwrap_or_else(PoisonError::into_inner);
        challenges.insert(token.to_owned(), answer);
        Answering {
            served: Arc::clone(self),
            token: token.to_owned(),
        }
    }

    /// Returns the answer to a challenge.
    pub(crate) fn answer_to(&self, token: &str) -> Option<String> {
        let challenges = self.challenges.read().unwrap_or_else(PoisonError::into_inner);
        challenges.get(token).cloned()
    }

    /// Returns how a listener speaks TLS.
    ///
    /// # Errors
    /// The random numbers of the machine fail.
    pub(crate) fn tls(self: &Arc<Self>, gateway: &str) -> Result<Arc<ServerConfig>, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ByName {
                served: Arc::clone(self),
                gateway: gateway.to_owned(),
            }));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::ring::Ticketer::new()?;
        Ok(Arc::new(config))
    }
}

/// A challenge that is answered.
#[derive(Debug)]
pub(crate) struct Answering {
    served: Arc<Served>,
    token: String,
}

impl Drop for Answering {
    fn drop(&mut self) {
        let mut challenges = self
            .served
            .challenges
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        challenges.remove(&self.token);
    }
}

/// Chooses a certificate by the name that the client asks for; a client that asks for another, or for none, gets none.
#[derive(Debug)]
struct ByName {
    served: Arc<Served>,
    gateway: String,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name()?.to_ascii_lowercase();
        if !self.served.has_host(&self.gateway, &name) {
            return None;
        }
        let certificates = self
            .served
            .certificates
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        certificates.get(&name).map(|(_, key)| Arc::clone(key))
    }
}
