//! What is kept on the disk: account keys, certificates with their keys, and the order that is under way.
//!
//! `certificates/<host>/certificate.pem` holds key and chain in one file, so that they change together; `pending-key.pem` is
//! the key of the next certificate, `order.json` the order for it. `accounts/<digest of the directory URL>/` holds the account
//! key. Everything is readable by the owner alone.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use gabion_host::durable::{create_private_directory, remove_directory, write_atomic};
use rustls::client::verify_server_name;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use x509_cert::der::Decode;

use super::types::CertificateFacts;

const MODE: u32 = 0o600;
const CERTIFICATE: &str = "certificate.pem";
const PENDING_KEY: &str = "pending-key.pem";
const ORDER: &str = "order.json";
const ACCOUNT_KEY: &str = "key.pem";
const ACCOUNT_CONTACT: &str = "contact";

/// The directory with certificates and accounts.
#[derive(Clone, Debug)]
pub(crate) struct Files {
    root: PathBuf,
}

/// A certificate as it is in its file.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) facts: CertificateFacts,
    pub(crate) key: Arc<CertifiedKey>,
}

/// An order that was made at an authority.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OrderNote {
    /// The authority's directory.
    pub(crate) directory: String,
    /// The order.
    pub(crate) url: String,
}

impl Files {
    /// Names the files in an agent's directory.
    pub(crate) fn new(agent: &Path) -> Self {
        Self {
            root: agent.to_owned(),
        }
    }

    fn host(&self, host: &str) -> PathBuf {
        self.root.join("certificates").join(host)
    }

    fn account(&self, directory: &str) -> PathBuf {
        let digest = hex::encode(Sha256::digest(directory.as_bytes()));
        self.root.join("accounts").join(&digest[..16])
    }

    /// Reads the certificate of a host name; `None` when there is none.
    ///
    /// # Errors
    /// What is there cannot be read, or is no key with its certificate.
    pub(crate) fn held(&self, host: &str) -> io::Result<Option<Held>> {
        match read(&self.host(host).join(CERTIFICATE))? {
            Some(pem) => Held::parse(&pem).map(Some),
            None => Ok(None),
        }
    }

    /// Replaces the certificate of a host name.
    pub(crate) fn put_held(&self, host: &str, pem: &str) -> io::Result<()> {
        self.write(&self.host(host), CERTIFICATE, pem.as_bytes())
    }

    /// Returns the key of the next certificate, if it was made.
    pub(crate) fn pending_key(&self, host: &str) -> io::Result<Option<String>> {
        text(read(&self.host(host).join(PENDING_KEY))?)
    }

    /// Keeps the key of the next certificate.
    pub(crate) fn put_pending_key(&self, host: &str, pem: &str) -> io::Result<()> {
        self.write(&self.host(host), PENDING_KEY, pem.as_bytes())
    }

    /// Returns the order that is under way. A note that cannot be understood is none.
    pub(crate) fn order(&self, host: &str) -> io::Result<Option<OrderNote>> {
        let note = read(&self.host(host).join(ORDER))?;
        Ok(note.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Notes the order that is under way.
    pub(crate) fn put_order(&self, host: &str, order: &OrderNote) -> io::Result<()> {
        let bytes = serde_json::to_vec(order).map_err(io::Error::other)?;
        self.write(&self.host(host), ORDER, &bytes)
    }

    /// Forgets the order that was under way, and then its key.
    pub(crate) fn end_order(&self, host: &str) -> io::Result<()> {
        for name in [ORDER, PENDING_KEY] {
            remove_file(&self.host(host).join(name))?;
        }
        Ok(())
    }

    /// Removes all that is kept of a host name, its keys included.
    pub(crate) fn remove(&self, host: &str) -> io::Result<()> {
        remove_directory(&self.host(host))
    }

    /// Removes what is kept of host names that are not wanted: an agent that was killed while it deleted has left it.
    pub(crate) fn sweep(&self, is_wanted: impl Fn(&str) -> bool) -> io::Result<()> {
        let entries = match std::fs::read_dir(self.root.join("certificates")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let name = entry?.file_name();
            if let Some(host) = name.to_str().filter(|host| !is_wanted(host)) {
                self.remove(host)?;
            }
        }
        Ok(())
    }

    /// Removes the keys of all accounts.
    pub(crate) fn remove_accounts(&self) -> io::Result<()> {
        remove_directory(&self.root.join("accounts"))
    }

    /// Returns the key of the account at an authority, if it was made.
    pub(crate) fn account_key(&self, directory: &str) -> io::Result<Option<String>> {
        text(read(&self.account(directory).join(ACCOUNT_KEY))?)
    }

    /// Keeps the key of the account at an authority.
    pub(crate) fn put_account_key(&self, directory: &str, pem: &str) -> io::Result<()> {
        self.write(&self.account(directory), ACCOUNT_KEY, pem.as_bytes())
    }

    /// Returns the account and the contact that an authority was told for it; empty for none.
    pub(crate) fn account_contact(&self, directory: &str) -> io::Result<String> {
        let contact = text(read(&self.account(directory).join(ACCOUNT_CONTACT))?)?;
        Ok(contact.unwrap_or_default())
    }

    /// Notes the contact that an authority was told, with the account.
    pub(crate) fn put_account_contact(&self, directory: &str, contact: &str) -> io::Result<()> {
        self.write(&self.account(directory), ACCOUNT_CONTACT, contact.as_bytes())
    }

    fn write(&self, directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        create_private_directory(directory)?;
        write_atomic(&directory.join(name), bytes, MODE)
    }
}

impl Held {
    /// Reads a private key and the chain of its certificate.
    ///
    /// # Errors
    /// The text is none of that, or the key is another certificate's.
    pub(crate) fn parse(pem: &[u8]) -> io::Result<Self> {
        let wrong = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(pem)
            .collect::<Result<_, _>>()
            .map_err(|error| wrong(format!("the certificate cannot be read: {error}")))?;
        let leaf = chain
            .first()
            .ok_or_else(|| wrong("there is no certificate in the file".to_owned()))?;
        let facts = facts(leaf).map_err(|error| wrong(format!("the certificate cannot be read: {error}")))?;
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|error| wrong(format!("the key cannot be read: {error}")))?;
        let key = CertifiedKey::from_der(chain, key, &rustls::crypto::ring::default_provider())
            .map_err(|error| wrong(format!("key and certificate do not go together: {error}")))?;
        Ok(Self {
            facts,
            key: Arc::new(key),
        })
    }

    /// Returns whether the certificate is for a host name.
    pub(crate) fn is_for(&self, host: &str) -> bool {
        let Some(leaf) = self.key.cert.first() else {
            return false;
        };
        let name = ServerName::try_from(host);
        let parsed = ParsedCertificate::try_from(leaf);
        matches!((name, parsed), (Ok(name), Ok(parsed)) if verify_server_name(&parsed, &name).is_ok())
    }
}

fn facts(leaf: &CertificateDer<'_>) -> x509_cert::der::Result<CertificateFacts> {
    let certificate = x509_cert::Certificate::from_der(leaf)?.tbs_certificate;
    Ok(CertificateFacts {
        issuer: certificate.issuer.to_string(),
        serial_number: hex::encode(certificate.serial_number.as_bytes()),
        not_before: certificate.validity.not_before.to_unix_duration().as_secs(),
        not_after: certificate.validity.not_after.to_unix_duration().as_secs(),
        fingerprint: hex::encode(Sha256::digest(leaf.as_ref())),
    })
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(at(path, &error)),
    }
}

fn remove_file(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at(path, &error)),
        _ => Ok(()),
    }
}

fn text(bytes: Option<Vec<u8>>) -> io::Result<Option<String>> {
    bytes
        .map(|bytes| {
            String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        })
        .transpose()
}

fn at(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
