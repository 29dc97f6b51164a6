//! The way of a request: in, through the rules, to moto and back.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};

use super::{Account, Fault, World, between};

/// A request as far as rules look at it.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) operation: String,
    pub(super) parts: hyper::http::request::Parts,
    pub(super) body: Bytes,
    /// Of EC2: the parameters by name, in order.
    pub(super) parameters: Vec<(String, String)>,
    pub(super) route53: bool,
}

impl Asked {
    pub(super) fn parameter(&self, name: &str) -> Option<&str> {
        self.parameters
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self {
            status: 200,
            body: body.into(),
        }
    }

    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Returns an error in the form of the API.
    pub(super) fn refused(route53: bool, status: u16, code: &str, message: &str) -> Self {
        let body = if route53 {
            format!(
                "<?xml version=\"1.0\"?><ErrorResponse xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Error>\
                 <Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>\
                 <RequestId>test-request</RequestId></ErrorResponse>"
            )
        } else {
            format!(
                "<?xml version=\"1.0\"?><Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error>\
                 </Errors><RequestID>test-request</RequestID></Response>"
            )
        };
        Self {
            status,
            body: body.into_bytes(),
        }
    }
}

pub(super) async fn serve(world: Arc<World>) -> (SocketAddr, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("loopback has free ports");
    let address = listener.local_addr().expect("a bound socket has an address");
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let world = world.clone();
            tokio::spawn(async move {
                let service = service_fn(|request| answer(world.clone(), request));
                // A lost answer ends its connection: that is no failure of the proxy.
                drop(
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await,
                );
            });
        }
    });
    (address, serving)
}

/// The connection ends without an answer.
#[derive(Debug)]
struct Lost;

impl std::fmt::Display for Lost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the answer is lost")
    }
}

impl std::error::Error for Lost {}

async fn answer(world: Arc<World>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Lost> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Lost)?.to_bytes();
    let asked = asked(parts, body);
    let fault = {
        let mut state = world.state();
        state.calls.push(asked.operation.clone());
        let at = state
            .faults
            .iter()
            .position(|(operation, _)| *operation == asked.operation || operation == "*");
        at.map(|at| state.faults.remove(at).1)
    };
    let answer = match &fault {
        Some(Fault::RequestLost) => return Err(Lost),
        Some(Fault::Refused(status, code)) => {
            Answer::refused(asked.route53, *status, code, "The test says so.")
        }
        Some(Fault::AnswerLost) | None => world.answer(&asked).await,
    };
    if fault == Some(Fault::AnswerLost) {
        return Err(Lost);
    }
    Ok(Response::builder()
        .status(StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY))
        .header("content-type", "text/xml")
        .header(
            "x-amzn-requestid",
            format!("req-{:08}", world.state().calls.len()),
        )
        .body(Full::new(Bytes::from(answer.body)))
        .expect("the parts of an answer are well formed"))
}

fn asked(parts: hyper::http::request::Parts, body: Bytes) -> Asked {
    let path = parts.uri.path().to_owned();
    let route53 = path.starts_with("/2013-04-01/");
    let parameters = if route53 { Vec::new() } else { form(&body) };
    let operation = if route53 {
        route53_operation(parts.method.as_str(), &path).to_owned()
    } else {
        parameters
            .iter()
            .find(|(name, _)| name == "Action")
            .map(|(_, value)| value.clone())
            .unwrap_or_default()
    };
    Asked {
        operation,
        parts,
        body,
        parameters,
        route53,
    }
}

fn route53_operation(method: &str, path: &str) -> &'static str {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).skip(1).collect();
    match (method, parts.as_slice()) {
        ("POST", ["hostedzone"]) => "CreateHostedZone",
        ("GET", ["hostedzone"]) => "ListHostedZones",
        ("GET", ["hostedzone", _]) => "GetHostedZone",
        ("DELETE", ["hostedzone", _]) => "DeleteHostedZone",
        ("POST", ["hostedzone", _]) => "UpdateHostedZoneComment",
        ("GET", ["hostedzone", _, "rrset"]) => "ListResourceRecordSets",
        ("POST", ["hostedzone", _, "rrset"]) => "ChangeResourceRecordSets",
        ("GET", ["change", _]) => "GetChange",
        ("POST", ["tags", "hostedzone"]) => "ListTagsForResources",
        ("POST", ["tags", "hostedzone", _]) => "ChangeTagsForResource",
        _ => "unknown",
    }
}

fn form(body: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(body).replace('+', " ");
    let decoded = |text: &str| {
        percent_encoding::percent_decode_str(text)
            .decode_utf8_lossy()
            .into_owned()
    };
    text.split('&')
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, value)| (decoded(name), decoded(value)))
        .collect()
}

/// Writes parameters as a form.
pub(super) fn to_form(parameters: &[(String, String)]) -> String {
    let encoded = |text: &str| {
        percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let pairs: Vec<String> = parameters
        .iter()
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    pairs.join("&")
}

/// Passes a request on to a moto server.
pub(super) async fn forward(server: &str, asked: &Asked) -> Answer {
    let mut request = Request::builder().method(asked.parts.method.clone()).uri(
        asked
            .parts
            .uri
            .path_and_query()
            .map_or("/", hyper::http::uri::PathAndQuery::as_str),
    );
    for (name, value) in &asked.parts.headers {
        if !["host", "content-length", "connection", "transfer-encoding"].contains(&name.as_str()) {
            request = request.header(name, value);
        }
    }
    send(server, request, asked.body.clone()).await
}

/// Sends a request to moto.
pub(super) async fn send(upstream: &str, request: hyper::http::request::Builder, body: Bytes) -> Answer {
    let request = request
        .header("host", upstream)
        .body(Full::new(body))
        .expect("the parts of a request are well formed");
    let sent = async {
        let stream = TcpStream::connect(upstream).await.ok()?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .ok()?;
        tokio::spawn(connection);
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.ok()?.to_bytes().to_vec();
        Some(Answer { status, body })
    };
    sent.await.unwrap_or(Answer {
        status: 502,
        body: b"moto does not answer".to_vec(),
    })
}

fn authorization(key: &str, region: &str, service: &str) -> String {
    format!(
        "AWS4-HMAC-SHA256 Credential={key}/20260101/{region}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    )
}

/// Opens an account of its own: moto gives one to whoever takes on a role of it.
pub(super) async fn account(upstream: &str) -> Account {
    use std::hash::{BuildHasher, Hasher};
    let random = std::collections::hash_map::RandomState::new()
        .build_hasher()
        .finish();
    let number = format!("{:012}", 100_000_000_000 + random % 800_000_000_000);
    let parameters = [
        ("Action", "AssumeRole".to_owned()),
        ("Version", "2011-06-15".to_owned()),
        ("RoleArn", format!("arn:aws:iam::{number}:role/test")),
        ("RoleSessionName", "test".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value));
    let request = Request::builder()
        .method("POST")
        .uri("/")
        .header("authorization", authorization("test", "us-east-1", "sts"))
        .header("content-type", "application/x-www-form-urlencoded");
    let answer = send(upstream, request, to_form(&parameters).into()).await.text();
    let part = |name: &str| {
        between(&answer, &format!("<{name}>"), &format!("</{name}>"))
            .unwrap_or_else(|| panic!("moto opens no account: {answer}"))
            .to_owned()
    };
    Account {
        number,
        access_key: part("AccessKeyId"),
        secret: part("SecretAccessKey"),
        token: part("SessionToken"),
    }
}

/// Makes a call as another client would, past the rules and the count.
pub(super) async fn ec2(
    world: &World,
    account: &Account,
    region: &str,
    action: &str,
    parameters: &[(&str, &str)],
) -> Answer {
    let mut all = vec![
        ("Action".to_owned(), action.to_owned()),
        ("Version".to_owned(), "2016-11-15".to_owned()),
    ];
    all.extend(
        parameters
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let request = Request::builder()
        .method("POST")
        .uri("/")
        .header("authorization", authorization(&account.access_key, region, "ec2"))
        .header("content-type", "application/x-www-form-urlencoded");
    asked_beside(world, request, to_form(&all)).await
}

pub(super) async fn route53(
    world: &World,
    account: &Account,
    method: &str,
    path: &str,
    body: &str,
) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(
            "authorization",
            authorization(&account.access_key, "us-east-1", "route53"),
        )
        .header("content-type", "text/xml");
    asked_beside(world, request, body.to_owned()).await
}

async fn asked_beside(world: &World, request: hyper::http::request::Builder, body: String) -> Answer {
    let (parts, ()) = request
        .body(())
        .expect("the parts of a request are well formed")
        .into_parts();
    world.upstream_answer(&asked(parts, body.into())).await
}
