//! Answers that come in pieces.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::harness::{Behaviour, TestAgent, TestUpstream, eventually, model_route, status_of};

const CHAT: &str = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{\"model\":\"m\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_pass_one_by_one_and_are_timed() {
    let agent = TestAgent::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let upstream = TestUpstream::start("u", Behaviour::Stream(Arc::clone(&permits), 3)).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let mut client = agent.connect().await;
    client.send(CHAT).await;
    for number in 0..3 {
        // Each event arrives although the next one has not been sent: nothing is held back.
        client.read_until(&format!("\"t{number}\"")).await;
        let service = agent.client.snapshot().await.unwrap().gateways["g"]["qwen"].clone();
        assert_eq!((service.in_flight, service.time_to_first_token.count), (1, 1));
        permits.add_permits(1);
    }
    let rest = client.read_to_end().await;
    assert!(rest.contains("[DONE]"), "{rest}");
    eventually("the count", || async {
        let service = agent.client.snapshot().await.unwrap().gateways["g"]["qwen"].clone();
        (service.in_flight == 0 && service.aborted == 0 && service.inter_token_latency_estimate.count == 1)
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_mid_stream_aborts_the_upstream() {
    let agent = TestAgent::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let upstream = TestUpstream::start("u", Behaviour::Stream(permits, 1000)).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let mut client = agent.connect().await;
    client.send(CHAT).await;
    client.read_until("\"t0\"").await;
    drop(client);
    eventually("the abort", || async { (upstream.gone() == 1).then_some(()) }).await;
    eventually("the count", || async {
        let service = agent.client.snapshot().await.unwrap().gateways["g"]["qwen"].clone();
        (service.in_flight == 0 && service.aborted == 1).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_is_not_made_to_look_complete() {
    let agent = TestAgent::start().await;
    let answer = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let upstream = TestUpstream::start("u", Behaviour::Raw(answer)).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let answer = agent.exchange(CHAT).await;
    assert_eq!(status_of(&answer), 200);
    assert!(
        answer.contains("abc") && !answer.contains("0\r\n\r\n"),
        "{answer}"
    );
    let service = agent.client.snapshot().await.unwrap().gateways["g"]["qwen"].clone();
    assert_eq!((service.upstream_failures, service.aborted), (1, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_agent_lets_a_stream_end() {
    let mut agent = TestAgent::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let upstream = TestUpstream::start("u", Behaviour::Stream(Arc::clone(&permits), 2)).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let mut client = agent.connect().await;
    client.send(CHAT).await;
    client.read_until("\"t0\"").await;
    let stopped = agent.begin_stop();
    eventually("the closed port", || async {
        tokio::net::TcpStream::connect(("127.0.0.1", agent.port))
            .await
            .err()
    })
    .await;
    permits.add_permits(2);
    assert!(client.read_to_end().await.contains("[DONE]"));
    stopped.await.unwrap().unwrap();
}
