//! Routes that change under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Semaphore;

use crate::harness::{
    Behaviour, TestAgent, TestUpstream, eventually, fence, model_route, plain_route, status_of,
};

const STREAM: &str = "POST /services/qwen/v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swap_waits_for_the_old_upstream_alone() {
    let agent = TestAgent::start().await;
    let permits = Arc::new(Semaphore::new(0));
    let old = TestUpstream::start("old", Behaviour::Stream(Arc::clone(&permits), 1)).await;
    let new = TestUpstream::start("new", Behaviour::Name).await;
    agent.put(model_route("qwen", "m", &[&old])).await;
    let mut client = agent.connect().await;
    client.send(STREAM).await;
    client.read_until("\"t0\"").await;
    let (admin, route) = (agent.client.clone(), model_route("qwen", "m", &[&new]));
    let swap = tokio::spawn(async move { admin.put_route(&fence(), route, 20).await.unwrap() });
    eventually("the swap", || async {
        let gabion_agent::protocol::Upstream::Replicas(replicas) =
            agent.client.routes().await.unwrap().remove(0).object.upstream
        else {
            unreachable!()
        };
        (replicas[0].name == "new").then_some(())
    })
    .await;
    assert!(
        agent
            .exchange(STREAM)
            .await
            .to_lowercase()
            .contains("x-upstream: new")
    );
    assert!(!swap.is_finished());
    permits.add_permits(10);
    assert!(client.read_to_end().await.contains("[DONE]"));
    let drain = swap.await.unwrap();
    assert_eq!(drain.cut, 0);
    assert_eq!(drain.waited_for, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_outlasts_a_drain_is_cut_and_counted() {
    let agent = TestAgent::start().await;
    let old = TestUpstream::start("old", Behaviour::Stream(Arc::new(Semaphore::new(0)), 1)).await;
    agent.put(model_route("qwen", "m", &[&old])).await;
    let mut client = agent.connect().await;
    client.send(STREAM).await;
    client.read_until("\"t0\"").await;
    let drain = agent.client.delete_route(&fence(), "g", "qwen", 1).await.unwrap();
    assert_eq!((drain.waited_for, drain.cut), (1, 1));
    assert!(!client.read_to_end().await.contains("0\r\n\r\n"));
    eventually("the upstream's release", || async {
        (old.gone() == 1).then_some(())
    })
    .await;
    assert_eq!(status_of(&agent.exchange(STREAM).await), 404);
    assert_eq!(
        agent
            .client
            .delete_route(&fence(), "g", "qwen", 1)
            .await
            .unwrap()
            .waited_for,
        0
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_upstreams_are_swapped_and_stopped() {
    let agent = Arc::new(TestAgent::start().await);
    let mut current = TestUpstream::start("0", Behaviour::Name).await;
    agent.put(plain_route("web", &[&current])).await;
    let done = Arc::new(AtomicBool::new(false));
    let mut load = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let (agent, done) = (Arc::clone(&agent), Arc::clone(&done));
        load.spawn(async move {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let (status, body) = agent.request("POST", "/services/web/", "", "x").await;
                assert_eq!(status, 200, "{body}");
                count += 1;
            }
            count
        });
    }
    for round in 1..20 {
        let next = TestUpstream::start(&round.to_string(), Behaviour::Name).await;
        agent.put(plain_route("web", &[&next])).await;
        // The old one stops at once: the swap has returned, so nothing is on its way to it.
        current = next;
        eventually("traffic", || async { (current.seen().len() > 3).then_some(()) }).await;
    }
    done.store(true, Ordering::Relaxed);
    assert!(load.join_all().await.into_iter().sum::<usize>() > 50);
}
