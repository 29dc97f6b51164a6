//! What a command works with: its options and where it prints.

use crate::options::Options;
use crate::output::Printer;

/// What every command gets.
#[derive(Clone)]
pub(crate) struct Context {
    /// What the command line and the environment mean.
    pub(crate) options: Options,
    /// Where everything is printed.
    pub(crate) printer: Printer,
}
