//! Encryption of what a store keeps: each piece of content in an envelope of its own (XChaCha20-Poly1305).
//!
//! What a store needs to find and order its content (sequence numbers, hashes, the lease) stays readable; events,
//! records and snapshots do not. An envelope names the key that sealed it, so that keys can be changed one piece at a
//! time, and it is bound to its place: content moved to another place does not open.

use std::fmt;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, Generate, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// What every envelope begins with. No plain content does: that is JSON.
const MAGIC: &[u8; 4] = b"gbe1";
/// How many bytes of an envelope name its key.
const KEY_ID_LENGTH: usize = 4;
/// How many bytes the nonce has; random ones of this length never meet in practice.
const NONCE_LENGTH: usize = 24;

/// A key that a store's content is encrypted with: 32 bytes, never printed and wiped when dropped.
pub struct StoreKey {
    bytes: Zeroizing<[u8; 32]>,
    id: [u8; KEY_ID_LENGTH],
}

impl StoreKey {
    /// Makes a key of its bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        let bytes = Zeroizing::new(bytes);
        let mut hash = Sha256::new();
        hash.update(b"gabion store key 1\n");
        hash.update(bytes.as_slice());
        let mut id = [0; KEY_ID_LENGTH];
        id.copy_from_slice(&hash.finalize()[..KEY_ID_LENGTH]);
        Self { bytes, id }
    }

    /// Reads a key as people write it: 64 hexadecimal digits, white space around them ignored.
    ///
    /// # Errors
    /// [`EnvelopeError::MalformedKey`], which does not repeat the text.
    pub fn parse(text: &str) -> Result<Self, EnvelopeError> {
        let mut bytes = Zeroizing::new([0; 32]);
        hex::decode_to_slice(text.trim(), bytes.as_mut_slice()).map_err(|_| EnvelopeError::MalformedKey)?;
        Ok(Self::new(*bytes))
    }

    /// Returns the key's id: 8 hexadecimal digits of a hash of it.
    pub fn id(&self) -> String {
        hex::encode(self.id)
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.bytes))
    }
}

impl fmt::Debug for StoreKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoreKey({})", self.id())
    }
}

/// Puts content into envelopes and takes it out. Copies share their keys.
///
/// Without a key content is written as it is, and an envelope cannot be opened. With keys, content that was written
/// before there were any can still be read: encrypting an existing store is writing it again.
#[derive(Debug, Clone, Default)]
pub struct Envelope {
    /// The one that seals comes first; the others only open.
    keys: Arc<[StoreKey]>,
}

impl Envelope {
    /// Writes content as it is.
    pub fn plain() -> Self {
        Self::default()
    }

    /// Seals with a key, and also opens what earlier keys sealed.
    pub fn new(key: StoreKey, earlier: impl IntoIterator<Item = StoreKey>) -> Self {
        Self {
            keys: std::iter::once(key).chain(earlier).collect(),
        }
    }

    /// Returns whether content is encrypted.
    pub fn is_sealing(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Returns the id of the key that seals.
    pub fn key_id(&self) -> Option<String> {
        self.keys.first().map(StoreKey::id)
    }

    /// Returns content as the store keeps it. `place` names where: the same must be given to open it.
    pub fn seal(&self, place: &str, content: &[u8]) -> Vec<u8> {
        let Some(key) = self.keys.first() else {
            return content.to_vec();
        };
        let nonce = XNonce::generate();
        let payload = Payload {
            msg: content,
            aad: place.as_bytes(),
        };
        let sealed = key
            .cipher()
            .encrypt(&nonce, payload)
            .expect("content is far shorter than the cipher's limit of 256 GiB");
        let mut envelope = Vec::with_capacity(MAGIC.len() + KEY_ID_LENGTH + NONCE_LENGTH + sealed.len());
        envelope.extend_from_slice(MAGIC);
        envelope.extend_from_slice(&key.id);
        envelope.extend_from_slice(&nonce);
        envelope.extend_from_slice(&sealed);
        envelope
    }

    /// Returns the content of what a store keeps.
    ///
    /// # Errors
    /// When its key is not there, or it is not what was sealed for this place.
    pub fn open(&self, place: &str, kept: &[u8]) -> Result<Vec<u8>, EnvelopeError> {
        let Some(rest) = kept.strip_prefix(MAGIC.as_slice()) else {
            return Ok(kept.to_vec());
        };
        let (id, rest) = rest
            .split_first_chunk::<KEY_ID_LENGTH>()
            .ok_or(EnvelopeError::Altered)?;
        let (nonce, sealed) = rest
            .split_first_chunk::<NONCE_LENGTH>()
            .ok_or(EnvelopeError::Altered)?;
        let mut tried = false;
        for key in self.keys.iter().filter(|key| key.id == *id) {
            tried = true;
            let payload = Payload {
                msg: sealed,
                aad: place.as_bytes(),
            };
            if let Ok(content) = key.cipher().decrypt(&XNonce::from(*nonce), payload) {
                return Ok(content);
            }
        }
        if tried {
            return Err(EnvelopeError::Altered);
        }
        Err(EnvelopeError::NoKey { id: hex::encode(id) })
    }

    /// Returns whether content is kept as this envelope would keep it now: under its sealing key, or plain without one.
    pub fn is_current(&self, kept: &[u8]) -> bool {
        match (self.keys.first(), kept.strip_prefix(MAGIC.as_slice())) {
            (None, sealed) => sealed.is_none(),
            (Some(key), sealed) => sealed.is_some_and(|rest| rest.starts_with(&key.id)),
        }
    }
}

/// Why content cannot be taken out of its envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// What was given as a key is none.
    #[error("it is not 64 hexadecimal digits")]
    MalformedKey,
    /// Another key sealed it.
    #[error("it is encrypted with the key {id}, which is not given")]
    NoKey {
        /// The key's id.
        id: String,
    },
    /// It is not what was sealed here.
    #[error("it was altered, or belongs to another place")]
    Altered,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_opens_in_its_place_with_its_key() {
        let envelope = Envelope::new(StoreKey::new([1; 32]), []);
        let kept = envelope.seal("event 7", b"{\"secret\":1}");
        assert!(!kept.windows(6).any(|window| window == b"secret"));
        assert_eq!(envelope.open("event 7", &kept).unwrap(), b"{\"secret\":1}");
        assert_eq!(envelope.open("event 8", &kept), Err(EnvelopeError::Altered));
        assert_ne!(kept, envelope.seal("event 7", b"{\"secret\":1}"));
        let id = StoreKey::new([1; 32]).id();
        for other in [Envelope::plain(), Envelope::new(StoreKey::new([2; 32]), [])] {
            assert_eq!(
                other.open("event 7", &kept),
                Err(EnvelopeError::NoKey { id: id.clone() })
            );
        }
    }

    #[test]
    fn every_altered_byte_is_seen() {
        let envelope = Envelope::new(StoreKey::new([1; 32]), []);
        let kept = envelope.seal("here", b"{}");
        for at in 0..kept.len() {
            let mut altered = kept.clone();
            altered[at] ^= 1;
            // Without its mark it is no envelope, and then it is no JSON either.
            assert!(
                at < MAGIC.len() || envelope.open("here", &altered).is_err(),
                "byte {at}"
            );
        }
        for length in MAGIC.len()..kept.len() {
            assert!(envelope.open("here", &kept[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn keys_change_piece_by_piece() {
        let old = Envelope::new(StoreKey::new([1; 32]), []);
        let new = Envelope::new(StoreKey::new([2; 32]), [StoreKey::new([1; 32])]);
        let (plain, kept) = (Envelope::plain().seal("a", b"{}"), old.seal("a", b"{}"));
        assert_eq!(new.open("a", &kept).unwrap(), b"{}");
        assert_eq!(new.open("a", &plain).unwrap(), b"{}");
        assert!(!new.is_current(&kept) && !new.is_current(&plain) && old.is_current(&kept));
        assert!(new.is_current(&new.seal("a", b"{}")) && Envelope::plain().is_current(&plain));
        assert_eq!(
            format!("{:?}", StoreKey::new([2; 32])),
            format!("StoreKey({})", new.key_id().unwrap())
        );
        assert_eq!(StoreKey::parse("zz").unwrap_err(), EnvelopeError::MalformedKey);
    }
}
