//! Content with its own digest beside it, for the two objects whose content nothing else vouches for.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

const BEFORE: &[u8] = b"{\"content\":";
const BETWEEN: &[u8] = b",\"sha256\":\"";
const AFTER: &[u8] = b"\"}\n";

/// Returns the SHA-256 digest of content, in hexadecimal.
pub(crate) fn digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}

/// Returns content as JSON with its digest.
pub(crate) fn encode(content: &impl Serialize) -> Vec<u8> {
    let content = serde_json::to_vec(content).expect("what is written has only text keys and whole numbers");
    [BEFORE, &content, BETWEEN, digest(&content).as_bytes(), AFTER].concat()
}

/// Reads what [`encode`] wrote, with why it cannot be read as the error, without a full stop.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if bytes.is_empty() {
        return Err("it is empty".to_owned());
    }
    let content = bytes
        .strip_prefix(BEFORE)
        .and_then(|rest| rest.strip_suffix(AFTER))
        .and_then(|rest| Some(rest.split_at(rest.len().checked_sub(BETWEEN.len() + 64)?)))
        .and_then(|(content, tail)| Some((content, tail.strip_prefix(BETWEEN)?)));
    let Some((content, written)) = content else {
        return Err("it was cut off, or altered after it was written".to_owned());
    };
    if digest(content).as_bytes() != written {
        return Err("it was altered after it was written".to_owned());
    }
    serde_json::from_slice(content).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_altered_and_every_missing_byte_is_seen() {
        let bytes = encode(&serde_json::json!({"a": [1, 2], "b": "c"}));
        assert!(serde_json::from_slice::<serde_json::Value>(&bytes).is_ok());
        assert!(decode::<serde_json::Value>(&bytes).is_ok());
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut altered = bytes.clone();
                altered[at] ^= 1 << bit;
                assert!(decode::<serde_json::Value>(&altered).is_err(), "byte {at}");
            }
            assert!(decode::<serde_json::Value>(&bytes[..at]).is_err(), "{at} bytes");
        }
    }
}
