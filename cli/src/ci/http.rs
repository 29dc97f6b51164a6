//! Calls of an API: with a token, within limits, and again when the service asks for patience.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Method, StatusCode};
use reqwest::Url;
use serde_json::Value as Json;

use super::answer::{Answer, Refused};
use crate::failure::Failure;
use crate::render::words::plain;

/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);
/// How long the service may ask to wait, and is waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// How much of an answer is read.
const LONGEST_ANSWER: usize = 64 << 20;

/// An API and the right to call it.
pub(crate) struct Api {
    client: reqwest::Client,
    base: Url,
    headers: HeaderMap,
}

impl Api {
    /// Makes an API of its URL, the header that carries the token, and that header's value.
    ///
    /// # Errors
    /// When a token would travel in the clear, or is none.
    pub(crate) fn new(base: &str, header: &'static str, value: &str) -> Result<Self, Failure> {
        let wrong =
            |why: &str| Failure::new("the API cannot be called").detail(format!("`{}`: {why}.", plain(base)));
        let mut url = Url::parse(base).map_err(|error| wrong(&error.to_string()))?;
        let local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err(wrong("a token is sent only over https"));
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let mut value = HeaderValue::from_str(value).map_err(|_| {
            Failure::new("the token cannot be used").detail("It holds characters that no token has.")
        })?;
        value.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(HeaderName::from_static(header), value);
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        // The client takes the process's TLS provider. An error says that there is one already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let client = reqwest::Client::builder()
            .timeout(CALL)
            .user_agent(concat!("gabion/", env!("CARGO_PKG_VERSION")))
            // A redirect could lead to somebody else's server.
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| wrong(&error.to_string()))?;
        Ok(Self {
            client,
            base: url,
            headers,
        })
    }

    /// The name of the header that carries a bearer token.
    pub(crate) fn bearer() -> &'static str {
        "authorization"
    }

    /// Makes one call.
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Json>,
    ) -> Result<Answer, Refused> {
        let never = |why: String| Refused::Never(Failure::new("the service refused").detail(why));
        let url = self
            .base
            .join(path)
            .map_err(|error| never(format!("`{path}`: {error}.")))?;
        let mut request = self
            .client
            .request(method.clone(), url)
            .headers(self.headers.clone());
        if let Some(body) = body {
            request = request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        // A call that was not answered may have succeeded: whoever calls looks first before calling again.
        let response = request
            .send()
            .await
            .map_err(|_| Refused::Later(Duration::from_secs(2)))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if response
            .content_length()
            .is_some_and(|length| length > LONGEST_ANSWER as u64)
        {
            return Err(never("Its answer is too long.".to_owned()));
        }
        let bytes = response
            .bytes()
            .await
            .map_err(|_| Refused::Later(Duration::from_secs(2)))?;
        let json: Json = serde_json::from_slice(&bytes).unwrap_or(Json::Null);
        if status.is_success() {
            return Ok(Answer {
                status,
                headers,
                json,
            });
        }
        let message = message(&json);
        if let Some(wait) = patience(status, &headers, &message) {
            if wait > LONGEST_WAIT {
                return Err(never(format!(
                    "It asks to wait {} seconds; {}.",
                    wait.as_secs(),
                    plain(&message)
                )));
            }
            return Err(Refused::Later(wait));
        }
        let lower = message.to_lowercase();
        let too_long = status == StatusCode::PAYLOAD_TOO_LARGE
            || matches!(status.as_u16(), 400 | 422)
                && (lower.contains("too long") || lower.contains("too large"));
        if too_long {
            return Err(Refused::TooLong);
        }
        Err(never(format!("{method} {path}: {status}: {}", plain(&message))))
    }
}

/// Returns what an answer says is wrong.
fn message(json: &Json) -> String {
    let text = |value: &Json| match value {
        Json::Null => String::new(),
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let mut words = vec![
        text(&json["message"]),
        text(&json["error"]),
        text(&json["errors"]),
    ];
    words.retain(|word| !word.is_empty());
    let mut message = words.join(" ");
    message.truncate(message.floor_char_boundary(500));
    message
}

/// Returns how long to wait before the next call, when that is what the answer means.
fn patience(status: StatusCode, headers: &HeaderMap, message: &str) -> Option<Duration> {
    let seconds = |name: &HeaderName| headers.get(name)?.to_str().ok()?.parse::<u64>().ok();
    if let Some(wait) = seconds(&RETRY_AFTER) {
        return Some(Duration::from_secs(wait));
    }
    let spent = headers
        .get("x-ratelimit-remaining")
        .is_some_and(|left| left == "0");
    match status.as_u16() {
        // GitHub's secondary limit: without a time, a minute.
        403 if spent || message.to_lowercase().contains("rate limit") => Some(Duration::from_secs(60)),
        429 => Some(Duration::from_secs(60)),
        500 | 502 | 503 | 504 => Some(Duration::from_secs(2)),
        _ => None,
    }
}
