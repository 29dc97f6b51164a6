//! Units: long-running programs that outlive the command that started them.
//!
//! A unit is a directory on its machine. [`write()`] puts down what to run, [`start()`] runs it, [`inspect()`] says how it is, [`stop()`] ends its whole session, [`remove()`] leaves nothing behind.
//! All of it is code that runs *on* the machine: locks, signals and `/proc` have no meaning from elsewhere.
//!
//! ```text
//! <data_root>/units/<uid>/
//!   launch.json   all it takes to start the unit again, except secret values
//!   env           the secret environment values; 0600, the one place on disk for them
//!   files/        the unit's files
//!   fence.json    the newest lease epoch that touched the unit; older ones are refused
//!   lock          flocked by the shim and inherited by the program: one run at a time
//!   mark.json     who runs, written by that very process just before it becomes the program
//!   exit.json     how the program ended, if the process that started it was there to see
//!   run.json      with a supervisor: how often the program was started, and how it ended
//!   log/          current.log, and rotated ones: 1.log is the youngest
//! <data_root>/fences/<lineage>.json
//!                 the newest lease epoch of a project that changed any unit here; older ones make none
//! ```
//!
//! A unit that is removed is stopped first, then its directory is moved to `.leaving-<uid>`, where nobody can start it any more; only when nothing runs in it there are its ports released and its files deleted.
//!
//! The program is started through a shim: a short-lived process that makes itself a session of its own, takes the lock, writes the mark and then *becomes* the program by exec. There is no supervisor that could die, and no moment
//! at which a program runs without a mark.
//!
//! What that cannot do (see how a program ended when nobody waits for it, start it again, stop it after a time) takes a supervisor: then the shim stays, as the leader of the session that the mark names, and the program is its child.
//! An agent that another build is to succeed starts that itself, in a session of its own and with the lock; the mark then names the successor, and the agent among those that still drain ([`succeed`]).
//! A program in a container has the container's keeper as its process, which [`container`](crate::container) describes.
//! One that [`systemd`](crate::systemd) runs has the same shim, which systemd starts: under the newest operation and epoch that touched the unit, and with the journal for a log.
//! A supervisor that is killed leaves the program running, in a session that is still found by the mark, and a `run.json` without an end, which is how its death is told.

mod directory;
mod error;
mod fence;
mod launch;
mod log;
mod log_times;
mod machine_fence;
mod mark;
mod placeholder;
mod record;
mod run;
mod shim;
mod spec;
mod standing;
mod status;
mod stop;
mod succession;
mod supervise;

pub use directory::{UnitDirectory, UnitEntry, list, write};
pub use error::UnitError;
pub use fence::Fence;
pub(crate) use fence::admit;
pub use launch::{Launched, StartRequest, start};
pub use log::{
    LogFollower, LogPosition, LogQuery, LogText, follow, read as read_log, rotate_if_larger, tail,
};
pub(crate) use log_times::keep as keep_log_times;
pub(crate) use machine_fence::admit_on_machine;
pub use mark::Mark;
pub use placeholder::{PlaceholderError, Substitution};
pub(crate) use record::is_agent;
pub use record::{LaunchRecord, digest, program_digest};
pub use run::{EndCause, RunEnd, RunRecord};
pub use shim::{NOTIFY_VARIABLE, ShimError, ShimRequest, unit_exec};
pub(crate) use shim::{command_beside, environment};
pub use spec::{EnvValue, LogSettings, RunNode, Supervision, UnitSpec};
pub use standing::{Standing, standing};
pub use status::{Exit, UnitStatus, inspect};
pub use stop::{StopReport, remove, stop};
pub use succession::{Succession, succeed};
