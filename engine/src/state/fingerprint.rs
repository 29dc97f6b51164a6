//! Fingerprints of secrets: what the log keeps instead of a value, to see whether it changed.
//!
//! A fingerprint is an HMAC under a key that is never in the store: whoever reads the store cannot try out guesses.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use crate::provider::{ObjectState, Observation};
use crate::state::event::EventBody;
use crate::state::private_file::{PrivateFileError, read_private_file};
use crate::value::{Attributes, Fingerprint, Value};

/// How many bytes a key file may have: a key has 64 digits.
const LONGEST: u64 = 1024;

/// The key of fingerprints: 32 bytes, never printed and wiped when dropped.
pub struct FingerprintKey {
    bytes: Zeroizing<[u8; 32]>,
    id: Arc<str>,
}

impl FingerprintKey {
    /// Makes a key of its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let id = hex::encode(&Sha256::digest(*bytes)[..4]).into();
        Self { bytes, id }
    }

    /// Reads a key as people write it: 64 hexadecimal digits, white space around them ignored.
    ///
    /// # Errors
    /// [`KeyError::Malformed`], which does not repeat the text.
    pub fn parse(text: &str, source: &str) -> Result<Self, KeyError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| KeyError::Malformed {
            source_name: source.to_owned(),
        })?;
        Ok(Self::new(*bytes))
    }

    /// Returns the key's id: the first 8 hexadecimal digits of its SHA-256.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Returns the fingerprint of a secret's value.
    pub fn fingerprint(&self, value: &Value) -> Fingerprint {
        let canonical = Zeroizing::new(
            serde_json::to_vec(&exposed_json(value))
                .expect("plain JSON has only text keys and finite numbers"),
        );
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.bytes.as_slice()).expect("HMAC takes a key of any length");
        mac.update(b"gabion secret 1\n");
        mac.update(&canonical);
        Fingerprint {
            key: self.id.clone(),
            mac: hex::encode(mac.finalize().into_bytes()).into(),
        }
    }
}

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FingerprintKey({})", self.id)
    }
}

/// The value in plain JSON with every secret's value in place; of a sealed secret, null. Object keys come out sorted.
fn exposed_json(value: &Value) -> serde_json::Value {
    match value {
        Value::Secret(secret) => secret.expose().map_or(serde_json::Value::Null, exposed_json),
        Value::List(items) => items.iter().map(exposed_json).collect(),
        Value::Map(entries) => serde_json::Value::Object(
            entries
                .iter()
                .map(|(name, value)| (name.to_string(), exposed_json(value)))
                .collect(),
        ),
        leaf => leaf.to_redacted_json(),
    }
}

/// Returns a value as it may be written: secrets without their values, each that had one with its fingerprint.
///
/// Without a key a secret keeps the fingerprint that it had, if it had one.
pub fn seal(value: &Value, key: Option<&FingerprintKey>) -> Value {
    value.map_leaves(&mut |leaf| match leaf {
        Value::Secret(secret) => {
            let sealed = secret.seal();
            match (secret.expose(), key) {
                (Some(exposed), Some(key)) => {
                    Value::Secret(sealed.with_fingerprint(Some(key.fingerprint(exposed))))
                }
                _ => Value::Secret(sealed),
            }
        }
        other => other.clone(),
    })
}

/// Returns attributes as they may be written; see [`seal`].
pub fn seal_attributes(attributes: &Attributes, key: Option<&FingerprintKey>) -> Attributes {
    if !attributes.values().any(Value::has_secret) {
        return attributes.clone();
    }
    attributes
        .iter()
        .map(|(name, value)| (name.clone(), seal(value, key)))
        .collect()
}

/// Returns what a provider says about an object as it may be written; see [`seal`].
pub fn seal_object(state: &ObjectState, key: Option<&FingerprintKey>) -> ObjectState {
    ObjectState {
        attributes: seal_attributes(&state.attributes, key),
        ..state.clone()
    }
}

/// Returns an event's body as it may be written; see [`seal`].
pub fn seal_event(body: EventBody, key: Option<&FingerprintKey>) -> EventBody {
    match body {
        EventBody::Intent(mut intent) => {
            intent.inputs = seal_attributes(&intent.inputs, key);
            EventBody::Intent(intent)
        }
        EventBody::Succeeded {
            operation,
            state,
            declaration,
        } => EventBody::Succeeded {
            operation,
            state: state.map(|state| seal_object(&state, key)),
            declaration,
        },
        EventBody::Settled {
            operation,
            observation: Observation::Present(state),
        } => EventBody::Settled {
            operation,
            observation: Observation::Present(seal_object(&state, key)),
        },
        EventBody::TurnedUp {
            operation,
            record,
            state,
        } => EventBody::TurnedUp {
            operation,
            record,
            state: seal_object(&state, key),
        },
        EventBody::Imported { mut record } => {
            record.inputs = seal_attributes(&record.inputs, key);
            record.attributes = seal_attributes(&record.attributes, key);
            EventBody::Imported { record }
        }
        EventBody::Rebuilt { mut records, doubted } => {
            for record in &mut records {
                record.inputs = seal_attributes(&record.inputs, key);
                record.attributes = seal_attributes(&record.attributes, key);
            }
            EventBody::Rebuilt { records, doubted }
        }
        EventBody::Upgraded { uid, mut upgrade } => {
            upgrade.inputs = seal_attributes(&upgrade.inputs, key);
            upgrade.attributes = seal_attributes(&upgrade.attributes, key);
            EventBody::Upgraded { uid, upgrade }
        }
        EventBody::Accepted { uid, attributes } => EventBody::Accepted {
            uid,
            attributes: seal_attributes(&attributes, key),
        },
        EventBody::OutputsSet { outputs } => EventBody::OutputsSet {
            outputs: outputs
                .iter()
                .map(|(name, value)| (name.clone(), seal(value, key)))
                .collect(),
        },
        other => other,
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// What was read is no key.
    #[error("the fingerprint key from {source_name} is not 64 hexadecimal digits")]
    Malformed {
        /// Where it was read from.
        source_name: String,
    },
    /// The file is not read.
    #[error("the fingerprint key {0}")]
    File(#[from] PrivateFileError),
    /// The file cannot be made.
    #[error("making the fingerprint key {} failed: {source}", path.display())]
    Making {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

impl KeyError {
    /// Returns what to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Malformed { .. } | Self::Making { .. } => None,
        }
    }
}

/// Reads the key file; `None` when there is none.
///
/// # Errors
/// When it cannot be read, is no key, belongs to somebody else, or may be read by others.
pub fn read_key_file(path: &Path) -> Result<Option<FingerprintKey>, KeyError> {
    let Some(text) = read_private_file(path, LONGEST)? else {
        return Ok(None);
    };
    FingerprintKey::parse(&text, &path.display().to_string()).map(Some)
}

/// Reads the key file, and makes it with a new random key if there is none. Of two callers at once both get one key.
///
/// # Errors
/// As [`read_key_file`], and when it cannot be made.
pub fn read_or_create_key_file(path: &Path) -> Result<FingerprintKey, KeyError> {
    if let Some(key) = read_key_file(path)? {
        return Ok(key);
    }
    let making = |source| KeyError::Making {
        path: path.to_owned(),
        source,
    };
    create_key_file(path).map_err(making)?;
    read_key_file(path)?.ok_or_else(|| making(ErrorKind::NotFound.into()))
}

/// Writes a new key beside `path` and links it there, which fails if somebody else was first: theirs stays.
fn create_key_file(path: &Path) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut bytes = Zeroizing::new([0u8; 32]);
    File::open("/dev/urandom")?.read_exact(bytes.as_mut_slice())?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", uuid::Uuid::now_v7()));
    let unfinished = directory.join(name);
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        let text = Zeroizing::new(hex::encode(*bytes));
        file.write_all(text.as_bytes())?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        match std::fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let removed = std::fs::remove_file(&unfinished);
    written?;
    removed?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::value::{Comparison, Secret, TemplateText};

    fn secret(text: &str) -> Value {
        Value::Secret(Secret::new(Some(TemplateText::new("${{ env.T }}")), text.into()))
    }

    #[test]
    fn sealed_secrets_compare_by_fingerprint() {
        let key = FingerprintKey::new([7; 32]);
        let a = seal(&Value::List(vec![secret("one"), secret("two")]), Some(&key));
        let b = seal(&Value::List(vec![secret("one"), secret("two")]), Some(&key));
        let c = seal(&Value::List(vec![secret("one"), secret("three")]), Some(&key));
        assert_eq!(a.compare(&b), Comparison::Equal);
        assert_eq!(a.compare(&c), Comparison::Different);
        let other = seal(
            &Value::List(vec![secret("one"), secret("two")]),
            Some(&FingerprintKey::new([8; 32])),
        );
        assert_eq!(a.compare(&other), Comparison::CannotTell);
        assert_eq!(
            seal(&secret("one"), None).compare(&seal(&secret("one"), None)),
            Comparison::CannotTell
        );
    }

    #[test]
    fn nothing_of_a_key_or_a_secret_is_printed() {
        let key = FingerprintKey::new(*b"abcdefghijklmnopqrstuvwxyz012345");
        assert_eq!(format!("{key:?}"), format!("FingerprintKey({})", key.id()));
        assert_eq!(key.id().len(), 8);
        let sealed = seal(&secret("hunter2"), Some(&key));
        assert!(!serde_json::to_string(&sealed).unwrap().contains("hunter2"));
        assert!(
            FingerprintKey::parse("hunter2", "GABION_KEY")
                .unwrap_err()
                .to_string()
                .contains("GABION_KEY")
        );
    }

    #[test]
    fn key_file_is_made_once_and_for_its_user_only() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deeper/fingerprint.key");
        assert!(read_key_file(&path).unwrap().is_none());
        let keys: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| read_or_create_key_file(&path).unwrap().id().clone()))
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|id| *id == keys[0]));
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);

        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o640)).unwrap();
        let error = read_key_file(&path).unwrap_err();
        assert!(matches!(
            error,
            KeyError::File(PrivateFileError::Exposed { mode: 0o640, .. })
        ));
        assert_eq!(error.hint().unwrap(), format!("chmod 600 {}", path.display()));
    }
}
