//! Exit codes, and which one wins when several apply.

/// What a command's exit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or nothing to do.
    Done,
    /// An error; nothing was changed.
    Error,
    /// There are changes, or drift, and the command was asked to say so.
    Changes,
    /// Somebody else holds the state.
    Locked,
    /// What the plan relied on has moved.
    Stale,
    /// Policy or protection forbids it.
    Blocked,
    /// An apply or destroy began, and a change failed, was skipped or is uncertain.
    Incomplete,
    /// A person interrupted it; the state is consistent.
    Interrupted,
    /// A command that was run beside a program ended with this.
    Command(u8),
}

impl Exit {
    /// Returns the process's exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Error => 1,
            Exit::Changes => 2,
            Exit::Locked => 3,
            Exit::Stale => 4,
            Exit::Blocked => 5,
            Exit::Incomplete => 6,
            Exit::Interrupted => 130,
            Exit::Command(code) => code,
        }
    }

    /// Returns what a process's exit code says, if it is one of gabion's.
    pub(crate) fn of_code(code: i32) -> Option<Self> {
        let all = [
            Exit::Done,
            Exit::Error,
            Exit::Changes,
            Exit::Locked,
            Exit::Stale,
            Exit::Blocked,
            Exit::Incomplete,
            Exit::Interrupted,
        ];
        all.into_iter().find(|exit| i32::from(exit.code()) == code)
    }

    /// Returns the one that must be reported when both apply: 130 > 1 > 3 > 4 > 5 > 6 > 2 > 0.
    pub(crate) fn and(self, other: Self) -> Self {
        if self.weight() >= other.weight() {
            self
        } else {
            other
        }
    }

    fn weight(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Changes => 1,
            Exit::Incomplete => 2,
            Exit::Blocked => 3,
            Exit::Stale => 4,
            Exit::Locked => 5,
            Exit::Error => 6,
            Exit::Interrupted => 7,
            Exit::Command(_) => 8,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graver_code_wins() {
        let order = [
            Exit::Interrupted,
            Exit::Error,
            Exit::Locked,
            Exit::Stale,
            Exit::Blocked,
            Exit::Incomplete,
            Exit::Changes,
            Exit::Done,
        ];
        assert_eq!(order.map(Exit::code), [130, 1, 3, 4, 5, 6, 2, 0]);
        for (position, graver) in order.iter().enumerate() {
            for lesser in &order[position..] {
                assert_eq!(graver.and(*lesser), *graver);
                assert_eq!(lesser.and(*graver), *graver);
            }
        }
    }
}
