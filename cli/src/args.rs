//! The command line as clap reads it. What it means is worked out once, in [`options`](crate::options).

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use gabion_engine::address::ResourceAddress;
use jiff::Timestamp;

use crate::options::shell_word;
use crate::render::plan_markdown::MAX_BYTES;

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
    /// Delete everything that is recorded
    Destroy(Destroy),
    /// Say what was changed outside gabion
    Drift(Drift),
    /// Bring an existing object under management
    Import(Import),
    /// Print what depends on what
    Graph(Graph),
    /// Print outputs and endpoints
    Output(Output),
    /// List the machines that a cloud offers for the project's services, or for what is asked; makes nothing
    Offer(Offer),
    /// List services, routers and gateways with what they are doing
    Ps(Ps),
    /// Print the log of a service, replica, router or gateway
    Logs(Logs),
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

    /// Exit with 2 when there are changes
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

/// How a graph is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Default)]
pub(crate) enum GraphStyle {
    /// For Graphviz
    #[default]
    Dot,
    /// For Markdown
    Mermaid,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct Graph {
    /// How to write it; `--format markdown` and `--format json` choose too
    #[arg(long, value_enum, value_name = "STYLE")]
    pub(crate) style: Option<GraphStyle>,
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

    #[command(flatten)]
    pub(crate) execution: Execution,
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

    /// How many lines to start with
    #[arg(short = 'n', long, value_name = "N", default_value = "100")]
    pub(crate) lines: usize,
}

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

#[derive(Debug, Subcommand)]
pub(crate) enum Ci {
    /// Plan what a pull or merge request proposes, for its job: files for `gabion ci apply`, and one comment
    ///
    /// It is planned as `gabion plan --untrusted` does. The directory gets the plan, its Markdown and JSON, and what it was
    /// made of. In a job of GitHub or GitLab everything is known from the environment; without a token nothing is posted.
    Plan(CiPlan),
    /// Carry out the plan that was reviewed; the comment says what became of it, and an issue if it failed
    ///
    /// The plan is believed when its digest, the run that made it and the commit that it was made of are those given here.
    /// Otherwise it is planned again, and applied only if that plan does the same.
    Apply(CiApply),
    /// Look for drift on a schedule: one issue is opened or updated when there is some, and closed when there is none
    Drift(CiDrift),
    /// Write a comment to a pull or merge request, or an issue, or update the one that there is
    ///
    /// The one that there is has the same hidden mark in its first line and was written by the same user or app. The token
    /// comes from GITHUB_TOKEN or GITLAB_TOKEN. In a job of GitHub or GitLab everything else is known.
    Comment(CiComment),
    /// Print the id of the run that planned a commit, as the service says: whose files `gabion ci apply` may believe
    Run(CiRun),
}

/// Where comments and issues go.
#[derive(Debug, Args)]
pub(crate) struct CiService {
    /// The service; by what the job's environment says if not given
    #[arg(long, value_enum, value_name = "SERVICE")]
    pub(crate) forge: Option<ForgeArg>,

    /// The repository: OWNER/NAME, or the number or path of a project of GitLab
    #[arg(long, value_name = "NAME")]
    pub(crate) repository: Option<String>,

    /// The URL of the service's API
    #[arg(long, value_name = "URL")]
    pub(crate) api: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct CiPlan {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "gabion-plan")]
    pub(crate) dir: PathBuf,

    /// The commit that the request is to be merged onto, which says where the state is and which policy holds
    #[arg(long, value_name = "COMMIT")]
    pub(crate) base: Option<String>,

    /// Whoever wrote the files is trusted: plan with secrets, and read the world
    #[arg(long, conflicts_with = "base")]
    pub(crate) trusted: bool,

    /// The commit that the request proposes
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,

    /// The pull or merge request
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<u64>,

    /// Post nothing
    #[arg(long)]
    pub(crate) no_comment: bool,

    #[command(flatten)]
    pub(crate) service: CiService,
}

#[derive(Debug, Args)]
pub(crate) struct CiApply {
    /// Where the files are that `gabion ci plan` wrote
    #[arg(long, value_name = "DIR", default_value = "gabion-plan")]
    pub(crate) dir: PathBuf,

    /// The commit that the plan must have been made of
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: Option<String>,

    /// The run that must have made it, as `gabion ci run` prints it
    #[arg(long, value_name = "ID")]
    pub(crate) run: Option<String>,

    /// The digest that it must have
    #[arg(long, value_name = "DIGEST")]
    pub(crate) digest: Option<String>,

    /// The pull or merge request
    #[arg(long, value_name = "N")]
    pub(crate) number: Option<u64>,

    /// Post nothing
    #[arg(long)]
    pub(crate) no_comment: bool,

    #[command(flatten)]
    pub(crate) locking: Locking,

    #[command(flatten)]
    pub(crate) service: CiService,
}

#[derive(Debug, Args)]
pub(crate) struct CiDrift {
    /// Also write the result to this file as JUnit XML, a test for each object
    #[arg(long, value_name = "FILE")]
    pub(crate) junit: Option<PathBuf>,

    /// Open, update and close no issue
    #[arg(long)]
    pub(crate) no_issue: bool,

    #[command(flatten)]
    pub(crate) service: CiService,
}

#[derive(Debug, Args)]
pub(crate) struct CiRun {
    /// The commit that the request proposes
    #[arg(long, value_name = "COMMIT")]
    pub(crate) commit: String,

    /// The file name of the workflow that plans, such as `gabion-plan.yml`; on GitLab the name of the job
    #[arg(long, value_name = "NAME")]
    pub(crate) workflow: String,

    #[command(flatten)]
    pub(crate) service: CiService,
}

#[derive(Debug, Args)]
pub(crate) struct CiComment {
    /// What to write: Markdown of `gabion plan` or `gabion drift`; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) body: PathBuf,

    /// The pull or merge request
    #[arg(long, value_name = "N", conflicts_with = "issue")]
    pub(crate) number: Option<u64>,

    /// Write an issue with this title instead
    #[arg(long, value_name = "TITLE")]
    pub(crate) issue: Option<String>,

    /// Close that issue
    #[arg(long, requires = "issue")]
    pub(crate) close: bool,

    #[command(flatten)]
    pub(crate) service: CiService,
}

/// A service that holds repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ForgeArg {
    /// GitHub
    Github,
    /// GitLab
    Gitlab,
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
