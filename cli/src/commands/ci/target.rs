//! Which service, repository and request a job belongs to, and who made it.

use serde_json::Value as Json;

use crate::args::{CiService, ForgeArg};
use crate::ci::{Api, Forge, Request, Thread, post};
use crate::context::Context;
use crate::failure::Failure;
use crate::options::Options;

/// Where comments and issues go.
pub(super) struct Target {
    pub(super) api: Api,
    pub(super) forge: Forge,
    pub(super) repository: String,
}

impl Target {
    /// Works out from flags and the job's environment where comments and issues go.
    pub(super) fn of(service: &CiService, options: &Options) -> Result<Self, Failure> {
        let forge = forge(service, options)?;
        let (api, repository) = match forge {
            Forge::GitHub => {
                let token = token(options, &["GITHUB_TOKEN", "GH_TOKEN"])?;
                let base = setting(options, service.api.as_deref(), "GITHUB_API_URL")
                    .unwrap_or("https://api.github.com");
                let repository = setting(options, service.repository.as_deref(), "GITHUB_REPOSITORY");
                (
                    Api::new(base, Api::bearer(), &format!("Bearer {token}"))?,
                    repository,
                )
            }
            Forge::GitLab => {
                let token = token(options, &["GITLAB_TOKEN"])?;
                let base = setting(options, service.api.as_deref(), "CI_API_V4_URL")
                    .unwrap_or("https://gitlab.com/api/v4");
                let repository = setting(options, service.repository.as_deref(), "CI_PROJECT_ID");
                (Api::new(base, "private-token", token)?, repository)
            }
        };
        let repository = repository.filter(|name| is_repository(name)).ok_or_else(|| {
            Failure::new("no repository")
                .detail("Which repository is meant is neither said nor known from the environment.")
                .hint("name it: --repository OWNER/NAME")
        })?;
        Ok(Self {
            api,
            forge,
            repository: repository.to_owned(),
        })
    }
}

/// Posts what a job has to say, and goes on when that is not possible: what the job was for is done or not whether people
/// are told or not.
pub(super) async fn tell(
    context: &Context,
    service: &CiService,
    thread: Result<Thread, Failure>,
    body: &str,
    close: bool,
) {
    let told = async {
        let target = Target::of(service, &context.options)?;
        let request = Request {
            forge: target.forge,
            repository: &target.repository,
            thread: thread?,
            body,
            close,
        };
        post(&target.api, &request).await
    };
    match told.await {
        Ok(outcome) => context.printer.status(&outcome.to_string()),
        Err(failure) => {
            let words = failure.summary();
            context
                .printer
                .error(&format!("warning: nothing is posted: {words}"));
        }
    }
}

fn setting<'a>(options: &'a Options, flag: Option<&'a str>, variable: &str) -> Option<&'a str> {
    flag.or_else(|| options.environment.set(variable))
}

fn token<'a>(options: &'a Options, names: &[&str]) -> Result<&'a str, Failure> {
    names.iter().find_map(|name| options.environment.set(name)).ok_or_else(|| {
        Failure::new("no token")
            .detail(format!("{} is not set.", names.join(" or ")))
            .hint("give the job a token that may write comments; on GitHub:\n    env: {GITHUB_TOKEN: \"${{ github.token }}\"}\n    permissions: {pull-requests: write}")
    })
}

fn forge(service: &CiService, options: &Options) -> Result<Forge, Failure> {
    let set = |name| options.environment.set(name).is_some();
    match service.forge {
        Some(ForgeArg::Github) => Ok(Forge::GitHub),
        Some(ForgeArg::Gitlab) => Ok(Forge::GitLab),
        None if set("GITLAB_CI") => Ok(Forge::GitLab),
        None if set("GITHUB_ACTIONS") => Ok(Forge::GitHub),
        None => Err(Failure::new("no service")
            .detail("Neither GITHUB_ACTIONS nor GITLAB_CI is set.")
            .hint("say where to: --forge github, or --forge gitlab")),
    }
}

/// Names go into a path: nothing in them may lead elsewhere.
fn is_repository(name: &str) -> bool {
    !name.is_empty()
        && name.split('/').all(|part| {
            !part.is_empty()
                && !part.trim_matches('.').is_empty()
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        })
}

/// Returns what happened that the job is for, as GitHub writes it down.
fn event(options: &Options) -> Option<Json> {
    let text = std::fs::read_to_string(options.environment.set("GITHUB_EVENT_PATH")?).ok()?;
    serde_json::from_str(&text).ok()
}

/// Returns the number of the pull or merge request.
pub(super) fn number(given: Option<u64>, options: &Options) -> Result<u64, Failure> {
    let environment = &options.environment;
    let of_reference = || {
        let reference = environment.set("GITHUB_REF")?;
        let rest = reference.strip_prefix("refs/pull/")?;
        rest.split('/').next()?.parse().ok()
    };
    let of_event = || event(options)?["pull_request"]["number"].as_u64();
    let of_gitlab = || environment.set("CI_MERGE_REQUEST_IID")?.parse().ok();
    given
        .or_else(of_reference)
        .or_else(of_event)
        .or_else(of_gitlab)
        .ok_or_else(|| {
            Failure::new("no pull request")
                .detail("The job does not belong to a pull or merge request.")
                .hint("name it: --number N; or post an issue: --issue TITLE")
        })
}

/// Returns the commit that a pull or merge request proposes; else the one that is checked out.
pub(super) fn head_commit(options: &Options) -> Option<String> {
    let of_event = || {
        let event = event(options)?;
        Some(event["pull_request"]["head"]["sha"].as_str()?.to_owned())
    };
    let set = |name: &str| options.environment.set(name).map(str::to_owned);
    of_event()
        .or_else(|| set("CI_MERGE_REQUEST_SOURCE_BRANCH_SHA"))
        .or_else(|| set("CI_COMMIT_SHA"))
        .or_else(|| crate::project::commit(&options.directory.canonicalize().ok()?).map(|at| at.to_string()))
        .filter(|commit| is_commit(commit))
}

/// Returns the commit that a pull or merge request is to be merged onto.
pub(super) fn base_commit(options: &Options) -> Option<String> {
    let of_event = || {
        let event = event(options)?;
        Some(event["pull_request"]["base"]["sha"].as_str()?.to_owned())
    };
    let set = |name: &str| options.environment.set(name).map(str::to_owned);
    of_event()
        .or_else(|| set("CI_MERGE_REQUEST_DIFF_BASE_SHA"))
        .filter(|commit| is_commit(commit))
}

/// Returns whether a text is a commit's full name.
pub(super) fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Returns the id of the run, or job, whose artifacts this job's are.
pub(super) fn run_id(options: &Options) -> Option<String> {
    let set = |name: &str| options.environment.set(name).map(str::to_owned);
    set("GITHUB_RUN_ID").or_else(|| set("CI_JOB_ID"))
}

/// Adds a text to what the job shows by itself, where it can.
pub(super) fn show(context: &Context, body: &str) {
    append(context, "GITHUB_STEP_SUMMARY", &format!("{body}\n"));
}

/// Hands values to later steps of the job, where it can; no value has a line end.
pub(super) fn hand_on(context: &Context, values: &[(&str, String)]) {
    let lines: String = values
        .iter()
        .map(|(name, value)| format!("{name}={value}\n"))
        .collect();
    append(context, "GITHUB_OUTPUT", &lines);
}

fn append(context: &Context, variable: &str, text: &str) {
    use std::io::Write;
    let Some(path) = context.options.environment.set(variable) else {
        return;
    };
    let file = std::fs::OpenOptions::new().append(true).create(true).open(path);
    if let Err(error) = file.and_then(|mut file| file.write_all(text.as_bytes())) {
        context.printer.error(&format!("warning: {variable}: {error}"));
    }
}
