//! The HTTPS client that talks to an authority.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

/// How long an authority may take for one answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client that trusts the machine's authorities, or only those that are given.
pub(crate) struct AuthorityClient(Client<HttpsConnector<HttpConnector>, BodyWrapper<Bytes>>);

impl AuthorityClient {
    /// Makes a client; blocks for as long as reading the machine's certificates takes.
    ///
    /// # Errors
    /// The certificates that are given, or those of the machine, cannot be read.
    pub(crate) fn new(root_certificate: Option<&str>) -> io::Result<Self> {
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let mut roots = RootCertStore::empty();
        match root_certificate {
            Some(pem) => {
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate =
                        certificate.map_err(|error| wrong(format!("`root_certificate`: {error}")))?;
                    roots
                        .add(certificate)
                        .map_err(|error| wrong(format!("`root_certificate`: {error}")))?;
                }
            }
            None => {
                let found = rustls_native_certs::load_native_certs();
                roots.add_parsable_certificates(found.certs);
            }
        }
        if roots.is_empty() {
            return Err(wrong(match root_certificate {
                Some(_) => "`root_certificate` holds no certificate in PEM".to_owned(),
                None => {
                    "this machine has no certificates of authorities; install `ca-certificates`".to_owned()
                }
            }));
        }
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self(Client::builder(TokioExecutor::new()).build(connector)))
    }
}

impl HttpClient for AuthorityClient {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let answer = self.0.request(request);
        Box::pin(async move {
            match tokio::time::timeout(PATIENCE, answer).await {
                Ok(Ok(response)) => Ok(BytesResponse::from(response)),
                Ok(Err(error)) => Err(Error::Other(Box::new(error))),
                Err(_) => Err(Error::Other(
                    format!("it did not answer within {} s", PATIENCE.as_secs()).into(),
                )),
            }
        })
    }
}
