//! Waiting: many calls that wait for objects to change share one batched look at all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_ec2::types::{Instance, Volume};
use gabion_engine::provider::{Call, ProviderError};

use crate::error::{cancelled, out_of_time};

/// The looks of one place, by what is looked at.
#[derive(Debug)]
pub(crate) struct Looks {
    /// How long to wait between two looks.
    pub(crate) poll: Duration,
    pub(crate) instances: Look<Instance>,
    pub(crate) volumes: Look<Volume>,
}

impl Looks {
    pub(crate) fn new(poll: Duration) -> Self {
        Self {
            poll,
            instances: Look::default(),
            volumes: Look::default(),
        }
    }
}

/// A look at the objects of one kind that somebody wants to see.
#[derive(Debug)]
pub(crate) struct Look<T> {
    /// Held by whoever looks for all.
    turn: tokio::sync::Mutex<()>,
    shared: Mutex<Shared<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    wanted: BTreeSet<String>,
    /// What a look made for somebody else found for those who wait for their turn.
    seen: BTreeMap<String, Option<T>>,
}

impl<T> Default for Look<T> {
    fn default() -> Self {
        Self {
            turn: tokio::sync::Mutex::default(),
            shared: Mutex::new(Shared {
                wanted: BTreeSet::new(),
                seen: BTreeMap::new(),
            }),
        }
    }
}

impl<T: Clone> Look<T> {
    fn shared(&self) -> MutexGuard<'_, Shared<T>> {
        // Every change is a plain assignment.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at an object, after a pause in which others may join. `describe` gets all that are wanted by then.
    pub(crate) async fn at<F, R>(
        &self,
        id: &str,
        pause: Duration,
        describe: F,
    ) -> Result<Option<T>, ProviderError>
    where
        F: FnOnce(Vec<String>) -> R,
        R: Future<Output = Result<BTreeMap<String, T>, ProviderError>>,
    {
        {
            let mut shared = self.shared();
            shared.seen.remove(id);
            shared.wanted.insert(id.to_owned());
        }
        let _turn = self.turn.lock().await;
        if let Some(seen) = self.shared().seen.remove(id) {
            return Ok(seen);
        }
        tokio::time::sleep(pause).await;
        let wanted: Vec<String> = std::mem::take(&mut self.shared().wanted).into_iter().collect();
        let mut found = describe(wanted.clone()).await?;
        let own = found.get(id).cloned();
        let mut shared = self.shared();
        for other in wanted {
            if other != id {
                let seen = found.remove(&other);
                shared.seen.insert(other, seen);
            }
        }
        Ok(own)
    }
}

/// Waits for something within a call: looks until it says so, the call's time is over, or a person cancels.
pub(crate) async fn until<T, F, R>(call: &Call, what: &str, mut look: F) -> Result<T, ProviderError>
where
    F: FnMut() -> R,
    R: Future<Output = Result<Option<T>, ProviderError>>,
{
    let _waiting = call.waiting();
    loop {
        let seen = tokio::select! {
            biased;
            () = call.cancel.cancelled() => return Err(cancelled(what)),
            () = tokio::time::sleep_until(call.deadline) => {
                return Err(out_of_time(&format!("It was not seen that {what}")));
            }
            seen = look() => seen,
        };
        match seen {
            Ok(Some(done)) => return Ok(done),
            Ok(None) => {}
            // A look that failed in passing is made again.
            Err(error) if gabion_engine::retry::RetryPolicy::may_pass(&error) => {
                tokio::time::sleep(Duration::from_millis(500)).await;
            }
            Err(error) => return Err(error.with_effect(gabion_engine::provider::Effect::Partial)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_one_look() {
        let look: Arc<Look<u32>> = Arc::default();
        let calls = Arc::new(AtomicUsize::new(0));
        let mut waiters = tokio::task::JoinSet::new();
        for number in 0..100_u32 {
            let (look, calls) = (look.clone(), calls.clone());
            waiters.spawn(async move {
                let seen = look
                    .at(
                        &format!("i-{number}"),
                        Duration::from_secs(2),
                        |wanted| async move {
                            calls.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                            Ok(wanted
                                .into_iter()
                                .map(|id| (id.clone(), id[2..].parse().unwrap()))
                                .collect())
                        },
                    )
                    .await;
                assert_eq!(seen.unwrap(), Some(number));
            });
        }
        while let Some(ended) = waiters.join_next().await {
            ended.unwrap();
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    }
}
