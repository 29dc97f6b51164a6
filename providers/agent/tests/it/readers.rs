//! Clients that do not read, and requests that are more than the gateway has room for.

use std::sync::Arc;
use std::time::Duration;

use gabion_agent::Limits;
use tokio::sync::Semaphore;

use crate::harness::{
    Behaviour, Client, TestAgent, TestUpstream, eventually, fence, model_route, plain_route, status_of,
};

const EVENTS: usize = 2_000_000;

/// Asks for an endless answer and does not read it, until nothing moves any more.
async fn stalled(agent: &TestAgent) -> (Client, TestUpstream) {
    let permits = Arc::new(Semaphore::new(EVENTS));
    let upstream = TestUpstream::start("u", Behaviour::Stream(Arc::clone(&permits), EVENTS)).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let mut client = agent.connect().await;
    client
        .send("GET /services/web/ HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await;
    let mut before = (EVENTS, 0);
    let mut looks = 0;
    while looks < 20 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let now = (permits.available_permits(), upstream.gone());
        looks = if now == before && now.0 < EVENTS {
            looks + 1
        } else {
            0
        };
        before = now;
    }
    (client, upstream)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_does_not_read_is_cut_at_the_end_of_a_drain() {
    let agent = TestAgent::start().await;
    let (mut client, upstream) = stalled(&agent).await;
    assert_eq!(upstream.gone(), 0);
    agent.client.delete_route(&fence(), "g", "web", 0).await.unwrap();
    eventually("the upstream's release", || async {
        (upstream.gone() == 1).then_some(())
    })
    .await;
    let answer = client.read_to_end().await;
    assert!(!answer.ends_with("0\r\n\r\n"));
    let service = agent.client.snapshot().await.unwrap().gateways["g"]["web"].clone();
    assert_eq!((service.cut, service.aborted, service.in_flight), (1, 0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_takes_nothing_for_too_long_is_let_go() {
    let limits = Limits {
        write_idle: Duration::from_millis(500),
        ..Limits::default()
    };
    let agent = TestAgent::with(limits, None).await;
    let (_client, upstream) = stalled(&agent).await;
    eventually("the upstream's release", || async {
        (upstream.gone() == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_beyond_the_room_for_them_are_to_come_again() {
    let limits = Limits {
        buffered_bodies: 1000,
        ..Limits::default()
    };
    let agent = TestAgent::with(limits, None).await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let body = format!("{{\"model\":\"m\",\"x\":\"{}\"}}", "a".repeat(400));
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let (slow, refused) = eventually("the refusal", || async {
        // Whichever comes first has the room.
        let mut slow = agent.connect().await;
        slow.send("POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900\r\n\r\n")
            .await;
        slow.send("a".repeat(800)).await;
        let answer = agent.exchange(&request).await;
        (status_of(&answer) == 503).then_some((slow, answer))
    })
    .await;
    assert!(
        refused.contains("buffers_full") && refused.to_lowercase().contains("retry-after: 2"),
        "{refused}"
    );
    drop(slow);
    eventually("the room", || async {
        (status_of(&agent.exchange(&request).await) == 200).then_some(())
    })
    .await;
    for name in [
        "\"no\"".to_owned(),
        format!("\"{}\"", "n".repeat(700)),
        format!("{{\"{}\":1}}", "n".repeat(700)),
    ] {
        let (status, answer) = agent
            .request(
                "POST",
                "/v1/chat/completions",
                "",
                &format!("{{\"model\":{name}}}"),
            )
            .await;
        assert!(matches!(status, 400 | 404), "{answer}");
        assert!(answer.len() < 600, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loopback_gateway_answers_no_pages_of_others() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let ask = async |headers: &str| {
        agent
            .exchange(format!(
                "GET /services/web/ HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n"
            ))
            .await
    };
    for open in [
        "Host: 127.0.0.1:8000",
        "Host: [::1]:8000",
        "Host: LOCALHOST",
        "Host: 192.0.2.7",
        "Host: chat.localhost:1",
        "Host: localhost\r\nOrigin: http://localhost:3000",
        "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1:3000",
    ] {
        assert_eq!(status_of(&ask(open).await), 200, "{open}");
    }
    for (closed, code) in [
        ("Host: rebound.example.com", "foreign_host"),
        ("Host: localhost.example.com:80", "foreign_host"),
        ("Host: localhost\r\nOrigin: https://example.com", "foreign_origin"),
        ("Host: localhost\r\nOrigin: null", "foreign_origin"),
        ("Host: 192.0.2.7\r\nOrigin: http://192.0.2.8", "foreign_origin"),
    ] {
        let answer = ask(closed).await;
        assert_eq!(status_of(&answer), 403, "{closed}");
        assert!(answer.contains(code) && answer.contains("`domain`"), "{answer}");
    }
    assert_eq!(upstream.seen().len(), 7);
}
