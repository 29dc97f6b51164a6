//! Decides what becomes of one request.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderValue, ORIGIN, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::body::{AnswerBody, BodyLimits, BodyProgress, ClientBody};
use super::error::{Refusal, excerpt, json_response};
use super::forward::{Outbound, Tunnels, Upgrade, forward};
use super::framing::LengthLines;
use super::headers::{Origin, bearer_token, bearer_tokens};
use super::listener::client_of;
use super::path::{canonical_path, passes_restriction};
use super::plane::{Plane, Resolution, RouteEntry};
use crate::metrics::ServiceStats;

/// One client's connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) plane: Arc<Plane>,
    pub(crate) gateway: String,
    pub(crate) peer: IpAddr,
    pub(crate) lines: LengthLines,
    pub(crate) lines_accounted: AtomicU64,
    pub(crate) tunnels: Tunnels,
    /// Whether the listener can be reached from this machine only.
    pub(crate) loopback_only: bool,
    /// Whether the client speaks HTTPS.
    pub(crate) is_secure: bool,
}

impl Connection {
    /// Answers one request.
    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<AnswerBody> {
        let must_close = self.framing_is_suspicious(request.headers());
        let body_pending = !hyper::body::Body::is_end_stream(request.body());
        let (mut response, refused) = match self.dispatch(request).await {
            Ok(response) => (response, false),
            Err(refusal) => (boxed(refusal.to_response()), true),
        };
        // What is left of a refused body is not read: it may be endless.
        if must_close || (refused && body_pending) {
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }

    /// Returns whether a request had both ways of framing; see [`super::framing`].
    fn framing_is_suspicious(&self, headers: &HeaderMap) -> bool {
        let told = headers.get_all(CONTENT_LENGTH).iter().count() as u64;
        let accounted = self.lines_accounted.fetch_add(told, Ordering::Relaxed);
        headers.contains_key(TRANSFER_ENCODING) && self.lines.seen() > accounted
    }

    async fn dispatch(&self, request: Request<Incoming>) -> Result<Response<AnswerBody>, Refusal> {
        let (parts, body) = request.into_parts();
        check_transfer_coding(&parts.headers)?;
        if matches!(parts.method, Method::CONNECT | Method::TRACE) {
            return Err(Refusal::MethodNotAllowed(
                "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
            ));
        }
        let (host, host_header) = requested_host(&parts)?;
        if self.loopback_only {
            self.refuse_foreigners(&host, &parts.headers)?;
        }
        let path = canonical_path(parts.uri.path()).map_err(Refusal::InvalidPath)?;
        let origin = Origin {
            peer: self.peer,
            host: host_header,
            prefix: None,
            is_secure: self.is_secure,
        };
        let inbound = Inbound {
            method: parts.method,
            query: parts.uri.query().map(str::to_owned),
            headers: parts.headers,
            body,
            origin,
            extensions: parts.extensions,
        };
        match self.plane.resolve(&self.gateway, &host, &path) {
            Resolution::Service { entry, rest, cut } => {
                let stats = Arc::clone(&entry.stats);
                let answer = self.to_service(inbound, entry, &path, &rest, cut).await;
                if answer.is_err() {
                    ServiceStats::count(&stats.refused);
                }
                answer
            }
            Resolution::ModelEndpoint => self.to_model(inbound, &path).await,
            Resolution::Forbidden => Err(Refusal::ForbiddenPath),
            Resolution::Nothing => Err(Refusal::NoRoute),
        }
    }

    async fn to_service(
        &self,
        mut inbound: Inbound,
        entry: Arc<RouteEntry>,
        path: &str,
        rest: &str,
        cut: Option<String>,
    ) -> Result<Response<AnswerBody>, Refusal> {
        let paths = &entry.route.paths;
        if paths.restricted && !passes_restriction(rest, &paths.extra) {
            return Err(Refusal::ForbiddenPath);
        }
        // Before the token is looked at: guessing tokens is limited too.
        entry.rates.admit(rest, client_of(self.peer), &inbound.headers)?;
        if !entry.admits(bearer_token(&inbound.headers)) {
            return Err(Refusal::Unauthorized);
        }
        let upgrade = inbound.upgrade();
        if upgrade.is_some() && paths.restricted {
            return Err(Refusal::UpgradeNotAllowed);
        }
        let upstream_path = if cut.is_some() { rest } else { path };
        inbound.origin.prefix = cut;
        let limits = self.body_limits(self.plane.limits.body);
        check_declared_length(&inbound.headers, limits.size)?;
        let (body, progress) = ClientBody::new(inbound.body, limits);
        let outbound = Outbound {
            uri: upstream_uri(upstream_path, inbound.query.as_deref())?,
            method: inbound.method,
            headers: without_token(inbound.headers, &self.plane, &entry),
            body: body.boxed_unsync(),
            progress,
            origin: inbound.origin,
            upgrade,
            entry,
        };
        forward(&self.plane, &self.tunnels, outbound).await
    }

    async fn to_model(&self, inbound: Inbound, path: &str) -> Result<Response<AnswerBody>, Refusal> {
        let routes = self.plane.model_routes(&self.gateway);
        let token = bearer_token(&inbound.headers);
        let open: Vec<&Arc<RouteEntry>> = routes.iter().filter(|entry| entry.admits(token)).collect();
        // Nobody learns the names of models they may not use, nor makes us read a body.
        if open.is_empty() && !routes.is_empty() {
            return Err(Refusal::Unauthorized);
        }
        if path == "/v1/models" {
            return list_models(&inbound.method, &open);
        }
        if let Some(model) = path.strip_prefix("/v1/models/") {
            return show_model(&inbound.method, &open, model);
        }
        if inbound.upgrade().is_some() {
            return Err(Refusal::UpgradeNotAllowed);
        }
        let limits = self.body_limits(self.plane.limits.buffered_body);
        check_declared_length(&inbound.headers, limits.size)?;
        let (body, progress) = ClientBody::new(inbound.body, limits);
        let Buffered { body, room } = buffer(body, &progress, &self.plane.buffers).await?;
        let model = wanted_model(&body)?;
        let serves = |entry: &&Arc<RouteEntry>| entry.route.model.as_deref() == Some(model.as_str());
        let Some(entry) = open.into_iter().find(serves).map(Arc::clone) else {
            let closed = routes.iter().any(|entry| !entry.admits(token));
            return Err(if closed && token.is_none() {
                Refusal::Unauthorized
            } else {
                Refusal::ModelNotFound(excerpt(&model))
            });
        };
        let rest = path.strip_prefix("/v1").unwrap_or(path);
        let prefix = entry.route.model_prefix.trim_end_matches('/');
        let upstream_path = format!("{prefix}{rest}");
        // Below the root there is more than the model.
        let paths = &entry.route.paths;
        if paths.restricted && prefix.is_empty() && !passes_restriction(&upstream_path, &paths.extra) {
            return Err(Refusal::ForbiddenPath);
        }
        if let Err(refusal) = entry
            .rates
            .admit(&upstream_path, client_of(self.peer), &inbound.headers)
        {
            ServiceStats::count(&entry.stats.refused);
            return Err(refusal);
        }
        let outbound = Outbound {
            uri: upstream_uri(&upstream_path, inbound.query.as_deref())?,
            method: inbound.method,
            headers: without_token(inbound.headers, &self.plane, &entry),
            body: Full::new(body)
                .map_frame(move |frame| {
                    // The room is taken until the body is on its way, or given up.
                    let _taken = &room;
                    frame
                })
                .map_err(|never| match never {})
                .boxed_unsync(),
            progress,
            origin: inbound.origin,
            upgrade: None,
            entry: Arc::clone(&entry),
        };
        let answer = forward(&self.plane, &self.tunnels, outbound).await;
        if answer.is_err() {
            ServiceStats::count(&entry.stats.refused);
        }
        answer
    }

    /// Refuses what a web page of somebody else's sends through a browser on this machine: it comes with that page's
    /// origin, or with a name that its owner has made lead here (DNS rebinding). Gateways with a domain are meant for
    /// others.
    fn refuse_foreigners(&self, host: &str, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(known) = self.plane.hosts_without_domain(&self.gateway) else {
            return Ok(());
        };
        let is_ours = |host: &str| {
            is_local_name(host)
                || known.contains(host)
                || host_address(host).is_some_and(|host| host.is_loopback())
        };
        if !(host.is_empty() || is_ours(host) || host_address(host).is_some()) {
            return Err(Refusal::ForeignHost(excerpt(host)));
        }
        for origin in headers.get_all(ORIGIN) {
            let uri = Uri::try_from(origin.as_bytes()).ok();
            let from = uri.as_ref().and_then(Uri::host).map(str::to_ascii_lowercase);
            if !from.is_some_and(|from| from == host || is_ours(&from)) {
                let origin = String::from_utf8_lossy(origin.as_bytes());
                return Err(Refusal::ForeignOrigin(excerpt(&origin)));
            }
        }
        Ok(())
    }

    fn body_limits(&self, size: u64) -> BodyLimits {
        let limits = &self.plane.limits;
        BodyLimits {
            size,
            idle: limits.body_idle,
            rate: limits.body_rate,
        }
    }
}

/// A body that was read whole, and its share of what may be buffered.
struct Buffered {
    body: Bytes,
    room: OwnedSemaphorePermit,
}

async fn buffer(
    mut body: ClientBody,
    progress: &BodyProgress,
    buffers: &Arc<Semaphore>,
) -> Result<Buffered, Refusal> {
    let take = |bytes: usize| {
        let bytes = u32::try_from(bytes).map_err(|_| Refusal::BuffersFull)?;
        Arc::clone(buffers)
            .try_acquire_many_owned(bytes)
            .map_err(|_| Refusal::BuffersFull)
    };
    let mut room = take(0)?;
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(progress.failure().unwrap_or(Refusal::BodyBroken));
        };
        if let Some(data) = frame.data_ref() {
            room.merge(take(data.len())?);
            whole.extend_from_slice(data);
        }
    }
    Ok(Buffered {
        body: whole.freeze(),
        room,
    })
}

/// Returns whether a name leads to this machine wherever it is asked for (RFC 6761 §6.3).
fn is_local_name(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

/// Returns the address that a host in a URL is, unless it is a name.
fn host_address(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// A request that passed the general checks.
struct Inbound {
    method: Method,
    query: Option<String>,
    headers: HeaderMap,
    body: Incoming,
    origin: Origin,
    extensions: http::Extensions,
}

impl Inbound {
    /// Returns the client's wish to switch to WebSocket, which can be taken once. Other protocols are ignored, as a server
    /// may.
    fn upgrade(&self) -> Option<Upgrade> {
        let protocol = self.headers.get(UPGRADE)?;
        let client = self.extensions.get::<hyper::upgrade::OnUpgrade>()?;
        let wanted = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        wanted.then(|| Upgrade {
            protocol: protocol.clone(),
            client: client.clone(),
        })
    }
}

/// Refuses every transfer coding but one `chunked`.
fn check_transfer_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    match (codings.next(), codings.next()) {
        (None, _) => Ok(()),
        (Some(coding), None) if coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked") => Ok(()),
        _ => Err(Refusal::TransferCoding),
    }
}

/// Refuses a body that says it is too large before a byte of it is read.
fn check_declared_length(headers: &HeaderMap, limit: u64) -> Result<(), Refusal> {
    let declared = headers
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match declared {
        Some(length) if length > limit => Err(Refusal::BodyTooLarge(limit)),
        _ => Ok(()),
    }
}

/// Returns the host a request is for, lower case without port, and as it was written.
pub(super) fn requested_host(parts: &http::request::Parts) -> Result<(String, Option<HeaderValue>), Refusal> {
    const BAD: Refusal = Refusal::BadRequest("the request needs exactly one valid Host header");
    let mut values = parts.headers.get_all(HOST).iter();
    let header = values.next();
    if values.next().is_some() {
        return Err(BAD);
    }
    let written = match (parts.uri.authority(), header) {
        // A request in absolute form is for the host in its target, whatever the header says (RFC 9112 §3.2.2).
        (Some(authority), _) => authority.as_str().to_owned(),
        (None, Some(header)) => header.to_str().map_err(|_| BAD)?.to_owned(),
        (None, None) if parts.version == Version::HTTP_10 => return Ok((String::new(), None)),
        (None, None) => return Err(BAD),
    };
    let authority: http::uri::Authority = written.parse().map_err(|_| BAD)?;
    if authority.as_str().contains('@') {
        return Err(BAD);
    }
    let host = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let value = HeaderValue::from_str(&written).map_err(|_| BAD)?;
    Ok((host, Some(value)))
}

/// Returns the request target for an upstream.
fn upstream_uri(path: &str, query: Option<&str>) -> Result<Uri, Refusal> {
    let target = match query {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    target
        .parse()
        .map_err(|_| Refusal::BadRequest("the request target is not valid"))
}

/// Takes out a token that was meant for the gateway, whichever of its services takes it; a service's own credentials
/// pass.
fn without_token(mut headers: HeaderMap, plane: &Plane, entry: &RouteEntry) -> HeaderMap {
    let gateway = &entry.key.gateway;
    if entry.route.auth.required || bearer_tokens(&headers).any(|token| plane.is_token(gateway, token)) {
        headers.remove(AUTHORIZATION);
    }
    headers
}

/// Returns the model a body names. Naming two is an error: programs differ in which of them they take.
fn wanted_model(body: &Bytes) -> Result<String, Refusal> {
    #[derive(Deserialize)]
    struct Wanted {
        model: String,
    }
    match serde_json::from_slice::<Wanted>(body) {
        Ok(wanted) => Ok(wanted.model),
        Err(error) => Err(Refusal::ModelRequired(excerpt(&error.to_string()))),
    }
}

fn model_object(entry: &RouteEntry, model: &str) -> serde_json::Value {
    serde_json::json!({"id": model, "object": "model", "created": 0, "owned_by": entry.key.service})
}

fn list_models(method: &Method, open: &[&Arc<RouteEntry>]) -> Result<Response<AnswerBody>, Refusal> {
    check_reading(method)?;
    let models: Vec<serde_json::Value> = open
        .iter()
        .filter_map(|entry| Some(model_object(entry, entry.route.model.as_deref()?)))
        .collect();
    Ok(boxed(json_response(
        StatusCode::OK,
        &serde_json::json!({"object": "list", "data": models}),
    )))
}

fn show_model(
    method: &Method,
    open: &[&Arc<RouteEntry>],
    model: &str,
) -> Result<Response<AnswerBody>, Refusal> {
    check_reading(method)?;
    let model = percent_encoding::percent_decode_str(model).decode_utf8_lossy();
    match open
        .iter()
        .find(|entry| entry.route.model.as_deref() == Some(&*model))
    {
        Some(entry) => Ok(boxed(json_response(StatusCode::OK, &model_object(entry, &model)))),
        None => Err(Refusal::ModelNotFound(excerpt(&model))),
    }
}

fn check_reading(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::GET | Method::HEAD => Ok(()),
        _ => Err(Refusal::MethodNotAllowed("GET, HEAD")),
    }
}

/// Returns an answer of the gateway's own as one that can also come from an upstream.
fn boxed(response: Response<Full<Bytes>>) -> Response<AnswerBody> {
    response.map(|body| body.map_err(|never| match never {}).boxed_unsync())
}
