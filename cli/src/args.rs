//! The command line as clap reads it. What it means is worked out once, in [`options`](crate::options).

mod ci;
mod state;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gabion_engine::address::ResourceAddress;
use jiff::Timestamp;

use crate::render::plan_markdown::MAX_BYTES;
use crate::shell::shell_word;

pub(crate) use ci::{Ci, CiApply, CiComment, CiDrift, CiPlan, CiRun, CiService, ForgeArg};
pub(crate) use state::State;

/// Infrastructure as code for LLM inference
///
/// A project is a directory with `*.dstack.yml` and `*.gabion.yml` files. `gabion plan` shows what would change and why,
/// `gabion apply` does exactly that, `gabion drift` says what was changed outside gabion.
#[derive(Debug, Parser)]
#[command(
    name = "gabion",
    version,
    propagate_version = true,
    max_term_width = 100,
    arg_required_else_help = true
)]
#[command(
    after_help = "Exit codes: 0 done or nothing to do, 1 error and nothing was changed, 2 changes or drift, \
    3 state is locked, 4 plan is stale, 5 blocked by policy or protection, 6 a change failed, 130 interrupted"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags that every command has.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Project directory
    #[arg(
        short = 'C',
        value_name = "DIR",
        global = true,
        help_heading = "Common options"
    )]
    pub(crate) directory: Option<PathBuf>,

    /// Stack: a separate copy of everything, with its own state
    #[arg(long, value_name = "NAME", global = true, help_heading = "Common options")]
    pub(crate) stack: Option<String>,

    /// Give a variable of the project a value; wins over --var-file and GABION_VAR_NAME
    #[arg(
        long = "var",
        value_name = "NAME=VALUE",
        global = true,
        help_heading = "Common options"
    )]
    pub(crate) variables: Vec<String>,

    /// Read values of variables from a file: a YAML map
    #[arg(
        long = "var-file",
        value_name = "FILE",
        global = true,
        help_heading = "Common options"
    )]
    pub(crate) variable_files: Vec<PathBuf>,

    /// Give documents what this profile of profiles.yml says, instead of the one with `default: true`; without it,
    /// GABION_PROFILE names one, else DSTACK_PROFILE
    #[arg(long, value_name = "NAME", global = true, help_heading = "Common options")]
    pub(crate) profile: Option<String>,

    /// What to print
    #[arg(
        long,
        value_enum,
        value_name = "FORMAT",
        global = true,
        help_heading = "Common options"
    )]
    pub(crate) format: Option<FormatArg>,

    /// Never use colours; NO_COLOR=1 says the same
    #[arg(long, global = true, help_heading = "Common options")]
    pub(crate) no_color: bool,

    /// Print problems and results only
    #[arg(
        short,
        long,
        global = true,
        conflicts_with = "verbose",
        help_heading = "Common options"
    )]
    pub(crate) quiet: bool,

    /// Print more about what is done
    #[arg(short, long, global = true, help_heading = "Common options")]
    pub(crate) verbose: bool,
}

/// What to print.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum FormatArg {
    /// For people
    #[default]
    Text,
    /// For pull requests
    Markdown,
    /// For programs
    Json,
    /// For people, and problems as annotations of a GitHub workflow
    Github,
    /// Problems for code scanning; only of `gabion validate` and `gabion drift`
    Sarif,
    /// For Graphviz; only of `gabion graph`
    Dot,
    /// For Mermaid; only of `gabion graph`
    Mermaid,
    /// A picture; only of `gabion graph`
    Svg,
    /// A page to open in a browser; only of `gabion graph`
    Html,
}

/// The forms of what a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Text,
    /// For pull requests.
    Markdown,
    /// For programs.
    Json,
}

impl FormatArg {
    /// Returns the form of what is no problem.
    pub(crate) fn of_results(self) -> Format {
        match self {
            Self::Text | Self::Github | Self::Sarif => Format::Text,
            Self::Dot | Self::Mermaid | Self::Svg | Self::Html => Format::Text,
            Self::Markdown => Format::Markdown,
            Self::Json => Format::Json,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Write a project to start from, or prepare the store of a project's state
    Init(Init),
    /// Check the configuration; reads no state and no infrastructure
    Validate(Validate),
    /// Show what apply would do, and why; changes nothing
    Plan(Plan),
    /// Show a saved plan
    Show(Show),
    /// Make everything as the configuration says, or carry out a saved plan
    Apply(Apply),
    /// Set how many replicas a service has, within the range that its file allows
    Scale(Scale),
    /// Bring back what was applied and is gone or has ended; changes nothing else
    ///
    /// A replica whose process died, a worker that a router or a gateway no longer knows, a DNS record, a machine: it is made
    /// again as it was applied. Edits of the files that nobody has applied have no part in it, what somebody changed on
    /// purpose is only reported, and nothing that is there is deleted, unless it is replaced as it uses what comes back.
    Heal(Heal),
    /// Keep what was applied alive, and the number of replicas at what the load asks for; runs until it is stopped
    ///
    /// What gateways count (requests, times to the first token and between tokens) is read again and again. Where the
    /// `scaling` that was applied asks for another number, it is set as `gabion scale --only-count` sets it: recorded, within
    /// the range, with drained replicas. What was applied and is gone or has ended is brought back as `gabion heal` does.
    /// Nothing else is changed.
    Reconcile(Reconcile),
    /// Delete everything that is recorded
    Destroy(Destroy),
    /// Say what was changed outside gabion
    Drift(Drift),
    /// Bring an existing object under management
    Import(Import),
    /// Print what depends on what
    ///
    /// As text for Graphviz (`--format dot`), Mermaid or programs (`json`), from the configuration alone. A picture (`svg`), a
    /// page (`html`) and `--changed-only` show what apply would do to each resource, which takes a plan. The page stands
    /// alone: one file that asks nobody for anything, with search, groups that fold, and each resource's plan and attributes.
    Graph(Graph),
    /// Print outputs and endpoints
    Output(Output),
    /// List the machines that a cloud offers for the project's services, or for what is asked; makes nothing
    Offer(Offer),
    /// List services, tasks, routers and gateways with what they are doing, and certificates
    Ps(Ps),
    /// Print the log of a service, task, replica, router or gateway
    Logs(Logs),
    /// Follow the log of a task, development environment or replica and forward its ports, or run a command beside it
    Attach(Attach),
    /// Look into the state, or change it by hand
    #[command(subcommand)]
    State(State),
    /// What jobs of continuous integration do beside planning and applying
    #[command(subcommand)]
    Ci(Ci),
    /// Print JSON Schemas for editors and programs
    Schema(Schema),
    /// Print a completion script for a shell
    Completion(Completion),
    /// Check that this machine has what gabion needs
    Doctor,
    /// Run on machines, not by people
    #[command(subcommand, hide = true)]
    Agent(Agent),

    // What users of other tools type.
    #[command(hide = true)]
    Refresh(Reflex),
    #[command(hide = true)]
    Taint(Reflex),
    #[command(hide = true)]
    Untaint(Reflex),
    #[command(hide = true)]
    Workspace(Reflex),
    #[command(hide = true)]
    ForceUnlock(Reflex),
    #[command(hide = true)]
    Delete(Reflex),
    #[command(hide = true)]
    Stop(Reflex),
}

/// Which documents and resources a command is about.
#[derive(Debug, Args, Default, Clone)]
pub(crate) struct Selection {
    /// Only the documents of this file; repeatable
    #[arg(short = 'f', long = "file", value_name = "FILE", help_heading = "Selection")]
    pub(crate) files: Vec<PathBuf>,

    /// Only these resources and what they need: an address, `*` stands for anything; repeatable
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) target: Vec<String>,

    /// All but these resources and what needs them; repeatable
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) exclude: Vec<String>,

    /// Replace this resource even if nothing about it changed; repeatable
    #[arg(long, value_name = "ADDR", help_heading = "Selection")]
    pub(crate) replace: Vec<ResourceAddress>,

    /// Choose anew what was chosen for these resources (type, image, subnet of a machine) and stands otherwise; repeatable
    #[arg(long, value_name = "GLOB", help_heading = "Selection")]
    pub(crate) upgrade: Vec<String>,
}

impl Selection {
    /// Returns the flags as a person types them, each with a space before it.
    pub(crate) fn flags(&self) -> String {
        let files = self
            .files
            .iter()
            .map(|file| ("-f", file.to_string_lossy().into_owned()));
        let targets = self.target.iter().map(|glob| ("--target", glob.clone()));
        let excludes = self.exclude.iter().map(|glob| ("--exclude", glob.clone()));
        let replaced = self
            .replace
            .iter()
            .map(|address| ("--replace", address.to_string()));
        let upgrades = self.upgrade.iter().map(|glob| ("--upgrade", glob.clone()));
        files
            .chain(targets)
            .chain(excludes)
            .chain(replaced)
            .chain(upgrades)
            .map(|(flag, value)| format!(" {flag} {}", shell_word(&value)))
            .collect()
    }
}

/// How long Markdown may be.
#[derive(Debug, Args, Clone, Copy)]
pub(crate) struct Size {
    /// How many bytes Markdown may take; what does not fit is left out whole, and never what is dangerous
    #[arg(long, value_name = "N", default_value_t = MAX_BYTES)]
    pub(crate) max_bytes: usize,
}

impl Default for Size {
    fn default() -> Self {
        Self { max_bytes: MAX_BYTES }
    }
}

/// How a command deals with a state that somebody else holds.
#[derive(Debug, Args, Default, Clone, Copy)]
pub(crate) struct Locking {
    /// How long to wait for a state that is locked, such as 30s or 5m
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "0s")]
    pub(crate) lock_timeout: Duration,
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    /// The project's name; the directory's name if not given
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Keep the state in this store: `sqlite`, `s3://BUCKET/PREFIX?region=REGION` or
    /// `postgres://USER@HOST/DATABASE?sslmode=verify-full`; it is made there, and its lineage pinned
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Validate {
    /// Print the documents of this file as they are understood: every default filled in, and the dialect
    #[arg(long, value_name = "FILE")]
    pub(crate) explain: Option<PathBuf>,
}

/// How much of the world is read before planning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum RefreshArg {
    /// Every recorded object
    #[default]
    Full,
    /// Only what the configuration changes
    Minimal,
    /// Only what an earlier run left unfinished
    None,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    /// Save the plan, for `gabion apply FILE`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,

    /// Also write what is read and planned to this file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,

    /// Exit with 2 when there are changes, or calls of an earlier run that are not settled
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,

    /// How much of the world to read
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    pub(crate) refresh: RefreshArg,

    /// Plan to delete everything that is recorded
    #[arg(long)]
    pub(crate) destroy: bool,

    /// Plan what somebody wrote who is not trusted, such as a pull request
    ///
    /// Nothing of the repository is executed, no machine and no service is asked, no path may lead out of the repository,
    /// and no secret is read: what is recorded is taken as it is, with its age, and secrets stay unresolved.
    #[arg(long, conflicts_with_all = ["destroy", "refresh", "revert"])]
    pub(crate) untrusted: bool,

    /// A checkout of the same project as it is without the change, which is trusted: it says where the state is, and which
    /// policy holds
    #[arg(long, value_name = "DIR", requires = "untrusted")]
    pub(crate) base: Option<PathBuf>,

    /// Exit with 4 unless the plan does the same as this one, which somebody reviewed; then it is not saved either
    #[arg(long, value_name = "PLAN")]
    pub(crate) same_as: Option<PathBuf>,

    /// Plan the way back to the state before this run, named by its id or by one of its serials
    ///
    /// What the run made is deleted, what it changed gets its old inputs back, and what it deleted is made again, each
    /// compared with what is there now. `gabion state history` lists the runs.
    #[arg(long, value_name = "RUN", conflicts_with = "destroy")]
    pub(crate) revert: Option<String>,

    #[command(flatten)]
    pub(crate) size: Size,

    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, Args)]
pub(crate) struct Show {
    /// A plan that `gabion plan --out` saved
    #[arg(value_name = "PLAN")]
    pub(crate) plan: PathBuf,

    /// Only this resource
    #[arg(value_name = "ADDR")]
    pub(crate) address: Option<ResourceAddress>,

    #[command(flatten)]
    pub(crate) size: Size,
}

/// How changes are carried out.
#[derive(Debug, Args)]
pub(crate) struct Execution {
    /// Do not ask
    #[arg(short = 'y', long = "auto-approve")]
    pub(crate) yes: bool,

    /// How many changes are made at the same time
    #[arg(long, value_name = "N", default_value = "10", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub(crate) parallelism: u16,

    /// Also write each event to this file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) locking: Locking,
}

#[derive(Debug, Args)]
pub(crate) struct Apply {
    /// A plan that `gabion plan --out` saved; it is carried out as it is, without asking
    #[arg(value_name = "PLAN", conflicts_with_all = ["files", "target", "exclude", "replace", "upgrade", "refresh"])]
    pub(crate) plan: Option<PathBuf>,

    /// Refuse a saved plan whose digest is another one
    #[arg(long, value_name = "DIGEST", requires = "plan")]
    pub(crate) digest: Option<String>,

    /// How much of the world to read
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    pub(crate) refresh: RefreshArg,

    #[command(flatten)]
    pub(crate) execution: Execution,

    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, Args)]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) execution: Execution,

    #[command(flatten)]
    pub(crate) selection: Selection,
}

#[derive(Debug, Args)]
pub(crate) struct Drift {
    /// Record what is there as it is, instead of putting it back; repeatable
    #[arg(long, value_name = "ADDR", num_args = 1..)]
    pub(crate) accept: Vec<ResourceAddress>,

    /// Also write the result to this file as JUnit XML, a test for each object
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) locking: Locking,
}

#[derive(Debug, Args)]
pub(crate) struct Import {
    /// The address that it gets; the configuration must declare it
    #[arg(value_name = "ADDR")]
    pub(crate) address: ResourceAddress,

    /// Its id, as its provider knows it
    #[arg(value_name = "ID")]
    pub(crate) id: String,

    #[command(flatten)]
    pub(crate) locking: Locking,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// Only what apply would change; makes a plan, as `gabion plan` does
    #[arg(long)]
    pub(crate) changed_only: bool,

    /// How much of the world to read for a plan
    #[arg(long, value_enum, value_name = "HOW", default_value = "full")]
    pub(crate) refresh: RefreshArg,
}

#[derive(Debug, Args)]
pub(crate) struct Output {
    /// Only this one, as plain text
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Scale {
    /// A service, or one of its replica groups: `qwen`, `qwen/decode`
    #[arg(value_name = "SERVICE[/GROUP]")]
    pub(crate) group: String,

    /// How many replicas
    #[arg(value_name = "N")]
    pub(crate) count: u32,

    /// Change nothing but the number: refuse if the files say something else of what is there than what was applied
    #[arg(long)]
    pub(crate) only_count: bool,

    #[command(flatten)]
    pub(crate) execution: Execution,
}

#[derive(Debug, Args)]
pub(crate) struct Heal {
    /// Only these, instead of everything, and what they need: a service, a replica group, or an address
    #[arg(value_name = "NAME")]
    pub(crate) names: Vec<String>,

    /// Say what would be brought back, and do nothing; exits with 2 if there is anything
    #[arg(long)]
    pub(crate) dry_run: bool,

    #[command(flatten)]
    pub(crate) execution: Execution,
}

#[derive(Debug, Args)]
pub(crate) struct Reconcile {
    /// Only these services or replica groups, instead of all: `qwen`, `qwen/decode`
    #[arg(value_name = "SERVICE[/GROUP]")]
    pub(crate) groups: Vec<String>,

    /// How often gateways are asked what they have counted
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "10s")]
    pub(crate) interval: Duration,

    /// How often it is looked for what is gone or has ended
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "60s", conflicts_with = "no_heal")]
    pub(crate) heal_every: Duration,

    /// Bring nothing back: only the number of replicas is kept
    #[arg(long)]
    pub(crate) no_heal: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Ps {}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("asked").args(["region", "gpu", "cpu", "memory"]).multiple(true))]
pub(crate) struct Offer {
    /// Only the services of this file; repeatable
    #[arg(short = 'f', long = "file", value_name = "FILE", conflicts_with_all = ["region", "gpu", "cpu", "memory"])]
    pub(crate) files: Vec<PathBuf>,

    /// The region to ask, instead of those of the project's gateways
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,

    /// Accelerators, such as `24GB..:1`, instead of what the project's services ask for
    #[arg(long, value_name = "SPEC")]
    pub(crate) gpu: Option<String>,

    /// Processors, such as `8..` or `arm:8..`
    #[arg(long, value_name = "SPEC")]
    pub(crate) cpu: Option<String>,

    /// Memory, such as `32GB..`
    #[arg(long, value_name = "RANGE")]
    pub(crate) memory: Option<String>,

    /// `spot`, `on-demand` or `auto`
    #[arg(long, value_name = "POLICY", requires = "asked")]
    pub(crate) spot_policy: Option<String>,

    /// The most that a machine may cost, in dollars an hour
    #[arg(long, value_name = "PRICE", requires = "asked")]
    pub(crate) max_price: Option<f64>,

    /// A type that will do; repeatable
    #[arg(long, value_name = "TYPE", requires = "asked")]
    pub(crate) instance_type: Vec<String>,

    /// How many offers to list for each
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) limit: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Logs {
    /// A service, gateway or resource: `qwen`, `qwen/default/0`, `host_unit.my-gateway/router/qwen`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// Go on printing what is written, until interrupted
    #[arg(short, long)]
    pub(crate) follow: bool,

    /// How many lines to start with: 100 without it, or all with `--since`
    #[arg(short = 'n', long, value_name = "N")]
    pub(crate) lines: Option<usize>,

    /// Only what was written so long ago or later: `30s`, `5m`, `1h`
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub(crate) since: Option<Duration>,

    /// Only the replica, or the node of a task, with this number
    #[arg(long, value_name = "N")]
    pub(crate) replica: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// A task, development environment, service or resource: `train`, `qwen/default/0`
    #[arg(value_name = "NAME")]
    pub(crate) name: String,

    /// The replica, or the node of a task, with this number
    #[arg(long, value_name = "N")]
    pub(crate) replica: Option<u32>,

    /// Forward this port of this machine to that of the program, beside those of its document; repeatable
    #[arg(short, long = "port", value_name = "LOCAL:PORT", conflicts_with = "command")]
    pub(crate) ports: Vec<PortPair>,

    /// Run this command where the program is, with its environment, instead of following its log
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// A port of this machine, and the one of a program that it leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PortPair {
    /// The port of this machine.
    pub(crate) local: u16,
    /// The port of the program.
    pub(crate) program: u16,
}

impl std::str::FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
        let (local, program) = text.split_once(':').unwrap_or((text, text));
        match (port(local), port(program)) {
            (Some(local), Some(program)) => Ok(Self { local, program }),
            _ => Err(format!("`{text}` is no pair of ports; write 8080:80, or 8080")),
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct Schema {
    /// Which one; all their names if not given
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Write all of them into this directory
    #[arg(long, value_name = "DIR", conflicts_with = "name")]
    pub(crate) write: Option<PathBuf>,

    /// Write the reference of documents, settings, resource types and commands into this directory, in Markdown
    #[arg(long, value_name = "DIR", conflicts_with_all = ["name", "write"])]
    pub(crate) docs: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completion {
    /// The shell
    #[arg(value_enum)]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// Serve gateways and keep routers filled
    Serve {
        /// The agent's own directory, which is that of its unit
        #[arg(long, value_name = "DIR")]
        directory: PathBuf,
        /// The directory below which the machine has its units
        #[arg(long, value_name = "DIR")]
        data_root: Option<PathBuf>,
        /// The lineage that it belongs to
        #[arg(long, value_name = "ID")]
        lineage: Option<String>,
        /// How long running requests may finish when it stops, in seconds
        #[arg(long, value_name = "SECONDS")]
        grace: Option<u64>,
        /// Succeed an agent that runs, and that is at the other end of standard input
        #[arg(long)]
        take_over: bool,
    },
    /// Become the program of a unit
    UnitExec {
        /// The unit's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
        /// The operation that launches it
        #[arg(long, value_name = "ID")]
        operation: String,
        /// The lease epoch of that operation
        #[arg(long, value_name = "N")]
        epoch: u64,
    },
    /// Run the container of a unit, and end as it ends
    ContainerKeep {
        /// The unit's directory
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
    /// Start a unit again from its recorded launch, as a restart policy would
    StartUnit {
        /// The unit's uid
        #[arg(value_name = "UID")]
        uid: String,
    },
}

/// A command of another tool, with whatever follows it.
#[derive(Debug, Args)]
pub(crate) struct Reflex {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) rest: Vec<String>,
}

/// Reads a date, its first moment in UTC, or a moment such as `2026-11-01T12:00:00Z`.
fn moment(text: &str) -> Result<Timestamp, String> {
    let date = || -> Option<Timestamp> {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    text.parse()
        .ok()
        .or_else(date)
        .ok_or_else(|| format!("`{text}` is not a date; write 2026-11-01, or 2026-11-01T12:00:00Z"))
}

/// Reads a duration such as `30s`, `5m` or `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration; write 30s, 5m or 1h");
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..end].parse().map_err(|_| wrong())?;
    let seconds = match &text[end..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(wrong()),
    };
    number
        .checked_mul(seconds)
        .map(Duration::from_secs)
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations_are_read() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("5m"), Ok(Duration::from_secs(300)));
        for text in [
            "",
            "m",
            "1d",
            "-1s",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
