//! A state that is loaded while the documents of its project are read: each takes about as long as the other.

use std::path::Path;
use std::sync::Arc;

use gabion_engine::config::{Plugin, Settings};
use gabion_engine::state::StateStore;

use crate::options::Options;
use crate::wiring::{self, StorePlace};

/// A store that was opened before the documents were read.
pub(crate) struct EarlyStore {
    project: String,
    state: Option<Plugin>,
    store: Arc<dyn StateStore>,
}

impl EarlyStore {
    /// Opens the store that a project's settings name, and begins to load the state, if it is a plain one on this machine:
    /// such a store keeps what it has read, others would only read it twice. What goes wrong is told by whoever loads
    /// it next.
    pub(crate) fn open(directory: &Path, settings: &Settings, options: &Options) -> Option<Self> {
        if directory.as_os_str().is_empty() {
            return None;
        }
        // The program that gives a key may ask a person: it runs once.
        let state = settings.state.as_ref();
        if wiring::is_remote(state) || wiring::is_encrypted(state) {
            return None;
        }
        let runtime = tokio::runtime::Handle::try_current().ok()?;
        let place = StorePlace {
            directory,
            settings: directory,
            project: &settings.project.value,
            stack: options.stack.as_deref(),
            environment: &options.environment,
        };
        let store = wiring::open_store(state, place).ok()?;
        let loading = store.clone();
        runtime.spawn(async move {
            let _ = loading.load().await;
        });
        Some(Self {
            project: settings.project.value.clone(),
            state: settings.state.clone(),
            store,
        })
    }

    /// Returns the store, if it is the one of this project and state.
    pub(crate) fn store(&self, settings: &Settings, state: Option<&Plugin>) -> Option<Arc<dyn StateStore>> {
        let is_same = self.project == settings.project.value && self.state.as_ref() == state;
        is_same.then(|| self.store.clone())
    }
}
