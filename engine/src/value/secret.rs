//! Values that are never shown, and what tells whether they changed.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::value::{TemplateText, Value};

/// A value that is never written nor printed.
///
/// Secrets are few beside plain values, and larger: what one holds stands apart, so that a value stays small.
#[derive(Clone, Default)]
pub struct Secret(Arc<Parts>);

/// What a secret holds; read through the secret.
#[derive(Clone, Default)]
pub struct Parts {
    /// Where the value comes from, evaluated again at apply; `None` when a provider returned it.
    pub template: Option<TemplateText>,
    /// The keyed digest that tells whether it changed; `None` without a key.
    pub fingerprint: Option<Fingerprint>,
    /// The value itself, in memory only.
    exposed: Option<Value>,
}

impl Deref for Secret {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

impl Secret {
    /// Makes a secret that holds its value.
    pub fn new(template: Option<TemplateText>, value: Value) -> Self {
        Self(Arc::new(Parts {
            template,
            fingerprint: None,
            exposed: Some(value),
        }))
    }

    /// Makes a secret as a plan or state has it: without the value.
    pub fn sealed(template: Option<TemplateText>, fingerprint: Option<Fingerprint>) -> Self {
        Self(Arc::new(Parts {
            template,
            fingerprint,
            exposed: None,
        }))
    }

    /// Returns the value, if this process has it.
    ///
    /// Only a provider that hands it to its object may call this.
    pub fn expose(&self) -> Option<&Value> {
        self.exposed.as_ref()
    }

    /// Returns the same secret with another fingerprint.
    pub fn with_fingerprint(mut self, fingerprint: Option<Fingerprint>) -> Self {
        Arc::make_mut(&mut self.0).fingerprint = fingerprint;
        self
    }

    /// Returns the secret without its value, as it may be written.
    pub fn seal(&self) -> Self {
        Self::sealed(self.template.clone(), self.fingerprint.clone())
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.template == other.template && self.fingerprint == other.fingerprint
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.template {
            Some(template) => write!(f, "Secret({template})"),
            None => f.write_str("Secret"),
        }
    }
}

/// A keyed digest (HMAC-SHA-256) of a secret, with the id of the key that made it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Fingerprint {
    /// The id of the key.
    pub key: Arc<str>,
    /// The digest, in hexadecimal.
    pub mac: Arc<str>,
}
