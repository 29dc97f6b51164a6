use std::collections::BTreeMap;
use std::time::Duration;

use insta::assert_snapshot;

use super::super::{FromNode, Keyword, MapReader, Node, OneOrMany, Spanned, Switch};
use super::node;
use crate::diagnostic::Diagnostics;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Policy {
    CacheAware,
    RoundRobin,
}

impl Keyword for Policy {
    const WHAT: &'static str = "a routing policy";
    const WORDS: &'static [(&'static str, Self)] = &[
        ("cache_aware", Self::CacheAware),
        ("round_robin", Self::RoundRobin),
    ];
}

#[derive(Debug)]
struct Service {
    port: Spanned<u16>,
    python: Option<String>,
    policy: Policy,
    rules: Vec<Rule>,
    stop: Switch<Duration>,
    hosts: OneOrMany<String>,
    labels: BTreeMap<String, i64>,
    replicas: u32,
}

#[derive(Debug)]
struct Rule {
    ports: Vec<u16>,
}

impl FromNode for Rule {
    fn expected() -> String {
        "a rule".into()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "rule", problems)?;
        let ports = map.required("ports");
        map.finish();
        Some(Self { ports: ports? })
    }
}

impl FromNode for Service {
    fn expected() -> String {
        "a service".into()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "service", problems)?;
        map.known(&["type"]);
        map.deprecated("count", "replicas");
        map.exclusive(&["image", "python"]);
        map.known(&["image"]);
        map.refuse(
            "volumes",
            "Volumes come later.",
            "mount the directory in `commands`",
        );
        let port = map.required("port");
        let python = map.optional("python");
        let policy = map.or("policy", Policy::CacheAware);
        let rules = map.or("rules", Vec::new());
        let stop = map.or("stop_duration", Switch::Default);
        let hosts = map.or("hosts", OneOrMany(Vec::new()));
        let labels = map.or("labels", BTreeMap::new());
        let replicas = map.or("replicas", 1);
        map.finish();
        Some(Self {
            port: port?,
            python: python?,
            policy: policy?,
            rules: rules?,
            stop: stop?,
            hosts: hosts?,
            labels: labels?,
            replicas: replicas?,
        })
    }
}

fn problems(text: &str) -> String {
    let mut problems = Diagnostics::new();
    let service = Service::from_node(&node(text), &mut problems);
    assert_eq!(service.is_none(), problems.has_errors(), "{problems}");
    problems.to_string()
}

#[test]
fn good_input_reads() {
    let text = "type: service\nport: '8000'\npython: 3.10\npolicy: round_robin\nrules:\n- ports: [1, 2]\n\
                stop_duration: off\nhosts: a.example\nlabels: {x: 1}\ncount: 2\n";
    let mut problems = Diagnostics::new();
    let service = Service::from_node(&node(text), &mut problems).unwrap();
    assert_eq!(
        (service.port.value, service.port.span.to_string().as_str()),
        (8000, "a.gabion.yml:2:7")
    );
    assert_eq!(service.python.as_deref(), Some("3.10"));
    assert_eq!(service.policy, Policy::RoundRobin);
    assert_eq!(service.rules[0].ports, [1, 2]);
    assert_eq!(service.stop, Switch::Off);
    assert_eq!(service.hosts.0, ["a.example"]);
    assert_eq!(service.labels["x"], 1);
    assert_eq!(service.replicas, 2);
    assert_snapshot!(problems, @r"
    warning: deprecated key
      --> a.gabion.yml:10:1
    10 | count: 2
       | ^^^^^
       `count` is now called `replicas`.
    hint: write `replicas`
    ");
}

#[test]
fn all_problems_are_found_at_once_at_their_exact_places() {
    assert_snapshot!(problems("type: service\nprot: 8000\npython: [3]\nimage: x\npolicy: cache-aware\nrules:\n- ports: [80, http, 70000]\n- prots: []\n- 5\nstop_duration: 1h30m\nlabels: {x: y}\nvolumes: []\ncount: 1\nreplicas: ${{ vars.n }}\nzzz:\n"), @r"
    error: unknown key
      --> a.gabion.yml:2:1
    2 | prot: 8000
      | ^^^^
       A service has no key `prot`.
    hint: did you mean `port`?

    error: keys that exclude each other
      --> a.gabion.yml:3:1
    3 | python: [3]
      | ^^^^^^
       `image` and `python` cannot both be set.
      --> a.gabion.yml:4:1: the other is set here
    hint: remove one of the two

    error: wrong type
      --> a.gabion.yml:3:9
    3 | python: [3]
      |         ^^^
       Expected text, found a list.
    hint: write text

    error: unknown word
      --> a.gabion.yml:5:9
    5 | policy: cache-aware
      |         ^^^^^^^^^^^
       `cache-aware` is not a routing policy; there is `cache_aware`, `round_robin`.
    hint: did you mean `cache_aware`?

    error: wrong type
      --> a.gabion.yml:7:15
    7 | - ports: [80, http, 70000]
      |               ^^^^
       Expected a whole number from 0 to 65535, found text `http`.
    hint: write a whole number from 0 to 65535

    error: wrong type
      --> a.gabion.yml:7:21
    7 | - ports: [80, http, 70000]
      |                     ^^^^^
       Expected a whole number from 0 to 65535, found a number `70000`.
    hint: write a whole number from 0 to 65535

    error: unknown key
      --> a.gabion.yml:8:3
    8 | - prots: []
      |   ^^^^^
       A rule has no key `prots`.
    hint: did you mean `ports`?

    error: wrong type
      --> a.gabion.yml:9:3
    9 | - 5
      |   ^
       Expected a map with the keys of a rule, found a number `5`.
    hint: write a map with the keys of a rule

    error: wrong type
      --> a.gabion.yml:10:16
    10 | stop_duration: 1h30m
       |                ^^^^^
       Expected a duration such as `90`, `30s`, `5m` or `2h`, found text `1h30m`.
    hint: write a duration such as `90`, `30s`, `5m` or `2h`

    error: wrong type
      --> a.gabion.yml:11:13
    11 | labels: {x: y}
       |             ^
       Expected a whole number, found text `y`.
    hint: write a whole number

    error: unsupported key
      --> a.gabion.yml:12:1
    12 | volumes: []
       | ^^^^^^^
       Volumes come later.
    hint: mount the directory in `commands`

    error: duplicate key
      --> a.gabion.yml:13:1
    13 | count: 1
       | ^^^^^
       `count` is another name of `replicas`, which is set as well.
      --> a.gabion.yml:14:1: also set here
    hint: remove `count`

    warning: deprecated key
      --> a.gabion.yml:13:1
    13 | count: 1
       | ^^^^^
       `count` is now called `replicas`.
    hint: write `replicas`

    error: expression where a plain value is needed
      --> a.gabion.yml:14:11
    14 | replicas: ${{ vars.n }}
       |           ^^^^^^^^^^^^^
       Expected a whole number from 0 to 4294967295; this must be known when planning, so no expression can stand here.
    hint: write the value itself

    error: unknown key
      --> a.gabion.yml:15:1
    15 | zzz:
       | ^^^
       A service has no key `zzz`.
    hint: its keys are count, hosts, image, labels, policy, port, python, replicas, rules, stop_duration, type, volumes
    ");
}

#[test]
fn missing_keys_say_what_to_add() {
    assert_snapshot!(problems("type: service\nrules: [{}]\n"), @r"
    error: missing key
      --> a.gabion.yml:1:1
    1 | type: service
      | ^^^^^^^^^^^^^
       A service needs the key `port`.
    hint: add `port: …` (a whole number from 0 to 65535)

    error: missing key
      --> a.gabion.yml:2:9
    2 | rules: [{}]
      |         ^^
       A rule needs the key `ports`.
    hint: add `ports: …` (a list)
    ");
}

#[test]
fn a_problem_in_an_alias_names_both_places() {
    assert_snapshot!(problems("x-rule: &rule {ports: [no]}\nport: 1\nrules:\n- *rule\n"), @r"
    error: unknown key
      --> a.gabion.yml:1:1
    1 | x-rule: &rule {ports: [no]}
      | ^^^^^^
       A service has no key `x-rule`.
    hint: its keys are count, hosts, image, labels, policy, port, python, replicas, rules, stop_duration, type, volumes

    error: wrong type
      --> a.gabion.yml:1:24
    1 | x-rule: &rule {ports: [no]}
      |                        ^^
       Expected a whole number from 0 to 65535, found text `no`.
      --> a.gabion.yml:4:3: used here
    hint: write a whole number from 0 to 65535
    ");
}

#[test]
fn words_of_yaml_1_1_are_booleans_where_a_boolean_is_meant() {
    let check = |text: &str, expected: Option<bool>| {
        let mut problems = Diagnostics::new();
        let root = node(&format!("a: {text}"));
        assert_eq!(
            bool::from_node(root.get("a").unwrap(), &mut problems),
            expected,
            "{text}"
        );
    };
    for (text, expected) in [
        ("off", false),
        ("No", false),
        ("yes", true),
        ("ON", true),
        ("'true'", true),
        // As dstack reads them.
        ("1", true),
        ("0", false),
    ] {
        check(text, Some(expected));
    }
    for text in ["maybe", "2", "[]", ""] {
        check(text, None);
    }
}

#[test]
fn durations_are_seconds_or_have_one_unit() {
    let check = |text: &str, expected: Option<u64>| {
        let mut problems = Diagnostics::new();
        let root = node(&format!("a: {text}"));
        let duration = Duration::from_node(root.get("a").unwrap(), &mut problems);
        assert_eq!(duration, expected.map(Duration::from_secs), "{text}");
    };
    for (text, seconds) in [
        ("90", 90),
        ("30s", 30),
        ("5m", 300),
        ("2 h", 7200),
        ("1d", 86_400),
        ("5w", 3_024_000),
    ] {
        check(text, Some(seconds));
    }
    for text in ["1h30m", "-5", "m", "1.5h", "99999999999999999999w", "''"] {
        check(text, None);
    }
}
