//! `gabion ci`: what the jobs of a pull request, of a merge and of a schedule do.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::Locking;

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
