//! The routing policies: each reaches the replicas as it promises.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::harness::{Endpoint, Project};

/// How many clients ask at the same time where a policy looks at load.
const CLIENTS: usize = 8;

#[test]
fn each_policy_reaches_the_replicas_as_it_promises() {
    let project = Project::quick();
    set_policy(&project, "cache_aware", "round_robin");
    project.apply();
    let endpoint = project.endpoint();
    takes_turns(&endpoint);

    set_policy(&project, "round_robin", "random");
    project.apply();
    let counts = counted(&endpoint, 1, 4, &different_prompts("random", 200));
    // 60 is more than five standard deviations away from 100.
    assert!(
        counts.len() == 2 && counts.values().all(|count| *count >= 60),
        "{counts:?}"
    );

    set_policy(&project, "random", "power_of_two");
    project.apply();
    // Long enough that loads are looked at a few times.
    let counts = counted(&endpoint, CLIENTS, 40, &different_prompts("power of two", 200));
    assert!(
        counts.len() == 2 && counts.values().all(|count| *count >= 40),
        "{counts:?}"
    );

    set_policy(&project, "power_of_two", "cache_aware");
    project.apply();
    pins_prefixes(&endpoint);
}

#[test]
fn the_older_router_package_does_the_same() {
    let project = Project::quick();
    project.edit(
        "gateway.dstack.yml",
        "policy: cache_aware",
        "policy: round_robin\n  package: sglang-router",
    );
    project.apply();
    let endpoint = project.endpoint();
    takes_turns(&endpoint);
    project.plan_is_empty();

    set_policy(&project, "round_robin", "cache_aware");
    project.apply();
    pins_prefixes(&endpoint);
    project.plan_is_empty();
}

fn set_policy(project: &Project, old: &str, new: &str) {
    project.edit(
        "gateway.dstack.yml",
        &format!("policy: {old}\n"),
        &format!("policy: {new}\n"),
    );
}

/// 200 requests, one after the other: each replica gets every second one.
fn takes_turns(endpoint: &Endpoint) {
    let counts = counted(endpoint, 1, 4, &different_prompts("round robin", 200));
    assert_eq!(counts.values().collect::<Vec<_>>(), [&100, &100], "{counts:?}");
}

/// 200 requests: different prompts spread over both replicas, those that share a prefix stay together.
///
/// In this order, on a router that is fresh: what misses goes to the replica that caches less, so after the shared
/// prefix all of it would go to the other one for a while.
fn pins_prefixes(endpoint: &Endpoint) {
    let counts = counted(endpoint, CLIENTS, 4, &different_prompts("cache aware", 100));
    assert!(
        counts.len() == 2 && counts.values().all(|count| *count >= 10),
        "{counts:?}"
    );
    let shared = "You are a careful assistant that answers in one short sentence and never makes up a fact. "
        .repeat(8);
    let prompts: Vec<String> = (0..100)
        .map(|number| format!("{shared}Question {number}"))
        .collect();
    let counts = counted(endpoint, 1, 4, &prompts);
    assert_eq!(counts.len(), 1, "one prefix went to several replicas: {counts:?}");
}

/// Prompts that have no beginning in common.
fn different_prompts(about: &str, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| format!("{number:03} {}", format!("{number} of {about}; ").repeat(12)))
        .collect()
}

/// Sends each prompt and returns how many each replica answered.
fn counted(endpoint: &Endpoint, clients: usize, tokens: u32, prompts: &[String]) -> BTreeMap<String, usize> {
    let counts = Mutex::new(BTreeMap::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..clients {
            scope.spawn(|| {
                while let Some(prompt) = prompts.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let replica = endpoint.ask_for(tokens, prompt).unwrap().replica;
                    *counts.lock().unwrap().entry(replica).or_default() += 1;
                }
            });
        }
    });
    counts.into_inner().unwrap()
}
