//! Ctrl-C and SIGTERM, in three levels: stop starting, cancel what runs, give up.

use gabion_engine::apply::ApplyControl;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Printer;

/// How often the person asked to stop.
#[derive(Clone)]
pub(crate) struct Interrupts {
    level: watch::Receiver<u32>,
}

impl Interrupts {
    /// Starts to listen. From now on signals do not end the process by themselves.
    pub(crate) fn listen(printer: &Printer) -> Result<Self, Failure> {
        let cannot = |error: std::io::Error| {
            Failure::new("cannot start").detail(format!(
                "The operating system refused to pass signals on: {error}."
            ))
        };
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let (level, watched) = watch::channel(0);
        let printer = printer.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                level.send_modify(|level| *level += 1);
                if *level.borrow() >= 3 {
                    printer.error("Giving up. What was sent is in the log, and the next run finds out what became of it.");
                    give_up();
                }
            }
        });
        Ok(Self { level: watched })
    }

    /// Waits until the person asked this often.
    pub(crate) async fn reach(&self, level: u32) {
        let mut watched = self.level.clone();
        if watched.wait_for(|now| *now >= level).await.is_err() {
            // Nobody listens any more, so nobody asks.
            std::future::pending::<()>().await;
        }
    }

    /// Does something unless the person asks to stop first.
    pub(crate) async fn unless<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        tokio::select! {
            biased;
            () = self.reach(1) => Err(Failure::new("interrupted").detail("Nothing was changed.").exit(Exit::Interrupted)),
            done = work => Ok(done),
        }
    }

    /// Drives a run's handle for as long as the run goes.
    pub(crate) async fn drive(&self, control: &ApplyControl, printer: &Printer) {
        self.reach(1).await;
        control.stop();
        printer.error(
            "Stopping: what runs is awaited, nothing more is started. Interrupt again to cancel what runs.",
        );
        self.reach(2).await;
        control.cancel();
        printer.error("Cancelling what runs. Interrupt again to give up at once.");
        std::future::pending::<()>().await;
    }
}

#[expect(
    clippy::exit,
    reason = "the person asked three times; nothing may hold the process any more"
)]
fn give_up() -> ! {
    std::process::exit(i32::from(Exit::Interrupted.code()))
}
