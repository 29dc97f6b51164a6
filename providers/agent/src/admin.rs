//! The admin socket: who may speak, and how requests and answers travel.
//!
//! HTTP/1.1 over a Unix socket in the agent's directory. `POST /admin` takes an [`AdminRequest`] and answers with an
//! [`AdminReply`]; `GET /metrics` is OpenMetrics text; `GET /health` answers 200 as soon as requests are accepted.

use std::convert::Infallible;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gabion_host::unix_path::{bind_unix, connect_unix};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};

use crate::agent::Agent;
use crate::operations::execute;
use crate::protocol::{AdminReply, AdminRequest, AgentError, check_protocol};

/// The largest request: a route with thousands of replicas fits.
const LARGEST_REQUEST: usize = 8 * 1024 * 1024;

/// Where administrators post.
pub(crate) const ADMIN_PATH: &str = "/admin";

/// Binds the socket, taking over what a dead agent left behind.
pub(crate) async fn bind(path: &Path) -> io::Result<UnixListener> {
    if connect_unix(path).await.is_ok() {
        let reason = format!("{}: another agent answers there", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, reason));
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let socket = bind_unix(path)?;
    // Before this the private directory protects it, and the peer's credentials are checked in any case.
    let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(path, permissions)?;
    Ok(socket)
}

/// Serves administrators until the agent stops; what they asked for is then finished elsewhere.
pub(crate) async fn serve(agent: Arc<Agent>, socket: UnixListener) {
    loop {
        match socket.accept().await {
            Ok((stream, _)) if is_admin(&stream) => {
                let conversations = agent.conversations.clone();
                conversations.spawn(serve_connection(Arc::clone(&agent), stream));
            }
            Ok(_) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Returns whether the peer is the user the agent runs as, or root.
fn is_admin(stream: &UnixStream) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == nix::unistd::geteuid().as_raw())
}

async fn serve_connection(agent: Arc<Agent>, stream: UnixStream) {
    let service = service_fn(move |request| {
        let agent = Arc::clone(&agent);
        async move { Ok::<_, Infallible>(answer(&agent, request).await) }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    // It ends in an error when the administrator goes away, who then knows.
    drop(served.await);
}

async fn answer(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    match (request.method(), request.uri().path()) {
        (&Method::POST, ADMIN_PATH) => administer(agent, request).await,
        (&Method::GET, "/metrics") => text(
            StatusCode::OK,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            agent.plane.metrics.to_openmetrics(),
        ),
        (&Method::GET, "/health") => text(StatusCode::OK, "text/plain", "ok\n".to_owned()),
        _ => text(
            StatusCode::NOT_FOUND,
            "text/plain",
            "POST /admin, GET /metrics, GET /health\n".to_owned(),
        ),
    }
}

async fn administer(agent: &Arc<Agent>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let reply = match read_request(request).await {
        Ok(request) => match execute(agent, request).await {
            Ok(response) => AdminReply::Ok(response),
            Err(error) => AdminReply::Error(error),
        },
        Err(error) => AdminReply::Error(error),
    };
    match serde_json::to_string(&reply) {
        Ok(json) => text(StatusCode::OK, "application/json", json),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, "text/plain", error.to_string()),
    }
}

async fn read_request(request: Request<Incoming>) -> Result<AdminRequest, AgentError> {
    let invalid = |reason: String| AgentError::Invalid { reason };
    let body = Limited::new(request.into_body(), LARGEST_REQUEST).collect().await;
    let body = body.map_err(|error| invalid(error.to_string()))?.to_bytes();
    // The version first: the rest of another version need not be readable.
    #[derive(serde::Deserialize)]
    struct Versioned {
        protocol: u32,
    }
    let versioned: Versioned = serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))?;
    check_protocol(versioned.protocol)?;
    serde_json::from_slice(&body).map_err(|error| invalid(error.to_string()))
}

fn text(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
