//! GitHub and GitLab: finding the comment or issue that is gabion's, and writing it.

use std::fmt;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value as Json, json};

use super::answer::Refused;
use super::body::{marker, shortened};
use super::http::Api;
use crate::failure::Failure;

/// How often a refused call is made again.
const TRIES: usize = 6;
/// How many comments or issues are looked through.
const PAGES: usize = 100;
/// How many bytes a body may have, each tried when the one before was too long.
const SIZES: [usize; 4] = [65_000, 60_000, 30_000, 8_000];

/// A service that holds repositories.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Forge {
    /// GitHub, and what speaks like it.
    GitHub,
    /// GitLab.
    GitLab,
}

/// Where something is posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Thread {
    /// To a pull or merge request, by its number.
    Request(u64),
    /// As an issue with this title.
    Issue(String),
}

/// What is to be posted.
pub(crate) struct Request<'a> {
    /// The service.
    pub(crate) forge: Forge,
    /// The repository: `owner/name`, or GitLab's number or path of the project.
    pub(crate) repository: &'a str,
    /// Where.
    pub(crate) thread: Thread,
    /// What, in Markdown; its first line is the mark.
    pub(crate) body: &'a str,
    /// Whether the issue is closed, as there is nothing to say any more.
    pub(crate) close: bool,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// A new comment or issue, with its URL.
    Created(String),
    /// The one that there was.
    Updated(String),
    /// The issue was closed.
    Closed(String),
    /// There was nothing to close.
    Nothing,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Created(url) if url.is_empty() => f.write_str("Posted."),
            Self::Created(url) => write!(f, "Posted {url}"),
            Self::Updated(url) => write!(f, "Updated {url}"),
            Self::Closed(url) => write!(f, "Closed {url}"),
            Self::Nothing => f.write_str("There is nothing to close."),
        }
    }
}

/// What there is already.
struct Found {
    id: u64,
    url: String,
}

/// Who calls.
enum Caller {
    /// This user.
    User(u64),
    /// An app: what it writes is written by a bot.
    App,
}

/// Posts a comment or issue, or updates the one that there is.
///
/// # Errors
/// When the service refuses, or asks to wait too long.
pub(crate) async fn post(api: &Api, request: &Request<'_>) -> Result<Outcome, Failure> {
    let Some(mark) = marker(request.body) else {
        return Err(Failure::new("the body cannot be posted")
            .detail("Its first line is not the hidden mark that gabion's Markdown begins with.")
            .hint("make it with:\n    gabion plan --format markdown > plan.md"));
    };
    let mut sizes = SIZES.iter();
    let mut body = shortened(request.body, sizes.next().copied().unwrap_or_default());
    let mut last = "It does not answer.".to_owned();
    for _ in 0..TRIES {
        let wait = match attempt(api, request, mark, &body).await {
            Ok(outcome) => return Ok(outcome),
            Err(Refused::Never(failure)) => return Err(failure),
            Err(Refused::TooLong) => match sizes.next() {
                Some(size) => {
                    body = shortened(request.body, (*size).min(body.len() / 2 + 1));
                    continue;
                }
                None => {
                    return Err(
                        Failure::new("the service refused").detail("Even a short body is too long for it.")
                    );
                }
            },
            Err(Refused::Later(wait)) => {
                last = format!("It asks to wait {} seconds, again and again.", wait.as_secs());
                wait
            }
        };
        tokio::time::sleep(wait.max(Duration::from_millis(100))).await;
    }
    Err(Failure::new("the service refused").detail(last))
}

async fn attempt(api: &Api, request: &Request<'_>, mark: &str, body: &str) -> Result<Outcome, Refused> {
    let caller = caller(api, request.forge).await?;
    let found = find(api, request, mark, &caller).await?;
    let text = |name: &str| json!({ name: body });
    let call = |method: Method, path: String, body: Json| async move {
        let answer = api.call(method, &path, Some(&body)).await?;
        Ok::<_, Refused>(url_of(&answer.json))
    };
    let root = root(request);
    match (&request.thread, found) {
        (Thread::Request(_), Some(found)) => {
            let (method, path) = match request.forge {
                Forge::GitHub => (Method::PATCH, format!("{root}/issues/comments/{}", found.id)),
                Forge::GitLab => (Method::PUT, format!("{}/{}", comments(request), found.id)),
            };
            let url = call(method, path, text("body")).await?;
            Ok(Outcome::Updated(url.unwrap_or(found.url)))
        }
        (Thread::Request(_), None) => {
            let url = call(Method::POST, comments(request), text("body")).await?;
            Ok(Outcome::Created(url.unwrap_or_default()))
        }
        (Thread::Issue(title), found) => {
            let mut fields = match request.forge {
                Forge::GitHub => text("body"),
                Forge::GitLab => text("description"),
            };
            match found {
                None if request.close => Ok(Outcome::Nothing),
                None => {
                    fields["title"] = title.as_str().into();
                    let url = call(Method::POST, format!("{root}/issues"), fields).await?;
                    Ok(Outcome::Created(url.unwrap_or_default()))
                }
                Some(found) => {
                    let method = match request.forge {
                        Forge::GitHub => Method::PATCH,
                        Forge::GitLab => Method::PUT,
                    };
                    if request.close {
                        let (name, word) = match request.forge {
                            Forge::GitHub => ("state", "closed"),
                            Forge::GitLab => ("state_event", "close"),
                        };
                        fields[name] = word.into();
                    }
                    call(method, format!("{root}/issues/{}", found.id), fields).await?;
                    Ok(match request.close {
                        true => Outcome::Closed(found.url),
                        false => Outcome::Updated(found.url),
                    })
                }
            }
        }
    }
}

fn root(request: &Request<'_>) -> String {
    match request.forge {
        Forge::GitHub => format!("repos/{}", request.repository),
        Forge::GitLab => format!("projects/{}", request.repository.replace('/', "%2F")),
    }
}

fn comments(request: &Request<'_>) -> String {
    let root = root(request);
    match (&request.thread, request.forge) {
        (Thread::Request(number), Forge::GitHub) => format!("{root}/issues/{number}/comments"),
        (Thread::Request(number), Forge::GitLab) => format!("{root}/merge_requests/{number}/notes"),
        (Thread::Issue(_), _) => format!("{root}/issues"),
    }
}

fn url_of(json: &Json) -> Option<String> {
    let url = json["html_url"].as_str().or(json["web_url"].as_str())?;
    Some(url.to_owned())
}

/// Asks who is calling. A job's own token is an app's, which has no user.
async fn caller(api: &Api, forge: Forge) -> Result<Caller, Refused> {
    match api.call(Method::GET, "user", None).await {
        Ok(answer) => match answer.json["id"].as_u64() {
            Some(id) => Ok(Caller::User(id)),
            None => Ok(Caller::App),
        },
        Err(Refused::Never(_)) if forge == Forge::GitHub => Ok(Caller::App),
        Err(refused) => Err(refused),
    }
}

/// Looks through everything for what carries the mark and was written by the caller.
async fn find(
    api: &Api,
    request: &Request<'_>,
    mark: &str,
    caller: &Caller,
) -> Result<Option<Found>, Refused> {
    let path = comments(request);
    let state = match (&request.thread, request.forge) {
        (Thread::Request(_), _) => "",
        (Thread::Issue(_), Forge::GitHub) => "&state=open",
        (Thread::Issue(_), Forge::GitLab) => "&state=opened",
    };
    for page in 1..=PAGES {
        let answer = api
            .call(
                Method::GET,
                &format!("{path}?per_page=100&page={page}{state}"),
                None,
            )
            .await?;
        debug_assert_eq!(answer.status, StatusCode::OK);
        let Some(items) = answer.json.as_array() else {
            return Ok(None);
        };
        for item in items {
            let body = item["body"]
                .as_str()
                .or(item["description"].as_str())
                .unwrap_or_default();
            let author = match item["user"].is_object() {
                true => &item["user"],
                false => &item["author"],
            };
            let ours = match caller {
                Caller::User(id) => author["id"].as_u64() == Some(*id),
                Caller::App => author["type"] == "Bot",
            };
            if !ours || marker(body) != Some(mark) || !item["pull_request"].is_null() {
                continue;
            }
            let number = match (&request.thread, request.forge) {
                (Thread::Request(_), _) => &item["id"],
                (Thread::Issue(_), Forge::GitHub) => &item["number"],
                (Thread::Issue(_), Forge::GitLab) => &item["iid"],
            };
            if let Some(id) = number.as_u64() {
                let url = url_of(item).unwrap_or_default();
                return Ok(Some(Found { id, url }));
            }
        }
        let more = match request.forge {
            Forge::GitHub => answer
                .headers
                .get("link")
                .and_then(|link| link.to_str().ok())
                .is_some_and(|link| link.contains("rel=\"next\"")),
            Forge::GitLab => answer
                .headers
                .get("x-next-page")
                .is_some_and(|next| !next.is_empty()),
        };
        if !more {
            return Ok(None);
        }
    }
    Ok(None)
}
