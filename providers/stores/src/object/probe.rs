//! Whether the service does what the store is built on: conditional writes that are refused when they must be.
//!
//! A service that ignores the conditions accepts two writers and loses what one of them wrote, without any error.

use bytes::Bytes;
use futures_util::future::join_all;
use gabion_engine::state::StoreError;
use object_store::{PutMode, UpdateVersion};

use super::core::Core;
use super::names::Kind;
use super::place::Reason;

/// How many writers race for one object.
const RACERS: usize = 8;

/// Checks the service below the prefix with an object that is removed again.
pub(super) async fn check(core: &Core) -> Result<(), StoreError> {
    let name = core.name(Kind::Probe, 0, 0, 0);
    let checked = steps(core, &name).await;
    let removed = core.place.delete(&[name]).await;
    checked?;
    removed
}

async fn steps(core: &Core, name: &str) -> Result<(), StoreError> {
    const WHAT: &str = "checking the service's conditional writes";
    let place = &core.place;
    let unfit = |does: &str| {
        place.failed(
            WHAT,
            Reason::Unfit(format!(
                "the service {does}; a state kept there would be lost when two runs write at once. Use a service with \
                 conditional writes"
            )),
        )
    };
    let content = |text: &str| Bytes::from(format!("gabion checks this service: {text}\n"));

    place.put_new(name, content("first")).await?;
    let again = place.put_raw(name, &content("again"), PutMode::Create).await;
    match again {
        Err(reason) if reason.is_conflict() => {}
        Err(reason) => return Err(place.failed(WHAT, reason)),
        Ok(_) => {
            return Err(unfit(
                "ignores `If-None-Match: *`: it overwrote an object that was there",
            ));
        }
    }
    let Some(found) = place.get(name).await? else {
        return Err(unfit("does not return an object that was just written"));
    };
    let Some(tag) = found.version.e_tag else {
        return Err(place.failed(WHAT, Reason::NoTag));
    };
    let wrong = UpdateVersion {
        e_tag: Some("\"00000000000000000000000000000000\"".to_owned()),
        version: None,
    };
    match place
        .put_raw(name, &content("wrong"), PutMode::Update(wrong))
        .await
    {
        Err(reason) if reason.is_conflict() => {}
        Err(reason) => return Err(place.failed(WHAT, reason)),
        Ok(_) => {
            return Err(unfit(
                "ignores `If-Match`: it replaced another version than was asked for",
            ));
        }
    }
    let racers = (0..RACERS).map(|number| {
        let expected = UpdateVersion {
            e_tag: Some(tag.clone()),
            version: found.version.version.clone(),
        };
        let content = content(&format!("racer {number}"));
        async move { place.put_raw(name, &content, PutMode::Update(expected)).await }
    });
    let results = join_all(racers).await;
    let won = results.iter().filter(|result| result.is_ok()).count();
    let unclear = results
        .into_iter()
        .find_map(|result| result.err().filter(|reason| !reason.is_conflict()));
    match (won, unclear) {
        (1, _) => Ok(()),
        (0, Some(reason)) => Err(place.failed(WHAT, reason)),
        (0, None) => Err(unfit("refuses `If-Match` with the version that is there")),
        _ => Err(unfit("lets several writers replace the same version")),
    }
}
