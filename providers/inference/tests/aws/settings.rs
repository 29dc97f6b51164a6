//! What the backend's settings say, and what regions lack.

use gabion_engine::config::{DocumentRegistry, Project, Purpose, Sources, SurveyFailure, load};
use gabion_engine::value::Value;
use gabion_inference::Inference;

use crate::scene::{Known, changed, errors, examples, facts, find, inputs, known, lower, notes, region};

#[test]
fn what_the_settings_lack_is_told_at_the_backend() {
    let known = known(&facts());
    let bare = [(
        "gabion.yml",
        "    ssh_key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0Cxsy5bsaEJNxBJdGNnQW5F0a5TeqpiBVqqj3SAExa you@example.com\n",
        "",
    )];
    let (_, problems) = changed("nvidia", &bare, &known);
    assert_eq!(errors(&problems), ["missing-setting"], "{problems:?}");
    let (_, problems) = changed(
        "nvidia",
        &[(
            "gabion.yml",
            "admin_cidrs: [203.0.113.7/32]",
            "regions: [us-east-1]",
        )],
        &known,
    );
    assert_eq!(
        errors(&problems),
        ["missing-setting", "region-not-allowed"],
        "{problems:?}"
    );
    let (_, problems) = changed(
        "nvidia",
        &[("gabion.yml", "203.0.113.7/32", "203.0.113.7")],
        &known,
    );
    assert_eq!(errors(&problems), ["bad-cidr"], "{problems:?}");
    let pasted = [(
        "gabion.yml",
        "ssh-ed25519 AAAA",
        "-----BEGIN OPENSSH PRIVATE KEY----- AAAA",
    )];
    let (_, problems) = changed("nvidia", &pasted, &known);
    assert_eq!(errors(&problems), ["bad-ssh-key"], "{problems:?}");
    let open = [("gabion.yml", "203.0.113.7/32", "0.0.0.0/0")];
    let (configuration, _) = changed("nvidia", &open, &known);
    let told = notes(&configuration).join("\n");
    assert!(
        told.contains("everybody on the internet can try to log in"),
        "{told}"
    );
}

#[test]
fn a_region_of_which_nothing_is_known_is_an_error_only_where_it_was_asked() {
    let mut failed = Known::default();
    let failure = SurveyFailure {
        message: "The credentials have expired.".to_owned(),
        hint: Some("aws sso login".to_owned()),
    };
    failed.surveyed.insert(region(), Err(failure));
    let (_, problems) = lower(&examples().join("nvidia"), &failed);
    assert_eq!(errors(&problems), ["unknown-region"], "{problems:?}");
    // Whoever only looks at the configuration has asked nobody.
    let (configuration, problems) = lower(&examples().join("nvidia"), &Known::default());
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let machine = find(&configuration, "aws_instance.qwen/default/0");
    assert_eq!(machine.inputs["instance_type"], Value::unknown());
    assert!(configuration.unmet.is_empty());
    let registry = DocumentRegistry::new().with(Inference);
    let nothing = Known::default();
    let (_, configuration, problems) = load(
        &examples().join("amd"),
        inputs(&registry, &nothing, Purpose::Validate),
    );
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert!(configuration.unmet.is_empty());
}

#[test]
fn gateways_and_replicas_in_different_places_are_refused() {
    let known = known(&facts());
    let (_, problems) = changed(
        "nvidia",
        &[("qwen.dstack.yml", "name: qwen", "name: qwen\ngateway: false")],
        &known,
    );
    assert_eq!(errors(&problems), ["out-of-reach"], "{problems:?}");
    let elsewhere = [(
        "qwen.dstack.yml",
        "name: qwen",
        "name: qwen\nregions: [us-east-1]",
    )];
    let (_, problems) = changed("nvidia", &elsewhere, &known);
    assert_eq!(errors(&problems), ["region-not-allowed"], "{problems:?}");
}

#[test]
fn the_regions_of_gateways_are_surveyed() {
    let registry = DocumentRegistry::new().with(Inference);
    let (sources, _) = Sources::load(&examples().join("nvidia"));
    let (project, _) = Project::parse(sources);
    let nothing = Known::default();
    let surveys = project.surveys(inputs(&registry, &nothing, Purpose::Plan));
    let addresses: Vec<String> = surveys.iter().map(|survey| survey.address.to_string()).collect();
    assert_eq!(addresses, ["aws_region.eu-west-1"]);
    let images = surveys[0].inputs["images"].as_list().unwrap();
    assert_eq!(images.len(), 4);
}
