//! Which request goes where, and which goes nowhere.

use gabion_agent::Limits;

use crate::harness::{Behaviour, TestAgent, TestUpstream, digest, model_route, plain_route, status_of};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_leads_to_its_service_and_is_cut_off() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(plain_route("web", &[&upstream])).await;
    let (status, body) = agent
        .request(
            "GET",
            "/services/web/a%20b/%63?x=1&y=%2F",
            "X-Forwarded-For: 6.6.6.6\r\n",
            "",
        )
        .await;
    assert_eq!((status, body.as_str()), (200, "u"));
    let seen = &upstream.seen()[0];
    assert_eq!(seen.line(), "GET /a%20b/c?x=1&y=%2F HTTP/1.1");
    assert_eq!(seen.header("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header("x-forwarded-prefix"), ["/services/web"]);
    assert_eq!(seen.header("host"), ["localhost"]);
    let mut route = plain_route("web", &[&upstream]);
    route.strip_prefix = false;
    agent.put(route).await;
    agent.request("GET", "/services/web/x", "", "").await;
    assert_eq!(upstream.seen()[1].line(), "GET /services/web/x HTTP/1.1");
    let (status, body) = agent.request("GET", "/services/other/x", "", "").await;
    assert_eq!(status, 404);
    assert!(body.contains("\"code\":\"no_route\""), "{body}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_paths_are_refused_in_every_spelling() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    for path in [
        "/workers",
        "/v1/../workers",
        "//workers",
        "/%77orkers",
        "/flush_cache",
        "/v1/%2e%2e/workers",
        "/v1%2F..%2Fworkers",
        "/services/qwen/workers",
        "/services/qwen/v1/../workers",
        "/services/qwen//workers",
        "/services/qwen/%77orkers",
        "/services/qwen/flush_cache",
        "/services/qwen/v1/%2e%2e/workers",
        "/services/qwen/v1/x/..%2f..%2fworkers",
        "/services/qwen/generate/../get_loads",
        "/services/qwen/",
        "/services/x/../qwen/workers",
    ] {
        for method in ["POST", "GET", "DELETE"] {
            let (status, body) = agent.request(method, path, "", "{}").await;
            assert_eq!(status, 403, "{method} {path}: {body}");
            assert!(body.contains("\"code\":\"forbidden_path\""), "{body}");
        }
    }
    for path in [
        "/services/qwen/v1/..%5cworkers",
        "/services/qwen/v1/..;/workers",
        "/services/qwen/%zz",
        "/v1/%00",
    ] {
        assert_eq!(agent.request("POST", path, "", "{}").await.0, 400, "{path}");
    }
    assert!(upstream.seen().is_empty(), "{:?}", upstream.seen());
    for path in [
        "/services/qwen/v1/chat/completions",
        "/services/qwen/generate",
        "/services/qwen/x/../chat/completions",
    ] {
        assert_eq!(agent.request("POST", path, "", "{}").await.0, 200, "{path}");
    }
    let mut route = model_route("qwen", "m", &[&upstream]);
    route.paths.extra = vec!["/custom".to_owned()];
    agent.put(route).await;
    assert_eq!(
        agent.request("POST", "/services/qwen/custom/x", "", "{}").await.0,
        200
    );
    assert_eq!(
        agent.request("POST", "/services/qwen/customs", "", "{}").await.0,
        403
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_model_endpoint_routes_by_the_body() {
    let agent = TestAgent::start().await;
    let (one, two) = (
        TestUpstream::start("one", Behaviour::Name).await,
        TestUpstream::start("two", Behaviour::Name).await,
    );
    agent.put(model_route("first", "org/m1", &[&one])).await;
    let mut route = model_route("second", "m2", &[&two]);
    route.model_prefix = "/api/v1".to_owned();
    agent.put(route).await;
    let body = r#"{"messages":[],"model":"org/m1"}"#;
    let (status, answer) = agent.request("POST", "/v1/chat/completions", "", body).await;
    assert_eq!((status, answer.as_str()), (200, "one"));
    assert_eq!(one.seen()[0].body, body);
    let (_, answer) = agent
        .request("POST", "/v1/completions", "", r#"{"model":"m2"}"#)
        .await;
    assert_eq!(answer, "two");
    assert_eq!(two.seen()[0].line(), "POST /api/v1/completions HTTP/1.1");
    for (body, status, code) in [
        (r#"{"model":"m3"}"#, 404, "model_not_found"),
        (r#"{"model":7}"#, 400, "model_required"),
        ("{}", 400, "model_required"),
        ("", 400, "model_required"),
        (r#"{"model":"m2","model":"org/m1"}"#, 400, "model_required"),
    ] {
        let (found, answer) = agent.request("POST", "/v1/chat/completions", "", body).await;
        assert_eq!(found, status, "{body}: {answer}");
        assert!(answer.contains(&format!("\"code\":\"{code}\"")), "{answer}");
    }
    let (status, models) = agent.request("GET", "/v1/models", "", "").await;
    assert_eq!(status, 200);
    assert!(
        models.contains("\"id\":\"org/m1\"") && models.contains("\"id\":\"m2\""),
        "{models}"
    );
    assert_eq!(agent.request("GET", "/v1/models/org/m1", "", "").await.0, 200);
    assert_eq!(agent.request("GET", "/v1/models/org%2Fm1", "", "").await.0, 200);
    assert_eq!(agent.request("GET", "/v1/models/m", "", "").await.0, 404);
    assert_eq!(agent.request("POST", "/v1/models", "", "").await.0, 405);
    assert_eq!((one.seen().len(), two.seen().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_are_checked_and_do_not_reach_the_service() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let mut closed = model_route("closed", "secret-model", &[&upstream]);
    closed.auth.required = true;
    closed.auth.token_digests.insert("ci".to_owned(), digest("right"));
    closed.auth.token_digests.insert("me".to_owned(), digest("mine"));
    agent.put(closed.clone()).await;
    let body = r#"{"model":"secret-model"}"#;
    for headers in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic right\r\n",
        "Authorization: Bearer right\r\nAuthorization: Bearer right\r\n",
    ] {
        for path in [
            "/services/closed/v1/chat/completions",
            "/v1/chat/completions",
            "/v1/models",
        ] {
            let (status, answer) = agent.request("POST", path, headers, body).await;
            assert_eq!(status, 401, "{path} {headers}");
            assert!(!answer.contains("secret-model"), "{answer}");
        }
    }
    let answer = agent
        .exchange("GET /services/closed/v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert!(
        answer.to_lowercase().contains("www-authenticate: bearer"),
        "{answer}"
    );
    assert!(upstream.seen().is_empty());
    for token in ["right", "mine"] {
        let header = format!("Authorization: Bearer {token}\r\n");
        for path in ["/services/closed/v1/chat/completions", "/v1/chat/completions"] {
            assert_eq!(agent.request("POST", path, &header, body).await.0, 200);
        }
    }
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.header("authorization").is_empty())
    );
    // Beside an open service the closed one stays invisible, and a service's own credentials pass.
    agent.put(model_route("open", "m", &[&upstream])).await;
    let (status, models) = agent.request("GET", "/v1/models", "", "").await;
    assert_eq!(status, 200);
    assert!(
        models.contains("\"m\"") && !models.contains("secret-model"),
        "{models}"
    );
    let (_, models) = agent
        .request("GET", "/v1/models", "Authorization: Bearer right\r\n", "")
        .await;
    assert!(models.contains("secret-model"), "{models}");
    assert_eq!(
        agent.request("POST", "/v1/chat/completions", "", body).await.0,
        401
    );
    let (status, _) = agent
        .request(
            "POST",
            "/v1/chat/completions",
            "Authorization: Bearer other\r\n",
            r#"{"model":"m"}"#,
        )
        .await;
    assert_eq!(status, 200);
    assert_eq!(
        upstream.seen().last().unwrap().header("authorization"),
        ["Bearer other"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_domain_hosts_decide() {
    let agent = TestAgent::with(Limits::default(), Some("example.com")).await;
    let upstream = TestUpstream::start("u", Behaviour::Name).await;
    let mut route = model_route("qwen", "m", &[&upstream]);
    route.hosts = vec!["qwen.example.com".to_owned()];
    route.path_prefix = None;
    agent.put(route).await;
    let status = |host: &'static str, path: &'static str| {
        let agent = &agent;
        async move {
            let body = r#"{"model":"m"}"#;
            let request = format!(
                "POST {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: 13\r\n\r\n{body}"
            );
            status_of(&agent.exchange(request).await)
        }
    };
    assert_eq!(status("qwen.example.com", "/v1/chat/completions").await, 200);
    assert_eq!(
        status("QWEN.Example.Com.:8443", "/v1/chat/completions").await,
        200
    );
    assert_eq!(status("qwen.example.com", "/workers").await, 403);
    assert_eq!(status("gateway.example.com", "/v1/chat/completions").await, 200);
    assert_eq!(status("gateway.example.com", "/workers").await, 403);
    assert_eq!(status("other.example.com", "/v1/chat/completions").await, 404);
    assert_eq!(status("localhost", "/v1/chat/completions").await, 404);
    assert_eq!(
        status("localhost", "http://qwen.example.com/v1/models").await,
        200
    );
    assert_eq!(status("qwen.example.com\r\nHost: x", "/v1/models").await, 400);
    assert_eq!(status("a b", "/v1/models").await, 400);
    assert_eq!(status("u@qwen.example.com", "/v1/models").await, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_take_turns_and_dead_ones_are_passed_over() {
    let agent = TestAgent::start().await;
    let (one, two) = (
        TestUpstream::start("one", Behaviour::Name).await,
        TestUpstream::start("two", Behaviour::Name).await,
    );
    agent.put(plain_route("web", &[&one, &two])).await;
    for _ in 0..20 {
        assert_eq!(agent.request("GET", "/services/web/", "", "").await.0, 200);
    }
    assert_eq!((one.seen().len(), two.seen().len()), (10, 10));
    let mut route = plain_route("web", &[&one]);
    let gabion_agent::protocol::Upstream::Replicas(replicas) = &mut route.upstream else {
        unreachable!()
    };
    let mut dead = one.replica();
    dead.port = crate::harness::free_port().await;
    replicas.push(dead.clone());
    agent.put(route.clone()).await;
    for _ in 0..6 {
        assert_eq!(agent.request("POST", "/services/web/", "", "body").await.0, 200);
    }
    route.upstream = gabion_agent::protocol::Upstream::Replicas(vec![dead]);
    agent.put(route).await;
    let answer = agent
        .exchange("GET /services/web/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .await;
    assert_eq!(status_of(&answer), 503);
    assert!(
        answer.to_lowercase().contains("retry-after:") && answer.contains("no_ready_replica"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_was_sent_is_not_sent_again() {
    let agent = TestAgent::start().await;
    let (bad, good) = (
        TestUpstream::start("bad", Behaviour::Close).await,
        TestUpstream::start("good", Behaviour::Name).await,
    );
    agent.put(plain_route("web", &[&bad, &good])).await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(agent.request("POST", "/services/web/", "", "pay").await.0);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
    assert_eq!((bad.seen().len(), good.seen().len()), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_is_tunnelled_for_open_services_only() {
    let agent = TestAgent::start().await;
    let upstream = TestUpstream::start("u", Behaviour::Echo).await;
    agent.put(plain_route("web", &[&upstream])).await;
    agent.put(model_route("qwen", "m", &[&upstream])).await;
    let request = |path: &str| {
        format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"
        )
    };
    let mut client = agent.connect().await;
    client.send(request("/services/web/ws")).await;
    let head = client.read_until("\r\n\r\n").await;
    assert_eq!(status_of(&head), 101, "{head}");
    client.send("ping").await;
    client.read_until("ping").await;
    assert_eq!(upstream.seen()[0].header("upgrade"), ["websocket"]);
    assert_eq!(
        agent.client.snapshot().await.unwrap().gateways["g"]["web"].in_flight,
        1
    );
    drop(client);
    crate::harness::eventually("the tunnel's end", || async {
        (upstream.gone() == 1).then_some(())
    })
    .await;
    let mut client = agent.connect().await;
    client.send(request("/services/qwen/v1/realtime")).await;
    let head = client.read_until("upgrade_not_allowed").await;
    assert_eq!(status_of(&head), 403);
    assert_eq!(upstream.seen().len(), 1);
}
