//! The course of gathering: a spinner on a terminal, and elsewhere only what takes long or fails.

use std::time::Duration;

use gabion_engine::gather::{GatherEvent, GatherObserver};
use indicatif::{ProgressBar, ProgressDrawTarget};

use super::progress::{elapsed, style};
use super::words::{count, plain};
use crate::output::Printer;

/// Shows that the world is being read.
pub(crate) struct GatherDisplay {
    printer: Printer,
    spinner: Option<ProgressBar>,
}

impl GatherDisplay {
    /// Makes the display.
    pub(crate) fn new(printer: &Printer) -> Self {
        let spinner = printer.is_live().then(|| {
            let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            spinner.set_style(style("{spinner} {msg}"));
            spinner.set_message("reading the world");
            spinner.enable_steady_tick(Duration::from_millis(120));
            spinner
        });
        Self {
            printer: printer.clone(),
            spinner,
        }
    }

    /// Takes the display away.
    pub(crate) fn end(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }

    fn say(&self, line: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| self.printer.status(line)),
            None => self.printer.status(line),
        }
    }
}

impl GatherObserver for GatherDisplay {
    fn observe(&mut self, event: &GatherEvent) {
        match event {
            GatherEvent::Started { objects, .. } => {
                if *objects > 0 {
                    self.printer
                        .verbose(&format!("Reading {}.", count(*objects, "object")));
                }
            }
            GatherEvent::Read { done, of } => {
                if let Some(spinner) = &self.spinner {
                    spinner.set_message(format!("reading the world: {done} of {of}"));
                }
            }
            GatherEvent::LookingAgain { addresses, within } => {
                let names: Vec<String> = addresses.iter().map(ToString::to_string).collect();
                self.say(&format!(
                    "Not found yet, looking again for up to {}: {}",
                    elapsed(*within),
                    names.join(", ")
                ));
            }
            GatherEvent::Observing { address } => {
                self.say(&format!("Finding out what became of a call for {address}."));
            }
            GatherEvent::Retried { what, error, delay } => {
                self.say(&format!(
                    "! {}: {} Trying again in {}.",
                    plain(what),
                    plain(&error.message),
                    elapsed(*delay)
                ));
            }
        }
    }
}
