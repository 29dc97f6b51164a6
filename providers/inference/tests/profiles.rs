//! What documents take from `profiles.yml`, from their file's name, and from each other.
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot read its own files has failed"
)]

mod support;

use gabion_engine::diagnostic::Diagnostic;
use support::{resolve, resolve_with, validate, validate_profile, validate_with};

const TASK: &str = "type: task\nname: train\ncommands: [train]\n";

fn only(files: &[(&str, &str)]) -> Diagnostic {
    let problems = validate_with(files);
    assert_eq!(problems.len(), 1, "{problems}");
    problems.iter().next().unwrap().clone()
}

#[test]
fn a_bad_value_of_a_profile_points_there_and_names_the_document() {
    let service = "type: service\nname: qwen\nport: 80\ncommands: [serve]\nreplicas: 0..1\nscaling: {metric: rps, target: 1}\n";
    let problems = validate_with(&[
        ("a.dstack.yml", service),
        (
            "profiles.yml",
            "profiles:\n  - default: true\n    schedule: {cron: \"0 8 * * *\"}\n",
        ),
    ]);
    let places: Vec<String> = problems
        .iter()
        .map(|problem| {
            let related: Vec<String> = problem
                .related
                .iter()
                .map(|related| format!("{} {}", related.span, related.message))
                .collect();
            format!(
                "{} {}: {}",
                problem.primary.as_ref().unwrap(),
                problem.code,
                related.join(", ")
            )
        })
        .collect();
    assert_eq!(
        places,
        ["profiles.yml:3:15 scheduled-zero: a.dstack.yml:1:7 used here"]
    );
}

#[test]
fn a_profile_that_is_no_default_is_only_checked() {
    let problems = validate_with(&[
        ("a.dstack.yml", TASK),
        (
            "profiles.yml",
            "profiles:\n  - {name: a, max_price: 1}\n  - {name: a, retry: true}\n",
        ),
    ]);
    let codes: Vec<&str> = problems.iter().map(|problem| problem.code).collect();
    assert_eq!(codes, ["duplicate-name"]);
}

#[test]
fn a_profile_that_is_asked_for_is_taken_instead_of_the_default_one() {
    let files = [
        (
            "a.dstack.yml",
            "type: task\nname: train\ncommands: [train]\nmax_duration: 1h\n",
        ),
        (
            "profiles.yml",
            "profiles:\n  - {name: usual, default: true, spot_policy: spot, max_price: 2}\n  - {name: dear, max_price: 4, \
             max_duration: 2h}\n",
        ),
    ];
    let resolved = |profile: Option<&str>| resolve_with(&files, profile).remove(0).0;
    let usual = resolved(None);
    assert!(
        usual.contains("max_price: 2.0\n") && usual.contains("spot_policy: spot\n"),
        "{usual}"
    );
    let dear = resolved(Some("dear"));
    assert!(
        dear.contains("max_price: 4.0\n") && dear.contains("spot_policy: on-demand\n"),
        "{dear}"
    );
    // What a document says itself wins over every profile.
    assert!(dear.contains("max_duration: 1h\n"), "{dear}");
}

#[test]
fn a_profile_that_nobody_declares_is_refused_where_it_was_asked_for() {
    let profiles = "profiles:\n  - {name: cheap, default: true}\n";
    let asked = |files: &[(&str, &str)], name: &str| {
        let problems = validate_profile(files, Some(name));
        let errors: Vec<_> = problems
            .iter()
            .filter(|problem| problem.is_error())
            .cloned()
            .collect();
        assert_eq!(errors.len(), 1, "{problems}");
        assert_eq!(errors[0].code, "unknown-profile");
        assert_eq!(
            errors[0].primary.as_ref().map(|span| span.file.path().to_owned()),
            Some("--profile".to_owned())
        );
        errors[0].hint.clone().unwrap_or_default()
    };
    let both = [("a.dstack.yml", TASK), ("profiles.yml", profiles)];
    assert_eq!(asked(&both, "chaep"), "did you mean `cheap`?");
    assert_eq!(asked(&both, "production"), "the project has `cheap`");
    assert!(asked(&both[..1], "cheap").contains("profiles.yml"));
}

#[test]
fn two_default_profiles_are_refused() {
    let problem = only(&[
        ("a.dstack.yml", TASK),
        (
            "profiles.yml",
            "profiles:\n  - default: true\n  - default: true\n",
        ),
    ]);
    assert_eq!(
        (problem.code, problem.primary.unwrap().to_string().as_str()),
        ("two-defaults", "profiles.yml:3:5")
    );
}

#[test]
fn machines_that_are_there_take_nothing_from_a_profile() {
    let fleet = "type: fleet\nname: rack\nssh_config: {user: me, identity_file: key, hosts: [10.0.0.7]}\n";
    let problems = validate_with(&[
        ("a.dstack.yml", fleet),
        ("profiles.yml", "profiles: [{default: true, spot_policy: spot}]\n"),
    ]);
    assert!(problems.is_empty(), "{problems}");
}

#[test]
fn a_document_without_a_name_has_its_files() {
    let problem = only(&[("Train Model.dstack.yml", "type: task\ncommands: [train]\n")]);
    assert_eq!(problem.code, "name-of-file");
    assert!(!problem.is_error());
    assert!(problem.detail.contains("`train-model`"), "{}", problem.detail);
    let problems = validate(
        "a",
        "type: task\ncommands: [one]\n---\ntype: task\ncommands: [two]\n",
    );
    assert!(
        problems.iter().any(|problem| problem.code == "duplicate-name"),
        "{problems}"
    );
}

#[test]
fn a_gateway_that_is_elsewhere_is_no_error_before_planning() {
    let service = "type: service\nname: qwen\nport: 80\ncommands: [serve]\ngateway: team/front\n";
    let problem = only(&[("a.dstack.yml", service)]);
    assert_eq!(problem.code, "unknown-gateway");
    assert!(!problem.is_error());
}

#[test]
fn the_routers_of_both_dialects_exclude_each_other() {
    let text = "type: gateway\nname: front\nbackend: local\nrouter: {type: sglang}\n---\ntype: service\nname: qwen\nport: \
                80\ngroups:\n  - {replicas: 1, commands: [smg], router: {}}\n  - {replicas: 1, commands: [serve]}\n";
    let problem = only(&[("a.dstack.yml", text)]);
    assert_eq!(problem.code, "mixed-dialects");
    assert_eq!(problem.primary.unwrap().to_string(), "a.dstack.yml:10:44");
    assert_eq!(problem.related[0].span.to_string(), "a.dstack.yml:4:9");
}

#[test]
fn list_form_replicas_are_groups() {
    let groups = "  - {count: 1, commands: [serve]}\n  - {name: big, count: 2, commands: [serve]}\n";
    let of = |key: &str| {
        resolve(
            "a",
            &format!("type: service\nname: qwen\nport: 80\n{key}:\n{groups}"),
        )
    };
    let (older, current) = (of("replicas"), of("groups"));
    assert_eq!(older, current);
    assert!(
        older[0].0.contains("- name: '0'\n  replicas: 1\n"),
        "{}",
        older[0].0
    );
}

#[test]
fn a_group_may_set_what_a_profile_gives() {
    let service = "type: service\nname: qwen\nport: 80\ngroups:\n  - {replicas: 1, commands: [a], spot_policy: auto}\n  - {replicas: \
                   1, commands: [b]}\n";
    let problems = validate_with(&[
        ("a.dstack.yml", service),
        ("profiles.yml", "profiles: [{default: true, spot_policy: spot}]\n"),
    ]);
    assert!(!problems.has_errors(), "{problems}");
    // Written back, each group has its own.
    let (yaml, _) = resolve("a", service).remove(0);
    assert!(
        yaml.contains("  spot_policy: auto\n") && yaml.contains("  spot_policy: on-demand\n"),
        "{yaml}"
    );
    assert!(!yaml.contains("\nspot_policy:"), "{yaml}");
    assert_eq!(resolve("a", &yaml), resolve("a", service));
}
