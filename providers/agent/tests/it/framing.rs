//! Requests that two programs could cut differently.

use crate::harness::{Behaviour, TestAgent, TestUpstream, plain_route, status_of};

const SMUGGLED: &str = "GET /services/web/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_framings_become_one_and_end_the_connection() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let orders = [
        "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
        "transfer-encoding: Chunked\r\ncontent-length: 6\r\ncontent-length: 99\r\n",
        "Content-Length: 6\r\nX-Between: 1\r\nTransfer-Encoding: chunked\r\nContent-Length: 6\r\n",
    ];
    for (index, headers) in orders.into_iter().enumerate() {
        // First a request of its own, so that earlier lengths on the connection are known to be accounted for.
        let mut client = agent.connect().await;
        client
            .send("POST /services/web/first HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\nab")
            .await;
        client.read_until("\r\n\r\nu").await;
        client
            .send(format!(
                "POST /services/web/both HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n3\r\nabc\r\n0\r\n\r\n{SMUGGLED}"
            ))
            .await;
        let answer = client.read_to_end().await;
        assert_eq!(status_of(&answer), 200, "{headers}");
        assert!(answer.to_lowercase().contains("connection: close"), "{answer}");
        assert_eq!(
            answer.matches("HTTP/1.1").count(),
            1,
            "something behind it was served: {answer}"
        );
        let seen = upstream.seen();
        assert_eq!(seen.len(), 2 * (index + 1), "{headers}");
        let last = seen.last().unwrap();
        assert_eq!(last.body, "abc");
        assert!(last.header("content-length").is_empty());
        assert_eq!(last.header("transfer-encoding"), ["chunked"]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_framing_keeps_the_connection() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let mut client = agent.connect().await;
    let chunked = "POST /services/web/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let sized = "POST /services/web/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    for request in [chunked, sized, chunked, sized] {
        client.send(request).await;
        let answer = client.read_until("\r\n\r\nu").await;
        assert!(!answer.to_lowercase().contains("connection: close"), "{answer}");
    }
    let last = "GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client.send(format!("{sized}{sized}{last}")).await;
    let answer = client.read_to_end().await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3, "{answer}");
    assert_eq!(upstream.seen().len(), 7);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unclear_framing_is_refused() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    for (headers, status) in [
        ("Content-Length: 3\r\nContent-Length: 4\r\n", 400),
        ("Content-Length: 3, 4\r\n", 400),
        ("Content-Length: +3\r\n", 400),
        ("Content-Length: 0x3\r\n", 400),
        ("Content-Length : 3\r\n", 400),
        ("Transfer-Encoding: identity\r\n", 400),
        ("Transfer-Encoding: xchunked\r\n", 400),
        ("Transfer-Encoding: chunked, identity\r\n", 400),
        ("Transfer-Encoding: gzip, chunked\r\n", 501),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            501,
        ),
        ("Transfer-Encoding : chunked\r\n", 400),
        ("X: 1\r\n folded: 2\r\n", 400),
        ("X\0: 1\r\n", 400),
    ] {
        let request = format!(
            "POST /services/web/ HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n3\r\nabc\r\n0\r\n\r\n{SMUGGLED}"
        );
        let answer = agent.exchange(request).await;
        assert_eq!(status_of(&answer), status, "{headers:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers:?}: {answer}");
    }
    let old = agent
        .exchange(format!(
            "POST /services/web/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"
        ))
        .await;
    assert_eq!(status_of(&old), 400);
    let bare = agent
        .exchange("POST /services/web/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n")
        .await;
    assert_eq!(status_of(&bare), 400, "no Host");
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hop_by_hop_headers_end_here_in_both_directions() {
    let agent = TestAgent::start().await;
    let answer = "HTTP/1.1 200 OK\r\nConnection: x-inner, close\r\nX-Inner: 1\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\nX-Kept: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    let upstream = TestUpstream::start("u", Behaviour::Raw(answer)).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let request = "GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close, x-mine, host\r\nX-Mine: 1\r\nTE: trailers\r\nProxy-Authorization: Basic x\r\nKeep-Alive: 1\r\nUpgrade: h2c\r\nX-Kept: 1\r\n\r\n";
    let answer = agent.exchange(request).await.to_lowercase();
    assert!(answer.contains("x-kept: 2") && answer.contains("ok"), "{answer}");
    for name in ["x-inner", "keep-alive", "proxy-authenticate"] {
        assert!(!answer.contains(name), "{name} in {answer}");
    }
    let seen = &upstream.seen()[0];
    for name in [
        "connection",
        "x-mine",
        "te",
        "proxy-authorization",
        "keep-alive",
        "upgrade",
    ] {
        assert!(seen.header(name).is_empty(), "{name} in {}", seen.head);
    }
    assert_eq!(
        (seen.header("x-kept"), seen.header("host")),
        (vec!["1"], vec!["localhost"])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_asks_first_is_told_to_go_on_or_not() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
        )
    };
    let mut client = agent.connect().await;
    client.send(head("/services/web/")).await;
    client.read_until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.send("abc").await;
    client.read_until("\r\n\r\nu").await;
    assert_eq!(upstream.seen()[0].body, "abc");
    assert!(upstream.seen()[0].header("expect").is_empty());
    let mut client = agent.connect().await;
    client.send(head("/services/none/")).await;
    let answer = client.read_to_end().await;
    assert_eq!(status_of(&answer), 404, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_without_a_body_keep_their_headers() {
    let agent = TestAgent::start().await;
    for (answer, status) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", 200),
        ("HTTP/1.1 204 No Content\r\n\r\n", 204),
        ("HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", 304),
    ] {
        let upstream = TestUpstream::start("u", Behaviour::Raw(answer)).await;
        agent.put(plain_route("web", &[&upstream])).await;
        let method = if status == 200 { "HEAD" } else { "GET" };
        let request =
            format!("{method} /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let got = agent.exchange(request).await.to_lowercase();
        assert_eq!(status_of(&got), status);
        assert!(got.ends_with("\r\n\r\n"), "{got}");
        assert_eq!(got.contains("content-length: 77"), status == 200, "{got}");
    }
    let old = "HTTP/1.0 200 OK\r\n\r\nuntil the end";
    let upstream = TestUpstream::start("u", Behaviour::Raw(old)).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let got = agent
        .exchange("GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        got.contains("until the end") && got.ends_with("0\r\n\r\n"),
        "{got}"
    );
}
