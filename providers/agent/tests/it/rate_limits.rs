//! Rate limits over real sockets.

use gabion_agent::protocol::{RateKey, RateLimit, Route, Upstream};

use crate::harness::{
    Behaviour, TestAgent, TestUpstream, digest, eventually, model_route, plain_route, status_of,
};

/// So slow that nothing comes back while a test runs.
const HOUR: u64 = 3_600_000_000_000;

fn limit(prefix: &str, burst: u32, key: RateKey) -> RateLimit {
    RateLimit {
        prefix: prefix.to_owned(),
        interval_nanos: HOUR,
        burst,
        key,
    }
}

fn limited(mut route: Route, limits: Vec<RateLimit>) -> Route {
    route.rate_limits = limits;
    route
}

async fn statuses(agent: &TestAgent, path: &str, headers: &str, count: usize) -> Vec<u16> {
    let mut found = Vec::new();
    for _ in 0..count {
        found.push(agent.request("GET", path, headers, "").await.0);
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_are_refused_and_told_when_to_come_again() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let route = limited(
        plain_route("web", &[&upstream]),
        vec![limit("/", 2, RateKey::Address)],
    );
    agent.put(route.clone()).await;
    assert_eq!(
        statuses(&agent, "/services/web/", "", 5).await,
        [200, 200, 200, 429, 429]
    );
    let answer = agent
        .exchange("GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status_of(&answer), 429);
    assert!(answer.contains("retry-after: 3600\r\n"), "{answer}");
    assert!(answer.contains("\"code\":\"rate_limited\""), "{answer}");
    assert_eq!(upstream.seen().len(), 3);

    // A route that changes in something else has counted what it has; one with other limits begins anew.
    let mut other = route.clone();
    other.paths.extra = vec!["/more".to_owned()];
    agent.put(other.clone()).await;
    assert_eq!(statuses(&agent, "/services/web/", "", 1).await, [429]);
    agent
        .put(limited(other, vec![limit("/", 0, RateKey::Address)]))
        .await;
    assert_eq!(statuses(&agent, "/services/web/", "", 2).await, [200, 429]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_fills_again_at_the_rate() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let quick = RateLimit {
        interval_nanos: 200_000_000,
        ..limit("/", 0, RateKey::Address)
    };
    agent
        .put(limited(plain_route("web", &[&upstream]), vec![quick]))
        .await;
    assert_eq!(statuses(&agent, "/services/web/", "", 1).await, [200]);
    eventually("a request that passes", || async {
        (statuses(&agent, "/services/web/", "", 1).await == [200]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_prefix_of_the_canonical_path_counts() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let limits = vec![
        limit("/", 1, RateKey::Address),
        limit("/v1/chat/", 0, RateKey::Address),
    ];
    agent.put(limited(plain_route("web", &[&upstream]), limits)).await;
    assert_eq!(statuses(&agent, "/services/web/v1/chat/a", "", 1).await, [200]);
    // However it is spelled, it is below that prefix.
    for path in [
        "/services/web/v1/chat/a",
        "/services/web//v1/x/../chat/b",
        "/services/web/v1%2fchat/c",
        "/services/web/%76%31/chat/d",
    ] {
        assert_eq!(statuses(&agent, path, "", 1).await, [429], "{path}");
    }
    assert_eq!(
        statuses(&agent, "/services/web/v1/chats", "", 3).await,
        [200, 200, 429]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_counted_by_a_header_before_tokens_are_looked_at() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let by_user = RateKey::Header("X-User".to_owned());
    let mut route = limited(plain_route("web", &[&upstream]), vec![limit("/", 1, by_user)]);
    route.auth.required = true;
    route
        .auth
        .token_digests
        .insert("client".to_owned(), digest("good"));
    agent.put(route).await;
    let path = "/services/web/";
    assert_eq!(statuses(&agent, path, "X-User: a\r\n", 3).await, [401, 401, 429]);
    let good = "Authorization: Bearer good\r\nx-user: b\r\n";
    assert_eq!(statuses(&agent, path, good, 3).await, [200, 200, 429]);
    assert_eq!(
        statuses(&agent, path, "Authorization: Bearer good\r\n", 3).await,
        [200; 3]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_endpoint_is_no_way_around_a_limit() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let route = model_route("qwen", "m", &[&upstream]);
    agent
        .put(limited(route, vec![limit("/v1/", 1, RateKey::Address)]))
        .await;
    let ask = async || {
        agent
            .request("POST", "/v1/chat/completions", "", r#"{"model": "m"}"#)
            .await
            .0
    };
    assert_eq!([ask().await, ask().await, ask().await], [200, 200, 429]);
    assert_eq!(statuses(&agent, "/services/qwen/v1/models", "", 1).await, [429]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_without_replicas_says_so() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let mut route = plain_route("web", &[&upstream]);
    route.upstream = Upstream::Replicas(Vec::new());
    agent.put(route).await;
    let (status, body) = agent.request("GET", "/services/web/", "", "").await;
    assert_eq!(status, 503);
    assert!(body.contains("scaled_to_zero"), "{body}");
}
