//! A store as the command line names it.

use std::time::Duration;

use gabion_engine::config::Settings;
use gabion_engine::diagnostic::Diagnostics;
use serde_yaml::{Mapping, Value};

use super::Encryption;

/// What the settings say about the state that holds for any store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept {
    /// How its content is encrypted.
    pub(crate) encryption: Option<Encryption>,
    /// How long a lease lasts.
    pub(crate) lease: Option<Duration>,
}

impl Kept {
    /// Returns what a project's settings say.
    pub(crate) fn of(settings: &Settings) -> Self {
        Self {
            // What is wrong with it is reported when the store is opened.
            encryption: settings
                .state
                .as_ref()
                .and_then(|state| Encryption::of(state, &mut Diagnostics::new())),
            lease: settings.lease.as_ref().map(|lease| lease.value),
        }
    }
}

/// A store's URL, and what `state` in `gabion.yml` says for it.
#[derive(Debug, Clone)]
pub(crate) struct StoreUrl {
    /// The URL as it was given; it holds no credentials.
    pub(crate) text: String,
    entries: Mapping,
}

impl StoreUrl {
    /// Starts with a store's type.
    pub(crate) fn new(text: &str, store_type: &'static str) -> Self {
        let mut entries = Mapping::new();
        entries.insert("type".into(), store_type.into());
        Self {
            text: text.to_owned(),
            entries,
        }
    }

    /// Adds what is set for it.
    pub(crate) fn with(mut self, key: &str, value: impl Into<String>) -> Self {
        self.entries.insert(key.into(), Value::String(value.into()));
        self
    }

    /// Adds what is switched on or off.
    pub(crate) fn with_bool(mut self, key: &str, value: bool) -> Self {
        self.entries.insert(key.into(), Value::Bool(value));
        self
    }

    /// Returns the key `state` of `gabion.yml` as YAML, with what stays whatever the store is.
    pub(crate) fn to_yaml(&self, kept: &Kept) -> String {
        let mut entries = self.entries.clone();
        if let Some(lease) = kept.lease {
            entries.insert("lease".into(), format!("{}s", lease.as_secs()).into());
        }
        if let Some(encryption) = &kept.encryption {
            entries.insert("encryption".into(), encryption.to_yaml());
        }
        let mut document = Mapping::new();
        document.insert("state".into(), Value::Mapping(entries));
        serde_yaml::to_string(&document).expect("a map of texts can be written")
    }
}
