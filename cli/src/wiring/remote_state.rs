//! State that others can reach: in S3 and in PostgreSQL.
//!
//! A build without the feature `remote-state` has neither, and says so where one is asked for.

use std::sync::Arc;

use gabion_engine::config::Plugin;
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::state::StateStore;

use super::stores::StorePlace;
use crate::failure::Failure;

#[cfg(feature = "remote-state")]
pub(super) use with_stores::RemoteStore;
#[cfg(not(feature = "remote-state"))]
pub(super) use without_stores::RemoteStore;

#[cfg(feature = "remote-state")]
mod with_stores {
    use gabion_engine::config::FromNode;
    use gabion_engine::state::envelope::Envelope;
    use gabion_stores::object::{self, ObjectSettings};
    use gabion_stores::postgres::{OpenOptions, PostgresSettings, PostgresStore};

    use super::{Arc, Diagnostics, Failure, Plugin, StateStore, StorePlace};
    use crate::state_failure::store_failure;

    /// A store and what is set for it.
    pub(in crate::wiring) enum RemoteStore {
        S3(ObjectSettings),
        Postgres(PostgresSettings),
    }

    impl RemoteStore {
        /// Reads what the settings say about a store; its type is one of these.
        pub(in crate::wiring) fn decode(plugin: &Plugin, problems: &mut Diagnostics) -> Option<Self> {
            match plugin.plugin_type.value.as_str() {
                "s3" => ObjectSettings::from_node(&plugin.node, problems).map(Self::S3),
                _ => PostgresSettings::from_node(&plugin.node, problems).map(Self::Postgres),
            }
        }

        /// Opens it. Nothing is read or made yet.
        pub(in crate::wiring) fn open(
            self,
            place: StorePlace<'_>,
            envelope: Envelope,
        ) -> Result<Arc<dyn StateStore>, Failure> {
            let variables = |name: &str| place.environment.get(name).map(str::to_owned);
            let opened = match self {
                Self::S3(settings) => {
                    object::open(&settings, &variables, place.project, place.stack, envelope)
                }
                Self::Postgres(settings) => {
                    let options = OpenOptions {
                        environment: &variables,
                        directory: place.settings,
                        project: place.project,
                        stack: place.stack.unwrap_or_default(),
                        envelope,
                    };
                    PostgresStore::open(&settings, options)
                        .map(|store| Arc::new(store) as Arc<dyn StateStore>)
                }
            };
            opened.map_err(|error| store_failure(&error))
        }
    }
}

#[cfg(not(feature = "remote-state"))]
mod without_stores {
    use gabion_engine::diagnostic::Diagnostic;
    use gabion_engine::state::envelope::Envelope;

    use super::{Arc, Diagnostics, Failure, Plugin, StateStore, StorePlace};
    use crate::failure::DEFAULT_FEATURES;

    /// Stands where the stores are in other builds.
    pub(in crate::wiring) enum RemoteStore {}

    impl RemoteStore {
        /// Reports that there is no such store.
        pub(in crate::wiring) fn decode(plugin: &Plugin, problems: &mut Diagnostics) -> Option<Self> {
            problems.push(
                Diagnostic::error("no-remote-state", "state store that this build does not have")
                    .detail(format!(
                        "This build of gabion keeps state in `sqlite` only; it has no `{}`.",
                        plugin.plugin_type.value
                    ))
                    .at(plugin.plugin_type.span.clone())
                    .hint(DEFAULT_FEATURES),
            );
            None
        }

        pub(in crate::wiring) fn open(
            self,
            _: StorePlace<'_>,
            _: Envelope,
        ) -> Result<Arc<dyn StateStore>, Failure> {
            match self {}
        }
    }
}
