//! Writing the head mark behind a journal's commits.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::state::head::{HeadError, HeadMark};
use crate::state::snapshot::Head;

/// How long after a head mark the next one is written, unless the journal is closed.
const MARK_PAUSE: Duration = Duration::from_millis(100);

/// Writes the head mark behind the commits, the newest only and not after each: a store ahead of its mark is normal.
pub(super) struct Marker {
    pub(super) heads: watch::Sender<Option<Head>>,
    failure: watch::Receiver<Option<Arc<HeadError>>>,
    /// Says that nothing more comes.
    end: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Marker {
    pub(super) fn start(mark: HeadMark) -> Self {
        let mark = Arc::new(mark);
        let (heads, mut wanted) = watch::channel(None::<Head>);
        let (failed, failure) = watch::channel(None);
        let end = CancellationToken::new();
        let ended = end.clone();
        let task = tokio::spawn(async move {
            while wanted.changed().await.is_ok() {
                let Some(head) = wanted.borrow_and_update().clone() else {
                    continue;
                };
                let mark = mark.clone();
                let written = tokio::task::spawn_blocking(move || mark.note(&head)).await;
                if let Ok(Err(error)) = written {
                    failed.send_replace(Some(Arc::new(error)));
                    return;
                }
                // Each mark is put on stable storage, as each commit is: one after every commit would double what they cost.
                let _ended = tokio::time::timeout(MARK_PAUSE, ended.cancelled()).await;
            }
            // Whoever reports success has the mark of it on stable storage.
            let settled = tokio::task::spawn_blocking(move || mark.settle()).await;
            if let Ok(Err(error)) = settled {
                failed.send_replace(Some(Arc::new(error)));
            }
        });
        Self {
            heads,
            failure,
            end,
            task,
        }
    }

    pub(super) fn failure(&self) -> Option<Arc<HeadError>> {
        self.failure.borrow().clone()
    }

    pub(super) async fn finish(self) -> Result<(), Arc<HeadError>> {
        let Self {
            heads,
            failure,
            end,
            task,
        } = self;
        end.cancel();
        // What was sent last is still seen as a change after the sender is gone.
        drop(heads);
        // The task ends by itself and never panics; its failure is in the channel.
        let _ended = task.await;
        let failed = failure.borrow().clone();
        failed.map_or(Ok(()), Err)
    }
}
