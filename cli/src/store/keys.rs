//! Getting the keys that a store's content is encrypted with. They are never printed.

use std::path::Path;

use gabion_engine::config::{SecretSource, Spanned};
use gabion_engine::diagnostic::Diagnostic;
use gabion_engine::state::envelope::{Envelope, StoreKey};

use super::encryption::Encryption;
use crate::failure::Failure;
use crate::options::Environment;
use crate::secrets::{SecretTexts, named};

/// How to make a key, for hints.
const MAKE_ONE: &str = "openssl rand -hex 32";

/// Returns what puts a store's content into envelopes, with the keys of the settings; without settings it stays plain.
///
/// # Errors
/// When a key cannot be had or is none, with the place in the settings.
pub(crate) fn envelope(
    encryption: Option<&Encryption>,
    directory: &Path,
    environment: &Environment,
) -> Result<Envelope, Failure> {
    let Some(encryption) = encryption else {
        return Ok(Envelope::plain());
    };
    let texts = SecretTexts::new(directory, environment);
    let key = |source: &Spanned<SecretSource>| -> Result<StoreKey, Failure> {
        let trouble = |detail: String, hint: String| {
            Failure::from(
                Diagnostic::error("no-key", "the state's encryption key cannot be used")
                    .detail(detail)
                    .at(source.span.clone())
                    .hint(hint),
            )
        };
        let text = texts.text(&source.value).map_err(|missing| {
            trouble(
                missing.why,
                match missing.absent {
                    true => format!(
                        "{}\na new state's key is made with:\n    {MAKE_ONE}",
                        missing.hint
                    ),
                    false => missing.hint,
                },
            )
        })?;
        StoreKey::parse(&text).map_err(|_| {
            trouble(
                format!(
                    "{} holds no key: a key has 64 hexadecimal digits.",
                    named(&source.value)
                ),
                format!("make one with:\n    {MAKE_ONE}"),
            )
        })
    };
    let previous = encryption
        .previous
        .iter()
        .map(key)
        .collect::<Result<Vec<_>, _>>()?;
    Ok(Envelope::new(key(&encryption.key)?, previous))
}
