//! Trying again: the one place that decides whether, how often and how long to wait.
//!
//! Providers and the SDKs below them retry nothing. Randomness is given; time is tokio's, so that tests decide both.

use std::future::Future;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::provider::{Effect, ErrorClass, ProviderError};

/// Where the randomness of waiting times comes from.
pub trait Jitter: Send + Sync {
    /// Returns a number from 0 up to, and without, 1.
    fn fraction(&self) -> f64;
}

/// Real randomness, so that many clients do not come back at the same moment.
#[derive(Debug, Default, Clone, Copy)]
pub struct RandomJitter;

impl Jitter for RandomJitter {
    fn fraction(&self) -> f64 {
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        (random >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// No randomness, for tests: every wait is as long as it can be.
#[derive(Debug, Default, Clone, Copy)]
pub struct NoJitter;

impl Jitter for NoJitter {
    fn fraction(&self) -> f64 {
        1.0
    }
}

/// How often and how long to wait between tries.
#[derive(Clone)]
pub struct RetryPolicy {
    /// The longest first wait; each further one may be twice as long.
    pub first: Duration,
    /// The longest wait of all.
    pub most: Duration,
    /// How many tries there are in all.
    pub tries: u32,
    /// Where the randomness comes from.
    pub jitter: Arc<dyn Jitter>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            most: Duration::from_secs(30),
            tries: 10,
            jitter: Arc::new(RandomJitter),
        }
    }
}

impl std::fmt::Debug for RetryPolicy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RetryPolicy")
            .field("first", &self.first)
            .field("most", &self.most)
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}

impl RetryPolicy {
    /// Returns how long to wait after a try, the first of which has the number 1: between half and all of a time that
    /// doubles with each try.
    pub fn delay(&self, attempt: u32) -> Duration {
        let doubled = self
            .first
            .saturating_mul(1_u32 << attempt.saturating_sub(1).min(20));
        let longest = doubled.min(self.most);
        longest / 2 + (longest / 2).mul_f64(self.jitter.fraction())
    }

    /// Returns whether an error may pass: the call had no effect, and the same call may work later.
    pub fn may_pass(error: &ProviderError) -> bool {
        error.effect == Effect::None && matches!(error.class, ErrorClass::Throttled | ErrorClass::Transient)
    }

    /// Calls until it works, the error will not pass, the tries are used up, a wait would outlast the deadline, or
    /// `stop` is cancelled during a wait. The last error is returned. `on_retry` hears of each wait before it.
    ///
    /// # Errors
    /// The last try's error.
    pub async fn run<T, F, R>(
        &self,
        deadline: Instant,
        stop: &CancellationToken,
        mut call: impl FnMut() -> F,
        mut on_retry: R,
    ) -> Result<T, ProviderError>
    where
        F: Future<Output = Result<T, ProviderError>>,
        R: FnMut(&ProviderError, u32, Duration),
    {
        let mut attempt = 1;
        loop {
            let error = match call().await {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let delay = self.delay(attempt);
            if !Self::may_pass(&error)
                || attempt >= self.tries
                || Instant::now() + delay >= deadline
                || stop.is_cancelled()
            {
                return Err(error);
            }
            on_retry(&error, attempt, delay);
            tokio::select! {
                biased;
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return Err(error),
            }
            attempt += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> RetryPolicy {
        RetryPolicy {
            first: Duration::from_secs(1),
            most: Duration::from_secs(5),
            tries: 4,
            jitter: Arc::new(NoJitter),
        }
    }

    async fn tries_of(error: ProviderError, within: Duration) -> (u32, Duration) {
        let mut tries = 0;
        let began = Instant::now();
        let result: Result<(), _> = policy()
            .run(
                began + within,
                &CancellationToken::new(),
                || {
                    tries += 1;
                    let error = error.clone();
                    async { Err(error) }
                },
                |_, _, _| {},
            )
            .await;
        assert_eq!(result.unwrap_err(), error);
        (tries, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_may_pass_is_tried_again() {
        let hour = Duration::from_secs(3600);
        let error = |class| ProviderError::new(class, "no");
        assert_eq!(
            tries_of(error(ErrorClass::Throttled), hour).await,
            (4, Duration::from_secs(1 + 2 + 4))
        );
        assert_eq!(tries_of(error(ErrorClass::Transient), hour).await.0, 4);
        for class in [
            ErrorClass::Conflict,
            ErrorClass::NotFound,
            ErrorClass::Invalid,
            ErrorClass::Denied,
            ErrorClass::Uncertain,
        ] {
            assert_eq!(tries_of(error(class), hour).await.0, 1, "{class:?}");
        }
        let partial = error(ErrorClass::Transient).with_effect(Effect::Partial);
        assert_eq!(tries_of(partial, hour).await.0, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_never_outlasts_the_deadline() {
        let error = ProviderError::new(ErrorClass::Throttled, "no");
        assert_eq!(
            tries_of(error, Duration::from_secs(4)).await,
            (3, Duration::from_secs(3))
        );
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let delays: Vec<u64> = (1..6).map(|attempt| policy().delay(attempt).as_secs()).collect();
        assert_eq!(delays, [1, 2, 4, 5, 5]);
        for _ in 0..100 {
            let fraction = RandomJitter.fraction();
            assert!((0.0..1.0).contains(&fraction), "{fraction}");
        }
    }
}
