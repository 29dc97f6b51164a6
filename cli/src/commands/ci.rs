//! `gabion ci`: what jobs of continuous integration do beside planning and applying.

use std::io::Read;
use std::path::Path;

use super::Context;
use crate::args::{Ci, CiComment, ForgeArg};
use crate::ci::{Api, Forge, Outcome, Request, Thread, post};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome as CommandOutcome};
use crate::interrupt::Interrupts;
use crate::options::Options;

/// The longest body that is read.
const LONGEST: u64 = 8 << 20;

/// Runs one of them.
pub(crate) async fn run(command: &Ci, context: &Context) -> CommandOutcome {
    match command {
        Ci::Comment(args) => comment(args, context).await,
    }
}

/// Posts a comment or issue, or updates the one that there is.
async fn comment(args: &CiComment, context: &Context) -> CommandOutcome {
    let Context { options, printer } = context;
    let interrupts = Interrupts::listen(printer)?;
    let body = read(&args.body)?;
    let forge = forge(args, options)?;
    let (api, repository) = match forge {
        Forge::GitHub => {
            let token = token(options, &["GITHUB_TOKEN", "GH_TOKEN"])?;
            let base =
                setting(options, args.api.as_deref(), "GITHUB_API_URL").unwrap_or("https://api.github.com");
            let repository = setting(options, args.repository.as_deref(), "GITHUB_REPOSITORY");
            (
                Api::new(base, Api::bearer(), &format!("Bearer {token}"))?,
                repository,
            )
        }
        Forge::GitLab => {
            let token = token(options, &["GITLAB_TOKEN"])?;
            let base =
                setting(options, args.api.as_deref(), "CI_API_V4_URL").unwrap_or("https://gitlab.com/api/v4");
            let repository = setting(options, args.repository.as_deref(), "CI_PROJECT_ID");
            (Api::new(base, "private-token", token)?, repository)
        }
    };
    let repository = repository.filter(|name| is_repository(name)).ok_or_else(|| {
        Failure::new("no repository")
            .detail("Which repository is meant is neither said nor known from the environment.")
            .hint("name it: --repository OWNER/NAME")
    })?;
    let thread = match &args.issue {
        Some(title) => Thread::Issue(title.clone()),
        None => Thread::Request(number(args, options)?),
    };
    let request = Request {
        forge,
        repository,
        thread,
        body: &body,
        close: args.close,
    };
    let outcome = interrupts.unless(post(&api, &request)).await??;
    let line = match outcome {
        Outcome::Created(url) => format!("Posted {url}"),
        Outcome::Updated(url) => format!("Updated {url}"),
        Outcome::Closed(url) => format!("Closed {url}"),
        Outcome::Nothing => "There is nothing to close.".to_owned(),
    };
    printer.status(line.trim_end());
    Ok(Exit::Done)
}

fn read(path: &Path) -> Result<String, Failure> {
    let wrong =
        |why: String| Failure::new("the body cannot be read").detail(format!("{}: {why}.", path.display()));
    let mut text = String::new();
    let taken = match path.to_str() {
        Some("-") => std::io::stdin().take(LONGEST).read_to_string(&mut text),
        _ => std::fs::File::open(path).and_then(|file| file.take(LONGEST).read_to_string(&mut text)),
    };
    taken.map_err(|error| wrong(error.to_string()))?;
    Ok(text)
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

fn forge(args: &CiComment, options: &Options) -> Result<Forge, Failure> {
    let set = |name| options.environment.set(name).is_some();
    match args.forge {
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

/// Returns the number of the pull or merge request.
fn number(args: &CiComment, options: &Options) -> Result<u64, Failure> {
    let environment = &options.environment;
    let of_reference = || {
        let reference = environment.set("GITHUB_REF")?;
        let rest = reference.strip_prefix("refs/pull/")?;
        rest.split('/').next()?.parse().ok()
    };
    let of_event = || {
        let text = std::fs::read_to_string(environment.set("GITHUB_EVENT_PATH")?).ok()?;
        let event: serde_json::Value = serde_json::from_str(&text).ok()?;
        event["pull_request"]["number"].as_u64()
    };
    let of_gitlab = || environment.set("CI_MERGE_REQUEST_IID")?.parse().ok();
    args.number
        .or_else(of_reference)
        .or_else(of_event)
        .or_else(of_gitlab)
        .ok_or_else(|| {
            Failure::new("no pull request")
                .detail("The job does not belong to a pull or merge request.")
                .hint("name it: --number N; or post an issue: --issue TITLE")
        })
}
