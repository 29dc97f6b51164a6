//! The story of a life, told only when somebody wants to read it: a life is lived again to be told.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

/// Takes down what happens in a life, with its virtual time.
#[derive(Clone)]
pub(crate) struct Story {
    lines: Option<Arc<Mutex<Vec<String>>>>,
    began: Instant,
}

impl Story {
    pub(crate) fn new(told: bool) -> Self {
        Self {
            lines: told.then(Arc::default),
            began: Instant::now(),
        }
    }

    /// Adds a line, which is put together only when the story is told.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(lines) = &self.lines {
            let line = format!("{:>9.3} s  {}", self.began.elapsed().as_secs_f64(), line());
            // A line is whole or not there.
            lines.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        match &self.lines {
            Some(lines) => lines.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            None => Vec::new(),
        }
    }
}
