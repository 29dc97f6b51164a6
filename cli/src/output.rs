//! Everything that is printed goes through a [`Printer`]: data to stdout, status and problems to stderr.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use anstream::ColorChoice;

use crate::render::diagnostic::ProblemJson;
use crate::render::repository::RepositoryPath;
use crate::render::theme::Theme;

/// How much status is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) enum Verbosity {
    /// Problems only.
    Quiet,
    /// What people want to know.
    #[default]
    Normal,
    /// Everything.
    Verbose,
}

/// The form of problems that are printed where errors go.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ProblemForm {
    /// For people.
    #[default]
    Text,
    /// For programs.
    Json,
    /// As annotations of a GitHub workflow, on files in this repository.
    Annotations(RepositoryPath),
}

type Sink = Arc<Mutex<Box<dyn Write + Send>>>;

/// Text that is printed as data while it is written, so that long ones are never in memory as a whole. What is left is
/// printed when it is dropped.
pub(crate) struct DataWriter<'a> {
    printer: &'a Printer,
    text: String,
}

impl DataWriter<'_> {
    /// How many bytes are printed at a time, at least.
    const CHUNK_BYTES: usize = 64 * 1024;

    fn flush(&mut self) {
        if !self.text.is_empty() && !self.printer.reader_is_gone() {
            self.printer.data(&self.text);
        }
        self.text.clear();
    }
}

impl fmt::Write for DataWriter<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text.push_str(text);
        if self.text.len() >= Self::CHUNK_BYTES {
            self.flush();
        }
        Ok(())
    }
}

impl Drop for DataWriter<'_> {
    fn drop(&mut self) {
        self.flush();
    }
}

/// The two streams of a command.
#[derive(Clone)]
pub(crate) struct Printer {
    out: Sink,
    err: Sink,
    out_theme: Theme,
    err_theme: Theme,
    verbosity: Verbosity,
    problem_form: ProblemForm,
    live: bool,
    asks: bool,
    failed: Arc<Mutex<Option<io::Error>>>,
}

impl Printer {
    /// Makes the printer of a process.
    pub(crate) fn of_process(colour: bool, verbosity: Verbosity, problem_form: ProblemForm) -> Self {
        let coloured = |choice: ColorChoice| colour && choice != ColorChoice::Never;
        let out_colour = coloured(anstream::AutoStream::choice(&io::stdout()));
        let err_colour = coloured(anstream::AutoStream::choice(&io::stderr()));
        Self {
            out: sink(io::stdout()),
            err: sink(io::stderr()),
            out_theme: Theme::new(out_colour),
            err_theme: Theme::new(err_colour),
            verbosity,
            problem_form,
            live: io::stderr().is_terminal() && verbosity != Verbosity::Quiet,
            asks: io::stdin().is_terminal() && io::stderr().is_terminal(),
            failed: Arc::default(),
        }
    }

    /// Makes a printer over buffers, without colour.
    #[cfg(test)]
    pub(crate) fn over(out: impl Write + Send + 'static, err: impl Write + Send + 'static) -> Self {
        Self {
            out: sink(out),
            err: sink(err),
            out_theme: Theme::plain(),
            err_theme: Theme::plain(),
            verbosity: Verbosity::Normal,
            problem_form: ProblemForm::Text,
            live: false,
            asks: false,
            failed: Arc::default(),
        }
    }

    /// Returns the theme of data.
    pub(crate) fn data_theme(&self) -> Theme {
        self.out_theme
    }

    /// Returns the theme of status.
    pub(crate) fn status_theme(&self) -> Theme {
        self.err_theme
    }

    /// Returns the form of problems.
    pub(crate) fn problem_form(&self) -> &ProblemForm {
        &self.problem_form
    }

    /// Returns whether status goes to a terminal that a person looks at.
    pub(crate) fn is_live(&self) -> bool {
        self.live
    }

    /// Returns whether a person can be asked.
    pub(crate) fn can_ask(&self) -> bool {
        self.asks
    }

    /// Returns how much is printed.
    pub(crate) fn verbosity(&self) -> Verbosity {
        self.verbosity
    }

    /// Prints data, as it is.
    pub(crate) fn data(&self, text: &str) {
        self.data_bytes(text.as_bytes());
    }

    /// Prints bytes of a command's standard output, as they are.
    pub(crate) fn data_bytes(&self, bytes: &[u8]) {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        let written = out.write_all(bytes).and_then(|()| out.flush());
        if let Err(error) = written {
            let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
            failed.get_or_insert(error);
        }
    }

    /// Prints bytes of a command's standard error, as they are.
    pub(crate) fn error_bytes(&self, bytes: &[u8]) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = err.write_all(bytes).and_then(|()| err.flush());
    }

    /// Returns where long data is written piece by piece, as it is.
    pub(crate) fn data_writer(&self) -> DataWriter<'_> {
        DataWriter {
            printer: self,
            text: String::new(),
        }
    }

    /// Returns whether whoever reads the data went away.
    pub(crate) fn reader_is_gone(&self) -> bool {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed
            .as_ref()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }

    /// Prints a line of status, unless only problems are wanted.
    pub(crate) fn status(&self, line: &str) {
        if self.verbosity > Verbosity::Quiet {
            self.error(line);
        }
    }

    /// Prints a line of status that only the curious want.
    pub(crate) fn verbose(&self, line: &str) {
        if self.verbosity == Verbosity::Verbose {
            self.error(line);
        }
    }

    /// Prints a line that must be seen.
    ///
    /// When stderr is gone there is nobody to tell, and what the command does must not depend on it.
    pub(crate) fn error(&self, line: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        // In one piece: others may write to the same stream, and an apply has a line for every step.
        let _ = err
            .write_all(format!("{line}\n").as_bytes())
            .and_then(|()| err.flush());
    }

    /// Prints text without a line end, for a question.
    pub(crate) fn ask(&self, text: &str) {
        let mut err = self.err.lock().unwrap_or_else(PoisonError::into_inner);
        let _ = write!(err, "{text}").and_then(|()| err.flush());
    }

    /// Prints problems as JSON where errors go.
    pub(crate) fn error_json(&self, problems: &[ProblemJson]) {
        self.error(&serde_json::json!({ "diagnostics": problems }).to_string());
    }

    /// Returns why data could not be written, if it could not; a reader that went away is no problem.
    pub(crate) fn take_failure(&self) -> Option<io::Error> {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        failed.filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
    }
}

fn sink(stream: impl Write + Send + 'static) -> Sink {
    Arc::new(Mutex::new(Box::new(stream)))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_went_away_is_no_failure_and_a_full_disk_is() {
        let printer = Printer::over(Broken(io::ErrorKind::BrokenPipe), io::sink());
        printer.data("x");
        assert!(printer.take_failure().is_none());
        let printer = Printer::over(
            Broken(io::ErrorKind::StorageFull),
            Broken(io::ErrorKind::BrokenPipe),
        );
        printer.data("x");
        printer.error("nobody hears this");
        assert_eq!(
            printer.take_failure().map(|e| e.kind()),
            Some(io::ErrorKind::StorageFull)
        );
    }
}
