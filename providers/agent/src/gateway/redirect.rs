//! The plain port of a listener that speaks HTTPS: answers what authorities ask, and sends everybody else to HTTPS.

use std::convert::Infallible;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, LOCATION};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Body, Incoming};

use super::error::Refusal;
use super::plane::Plane;
use super::request::requested_host;

/// Where authorities look (RFC 8555 §8.3).
const CHALLENGES: &str = "/.well-known/acme-challenge/";

/// The port that `https://` means.
const HTTPS: u16 = 443;

/// What the plain port knows.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    pub(super) plane: Arc<Plane>,
    pub(super) gateway: String,
    /// The port that speaks HTTPS.
    pub(super) https_port: u16,
}

impl Redirect {
    /// Answers one request.
    pub(super) fn answer(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let has_body = !request.body().is_end_stream();
        let (parts, _) = request.into_parts();
        let mut response = self
            .decide(&parts)
            .unwrap_or_else(|refusal| refusal.to_response());
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if has_body {
            // It is not read.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }

    fn decide(&self, parts: &http::request::Parts) -> Result<Response<Full<Bytes>>, Refusal> {
        if let Some(token) = parts.uri.path().strip_prefix(CHALLENGES) {
            if !matches!(parts.method, Method::GET | Method::HEAD) {
                return Err(Refusal::MethodNotAllowed("GET, HEAD"));
            }
            let answer = self.plane.served.answer_to(token).ok_or(Refusal::NoRoute)?;
            let mut response = Response::new(Full::new(Bytes::from(answer)));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            return Ok(response);
        }
        let (host, _) = requested_host(parts)?;
        // Only to names of this gateway: it is nobody's way to somewhere else.
        if !self.plane.served.has_host(&self.gateway, &host) {
            return Err(Refusal::NoRoute);
        }
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let target = match self.https_port {
            HTTPS => format!("https://{host}{path}"),
            port => format!("https://{host}:{port}{path}"),
        };
        let target = HeaderValue::from_str(&target)
            .map_err(|_| Refusal::BadRequest("the request target is not valid"))?;
        let mut response = Response::new(Full::default());
        // The method and the body stay what they are.
        *response.status_mut() = StatusCode::PERMANENT_REDIRECT;
        response.headers_mut().insert(LOCATION, target);
        Ok(response)
    }
}
