//! A small HTTP/1.1 client over a dialled connection.
//!
//! One request per connection, a deadline over all of it and a cap on the body. No redirects, no pool, no retry.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_util::rt::TokioIo;
use tokio_util::task::AbortOnDropHandle;

use crate::transport::{Endpoint, Transport};

/// A request.
#[derive(Clone)]
pub struct HttpRequest {
    /// Method.
    pub method: Method,
    /// Path and query, beginning with `/`.
    pub path: String,
    /// Headers besides `Host` and `Content-Length`, which are set unless given.
    pub headers: HeaderMap,
    /// Body; empty for none.
    pub body: Bytes,
    /// From the start of the connection to the last byte of the answer.
    pub timeout: Duration,
    /// The longest body that is accepted, in bytes.
    pub max_body: usize,
}

impl HttpRequest {
    /// A GET with a deadline of 10 seconds and room for 4 MiB.
    #[must_use]
    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    /// A request without a body, with a deadline of 10 seconds and room for an answer of 4 MiB.
    #[must_use]
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Self {
            method,
            path: path.into(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
            timeout: Duration::from_secs(10),
            max_body: 4 << 20,
        }
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: &serde_json::Value) -> Self {
        self.body = Bytes::from(body.to_string());
        self.headers.insert(
            http::header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        self
    }

    /// With another deadline.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With one more header.
    ///
    /// # Errors
    /// [`HttpError::Invalid`] when name or value cannot be sent.
    pub fn header(mut self, name: &str, value: &str) -> Result<Self, HttpError> {
        let invalid = || HttpError::Invalid {
            what: format!("the header {name:?}"),
        };
        let mut value = HeaderValue::from_str(value).map_err(|_| invalid())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| invalid())?;
        value.set_sensitive(name == http::header::AUTHORIZATION);
        self.headers.append(name, value);
        Ok(self)
    }
}

impl fmt::Debug for HttpRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers and body may carry secrets.
        formatter
            .debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// An answer, read to its end.
#[derive(Clone, Debug)]
pub struct HttpResponse {
    /// Status.
    pub status: StatusCode,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl HttpResponse {
    /// Parses the body as JSON.
    ///
    /// # Errors
    /// [`HttpError::Protocol`] when it is none.
    pub fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, HttpError> {
        serde_json::from_slice(&self.body).map_err(|error| HttpError::Protocol {
            detail: format!("the answer is not the expected JSON: {error}"),
            sent: true,
        })
    }

    /// Returns the first characters of the body on one line, for an error's detail.
    #[must_use]
    pub fn excerpt(&self) -> String {
        let text = String::from_utf8_lossy(&self.body);
        let line: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(300)
            .collect();
        line
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The request cannot be put into words of HTTP; nothing was sent.
    #[error("{what} cannot be sent")]
    Invalid {
        /// The part that is wrong.
        what: String,
    },
    /// Nothing listens there, or it cannot be reached; nothing was sent.
    #[error("cannot connect to {source}")]
    Connect {
        /// Where to.
        endpoint: Endpoint,
        /// What the transport said; it names the endpoint.
        source: io::Error,
    },
    /// No complete answer within the deadline.
    #[error("no answer within {} s", timeout.as_secs_f32())]
    Timeout {
        /// The deadline.
        timeout: Duration,
        /// Whether the request may have been acted on.
        sent: bool,
    },
    /// The answer's body is longer than allowed.
    #[error("the answer has more than {limit} bytes")]
    TooLarge {
        /// The cap.
        limit: usize,
    },
    /// The connection broke, or what came back is not the protocol.
    #[error("{detail}")]
    Protocol {
        /// What happened.
        detail: String,
        /// Whether the request may have been acted on.
        sent: bool,
    },
}

impl HttpError {
    /// Whether the other side may have acted on the request.
    #[must_use]
    pub fn may_have_acted(&self) -> bool {
        match self {
            Self::Invalid { .. } | Self::Connect { .. } => false,
            Self::TooLarge { .. } => true,
            Self::Timeout { sent, .. } | Self::Protocol { sent, .. } => *sent,
        }
    }
}

/// Sends one request and reads the whole answer.
///
/// # Cancellation
/// Dropping the future closes the connection.
pub async fn send(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    request: HttpRequest,
) -> Result<HttpResponse, HttpError> {
    let timeout = request.timeout;
    let mut sent = false;
    match tokio::time::timeout(timeout, exchange(transport, endpoint, request, &mut sent)).await {
        Ok(result) => result,
        Err(_) => Err(HttpError::Timeout { timeout, sent }),
    }
}

async fn exchange(
    transport: &dyn Transport,
    endpoint: &Endpoint,
    request: HttpRequest,
    sent: &mut bool,
) -> Result<HttpResponse, HttpError> {
    let limit = request.max_body;
    let message = build(endpoint, request)?;
    let stream = transport
        .dial(endpoint)
        .await
        .map_err(|source| HttpError::Connect {
            endpoint: endpoint.clone(),
            source,
        })?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| protocol(&error, false))?;
    // Drives the connection until the answer is read; dropped with this future.
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move {
        // Its error is the sender's as well, who reports it.
        let _ = connection.await;
    }));
    *sent = true;
    let response = sender
        .send_request(message)
        .await
        .map_err(|error| protocol(&error, true))?;
    let (head, body) = response.into_parts();
    let body = Limited::new(body, limit).collect().await.map_err(|error| {
        if error.is::<LengthLimitError>() {
            HttpError::TooLarge { limit }
        } else {
            HttpError::Protocol {
                detail: format!("the answer broke off: {error}"),
                sent: true,
            }
        }
    })?;
    Ok(HttpResponse {
        status: head.status,
        headers: head.headers,
        body: body.to_bytes(),
    })
}

fn build(endpoint: &Endpoint, request: HttpRequest) -> Result<http::Request<Full<Bytes>>, HttpError> {
    if !request.path.starts_with('/') {
        return Err(HttpError::Invalid {
            what: format!("the path {:?}, which does not begin with `/`,", request.path),
        });
    }
    let invalid = || HttpError::Invalid {
        what: format!("the path {:?}", request.path),
    };
    let uri: http::Uri = request.path.parse().map_err(|_| invalid())?;
    let mut message = http::Request::new(Full::new(request.body));
    *message.method_mut() = request.method;
    *message.uri_mut() = uri;
    *message.headers_mut() = request.headers;
    let host = match endpoint {
        Endpoint::Tcp { .. } => endpoint.to_string(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let host = HeaderValue::from_str(&host).map_err(|_| HttpError::Invalid {
        what: format!("the host name {host:?}"),
    })?;
    message.headers_mut().entry(http::header::HOST).or_insert(host);
    message
        .headers_mut()
        .entry(http::header::CONNECTION)
        .or_insert(HeaderValue::from_static("close"));
    Ok(message)
}

fn protocol(error: &hyper::Error, sent: bool) -> HttpError {
    let mut detail = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        detail.push_str(": ");
        detail.push_str(&cause.to_string());
        source = cause.source();
    }
    HttpError::Protocol { detail, sent }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::LocalTransport;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// Serves one connection: reads until the blank line, answers with these bytes, then keeps the connection open.
    async fn answer(bytes: &'static [u8]) -> (Endpoint, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::loopback(listener.local_addr().unwrap().port());
        let served = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut seen = Vec::new();
            while !seen.windows(4).any(|window| window == b"\r\n\r\n") {
                let mut part = [0; 1024];
                let count = stream.read(&mut part).await.unwrap();
                if count == 0 {
                    break;
                }
                seen.extend_from_slice(&part[..count]);
            }
            stream.write_all(bytes).await.unwrap();
            // Until the client goes away.
            let _ = stream.read_to_end(&mut Vec::new()).await;
            String::from_utf8(seen).unwrap()
        });
        (endpoint, served)
    }

    #[tokio::test]
    async fn status_headers_and_body_come_back() {
        let (endpoint, served) =
            answer(b"HTTP/1.1 202 Accepted\r\nx-a: b\r\ncontent-length: 8\r\n\r\n{\"n\": 1}").await;
        let request = HttpRequest::new(Method::POST, "/w?x=1")
            .json(&serde_json::json!({"url": "u"}))
            .header("Authorization", "Bearer t")
            .unwrap();
        let response = send(&LocalTransport, &endpoint, request).await.unwrap();
        assert_eq!(response.status, 202);
        assert_eq!(response.headers["x-a"], "b");
        assert_eq!(response.json::<serde_json::Value>().unwrap()["n"], 1);
        let seen = served.await.unwrap();
        assert!(seen.starts_with("POST /w?x=1 HTTP/1.1\r\n"), "{seen}");
        assert!(seen.contains(&format!("host: {endpoint}\r\n")), "{seen}");
        assert!(seen.contains("authorization: Bearer t\r\n"), "{seen}");
    }

    #[tokio::test]
    async fn a_long_body_is_refused() {
        let (endpoint, _served) = answer(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabcde\r\n5\r\nfghij\r\n0\r\n\r\n",
        )
        .await;
        let mut request = HttpRequest::get("/");
        request.max_body = 9;
        let error = send(&LocalTransport, &endpoint, request).await.unwrap_err();
        assert!(matches!(error, HttpError::TooLarge { limit: 9 }), "{error:?}");
    }

    #[tokio::test]
    async fn silence_ends_at_the_deadline_and_may_have_acted() {
        let (endpoint, _served) = answer(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab").await;
        let request = HttpRequest::get("/").timeout(Duration::from_millis(100));
        let error = send(&LocalTransport, &endpoint, request).await.unwrap_err();
        assert!(
            matches!(error, HttpError::Timeout { sent: true, .. }),
            "{error:?}"
        );
        assert!(error.may_have_acted());
    }

    #[tokio::test]
    async fn nobody_there_has_not_acted() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = Endpoint::loopback(listener.local_addr().unwrap().port());
        drop(listener);
        let error = send(&LocalTransport, &endpoint, HttpRequest::get("/"))
            .await
            .unwrap_err();
        assert!(matches!(error, HttpError::Connect { .. }), "{error:?}");
        assert!(!error.may_have_acted());
    }

    #[tokio::test]
    async fn bad_paths_and_headers_are_found_before_connecting() {
        let endpoint = Endpoint::Unix("/nonexistent/x.sock".into());
        for path in ["", "x", "http://h/", "/a b"] {
            let error = send(&LocalTransport, &endpoint, HttpRequest::get(path))
                .await
                .unwrap_err();
            assert!(matches!(error, HttpError::Invalid { .. }), "{path:?}: {error:?}");
        }
        assert!(HttpRequest::get("/").header("a b", "c").is_err());
        assert!(HttpRequest::get("/").header("a", "c\r\nx: y").is_err());
    }
}
