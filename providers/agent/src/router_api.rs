//! The worker APIs of routers: what they say, and what they mean by it.
//!
//! Both flavours of SGLang's add and remove in the background and answer 202 before anything has happened. They share
//! `GET /workers`, `POST /workers` and `DELETE /workers/<id>`; `smg` keeps labels in `labels`, refuses duplicates with 409,
//! shows a worker it removes as `draining` for seconds and overrides `model_id` with what the worker reports;
//! `sglang-router` keeps labels in `metadata` and accepts duplicates only to fail them later.
//! `vllm-router`, an older relative of both, adds while one waits, knows a worker by its URL alone (no id, no labels, no
//! model) and answers 400 when it has it already.
//! A worker is known by its normalised URL: ids change with each registration.

use std::collections::BTreeMap;
use std::time::Duration;

use gabion_host::http::{HttpRequest, HttpResponse, send};
use gabion_host::transport::{Endpoint, LocalTransport};
use http::{Method, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;

use crate::protocol::{AgentError, Flavour, Member, Router, WORKER_LABEL, Worker};

/// How long one call may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

/// What a router answered to a request to add a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Addition {
    /// It works on it; progress is under this id.
    Accepted(String),
    /// It has the URL already, or works on it.
    Present,
}

/// What became of a router's background job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum Job {
    /// It runs, or there is nothing to say.
    #[default]
    Running,
    /// It failed, in the router's words.
    Failed(String),
}

/// One router's API.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RouterApi<'a> {
    router: &'a Router,
}

impl<'a> RouterApi<'a> {
    /// Talks to this router.
    pub(crate) fn new(router: &'a Router) -> Self {
        Self { router }
    }

    /// Returns the workers the router has.
    pub(crate) async fn workers(&self) -> Result<Vec<Worker>, AgentError> {
        let answer = self.call(HttpRequest::get("/workers")).await?;
        if !answer.status.is_success() {
            return Err(self.unexpected("GET /workers", &answer));
        }
        let list: WireList = answer
            .json()
            .map_err(|error| self.unreachable(error.to_string()))?;
        let mut workers: Vec<Worker> = list.workers.into_iter().map(Worker::from).collect();
        workers.sort_by(|left, right| left.url.cmp(&right.url).then_with(|| left.id.cmp(&right.id)));
        Ok(workers)
    }

    /// Asks the router to take a worker in.
    pub(crate) async fn add(&self, member: &Member) -> Result<Addition, AgentError> {
        let body = match self.router.flavour {
            Flavour::Smg | Flavour::SglangRouter => addition_body(member),
            Flavour::VllmRouter => serde_json::json!({"url": normal_url(&member.url)}),
        };
        let request = HttpRequest::new(Method::POST, "/workers").json(&body);
        let answer = self.call(request).await?;
        match answer.status {
            StatusCode::CONFLICT => Ok(Addition::Present),
            StatusCode::BAD_REQUEST
                if self.router.flavour == Flavour::VllmRouter
                    && answer.excerpt().contains("already exists") =>
            {
                Ok(Addition::Present)
            }
            status if status.is_success() && self.router.flavour == Flavour::VllmRouter => {
                Ok(Addition::Accepted(normal_url(&member.url)))
            }
            status if status.is_success() => {
                let accepted: WireAccepted = answer
                    .json()
                    .map_err(|error| self.unreachable(error.to_string()))?;
                Ok(Addition::Accepted(accepted.worker_id))
            }
            _ => Err(AgentError::RouterRefused {
                address: self.router.address.clone(),
                worker: member.name.clone(),
                reason: format!("{}: {}", answer.status.as_u16(), answer.excerpt()),
            }),
        }
    }

    /// Asks the router to let go of a worker; an id it does not know is fine.
    pub(crate) async fn remove(&self, id: &str) -> Result<(), AgentError> {
        let request = match self.router.flavour {
            Flavour::Smg | Flavour::SglangRouter => {
                HttpRequest::new(Method::DELETE, format!("/workers/{id}"))
            }
            Flavour::VllmRouter => {
                let url = utf8_percent_encode(id, NON_ALPHANUMERIC);
                HttpRequest::new(Method::POST, format!("/remove_worker?url={url}"))
            }
        };
        let answer = self.call(request).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(()),
            status if status.is_success() => Ok(()),
            _ => Err(self.unexpected("DELETE /workers", &answer)),
        }
    }

    /// Returns what became of the job behind an accepted addition.
    pub(crate) async fn job(&self, id: &str) -> Result<Job, AgentError> {
        if self.router.flavour == Flavour::VllmRouter {
            // What it has accepted is in its list.
            return Ok(Job::Running);
        }
        let answer = self.call(HttpRequest::get(format!("/workers/{id}"))).await?;
        if !answer.status.is_success() {
            return Ok(Job::Running);
        }
        let worker: WireJob = answer
            .json()
            .map_err(|error| self.unreachable(error.to_string()))?;
        Ok(match worker.job_status {
            Some(job) if job.status == "failed" => Job::Failed(
                job.message
                    .unwrap_or_else(|| "the router gives no reason".to_owned()),
            ),
            _ => Job::Running,
        })
    }

    /// Returns whether the router answers at all; that says nothing about workers.
    pub(crate) async fn is_alive(&self) -> bool {
        self.call(HttpRequest::get("/liveness"))
            .await
            .is_ok_and(|answer| answer.status.is_success())
    }

    /// Returns whether the router has a healthy worker (a prefill and a decode one, where those are apart).
    pub(crate) async fn is_ready(&self) -> bool {
        self.call(HttpRequest::get("/readiness"))
            .await
            .is_ok_and(|answer| answer.status.is_success())
    }

    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, AgentError> {
        let endpoint = Endpoint::Tcp {
            host: self.router.host.clone(),
            port: self.router.port,
        };
        send(&LocalTransport, &endpoint, request.timeout(CALL_TIMEOUT))
            .await
            .map_err(|error| self.unreachable(error.to_string()))
    }

    fn unreachable(&self, reason: String) -> AgentError {
        AgentError::RouterUnreachable {
            address: self.router.address.clone(),
            reason,
        }
    }

    fn unexpected(&self, call: &str, answer: &HttpResponse) -> AgentError {
        self.unreachable(format!(
            "{call} answered {}: {}",
            answer.status.as_u16(),
            answer.excerpt()
        ))
    }

    /// Returns whether a worker is registered the way a member is meant to be. Labels the router found out by itself do
    /// not count, nor does the model with `smg`, which prefers what the worker reports.
    pub(crate) fn matches(&self, worker: &Worker, member: &Member) -> bool {
        if self.router.flavour == Flavour::VllmRouter {
            // It keeps nothing of a worker but where it is.
            return worker.worker_type == member.worker_type.as_str();
        }
        let labels = labels_of(member);
        worker.worker_type == member.worker_type.as_str()
            && (member.bootstrap_port.is_none() || worker.bootstrap_port == member.bootstrap_port)
            && labels
                .iter()
                .all(|(name, value)| worker.labels.get(name) == Some(value))
            && (self.router.flavour == Flavour::Smg
                || member.model_id.is_none()
                || worker.model_id == member.model_id)
    }
}

/// Returns a member's labels with the one that carries its name.
fn labels_of(member: &Member) -> BTreeMap<String, String> {
    let mut labels = member.labels.clone();
    labels.insert(WORKER_LABEL.to_owned(), member.name.clone());
    labels
}

fn addition_body(member: &Member) -> serde_json::Value {
    let mut body = serde_json::json!({
        "url": normal_url(&member.url),
        "worker_type": member.worker_type.as_str(),
        "labels": labels_of(member),
    });
    if let Some(port) = member.bootstrap_port {
        body["bootstrap_port"] = port.into();
    }
    if let Some(model) = &member.model_id {
        body["model_id"] = model.as_str().into();
    }
    body
}

#[derive(Deserialize)]
struct WireList {
    workers: Vec<WireWorker>,
}

#[derive(Deserialize)]
struct WireAccepted {
    worker_id: String,
}

#[derive(Deserialize)]
struct WireJob {
    job_status: Option<WireJobStatus>,
}

#[derive(Deserialize)]
struct WireJobStatus {
    status: String,
    message: Option<String>,
}

/// A worker in either flavour's words.
#[derive(Deserialize)]
struct WireWorker {
    /// vLLM's router has none: what it removes is named by its URL, as it was spelled when it was added.
    #[serde(default)]
    id: Option<String>,
    url: String,
    #[serde(default)]
    worker_type: String,
    bootstrap_port: Option<u16>,
    model_id: Option<String>,
    #[serde(default)]
    is_healthy: bool,
    status: Option<String>,
    connection_mode: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl From<WireWorker> for Worker {
    fn from(wire: WireWorker) -> Self {
        let mut labels = wire.metadata;
        labels.extend(wire.labels);
        Self {
            url: normal_url(&wire.url),
            id: wire.id.unwrap_or(wire.url),
            worker_type: wire.worker_type.to_ascii_lowercase(),
            bootstrap_port: wire.bootstrap_port,
            model_id: wire.model_id,
            healthy: wire.is_healthy && wire.status.as_deref().is_none_or(|status| status == "ready"),
            status: wire.status,
            connection_mode: wire.connection_mode.map(|mode| mode.to_ascii_lowercase()),
            labels,
        }
    }
}

/// Returns a worker's URL in the form that is compared: lower-case scheme and host, explicit port, no trailing slash.
#[must_use]
pub fn normal_url(url: &str) -> String {
    let url = url.trim().trim_end_matches('/');
    let (scheme, rest) = url.split_once("://").unwrap_or(("http", url));
    let (authority, path) = match rest.split_once('/') {
        Some((authority, path)) => (authority, format!("/{path}")),
        None => (rest, String::new()),
    };
    let scheme = scheme.to_ascii_lowercase();
    let authority = authority.to_ascii_lowercase();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port = match (has_port, scheme.as_str()) {
        (true, _) => "",
        (false, "https") => ":443",
        (false, _) => ":80",
    };
    format!("{scheme}://{authority}{port}{path}")
}

/// Returns host and port of a worker's URL.
pub(crate) fn split_url(url: &str) -> Option<(String, u16)> {
    let normal = normal_url(url);
    let (_, rest) = normal.split_once("://")?;
    let authority = rest.split('/').next()?;
    let (host, port) = authority.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() {
        None
    } else {
        Some((host.to_owned(), port.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_compared_in_one_form() {
        for (url, normal) in [
            ("http://127.0.0.1:8000", "http://127.0.0.1:8000"),
            ("HTTP://LocalHost:8000/", "http://localhost:8000"),
            ("http://worker", "http://worker:80"),
            ("https://worker/v1/", "https://worker:443/v1"),
            ("http://[::1]:9000", "http://[::1]:9000"),
        ] {
            assert_eq!(normal_url(url), normal);
        }
        assert_eq!(split_url("http://[::1]:9000/"), Some(("::1".to_owned(), 9000)));
        assert_eq!(split_url("http://w:70000"), None);
    }

    #[test]
    fn both_flavours_are_read() {
        let smg = r#"{"workers":[{"id":"1","model_id":"fake-model","url":"http://127.0.0.1:1","worker_type":"regular",
            "connection_mode":"http","labels":{"gabion/worker":"qwen/default/0","tp_size":"1"},"is_healthy":false,
            "status":"draining","load":0}],"total":1}"#;
        let old = r#"{"workers":[{"id":"2","url":"http://127.0.0.1:1","model_id":"m","worker_type":"regular",
            "is_healthy":true,"connection_mode":"HTTP","metadata":{"gabion/worker":"qwen/default/0"}}],"total":1}"#;
        let read = |text: &str| -> Worker {
            serde_json::from_str::<WireList>(text)
                .unwrap()
                .workers
                .remove(0)
                .into()
        };
        let (smg, old) = (read(smg), read(old));
        assert!(!smg.healthy && old.healthy);
        assert_eq!(smg.labels[WORKER_LABEL], old.labels[WORKER_LABEL]);
        assert_eq!(smg.connection_mode, old.connection_mode);
    }
}
