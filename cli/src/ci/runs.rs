//! Which run of a job made something for a commit, as the service itself says.

use std::time::Duration;

use http::Method;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::answer::{Answer, Refused};
use super::forge::Forge;
use super::http::Api;
use crate::failure::Failure;

/// How often a call is made again.
const TRIES: usize = 6;

/// Returns the id of the newest run of a workflow that succeeded for a pull request at a commit; on GitLab that of the
/// newest job of this name in a pipeline of a merge request.
///
/// # Errors
/// When the service refuses.
pub(crate) async fn find_run(
    api: &Api,
    forge: Forge,
    repository: &str,
    commit: &str,
    workflow: &str,
) -> Result<Option<u64>, Failure> {
    match forge {
        Forge::GitHub => {
            let name = utf8_percent_encode(workflow, NON_ALPHANUMERIC);
            let path = format!(
                "repos/{repository}/actions/workflows/{name}/runs?head_sha={commit}&event=pull_request&status=success&per_page=20"
            );
            let answer = get(api, &path).await?;
            let runs = answer.json["workflow_runs"].as_array();
            Ok(runs.into_iter().flatten().find_map(|run| {
                // The service is asked for these only, and believed only when it says so.
                let fits = run["head_sha"] == commit
                    && run["event"] == "pull_request"
                    && run["conclusion"] == "success";
                run["id"].as_u64().filter(|_| fits)
            }))
        }
        Forge::GitLab => {
            let root = format!("projects/{}", repository.replace('/', "%2F"));
            let path = format!("{root}/pipelines?sha={commit}&source=merge_request_event&per_page=20");
            let answer = get(api, &path).await?;
            for pipeline in answer.json.as_array().into_iter().flatten() {
                let Some(id) = pipeline["id"].as_u64().filter(|_| pipeline["sha"] == commit) else {
                    continue;
                };
                let jobs = get(
                    api,
                    &format!("{root}/pipelines/{id}/jobs?scope=success&per_page=100"),
                )
                .await?;
                let found = jobs.json.as_array().into_iter().flatten().find_map(|job| {
                    let fits = job["name"] == workflow && job["status"] == "success";
                    job["id"].as_u64().filter(|_| fits)
                });
                if found.is_some() {
                    return Ok(found);
                }
            }
            Ok(None)
        }
    }
}

async fn get(api: &Api, path: &str) -> Result<Answer, Failure> {
    for _ in 0..TRIES {
        match api.call(Method::GET, path, None).await {
            Ok(answer) => return Ok(answer),
            Err(Refused::Never(failure)) => return Err(failure),
            Err(Refused::TooLong) => break,
            Err(Refused::Later(wait)) => tokio::time::sleep(wait.max(Duration::from_millis(100))).await,
        }
    }
    Err(Failure::new("the service refused").detail("It asks to wait, again and again."))
}
