//! A document with an error is reported once: what names it, or would be on its machines, is not wrong for that.

use gabion_engine::config::{
    DocumentRegistry, LowerInputs, NothingRecorded, Project, Purpose, Sources, no_secrets,
};
use gabion_inference::Inference;

/// The codes of what is wrong with a file when it is planned.
fn codes(text: &str) -> Vec<String> {
    let (project, mut problems) = Project::parse(Sources::from_texts("/project", [("a.dstack.yml", text)]));
    let registry = DocumentRegistry::new().with(Inference);
    let (_, found) = project.lower(
        LowerInputs {
            purpose: Purpose::Plan,
            registry: &registry,
            recorded: &NothingRecorded,
            environment: &|_| None,
            secret: &no_secrets,
            version: "0.1.0",
        },
        &problems,
    );
    problems.extend(found);
    let errors = problems.iter().filter(|problem| problem.is_error());
    errors.map(|problem| problem.code.to_owned()).collect()
}

fn service(keys: &str) -> String {
    format!("type: service\nname: qwen\nport: 8000\nauth: false\ncommands: [serve]\n{keys}---\n")
}

/// Gateways with an error, of every kind of place.
const BAD_GATEWAYS: [(&str, &str); 6] = [
    (
        "unknown-backend",
        "type: gateway\nname: front\nbackend: nowhere\n",
    ),
    (
        "wrong-type",
        "type: gateway\nname: front\nbackend: local\ndomain: [a]\n",
    ),
    ("missing-key", "type: gateway\nname: front\n"),
    ("unknown-type", "type: gatway\nname: front\nbackend: local\n"),
    ("yaml-syntax", "type: gateway\nname: [front\n"),
    ("bad-name", "type: gateway\nname: front/door\nbackend: local\n"),
];

#[test]
fn a_gateway_with_an_error_is_not_unknown_to_its_services() {
    for gateway in ["gateway: front\n", "gateway: true\n", ""] {
        for (code, text) in BAD_GATEWAYS {
            let said = codes(&format!("{}{text}", service(gateway)));
            assert_eq!(said, [code], "{gateway} {text}");
        }
    }
    // Another one is.
    let said = codes(&format!("{}{}", service("gateway: other\n"), BAD_GATEWAYS[1].1));
    assert_eq!(said, ["unknown-gateway", "wrong-type"]);
    let said = codes(&service("gateway: front\n"));
    assert_eq!(said, ["unknown-gateway"]);
}

#[test]
fn a_gateway_with_an_error_may_be_the_default_one() {
    let good =
        "type: gateway\nname: side\nbackend: local\n---\ntype: gateway\nname: back\nbackend: local\n---\n";
    let said = codes(&format!("{good}{}{}", service(""), BAD_GATEWAYS[1].1));
    assert_eq!(said, ["wrong-type"]);
    let said = codes(&format!("{good}{}", service("")));
    assert_eq!(said, ["ambiguous-gateway"]);
}

/// Fleets with an error.
const BAD_FLEETS: [(&str, &str); 3] = [
    (
        "unknown-key",
        "type: fleet\nname: rack\nssh_config: {user: me, identity_file: key, hosts: [{hostname: a, prot: 22}]}\n",
    ),
    (
        "bad-host-name",
        "type: fleet\nname: rack\nssh_config: {user: me, identity_file: key, hosts: ['a b']}\n",
    ),
    ("yaml-syntax", "type: fleet\nname: [rack\n"),
];

#[test]
fn a_fleet_with_an_error_is_not_missing_to_what_would_be_on_it() {
    let users = [
        service("fleets: [rack]\ngateway: front\n"),
        service("backends: [ssh]\n"),
        "type: gateway\nname: side\nbackend: ssh\nfleets: [rack]\n---\n".to_owned(),
    ];
    let front = "type: gateway\nname: front\nbackend: ssh\n---\n";
    for (code, text) in BAD_FLEETS {
        for user in &users {
            let said = codes(&format!("{front}{user}{text}"));
            assert_eq!(said, [code], "{user} {text}");
        }
    }
    // Another one is.
    let said = codes(&format!("{}{}", service("fleets: [other]\n"), BAD_FLEETS[1].1));
    assert!(said.contains(&"unknown-fleet".to_owned()), "{said:?}");
}
