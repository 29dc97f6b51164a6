//! Every value grammar: what is printed reads as the same value, what is written reads as the same value, and no text
//! makes a decoder panic or stay silent about what it refuses.

use gabion_engine::config::{Node, parse_yaml};
use gabion_engine::diagnostic::{Diagnostics, SourceFile};
use proptest::prelude::*;
use proptest::test_runner::Config;

use super::cpu::CpuSpec;
use super::cron::Cron;
use super::duration::{IdleLimit, Limit};
use super::env::Env;
use super::file::FileMapping;
use super::gpu::{ComputeCapability, GpuSpec};
use super::host_name::HostName;
use super::memory::Memory;
use super::mount::{AbsolutePath, Mount};
use super::name::GroupName;
use super::port::{Port, PortMapping, ServicePort};
use super::python::PythonVersion;
use super::range::Range;
use super::reference::EntityReference;
use super::repo::Repo;
use super::shell::Shell;
use super::tags::Tags;
use super::user::User;
use crate::document::resources::Disk;
use crate::term::{Line, Term, Text};

/// Bounded in the test command; `PROPTEST_CASES` asks for more.
fn config() -> Config {
    Config {
        failure_persistence: None,
        ..Config::default()
    }
}

/// Returns the node of a text: quoted, so that any text can stand there.
fn quoted(text: &str) -> Option<Node> {
    let quoted = serde_json::to_string(text).ok()?;
    read(&quoted)
}

fn read(yaml: &str) -> Option<Node> {
    let (nodes, problems) = parse_yaml(&SourceFile::new("a.yml", format!("x: {yaml}\n")));
    if problems.has_errors() {
        return None;
    }
    nodes.first()?.get("x").cloned()
}

/// Reads a value, and checks that it is read or refused with a place.
fn decode<T: Term>(node: &Node) -> Option<T> {
    let mut problems = Diagnostics::new();
    let value = T::from_node(node, &mut problems);
    assert!(problems.iter().all(|problem| problem.primary.is_some()));
    assert!(
        value.is_some() || problems.has_errors(),
        "refused without a word: {node:?}"
    );
    value
}

/// Checks that what is written of a value reads as what was written.
fn survives<T: Term>(node: &Node) {
    let Some(value) = decode::<T>(node) else { return };
    let written = value.write();
    if written.is_null() {
        return;
    }
    let yaml = serde_json::to_string(&written).expect("terms are written as plain values");
    let again = read(&yaml).unwrap_or_else(|| panic!("{yaml} is no YAML"));
    let second = decode::<T>(&again).unwrap_or_else(|| panic!("{yaml} is not read, made of {node:?}"));
    assert_eq!(second.write(), written, "made of {node:?}");
}

fn survives_as_each(node: &Node) {
    survives::<AbsolutePath>(node);
    survives::<ComputeCapability>(node);
    survives::<CpuSpec>(node);
    survives::<Cron>(node);
    survives::<Disk>(node);
    survives::<EntityReference>(node);
    survives::<Env>(node);
    survives::<FileMapping>(node);
    survives::<GpuSpec>(node);
    survives::<GroupName>(node);
    survives::<HostName>(node);
    survives::<IdleLimit<300>>(node);
    survives::<Limit<300>>(node);
    survives::<Memory>(node);
    survives::<Mount>(node);
    survives::<Port>(node);
    survives::<PortMapping>(node);
    survives::<PythonVersion>(node);
    survives::<Range<Memory>>(node);
    survives::<Range<u32>>(node);
    survives::<Repo>(node);
    survives::<ServicePort>(node);
    survives::<Shell>(node);
    survives::<Tags>(node);
    survives::<Text>(node);
    survives::<User>(node);
    survives::<std::time::Duration>(node);
}

/// Checks that a line prints as a line that reads as the same value.
fn prints<T: Line + PartialEq + std::fmt::Debug>(text: &str) {
    let value = T::parse(text).unwrap_or_else(|why| panic!("{text}: {why}"));
    let printed = value.to_string();
    assert_eq!(
        T::parse(&printed).as_ref(),
        Ok(&value),
        "{text} prints as {printed}"
    );
}

const MEMORY: &str = "([0-9]{1,4}(MB|GB|TB|gb)|[0-9]{1,2}\\.5GB)";

fn range_of(bound: &str) -> impl Strategy<Value = String> + use<> {
    let pattern = bound.to_owned();
    let bound = move || proptest::string::string_regex(&pattern).expect("a pattern of these tests");
    prop_oneof![
        bound(),
        bound().prop_map(|bound| format!("{bound}..")),
        bound().prop_map(|bound| format!("..{bound}")),
        bound().prop_map(|bound| format!(" {bound} .. {bound} ")),
    ]
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn no_text_breaks_a_grammar(text in "\\PC{0,40}") {
        if let Some(node) = quoted(&text) {
            survives_as_each(&node);
        }
    }

    #[test]
    fn no_text_of_the_grammars_own_characters_breaks_one(text in "[a-z0-9A-Z:./ ,*@=~$_-]{0,24}") {
        if let Some(node) = quoted(&text) {
            survives_as_each(&node);
        }
    }

    #[test]
    fn no_yaml_breaks_a_grammar(text in "[\\[\\]{}a-z0-9:., \"'&*<|>-]{0,30}") {
        if let Some(node) = read(&text) {
            survives_as_each(&node);
        }
    }

    #[test]
    fn gpu_specs_print_in_one_order(
        tokens in proptest::sample::subsequence(vec!["nvidia", "A100,H100", "40GB..80GB", "2..8"], 1..=4).prop_shuffle()
    ) {
        let line = tokens.join(":");
        prints::<GpuSpec>(&line);
        let mut sorted = tokens.clone();
        sorted.sort_unstable();
        prop_assert_eq!(GpuSpec::parse(&line), GpuSpec::parse(&sorted.join(":")));
    }

    #[test]
    fn ranges_print(count in range_of("[0-9]{1,6}"), memory in range_of(MEMORY)) {
        let count = Range::<u32>::parse(&count).unwrap();
        prop_assert_eq!(Range::parse(&count.to_string()), Ok(count));
        let memory = Range::<Memory>::parse(&memory).unwrap();
        prop_assert_eq!(Range::parse(&memory.to_string()), Ok(memory));
    }

    #[test]
    fn memory_prints(text in MEMORY) {
        prints::<Memory>(&text);
    }

    #[test]
    fn durations_print(text in "[0-9]{1,7} ?[smhdw]?") {
        let node = quoted(&text).unwrap();
        let value: std::time::Duration = decode(&node).unwrap();
        let again = quoted(&super::duration::print(value)).unwrap();
        prop_assert_eq!(decode(&again), Some(value));
    }

    #[test]
    fn cpu_specs_print(text in "((x86|arm|ARM):)?[0-9]{1,4}(\\.\\.)?") {
        prints::<CpuSpec>(&text);
    }

    #[test]
    fn ports_print(text in "((\\*|[1-9][0-9]{0,3}):)?[1-9][0-9]{0,3}") {
        prints::<PortMapping>(&text);
    }

    #[test]
    fn mounts_files_and_repositories_print(
        mount in "(/?[a-z]{1,5}/[a-z]{1,5}|[a-z][a-z0-9-]{0,8}):/[a-z]{1,5}(/[a-z]{1,5})?/?",
        file in "[./a-z~]{2,12}(:[./a-z~]{1,12})?",
        repo in "(https://[a-z]{1,8}\\.com/[a-z]{1,8}|git@[a-z]{1,8}\\.com:[a-z]{1,8}/[a-z]{1,8}|[a-z]{2,8})(:/[a-z]{1,8})?",
    ) {
        if mount.starts_with('/') || !mount.contains("/:") && mount.split(':').next().is_some_and(|source| !source.contains('/')) {
            prints::<Mount>(&mount);
        }
        prints::<FileMapping>(&file);
        prints::<Repo>(&repo);
    }

    #[test]
    fn names_users_shells_and_versions_print(
        group in "[a-z0-9][a-z0-9-]{0,39}",
        host in "([a-z0-9][a-z0-9-]{0,9}(\\.[a-z]{1,8}){0,2}|fd00::[0-9a-f]{1,4}(%eth0)?)",
        reference in "([a-z]{1,8}/)?[a-z]{1,8}",
        user in "([a-z]{1,8}|[0-9]{1,5})(:([a-z]{1,8}|[0-9]{1,5}))?",
        shell in "(sh|bash|/[a-z/]{1,12})",
        minor in 9_u8..=15,
    ) {
        prints::<GroupName>(&group);
        prints::<HostName>(&host);
        prints::<EntityReference>(&reference);
        prints::<User>(&user);
        prints::<Shell>(&shell);
        prints::<PythonVersion>(&format!("3.{minor}"));
    }

    #[test]
    fn schedules_print(
        minute in "(\\*|\\*/[1-9]|[1-5]?[0-9]|[0-2]?[0-9]-[3-5][0-9](/[1-9])?)(,[0-9])?",
        hour in "(\\*|[01]?[0-9]|2[0-3])",
        day in "(\\*|[12]?[1-9]|last)",
        month in "(\\*|[1-9]|1[0-2]|jan|feb-dec)",
        weekday in "(\\*|[0-6]|mon-fri|SAT,SUN)",
    ) {
        prints::<Cron>(&format!("{minute} {hour} {day} {month} {weekday}"));
    }
}

fn refusal<T: Term>(yaml: &str) -> String {
    let node = read(yaml).unwrap();
    let mut problems = Diagnostics::new();
    assert!(T::from_node(&node, &mut problems).is_none(), "{yaml} is read");
    problems
        .iter()
        .map(|problem| problem.code)
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_dstack_refuses_is_refused() {
    for port in ["0", "65536", "a", "\"1:2:3\"", "\"*:\"", "-1"] {
        assert_eq!(refusal::<PortMapping>(port), "bad-port", "{port}");
    }
    for mount in [
        "a",
        "\"a:b\"",
        "\"a:/b:c\"",
        "\"a:/b/../c\"",
        "\":/b\"",
        "\"./a:/b\"",
    ] {
        assert_eq!(refusal::<Mount>(mount), "bad-mount", "{mount}");
    }
    for repo in ["\"a:b:c\"", "\"a:~user/x\"", "\"\""] {
        assert_eq!(refusal::<Repo>(repo), "bad-repo", "{repo}");
    }
    for reference in ["a/b/c", "/a", "a/", "\"\""] {
        assert_eq!(
            refusal::<EntityReference>(reference),
            "bad-reference",
            "{reference}"
        );
    }
    for user in ["\"\"", "\":a\"", "\"a:\"", "\"a:b:c\"", "-1"] {
        assert_eq!(refusal::<User>(user), "bad-user", "{user}");
    }
    for cron in [
        "\"* * * *\"",
        "\"60 * * * *\"",
        "\"* 24 * * *\"",
        "\"* * 0 * *\"",
        "\"* * * 13 *\"",
        "\"* * * * 7\"",
        "\"5-1 * * * *\"",
    ] {
        assert_eq!(refusal::<Cron>(cron), "bad-schedule", "{cron}");
    }
    for duration in ["1h30m", "-5", "5M", "1.5h"] {
        assert!(!refusal::<Limit<300>>(duration).is_empty(), "{duration}");
    }
    for env in ["[A=1, A=2]", "{A: true}", "{A: null}", "[1A=2]", "[\"\"]"] {
        assert!(!refusal::<Env>(env).is_empty(), "{env}");
    }
    for host in [
        "\"a b\"",
        "-oProxyCommand=x",
        "\"a'b\"",
        "a/b",
        "\"\"",
        "user@a",
        "\"[::1]\"",
    ] {
        assert_eq!(refusal::<HostName>(host), "bad-host-name", "{host}");
    }
    for tags in ["{\"a b\": c}", "{a: \"b!\"}", "[a]"] {
        assert!(!refusal::<Tags>(tags).is_empty(), "{tags}");
    }
    for python in ["3.8", "\"3.1\"", "3.16", "2.7", "4"] {
        assert_eq!(refusal::<PythonVersion>(python), "bad-python", "{python}");
    }
    for memory in ["16GiB", "-1", "GB"] {
        assert_eq!(refusal::<Memory>(memory), "bad-memory", "{memory}");
    }
}

#[test]
fn traps_of_yaml_are_read_as_dstacks_users_mean_them() {
    fn warned<T: Term>(yaml: &str) -> (String, Vec<&'static str>) {
        let node = read(yaml).unwrap();
        let mut problems = Diagnostics::new();
        let value = T::from_node(&node, &mut problems).unwrap_or_else(|| panic!("{yaml}: {problems}"));
        let written = serde_json::to_string(&value.write()).unwrap();
        (written, problems.iter().map(|problem| problem.code).collect())
    }
    assert_eq!(warned::<PortMapping>("80:22"), ("\"80:22\"".into(), vec![]));
    assert_eq!(warned::<Range<u32>>("010"), ("10".into(), vec![]));
    assert_eq!(warned::<PortMapping>("80:8000"), ("\"80:8000\"".into(), vec![]));
    assert_eq!(warned::<PortMapping>("\"80:22\""), ("\"80:22\"".into(), vec![]));
    assert_eq!(
        warned::<PythonVersion>("3.10"),
        ("\"3.10\"".into(), vec!["python-number"])
    );
    assert_eq!(warned::<PythonVersion>("\"3.10\""), ("\"3.10\"".into(), vec![]));
    assert_eq!(warned::<Limit<300>>("off"), ("\"off\"".into(), vec![]));
    assert_eq!(warned::<Limit<300>>("no"), ("\"off\"".into(), vec![]));
    assert_eq!(warned::<Limit<300>>("true"), ("\"5m\"".into(), vec![]));
    assert_eq!(warned::<IdleLimit<300>>("-1"), ("\"off\"".into(), vec![]));
    assert_eq!(warned::<bool>("1"), ("true".into(), vec![]));
    assert_eq!(warned::<bool>("\"off\""), ("false".into(), vec![]));
}
