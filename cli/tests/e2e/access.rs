//! What the gateway lets through: paths, tokens, framing.

use serde_json::json;

use crate::harness::{Connection, Project, Request, send};

#[test]
fn admin_paths_of_router_and_engine_cannot_be_reached() {
    let project = Project::quick();
    project.apply();
    let endpoint = project.endpoint();
    let gateway = endpoint.base.trim_end_matches("/v1").to_owned();
    let router = project.url("host_unit.my-gateway/router/qwen");
    let before = project.workers(&router).unwrap();
    let long = "a prompt that is long enough to fill a few blocks of the cache of the engine. ".repeat(6);
    endpoint.ask(&long).unwrap();

    let worker = json!({ "url": "http://127.0.0.1:9" });
    let forbidden = [
        "/workers",
        "/v1/../workers",
        "//workers",
        "/%77orkers",
        "/v1/%2e%2e/workers",
        "/v1/..%2fworkers",
        "/flush_cache",
    ];
    for below in ["", "/services/qwen"] {
        for path in forbidden {
            for method in ["POST", "GET", "DELETE"] {
                let request = Request::new(method, format!("{below}{path}")).json(&worker);
                let response = send(&gateway, &request).unwrap();
                assert_eq!(
                    response.status,
                    403,
                    "{method} {below}{path}: {}",
                    response.text()
                );
            }
        }
    }
    assert_eq!(project.workers(&router).unwrap(), before);
    let cached = endpoint.ask(&long).unwrap().usage["prompt_tokens_details"]["cached_tokens"].as_u64();
    assert!(
        cached.is_some_and(|cached| cached > 0),
        "the engine's cache was flushed"
    );
    let models = send(&gateway, &Request::new("GET", "/v1/models")).unwrap();
    assert_eq!(models.status, 200, "{}", models.text());
}

#[test]
fn a_request_with_two_framings_is_forwarded_with_one() {
    let project = Project::quick();
    project.apply();
    let endpoint = project.endpoint();
    let mut whole = endpoint.request("which framing?", 4, false);
    whole.headers.clear();
    let body = String::from_utf8(whole.body).unwrap();
    let chunked = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let smuggled = "GET /workers HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for framing in [
        "Transfer-Encoding: chunked\r\nContent-Length: 5",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        let mut connection = Connection::open(&endpoint.base).unwrap();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{framing}\r\n\r\n"
        );
        connection
            .write(format!("{head}{chunked}{smuggled}").as_bytes())
            .unwrap();
        let (response, rest) = connection.answer().unwrap().whole_and_rest().unwrap();
        assert_eq!(response.status, 200, "{framing}: {}", response.text());
        assert_eq!(response.header("connection"), Some("close"), "{framing}");
        assert_eq!(
            String::from_utf8_lossy(&rest),
            "",
            "{framing}: what was pipelined behind it was served"
        );
    }
}

#[test]
fn a_bearer_token_is_asked_for_and_not_passed_on() {
    let mut project = Project::empty();
    project.set("CLIENT_TOKEN", "the-token-of-the-client");
    project.write(
        "gabion.yml",
        "project: tokens\nsecrets:\n  CLIENT_TOKEN: {env: CLIENT_TOKEN}\ntokens:\n  client: ${{ secrets.CLIENT_TOKEN }}\n",
    );
    // A service without a model passes every path on, and says what it was sent.
    project.write("echo.py", ECHO);
    project.write(
        "echo.dstack.yml",
        "type: service\nname: echo\ncommands:\n  - python3 echo.py $PORT\nport: 8000\n",
    );
    project.apply();
    let url = project.url("gateway_route.echo");
    let base = url.trim_end_matches('/');
    let target = format!(
        "{}/headers",
        base.split_once("://")
            .unwrap()
            .1
            .split_once('/')
            .map_or(String::new(), |(_, path)| format!("/{path}"))
    );
    let ask = |authorization: Option<&str>| {
        let mut request = Request::new("GET", target.clone()).header("x-kept", "yes");
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        send(base, &request).unwrap()
    };
    for wrong in [
        None,
        Some("Bearer another-token"),
        Some("Basic dGhlOnRva2Vu"),
        Some("Bearer the-token-of-the-clien"),
        Some("Bearer "),
    ] {
        let response = ask(wrong);
        assert_eq!(response.status, 401, "{wrong:?}: {}", response.text());
        assert!(
            response
                .header("www-authenticate")
                .is_some_and(|value| value.starts_with("Bearer")),
            "{response:?}"
        );
    }
    let response = ask(Some("Bearer the-token-of-the-client"));
    assert_eq!(response.status, 200, "{}", response.text());
    let seen = response.text().to_lowercase();
    assert!(seen.contains("x-kept"), "{seen}");
    assert!(
        !seen.contains("authorization") && !seen.contains("the-token"),
        "{seen}"
    );

    // Another token takes the first one's place.
    project.set("CLIENT_TOKEN", "the-next-token");
    project.run(&["apply", "-y"]).succeeds();
    assert_eq!(ask(Some("Bearer the-token-of-the-client")).status, 401);
    assert_eq!(ask(Some("Bearer the-next-token")).status, 200);
    project.plan_is_empty();
}

/// Answers with the headers that it was sent.
const ECHO: &str = "\
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Echo(BaseHTTPRequestHandler):
    def do_GET(self):
        body = str(self.headers).encode()
        self.send_response(200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Echo).serve_forever()
";
