//! Clients that send too much, too slowly, or go away.

use std::time::Duration;

use gabion_agent::Limits;

use crate::harness::{Behaviour, TestAgent, TestUpstream, eventually, model_route, plain_route, status_of};

fn tight() -> Limits {
    Limits {
        header_timeout: Duration::from_millis(300),
        header_bytes: 8192,
        headers: 20,
        buffered_body: 1000,
        body: 2000,
        body_idle: Duration::from_millis(300),
        body_rate: 1000,
        ..Limits::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_heads_are_refused() {
    let agent = TestAgent::with(tight(), None).await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let long = format!(
        "GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n",
        "a".repeat(20_000)
    );
    assert_eq!(status_of(&agent.exchange(long).await), 431);
    let many: String = (0..30).map(|number| format!("X-{number}: 1\r\n")).collect();
    assert_eq!(
        status_of(
            &agent
                .exchange(format!(
                    "GET /services/web/ HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"
                ))
                .await
        ),
        431
    );
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_bodies_are_refused() {
    let agent = TestAgent::with(tight(), None).await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    for (path, size) in [("/services/web/", 2001), ("/v1/chat/completions", 1001)] {
        let (status, body) = agent.request("POST", path, "", &"a".repeat(size)).await;
        assert_eq!(status, 413, "{path}: {body}");
        let chunk = format!("{size:x}\r\n{}\r\n0\r\n\r\n", "a".repeat(size));
        let answer = agent
            .exchange(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"))
            .await;
        assert_eq!(status_of(&answer), 413, "{path}: {answer}");
    }
    assert!(upstream.seen().is_empty());
    assert_eq!(
        agent
            .request("POST", "/services/web/", "", &"a".repeat(2000))
            .await
            .0,
        200
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_head_ends_the_connection() {
    let agent = TestAgent::with(tight(), None).await;
    let mut client = agent.connect().await;
    client.send("GET /services/web/ HTTP/1.1\r\nHost:").await;
    let answer = client.read_to_end().await;
    assert!(answer.is_empty() || status_of(&answer) == 408, "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_body_is_refused_and_the_upstream_let_go() {
    let agent = TestAgent::with(tight(), None).await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    for path in ["/services/web/", "/v1/chat/completions"] {
        let mut client = agent.connect().await;
        client
            .send(format!(
                "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\nabc"
            ))
            .await;
        let answer = client.read_to_end().await;
        assert_eq!(status_of(&answer), 408, "{path}: {answer}");
        assert!(answer.contains("body_too_slow"), "{answer}");
    }
    // Dripping faster than the silence limit does not help: the average counts.
    let mut client = agent.connect().await;
    client
        .send("POST /services/web/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n")
        .await;
    let (mut reader, mut writer) = client.0.into_split();
    let dripper = tokio::spawn(async move {
        use tokio::io::AsyncWriteExt;
        while writer.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut answer = String::new();
    let read = tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), read)
        .await
        .expect("the drip was borne too long");
    assert_eq!(status_of(&answer), 408, "{answer}");
    dripper.abort();
    eventually("the upstream's release", || async {
        (upstream.gone() == 2).then_some(())
    })
    .await;
    assert!(upstream.seen().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_the_answer_aborts_the_upstream() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Silence).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let mut client = agent.connect().await;
    client
        .send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}")
        .await;
    eventually("the request", || async {
        (upstream.seen().len() == 1).then_some(())
    })
    .await;
    drop(client);
    eventually("the abort", || async { (upstream.gone() == 1).then_some(()) }).await;
    eventually("the count", || async {
        let service = &agent.client.snapshot().await.unwrap().gateways["g"]["qwen"];
        (service.aborted == 1 && service.in_flight == 0 && service.requests == 1).then_some(())
    })
    .await;
}
