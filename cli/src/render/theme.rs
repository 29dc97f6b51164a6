//! Colours, by what they mean. Without colour every style is empty and the text says the same.

use anstyle::{AnsiColor, Style};
use gabion_engine::plan::change::Action;

/// The styles of everything that is printed.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Theme {
    /// Something is made or became good.
    pub(crate) good: Style,
    /// Something changes.
    pub(crate) change: Style,
    /// Something is replaced.
    pub(crate) replace: Style,
    /// Something goes or failed.
    pub(crate) bad: Style,
    /// Something stays, renamed or unmanaged.
    pub(crate) calm: Style,
    /// What may be skipped when reading.
    pub(crate) dim: Style,
    /// What should be read first.
    pub(crate) strong: Style,
}

impl Theme {
    /// Returns the theme for a terminal with colours.
    pub(crate) fn coloured() -> Self {
        let of = |colour: AnsiColor| colour.on_default();
        Self {
            good: of(AnsiColor::Green),
            change: of(AnsiColor::Yellow),
            replace: of(AnsiColor::Magenta).bold(),
            bad: of(AnsiColor::Red).bold(),
            calm: of(AnsiColor::Cyan),
            dim: Style::new().dimmed(),
            strong: Style::new().bold(),
        }
    }

    /// Returns the theme for everything that is no terminal, or does not want colours.
    pub(crate) fn plain() -> Self {
        Self::default()
    }

    /// Returns the theme for one or the other.
    pub(crate) fn new(colour: bool) -> Self {
        if colour { Self::coloured() } else { Self::plain() }
    }

    /// Returns whether it has colours.
    pub(crate) fn has_colour(&self) -> bool {
        self.good != Style::new()
    }

    /// Returns the style of an action.
    pub(crate) fn action(&self, action: Action) -> Style {
        match action {
            Action::NoOp | Action::Forget => self.calm,
            Action::Create => self.good,
            Action::Update => self.change,
            Action::Replace(_) => self.replace,
            Action::Delete => self.bad,
        }
    }
}
