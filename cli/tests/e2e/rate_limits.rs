//! Rate limits: from the file to the gateway's 429, and back.

use crate::harness::{Project, send};

#[test]
fn a_limit_holds_on_the_model_endpoint_and_is_read_back() {
    let mut project = Project::quick();
    project.edit(
        "service.dstack.yml",
        "replicas: 2",
        "replicas: 1\nrate_limits:\n  - {prefix: /v1/, rps: 0.02, burst: 2}\n  - {rps: 1000, key: {type: header, header: X-User}}",
    );
    project.apply();
    let endpoint = project.endpoint();
    let ask = || send(&endpoint.base, &endpoint.request("how often?", 4, false)).unwrap();
    for _ in 0..3 {
        let answer = ask();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let refused = ask();
    assert_eq!(refused.status, 429, "{}", refused.text());
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=50).contains(&wait), "{wait}");
    assert_eq!(refused.json().unwrap()["error"]["code"], "rate_limited");
    project.plan_is_empty();
    project.run(&["drift"]).exits(0);

    // Other limits are the route's alone, in place, and begin to count anew.
    project.edit("service.dstack.yml", "burst: 2", "burst: 0");
    project.plan().changes_are(&[("gateway_route.qwen", "update")]);
    project.apply();
    assert_eq!([ask().status, ask().status], [200, 429]);
    project.plan_is_empty();
    project.destroy();
}
