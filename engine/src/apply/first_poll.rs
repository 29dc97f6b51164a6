//! Polling a future that may panic for the first time, before it is known whether it has to be waited for.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::Poll;

/// What polling a future once gave.
pub(super) enum First<F: Future> {
    /// It has ended.
    Ready(F::Output),
    /// It is to be polled on, by whoever waits for it.
    Pending(Pin<Box<F>>),
}

/// Polls a future once, and lets go of it if it has ended.
///
/// # Errors
/// When it panics, with what it said.
pub(super) async fn first_poll<F: Future>(mut future: Pin<Box<F>>) -> std::thread::Result<First<F>> {
    let polled = std::future::poll_fn(|context| {
        let poll = AssertUnwindSafe(|| future.as_mut().poll(context));
        Poll::Ready(catch_unwind(poll))
    });
    match polled.await {
        Ok(Poll::Pending) => Ok(First::Pending(future)),
        Ok(Poll::Ready(output)) => let_go(future).map(|()| First::Ready(output)),
        Err(payload) => {
            // What it said first is told.
            let _also = let_go(future);
            Err(payload)
        }
    }
}

/// Drops a future, which may panic as well.
fn let_go<F>(future: Pin<Box<F>>) -> std::thread::Result<()> {
    catch_unwind(AssertUnwindSafe(|| drop(future)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::panic::panic_message;

    struct Dropped;

    impl Drop for Dropped {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "dropped");
        }
    }

    fn said<F: Future>(polled: std::thread::Result<First<F>>) -> Option<String> {
        polled.err().map(|payload| panic_message(&*payload))
    }

    #[tokio::test]
    async fn a_future_is_ready_or_goes_on_where_it_was() {
        let ready = first_poll(Box::pin(async { 1 })).await;
        assert!(matches!(ready, Ok(First::Ready(1))));

        let (send, answer) = tokio::sync::oneshot::channel();
        let pending = first_poll(Box::pin(async { answer.await.unwrap() + 1 })).await;
        let Ok(First::Pending(future)) = pending else {
            panic!("nothing was sent yet");
        };
        send.send(1).unwrap();
        assert_eq!(future.await, 2);
    }

    #[tokio::test]
    async fn a_panic_of_the_future_or_of_its_end_is_an_error() {
        let panicking = std::future::poll_fn(|_| -> Poll<()> { panic!("polled") });
        assert_eq!(
            said(first_poll(Box::pin(panicking)).await),
            Some("polled".to_owned())
        );

        let mut held = Some(Dropped);
        let end = std::future::poll_fn(move |_| {
            let _kept = &mut held;
            Poll::Ready(())
        });
        assert_eq!(said(first_poll(Box::pin(end)).await), Some("dropped".to_owned()));
    }
}
