//! The gateway's own answers: JSON in the shape of OpenAI's errors, with codes that do not change.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

/// Why the gateway answers a request itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("no service answers at this address")]
    NoRoute,
    #[error("the model `{0}` does not exist or is not served by this gateway")]
    ModelNotFound(String),
    #[error("the request body must be a JSON object with a string `model`: {0}")]
    ModelRequired(String),
    #[error("this path of the service is not open to the outside")]
    ForbiddenPath,
    #[error("this service does not take connection upgrades through the gateway")]
    UpgradeNotAllowed,
    #[error("a valid bearer token is required")]
    Unauthorized,
    #[error("no replica of this service accepts requests at the moment")]
    NoReadyReplica,
    #[error("the upstream failed before it answered: {0}")]
    UpstreamFailed(String),
    #[error("the upstream did not answer in time")]
    UpstreamTimedOut,
    #[error("{0}")]
    InvalidPath(super::path::PathError),
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("only the transfer coding `chunked` is supported")]
    TransferCoding,
    #[error("the method is not supported here; allowed: {0}")]
    MethodNotAllowed(&'static str),
    #[error("the request body is larger than {0} bytes")]
    BodyTooLarge(u64),
    #[error("the request body arrived too slowly")]
    BodyTooSlow,
    #[error("the request body ended early")]
    BodyBroken,
    #[error("too many large requests are being read at the moment")]
    BuffersFull,
    #[error("too many requests: this one may come again in {0} s")]
    RateLimited(u64),
    #[error("this service has no replicas at the moment: it is scaled to zero")]
    ScaledToZero,
    #[error("this address has too many connections open")]
    TooManyConnections,
    #[error(
        "this gateway serves this machine only and does not answer for the host `{0}`: ask for 127.0.0.1 or localhost, or give the gateway a `domain`"
    )]
    ForeignHost(String),
    #[error(
        "this gateway serves this machine only and does not answer pages of `{0}`: open the page from localhost, ask without a browser, or give the gateway a `domain`"
    )]
    ForeignOrigin(String),
}

impl Refusal {
    /// Returns status, stable code and OpenAI's error type.
    fn parts(&self) -> (StatusCode, &'static str, &'static str) {
        const INVALID: &str = "invalid_request_error";
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no_route", INVALID),
            Self::ModelNotFound(_) => (StatusCode::NOT_FOUND, "model_not_found", INVALID),
            Self::ModelRequired(_) => (StatusCode::BAD_REQUEST, "model_required", INVALID),
            Self::ForbiddenPath => (StatusCode::FORBIDDEN, "forbidden_path", "permission_error"),
            Self::UpgradeNotAllowed => (StatusCode::FORBIDDEN, "upgrade_not_allowed", "permission_error"),
            Self::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized", "authentication_error"),
            Self::NoReadyReplica => (
                StatusCode::SERVICE_UNAVAILABLE,
                "no_ready_replica",
                "server_error",
            ),
            Self::UpstreamFailed(_) => (StatusCode::BAD_GATEWAY, "upstream_failed", "server_error"),
            Self::UpstreamTimedOut => (StatusCode::GATEWAY_TIMEOUT, "upstream_timed_out", "server_error"),
            Self::InvalidPath(_) => (StatusCode::BAD_REQUEST, "invalid_path", INVALID),
            Self::BadRequest(_) => (StatusCode::BAD_REQUEST, "bad_request", INVALID),
            Self::TransferCoding => (StatusCode::NOT_IMPLEMENTED, "transfer_coding", INVALID),
            Self::MethodNotAllowed(_) => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", INVALID),
            Self::BodyTooLarge(_) => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", INVALID),
            Self::BodyTooSlow => (StatusCode::REQUEST_TIMEOUT, "body_too_slow", INVALID),
            Self::BodyBroken => (StatusCode::BAD_REQUEST, "body_broken", INVALID),
            Self::BuffersFull => (StatusCode::SERVICE_UNAVAILABLE, "buffers_full", "server_error"),
            Self::RateLimited(_) => (StatusCode::TOO_MANY_REQUESTS, "rate_limited", "rate_limit_error"),
            Self::ScaledToZero => (StatusCode::SERVICE_UNAVAILABLE, "scaled_to_zero", "server_error"),
            Self::TooManyConnections => (
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_connections",
                "rate_limit_error",
            ),
            Self::ForeignHost(_) => (StatusCode::FORBIDDEN, "foreign_host", "permission_error"),
            Self::ForeignOrigin(_) => (StatusCode::FORBIDDEN, "foreign_origin", "permission_error"),
        }
    }

    /// Returns the JSON of the answer.
    pub(crate) fn to_body(&self) -> serde_json::Value {
        let (_, code, kind) = self.parts();
        serde_json::json!({
            "error": {"message": self.to_string(), "type": kind, "param": serde_json::Value::Null, "code": code}
        })
    }

    /// Returns the answer to send.
    pub(crate) fn to_response(&self) -> Response<Full<Bytes>> {
        let mut response = json_response(self.parts().0, &self.to_body());
        let headers = response.headers_mut();
        match self {
            Self::Unauthorized => {
                headers.insert(
                    WWW_AUTHENTICATE,
                    HeaderValue::from_static("Bearer realm=\"gabion\""),
                );
            }
            Self::NoReadyReplica | Self::BuffersFull => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            Self::RateLimited(seconds) => {
                headers.insert(RETRY_AFTER, HeaderValue::from(*seconds));
            }
            Self::MethodNotAllowed(allowed) => {
                headers.insert(ALLOW, HeaderValue::from_static(allowed));
            }
            _ => {}
        }
        response
    }
}

/// Returns what a client wrote as an answer may repeat it: the beginning of what is long.
pub(crate) fn excerpt(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Returns a JSON answer that no cache keeps.
pub(crate) fn json_response(status: StatusCode, body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
