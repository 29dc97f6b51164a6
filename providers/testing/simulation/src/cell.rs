//! What a crash point hits: an action, a boundary of it, a moment at that boundary, and what recovery makes of it.

use std::fmt;

macro_rules! named {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$variant_doc])* $variant),+
        }

        impl $name {
            /// All of them, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Returns its name in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }
    };
}

named! {
    /// What was being done.
    Action {
        /// A creation that says nothing before it is finished.
        Create = "create",
        /// A creation whose object's id is durable before it is waited for.
        CheckpointedCreate = "checkpointed create",
        /// A change in place.
        Update = "update",
        /// A replacement that creates first.
        ReplaceCreateFirst = "replace create-first",
        /// A replacement that deletes first.
        ReplaceDeleteFirst = "replace delete-first",
        /// A deletion.
        Delete = "delete",
        /// A rename.
        Move = "move",
        /// An existing object that comes under management.
        Import = "import",
        /// An object that a lost creation left, found and taken over.
        Adopt = "adopt",
        /// An object that is given up and goes on existing.
        Forget = "forget",
    }
}

named! {
    /// Where in an action: one write of the log, or the call.
    Boundary {
        /// What a run records before its first step.
        Opening = "opening",
        /// The intent.
        Intent = "intent",
        /// The request to the cloud.
        Call = "call",
        /// The object's id.
        Checkpoint = "checkpoint",
        /// The result.
        Result = "result",
    }
}

named! {
    /// When exactly.
    Moment {
        /// Before the write or the request leaves the process.
        Before = "before",
        /// After it took effect, before its answer is heard.
        Unheard = "done, unheard",
        /// After its answer was heard, while what follows from it begins.
        After = "after",
    }
}

named! {
    /// What the next run finds.
    Outcome {
        /// Nothing of it is in the log: it is planned as if it never began.
        Untouched = "untouched",
        /// An intent without a result, and the observation proves the object absent.
        Absent = "absent",
        /// An intent without a result, and the observation finds the object.
        Present = "present",
        /// An intent without a result of which nothing can be found out yet; a later run does.
        Unknown = "unknown",
        /// Its result is in the log.
        Recorded = "recorded",
    }
}

/// A row of the table: an action and a boundary of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// What was being done.
    pub action: Action,
    /// Where in it.
    pub boundary: Boundary,
}

/// A cell of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cell {
    /// Its row.
    pub place: Place,
    /// When exactly.
    pub moment: Moment,
    /// What the next run found.
    pub outcome: Outcome,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Place { action, boundary } = self.place;
        write!(f, "{action} / {boundary} / {} / {}", self.moment, self.outcome)
    }
}
