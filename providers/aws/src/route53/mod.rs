//! What Route 53 has: one resource type a file.

pub(crate) mod record;
pub(crate) mod record_set;
pub(crate) mod zone;

use std::time::Duration;

use aws_sdk_route53::types::ChangeStatus;
use gabion_engine::provider::{Call, ProviderError};

use crate::clients::Clients;
use crate::error::Api;
use crate::wait;

/// For how long after a change Route 53's own listings may not show it. They are read from one place; DNS answers lag
/// behind, and are waited for with `GetChange`.
pub(crate) const CONSISTENCY: Duration = Duration::from_secs(10);

/// Waits until every name server answers with a change.
pub(crate) async fn in_sync(clients: &Clients, change: &str, call: &Call) -> Result<(), ProviderError> {
    let id = change.trim_start_matches("/change/").to_owned();
    let mut first = true;
    wait::until(call, "the change is at all name servers", || {
        let pause = if std::mem::take(&mut first) {
            Duration::ZERO
        } else {
            clients.looks.poll
        };
        let id = id.clone();
        async move {
            tokio::time::sleep(pause).await;
            let request = clients.route53.get_change().id(id).send();
            let answer = clients.call(Api::route53("GetChange"), request).await?;
            let done = answer
                .change_info()
                .is_some_and(|info| *info.status() == ChangeStatus::Insync);
            Ok(done.then_some(()))
        }
    })
    .await
}

/// Returns a zone's id without what Route 53 puts before it.
pub(crate) fn zone_id(id: &str) -> &str {
    id.trim_start_matches("/hostedzone/")
}

/// Returns whether a text can be the id of a zone at all.
pub(crate) fn is_zone_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 32 && id.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit())
}
