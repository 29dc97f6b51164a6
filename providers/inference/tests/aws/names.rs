//! Zones, records and certificates.

use gabion_engine::config::{DocumentRegistry, Purpose, load};
use gabion_engine::value::{Attributes, Value};
use gabion_inference::Inference;
use gabion_inference::offers::RegionFacts;

use crate::scene::{
    Known, changed, errors, examples, facts, find, inputs, known, lower, notes, region, text,
};

#[test]
fn without_the_domains_zone_the_record_to_add_is_told() {
    let mut facts = facts();
    facts.hosted_zones[0].private = true;
    let (configuration, _) = lower(&examples().join("nvidia"), &known(&facts));
    assert!(
        !configuration
            .resources
            .iter()
            .any(|resource| resource.address.resource_type.as_str() == "aws_route53_record")
    );
    assert_eq!(
        configuration.endpoints["DNS record to add: *.example.com A"],
        Value::template("${{ aws_eip.my-gateway.public_ip }}")
    );
    let told = notes(&configuration).join("\n");
    assert!(told.contains("*.example.com A ADDRESS"), "{told}");
}

#[test]
fn the_record_to_add_is_known_from_what_was_made_too() {
    let told = |own_address: Option<bool>| {
        let recorded = own_address.map(|own| {
            let inputs = [("associate_public_ip_address".into(), Value::Bool(own))];
            ("aws_instance.my-gateway".to_owned(), Attributes::from(inputs))
        });
        let known = Known {
            recorded: recorded.into_iter().collect(),
            ..Known::default()
        };
        let (configuration, _) = lower(&examples().join("nvidia"), &known);
        let mut names = configuration.endpoints.keys();
        names.any(|name| &**name == "DNS record to add: *.example.com A")
    };
    assert!(told(Some(true)));
    // In a zone the record is gabion's, also while it is not made yet.
    assert!(!told(Some(false)));
    assert!(!told(None));
}

#[test]
fn a_zone_that_nobody_asks_is_told_and_certificates_know_its_name_servers() {
    let mut facts = facts();
    let zone = |facts: &RegionFacts| {
        let (configuration, problems) = lower(&examples().join("nvidia"), &known(facts));
        assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
        let certificate = find(&configuration, "gateway_certificate.my-gateway/qwen");
        let told = notes(&configuration).join("\n");
        (certificate.inputs.get("zone").cloned(), told)
    };
    // Of a zone whose name servers nobody told there is nothing to say.
    let (inputs, told) = zone(&facts);
    assert!(inputs.is_none() && !told.contains("delegated"), "{told}");
    facts.hosted_zones[0].name_servers = ["ns-1.awsdns-01.com", "ns-2.awsdns-02.net"]
        .map(str::to_owned)
        .to_vec();
    let (inputs, told) = zone(&facts);
    let servers = ["ns-1.awsdns-01.com", "ns-2.awsdns-02.net"].map(Value::from);
    let expected = Value::map([
        ("name", Value::from("example.com")),
        ("id", "Z0123456789EXAMPLE".into()),
        ("name_servers", Value::List(servers.to_vec())),
    ]);
    assert_eq!(inputs, Some(expected));
    assert!(!told.contains("delegated"), "{told}");

    facts.hosted_zones[0].delegated_to = Some(vec!["ns1.registrar.example".to_owned()]);
    let (_, told) = zone(&facts);
    for part in [
        "The hosted zone `example.com` (Z0123456789EXAMPLE) is not delegated to",
        "the name servers of `example.com` are ns1.registrar.example",
        "where `example.com` is registered, or as its NS record in the zone above it: ns-1.awsdns-01.com, ns-2.awsdns-02.net.",
        "An apply waits for it",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    facts.hosted_zones[0].delegated_to = Some(Vec::new());
    let (_, told) = zone(&facts);
    assert!(told.contains("`example.com` has no name servers"), "{told}");
}

#[test]
fn a_survey_asks_for_the_zones_of_gateways_and_whom_to_ask_about_them() {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(examples().join("nvidia")).unwrap().flatten() {
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    let path = directory.path().join("gabion.yml");
    let settings = std::fs::read_to_string(&path).unwrap();
    let with = settings.replace("    ssh_key:", "    acme: {nameserver: 192.0.2.53}\n    ssh_key:");
    std::fs::write(&path, with).unwrap();
    let registry = DocumentRegistry::new().with(Inference);
    let known = Known::default();
    let (project, _, _) = load(directory.path(), inputs(&registry, &known, Purpose::Plan));
    let surveys = project.surveys(inputs(&registry, &known, Purpose::Plan));
    let [survey] = &surveys[..] else {
        panic!("{surveys:?}")
    };
    assert_eq!(survey.address, region());
    assert_eq!(survey.inputs["hosts"], Value::List(vec!["*.example.com".into()]));
    assert_eq!(survey.inputs["nameserver"], Value::from("192.0.2.53"));
}

#[test]
fn a_gateway_with_a_domain_has_a_certificate_for_each_host_name() {
    let (configuration, problems) = lower(&examples().join("nvidia"), &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    for label in ["gateway", "qwen"] {
        let own = format!("gateway_certificate.my-gateway/{label}");
        assert_eq!(text(&configuration, &own, "host"), format!("{label}.example.com"));
        assert_eq!(
            text(&configuration, &own, "directory"),
            "https://acme-v02.api.letsencrypt.org/directory"
        );
        let certificate = find(&configuration, &own);
        assert_eq!(
            certificate.inputs["address"],
            Value::template("${{ aws_eip.my-gateway.public_ip }}")
        );
        let after: Vec<String> = certificate
            .depends_on
            .iter()
            .map(|(address, _)| address.to_string())
            .collect();
        assert_eq!(
            after,
            [
                "aws_route53_record.my-gateway",
                "aws_vpc_security_group_ingress_rule.my-gateway/http",
                "aws_vpc_security_group_ingress_rule.my-gateway/https"
            ]
        );
    }
    let listener = find(&configuration, "gateway_listener.my-gateway");
    let port = |port| Value::map([("port", Value::Int(port))]);
    assert_eq!(listener.inputs["ports"], port(443));
    assert_eq!(listener.inputs["http_ports"], port(80));
    let route = find(&configuration, "gateway_route.qwen");
    let needs = |(address, _): &(gabion_engine::address::ResourceAddress, _)| {
        address.to_string() == "gateway_certificate.my-gateway/qwen"
    };
    assert!(route.depends_on.iter().any(needs), "{:?}", route.depends_on);
    assert!(!notes(&configuration).join("\n").contains("plain HTTP"));

    // Another authority.
    let acme = "    acme: {directory: https://ca.internal/dir, email: a@example.com, nameserver: 10.0.0.2, name_timeout: 10m}\n";
    let settings = format!("    admin_cidrs: [203.0.113.7/32]\n{acme}");
    let settings = [(
        "gabion.yml",
        "    admin_cidrs: [203.0.113.7/32]\n",
        settings.as_str(),
    )];
    let (configuration, problems) = changed("nvidia", &settings, &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let own = "gateway_certificate.my-gateway/qwen";
    let said = ["directory", "email", "nameserver"].map(|name| text(&configuration, own, name));
    assert_eq!(said, ["https://ca.internal/dir", "a@example.com", "10.0.0.2"]);
    assert_eq!(find(&configuration, own).inputs["name_timeout"], Value::Int(600));
}

#[test]
fn plain_http_is_flagged_and_what_cannot_be_is_refused() {
    let known = known(&facts());
    let domain = "domain: example.com";
    for (instead, flag) in [
        (
            "domain: example.com\ncertificate: null",
            "`certificate: null`: `my-gateway` serves plain HTTP",
        ),
        ("", "`my-gateway` has no `domain`, so there is no host name"),
    ] {
        let (configuration, problems) = changed("nvidia", &[("gateway.dstack.yml", domain, instead)], &known);
        assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
        let told = notes(&configuration).join("\n");
        assert!(told.contains(flag), "{told}");
        let mut resources = configuration.resources.iter();
        assert!(!resources.any(|resource| {
            resource.address.resource_type.as_str() == "gateway_certificate"
                || resource.address.name.as_str() == "my-gateway/https"
        }));
        let ports = Value::map([("port", Value::Int(80))]);
        assert_eq!(
            find(&configuration, "gateway_listener.my-gateway").inputs["ports"],
            ports
        );
    }
    let acm = "domain: example.com\ncertificate: {type: acm, arn: 'arn:aws:acm:eu-west-1:1:certificate/a'}";
    let (_, problems) = changed("nvidia", &[("gateway.dstack.yml", domain, acm)], &known);
    assert_eq!(errors(&problems), ["unsupported-key"], "{problems:?}");
    for (setting, code) in [
        ("acme: {http_port: 8080}", "unusable-setting"),
        ("acme: {root_certificate: nowhere.pem}", "unusable-file"),
        ("acme: {e_mail: a@example.com}", "unknown-key"),
    ] {
        let settings = format!("    admin_cidrs: [203.0.113.7/32]\n    {setting}\n");
        let settings = [(
            "gabion.yml",
            "    admin_cidrs: [203.0.113.7/32]\n",
            settings.as_str(),
        )];
        let (_, problems) = changed("nvidia", &settings, &known);
        assert_eq!(errors(&problems), [code], "{problems:?}");
    }
}
