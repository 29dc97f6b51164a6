//! `gabion state`: looking at what is recorded, and changing it.

use std::path::PathBuf;

use clap::Subcommand;

use super::{Locking, moment};
use gabion_engine::address::ResourceAddress;
use jiff::Timestamp;

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// List what is recorded
    List,
    /// Show one record
    Show {
        /// Its address; with `--at`, all that was recorded if not given
        #[arg(value_name = "ADDR", required_unless_present = "at")]
        address: Option<ResourceAddress>,
        /// As it was at this serial
        #[arg(long, value_name = "SERIAL")]
        at: Option<u64>,
    },
    /// Show what changed between two serials
    Diff {
        /// The earlier serial
        #[arg(value_name = "A")]
        from: u64,
        /// The later one; now if not given
        #[arg(value_name = "B")]
        to: Option<u64>,
    },
    /// Give a recorded object another address, or move objects to another stack
    ///
    /// Between stacks, what depends on each other moves together. The objects themselves are not touched.
    #[command(
        override_usage = "gabion state mv [OPTIONS] <FROM> <TO>\n       gabion state mv [OPTIONS] --to-stack <NAME> <ADDR>..."
    )]
    Mv {
        /// The address that it has, and the one that it gets; with `--to-stack`, the objects to move
        #[arg(value_name = "ADDR", required = true)]
        addresses: Vec<ResourceAddress>,
        /// The stack that takes the objects in; `default` is the state without a stack
        #[arg(long, value_name = "NAME")]
        to_stack: Option<String>,
        #[command(flatten)]
        locking: Locking,
    },
    /// Stop managing an object; it goes on existing
    Rm {
        /// Its address
        #[arg(value_name = "ADDR", required = true)]
        addresses: Vec<ResourceAddress>,
        #[command(flatten)]
        locking: Locking,
    },
    /// Mark an object, so that the next apply replaces it
    Taint {
        /// Its address
        #[arg(value_name = "ADDR", required = true)]
        addresses: Vec<ResourceAddress>,
        #[command(flatten)]
        locking: Locking,
    },
    /// Take such a mark away
    Untaint {
        /// Its address
        #[arg(value_name = "ADDR", required = true)]
        addresses: Vec<ResourceAddress>,
        #[command(flatten)]
        locking: Locking,
    },
    /// Move the state to another store, with its history
    ///
    /// The log is copied byte for byte and read back, then closed where it was: who still goes there is told where it is
    /// now. `gabion.yml` names the new store afterwards. If anything fails, run it again.
    Migrate {
        /// The store: `sqlite`, `s3://BUCKET/PREFIX?region=REGION`,
        /// `postgres://USER@HOST/DATABASE?sslmode=verify-full`
        #[arg(long, value_name = "URL")]
        to: String,
        #[command(flatten)]
        locking: Locking,
    },
    /// Check that the log is whole and the records are what it says
    Verify,
    /// Take the lock away from whoever holds it, when nothing runs there any more
    Unlock {
        /// Do not ask
        #[arg(short = 'y', long = "auto-approve")]
        yes: bool,
    },
    /// List what was done, run by run, newest last
    History {
        /// Only what was done to this object, under any address that it had
        #[arg(value_name = "ADDR")]
        address: Option<ResourceAddress>,
        /// Only the last N entries; all if not given
        #[arg(short = 'n', long, value_name = "N")]
        entries: Option<usize>,
        /// A line for each run: who, when, what, commit, serials
        #[arg(long, conflicts_with = "address")]
        runs: bool,
    },
    /// Write the whole state, history included, as a JSON file
    ///
    /// Secrets are not in it, as they are not in the state; the content of an encrypted store is not encrypted in it.
    Pull {
        /// The file, readable by you alone; standard output if not given
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Put a state back that `gabion state pull` wrote
    ///
    /// Without `--force` it must be the state that is there, with nothing missing: it can only add what the store lost or
    /// never had.
    Push {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Replace what is there, also by an older or another state; a copy of it is kept in `.gabion`
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        locking: Locking,
    },
    /// Drop old history; the state stays as it is
    ///
    /// History is kept until you say otherwise. What is dropped cannot be listed, shown or compared any more.
    #[command(group = clap::ArgGroup::new("kept").required(true).args(["keep_runs", "before"]))]
    Compact {
        /// Keep the history of the last N runs
        #[arg(long, value_name = "N")]
        keep_runs: Option<usize>,
        /// Drop the history of runs that ended before this date, such as 2026-11-01
        #[arg(long, value_name = "DATE", value_parser = moment)]
        before: Option<Timestamp>,
        /// Do not ask
        #[arg(short = 'y', long = "auto-approve")]
        yes: bool,
        #[command(flatten)]
        locking: Locking,
    },
    /// Make a lost or damaged state again, from the marks that objects carry
    ///
    /// Nothing is created or deleted. A damaged database is kept beside the new one. Prefer a copy, if there is one:
    /// what only the state knew does not come back.
    Rebuild {
        /// Do not ask
        #[arg(short = 'y', long = "auto-approve")]
        yes: bool,
        #[command(flatten)]
        locking: Locking,
    },
    /// Encrypt with the key that the settings name now, history included
    ///
    /// Run it after a key was changed, or after encryption was switched on for a state that was not encrypted. It can be
    /// interrupted and run again.
    #[command(visible_alias = "reseal")]
    Rekey {
        #[command(flatten)]
        locking: Locking,
    },
}
