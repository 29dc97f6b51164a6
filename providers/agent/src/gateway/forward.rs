//! Passes one request to an upstream and its answer back.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, UPGRADE};
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use super::body::{AbortCounter, AnswerBody, BodyProgress, BoxError, Passage, UpstreamBody, UpstreamTask};
use super::error::Refusal;
use super::flight::Flight;
use super::headers::{Origin, rewrite_request_headers, rewrite_response_headers};
use super::meter::Meter;
use super::plane::{Pick, Plane, RouteEntry, Target};
use crate::metrics::ServiceStats;

/// A request that may go upstream.
pub(crate) struct Outbound {
    pub(crate) entry: Arc<RouteEntry>,
    pub(crate) method: Method,
    /// The canonical path with the query as it came.
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: AnswerBody,
    pub(crate) progress: Arc<BodyProgress>,
    pub(crate) origin: Origin,
    pub(crate) upgrade: Option<Upgrade>,
}

/// A client's wish to turn the connection into something else.
pub(crate) struct Upgrade {
    pub(crate) protocol: HeaderValue,
    pub(crate) client: OnUpgrade,
}

/// What tunnels run under.
#[derive(Clone, Debug)]
pub(crate) struct Tunnels {
    pub(crate) tracker: TaskTracker,
    pub(crate) stop: CancellationToken,
    /// Ends the client's connection that asks, whatever it is doing.
    pub(crate) hang_up: CancellationToken,
}

type Sender = http1::SendRequest<AnswerBody>;

/// Sends a request to the next upstream that accepts a connection.
///
/// Another upstream is tried only while no byte was sent: once a connection is open, its failure is the answer.
pub(crate) async fn forward(
    plane: &Plane,
    tunnels: &Tunnels,
    mut outbound: Outbound,
) -> Result<Response<AnswerBody>, Refusal> {
    let stats = Arc::clone(&outbound.entry.stats);
    ServiceStats::count(&stats.requests);
    let abort = AbortCounter::new(Arc::clone(&stats));
    let started = Instant::now();

    let connected = connect_next(plane, &outbound.entry).await;
    let Some((target, flight, mut sender, connection)) = connected else {
        abort.answered();
        return Err(match plane.has_no_replicas(&outbound.entry.key) {
            true => Refusal::ScaledToZero,
            false => Refusal::NoReadyReplica,
        });
    };

    rewrite_request_headers(&mut outbound.headers, &outbound.origin);
    if let Some(upgrade) = &outbound.upgrade {
        outbound
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        outbound.headers.insert(UPGRADE, upgrade.protocol.clone());
    }
    if !outbound.headers.contains_key(http::header::HOST)
        && let Ok(value) = HeaderValue::from_str(&target.authority())
    {
        outbound.headers.insert(http::header::HOST, value);
    }
    let mut request = Request::new(outbound.body);
    *request.method_mut() = outbound.method.clone();
    *request.uri_mut() = outbound.uri;
    *request.headers_mut() = outbound.headers;

    let cut = flight.cut_token();
    let answer = tokio::select! {
        answer = sender.send_request(request) => answer,
        () = cut.cancelled() => {
            abort.answered();
            ServiceStats::count(&stats.cut);
            return Err(Refusal::UpstreamFailed("cut at the end of a drain".to_owned()));
        }
        () = tokio::time::sleep(plane.limits.response_idle) => {
            abort.answered();
            ServiceStats::count(&stats.upstream_failures);
            return Err(Refusal::UpstreamTimedOut);
        }
    };
    abort.answered();
    let answer = match answer {
        Ok(answer) => answer,
        Err(error) => {
            // What the client did to its body is not the upstream's failure.
            if let Some(refusal) = outbound.progress.failure() {
                return Err(refusal);
            }
            ServiceStats::count(&stats.upstream_failures);
            return Err(Refusal::UpstreamFailed(describe(&error)));
        }
    };

    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return match outbound.upgrade {
            Some(upgrade) => Ok(tunnel(tunnels, answer, upgrade, flight, connection)),
            None => Err(Refusal::UpstreamFailed(
                "it switched protocols unasked".to_owned(),
            )),
        };
    }

    let (mut parts, body) = answer.into_parts();
    let meter = is_event_stream(&parts.headers).then(|| {
        let received = outbound.progress.received().unwrap_or(started);
        Meter::new(Arc::clone(&stats), received)
    });
    rewrite_response_headers(&mut parts.headers);
    // The version is one connection's matter as well.
    parts.version = Version::HTTP_11;
    let idle_limit = plane.limits.response_idle;
    let body = UpstreamBody::new(
        body,
        Passage {
            meter,
            stats,
            idle_limit,
            flight,
            connection,
            hang_up: tunnels.hang_up.clone(),
        },
    );
    Ok(Response::from_parts(parts, body.boxed_unsync()))
}

/// Connects to upstreams of a route in turn until one accepts.
async fn connect_next(plane: &Plane, entry: &RouteEntry) -> Option<(Target, Flight, Sender, UpstreamTask)> {
    let mut tried: Vec<Target> = Vec::new();
    while let Some(Pick {
        target,
        flight,
        router,
    }) = plane.pick(&entry.key, &tried)
    {
        if !tried.is_empty() {
            ServiceStats::count(&entry.stats.retries);
        }
        let connecting = tokio::time::timeout(plane.limits.connect_timeout, connect(&target));
        if let Ok(Ok((sender, connection))) = connecting.await {
            return Some((target, flight, sender, connection));
        }
        if let Some(router) = router {
            router.suspect();
        }
        tried.push(target);
    }
    None
}

async fn connect(target: &Target) -> Result<(Sender, UpstreamTask), BoxError> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .max_headers(256)
        .handshake(TokioIo::new(stream))
        .await?;
    // An error of the connection is also an error of the request on it, which is where it is handled.
    let task = tokio::spawn(async move { drop(connection.with_upgrades().await) });
    Ok((sender, AbortOnDropHandle::new(task)))
}

/// Ties the two upgraded connections together and returns the answer that lets the client begin.
fn tunnel(
    tunnels: &Tunnels,
    answer: Response<Incoming>,
    upgrade: Upgrade,
    flight: Flight,
    connection: UpstreamTask,
) -> Response<AnswerBody> {
    let protocol = answer.headers().get(UPGRADE).cloned().unwrap_or(upgrade.protocol);
    let mut headers = answer.headers().clone();
    rewrite_response_headers(&mut headers);
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
    let stop = tunnels.stop.clone();
    tunnels.tracker.spawn(async move {
        let cut = flight.cut_token();
        let relay = async {
            let (client, upstream) = tokio::join!(upgrade.client, hyper::upgrade::on(answer));
            if let (Ok(client), Ok(upstream)) = (client, upstream) {
                // Either side may break the tunnel at any time; there is nobody left to tell.
                drop(
                    tokio::io::copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(upstream))
                        .await,
                );
            }
        };
        tokio::select! {
            () = relay => {}
            () = cut.cancelled() => {}
            () = stop.cancelled() => {}
        }
        drop((flight, connection));
    });
    let mut response = Response::new(
        Empty::<Bytes>::new()
            .map_err(|never| match never {})
            .boxed_unsync(),
    );
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

fn is_event_stream(headers: &HeaderMap) -> bool {
    let of_type = |value: &HeaderValue| {
        value
            .as_bytes()
            .to_ascii_lowercase()
            .starts_with(b"text/event-stream")
    };
    headers.get(CONTENT_TYPE).is_some_and(of_type) && !headers.contains_key(CONTENT_ENCODING)
}

/// Returns an error with what caused it.
fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
