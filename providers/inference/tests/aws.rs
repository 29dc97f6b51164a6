//! Gateways and services on AWS: lowered from documents, settings and what is known of the region alone.
#![expect(clippy::unwrap_used, reason = "a test that has nothing to look at has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{
    DocumentRegistry, LowerInputs, Project, Purpose, RecordedView, Sources, SurveyFailure, SurveyResult, load,
};
use gabion_engine::diagnostic::Diagnostics;
use gabion_engine::resource::{Configuration, Resource};
use gabion_engine::state::record::Status;
use gabion_engine::value::{Attributes, Value};
use gabion_inference::Inference;
use gabion_inference::offers::{RegionFacts, TypePrices};

/// What is known before anything is lowered.
#[derive(Default)]
struct Known {
    recorded: BTreeMap<String, Attributes>,
    surveyed: BTreeMap<ResourceAddress, SurveyResult>,
    upgraded: BTreeSet<String>,
}

impl RecordedView for Known {
    fn under(&self, resource_type: &str, prefix: &str) -> Vec<(ResourceAddress, Status)> {
        let addresses = self
            .recorded
            .keys()
            .map(|text| text.parse::<ResourceAddress>().unwrap());
        addresses
            .filter(|address| address.resource_type.as_str() == resource_type)
            .filter(|address| address.name.as_str().starts_with(prefix))
            .map(|address| (address, Status::Ready))
            .collect()
    }

    fn attributes(&self, address: &ResourceAddress) -> Option<Attributes> {
        self.recorded.get(&address.to_string()).cloned()
    }

    fn is_upgraded(&self, address: &ResourceAddress) -> bool {
        self.upgraded.contains(&address.to_string())
    }

    fn surveyed(&self, address: &ResourceAddress) -> Option<&SurveyResult> {
        self.surveyed.get(address)
    }
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/seed-aws")
}

fn region() -> ResourceAddress {
    ResourceAddress::of("aws_region", "eu-west-1").unwrap()
}

/// What the examples' recorded facts say of their region.
fn facts() -> RegionFacts {
    let text = std::fs::read_to_string(examples().join("facts.json")).unwrap();
    let mut regions: BTreeMap<String, RegionFacts> = serde_json::from_str(&text).unwrap();
    regions.remove("eu-west-1").unwrap()
}

fn known(facts: &RegionFacts) -> Known {
    Known {
        surveyed: [(region(), Ok(facts.to_attributes()))].into(),
        ..Known::default()
    }
}

fn inputs<'a>(registry: &'a DocumentRegistry, known: &'a Known, purpose: Purpose) -> LowerInputs<'a> {
    LowerInputs {
        purpose,
        registry,
        recorded: known,
        environment: &|_| Some("token".to_owned()),
        secret: &|_| Ok(Some("token".to_owned())),
        version: "0.1.0",
    }
}

fn lower(directory: &Path, known: &Known) -> (Configuration, Diagnostics) {
    let registry = DocumentRegistry::new().with(Inference);
    let (_, configuration, problems) = load(directory, inputs(&registry, known, Purpose::Plan));
    (configuration, problems)
}

/// Lowers an example with changes to its files: file, old text, new text.
fn changed(example: &str, changes: &[(&str, &str, &str)], known: &Known) -> (Configuration, Diagnostics) {
    let directory = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(examples().join(example)).unwrap().flatten() {
        std::fs::copy(entry.path(), directory.path().join(entry.file_name())).unwrap();
    }
    for (file, old, new) in changes {
        let path = directory.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{text}");
        std::fs::write(path, text.replace(old, new)).unwrap();
    }
    lower(directory.path(), known)
}

fn errors(problems: &Diagnostics) -> Vec<&str> {
    let errors = problems.iter().filter(|problem| problem.is_error());
    errors.map(|problem| problem.code).collect()
}

fn find<'a>(configuration: &'a Configuration, address: &str) -> &'a Resource {
    let mut resources = configuration.resources.iter();
    resources
        .find(|resource| resource.address.to_string() == address)
        .unwrap_or_else(|| panic!("no {address}"))
}

fn text<'a>(configuration: &'a Configuration, address: &str, attribute: &str) -> &'a str {
    find(configuration, address).inputs[attribute].as_str().unwrap()
}

fn notes(configuration: &Configuration) -> Vec<String> {
    configuration
        .notes
        .iter()
        .map(|(note, _)| note.to_string())
        .collect()
}

/// What is recorded after an apply of a configuration: its inputs.
fn applied(configuration: &Configuration, mut known: Known) -> Known {
    for resource in &configuration.resources {
        known
            .recorded
            .insert(resource.address.to_string(), resource.inputs.clone());
    }
    known
}

/// Compares with `snapshots/aws/NAME.snap`.
fn assert_shown(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/../../snapshots/aws"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// Shows resources with their inputs and dependencies.
fn shown(configuration: &Configuration) -> String {
    let mut text = String::new();
    for resource in &configuration.resources {
        text.push_str(&format!("{}\n", resource.address));
        for (name, value) in &resource.inputs {
            let value = match value.as_str() {
                Some(lines) if lines.contains('\n') => {
                    format!("|\n      {}", lines.trim_end().replace('\n', "\n      "))
                }
                _ => format!("{value:?}"),
            };
            text.push_str(&format!("  {name} = {value}\n"));
        }
        for (on, _) in &resource.depends_on {
            text.push_str(&format!("  after {on}\n"));
        }
        for trigger in &resource.lifecycle.replace_triggered_by {
            text.push_str(&format!("  replaced with {}\n", trigger.as_str()));
        }
        for address in &*resource.update_after {
            text.push_str(&format!("  updated after {address}\n"));
        }
        for path in &resource.lifecycle.ignore_changes {
            text.push_str(&format!("  whatever {path} is\n"));
        }
    }
    text.push_str("\nnotes\n");
    for (note, place) in &configuration.notes {
        let place = place.as_ref().map(ToString::to_string).unwrap_or_default();
        text.push_str(&format!("  {place}: {note}\n"));
    }
    text.push_str("\nendpoints\n");
    for (name, value) in &configuration.endpoints {
        text.push_str(&format!("  {name}: {value:?}\n"));
    }
    text
}

#[test]
fn the_seeds_gateway_and_nvidia_service_are_made_of_these() {
    let (configuration, problems) = lower(&examples().join("nvidia"), &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert!(configuration.unmet.is_empty());
    assert_shown("nvidia.txt", &shown(&configuration));
    let of_gateway = configuration
        .resources
        .iter()
        .filter(|resource| &*resource.document.document_type == "gateway");
    assert!(of_gateway.count() >= 5);
    // The same facts give the same bytes.
    let (again, _) = lower(&examples().join("nvidia"), &known(&facts()));
    assert_eq!(configuration.resources, again.resources);
    assert_eq!(configuration.notes, again.notes);
}

#[test]
fn a_router_runs_beside_its_gateway_and_every_replica_has_a_machine() {
    let replicas = [(
        "qwen.dstack.yml",
        "port: 8000\nmodel",
        "port: 8000\nreplicas: 2\nmodel",
    )];
    let (configuration, problems) = changed("router", &replicas, &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert_eq!(
        find(&configuration, "host_unit.my-gateway/router/qwen").inputs["machine"],
        Value::template("${{ ssh_host.my-gateway.id }}")
    );
    for slot in 0..2 {
        let path = format!("qwen/default/{slot}");
        assert_eq!(
            text(&configuration, &format!("host_unit.{path}"), "machine"),
            path
        );
        assert_eq!(
            find(&configuration, &format!("router_worker.{path}")).inputs["url"],
            Value::template(format!(
                "http://${{{{ aws_instance.{path}.private_ip }}}}:${{{{ host_unit.{path}/relay.port.http }}}}"
            ))
        );
        assert_eq!(
            text(&configuration, &format!("aws_instance.{path}"), "subnet_id"),
            text(&configuration, "aws_instance.my-gateway", "subnet_id"),
        );
    }
    // Alike replicas are told of once.
    let told = notes(&configuration);
    assert_eq!(
        told.iter().filter(|note| note.contains("g4dn.xlarge (")).count(),
        1,
        "{told:?}"
    );
}

#[test]
fn names_follow_another_machine_of_a_gateway_once_all_stands_there() {
    let triggers = |configuration: &Configuration, address: &str| {
        let triggers = &find(configuration, address).lifecycle.replace_triggered_by;
        triggers
            .iter()
            .map(|trigger| trigger.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    let led_to = |configuration: &Configuration| {
        let record = find(configuration, "aws_route53_record.my-gateway");
        let addresses = record.update_after.iter();
        addresses.map(ToString::to_string).collect::<Vec<_>>()
    };
    let id = Value::template("${{ ssh_host.my-gateway.id }}");
    let plain = [(
        "gateway.dstack.yml",
        "domain: example.com",
        "domain: example.com\ncertificate: null",
    )];
    let (configuration, _) = changed("router", &plain, &known(&facts()));
    assert_eq!(
        led_to(&configuration),
        [
            "gateway_listener.my-gateway",
            "router_worker.qwen/default/0",
            "gateway_route.qwen"
        ]
    );
    assert_eq!(
        triggers(&configuration, "aws_eip.my-gateway"),
        ["${{ aws_instance.my-gateway.id }}"]
    );
    for on_it in [
        "host_unit.agent/my-gateway",
        "host_unit.my-gateway/router/qwen",
        "gateway_listener.my-gateway",
        "router_worker.qwen/default/0",
        "gateway_route.qwen",
    ] {
        assert_eq!(find(&configuration, on_it).inputs["machine"], id, "{on_it}");
    }
    let linger = |configuration: &Configuration| {
        find(configuration, "gateway_route.qwen")
            .inputs
            .get("linger")
            .cloned()
    };
    assert_eq!(linger(&configuration), Some(Value::Int(60)));
    let deleted_within = |configuration: &Configuration| {
        let route = find(configuration, "gateway_route.qwen");
        route.timeouts.delete.map(|limit| limit.as_secs())
    };
    assert_eq!(deleted_within(&configuration), None);

    // For however long others remember the record, the old machine's requests have their time to finish besides.
    let mut long = plain.to_vec();
    long.push(("gabion.yml", "admin_cidrs:", "record_ttl: 1h\n    admin_cidrs:"));
    let (configuration, _) = changed("router", &long, &known(&facts()));
    assert_eq!(linger(&configuration), Some(Value::Int(3600)));
    assert_eq!(deleted_within(&configuration), Some(3600 + 300 + 60));
    // Without a limit they have a day.
    long[1] = ("qwen.dstack.yml", "port: 8000", "port: 8000\nstop_duration: off");
    let (configuration, _) = changed("router", &long, &known(&facts()));
    assert_eq!(deleted_within(&configuration), Some(60 + 24 * 3600 + 60));

    // A route over HTTPS needs its certificate, which is asked for once names lead there.
    let (configuration, _) = changed("router", &[], &known(&facts()));
    assert_eq!(
        led_to(&configuration),
        ["gateway_listener.my-gateway", "router_worker.qwen/default/0"]
    );

    // Without a zone the address stays what it is.
    let mut without = facts();
    without.hosted_zones.clear();
    let (configuration, _) = changed("router", &plain, &known(&without));
    assert_eq!(
        triggers(&configuration, "aws_eip.my-gateway"),
        Vec::<String>::new()
    );
    assert_eq!(linger(&configuration), None);
}

#[test]
fn no_user_data_holds_a_secret_and_ssh_is_open_to_admins_and_gateways_only() {
    let (configuration, _) = lower(&examples().join("nvidia"), &known(&facts()));
    for machine in ["my-gateway", "qwen/default/0"] {
        let data = text(&configuration, &format!("aws_instance.{machine}"), "user_data");
        assert!(data.starts_with("#cloud-config\n"), "{data}");
        assert!(data.contains("ssh-ed25519 AAAA"), "{data}");
        for never in ["PRIVATE", "token", "HF_TOKEN"] {
            assert!(!data.contains(never), "{never} in {data}");
        }
    }
    let rules = configuration
        .resources
        .iter()
        .filter(|rule| rule.address.resource_type.as_str() == "aws_vpc_security_group_ingress_rule");
    for rule in rules {
        let open = rule.inputs.get("cidr_ipv4").and_then(Value::as_str) == Some("0.0.0.0/0");
        let name = rule.address.name.as_str();
        assert_eq!(
            open,
            ["my-gateway/http", "my-gateway/https"].contains(&name),
            "{name}"
        );
    }
}

#[test]
fn who_asks_for_what_the_region_lacks_is_told_what_comes_closest() {
    let (configuration, problems) = lower(&examples().join("amd"), &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let (address, why) = configuration.unmet.first_key_value().unwrap();
    assert_eq!(configuration.unmet.len(), 1);
    assert_eq!(address.to_string(), "aws_instance.qwen/default/0");
    let place = why.primary.as_ref().unwrap();
    assert_eq!(
        (place.to_string().as_str(), place.text()),
        ("qwen.dstack.yml:18:8", "MI300X:1")
    );
    assert_shown(
        "amd.txt",
        &format!(
            "{}\n\nhint: {}\n",
            why.detail,
            why.hint.as_deref().unwrap_or_default()
        ),
    );
    // The gateway has what it needs.
    assert_eq!(
        text(&configuration, "aws_instance.my-gateway", "instance_type"),
        "t3.small"
    );
}

/// The resources without what may be made in their place, which moves with the prices and matters to what is made anew.
fn as_asked(configuration: &Configuration) -> Vec<Resource> {
    let mut resources = configuration.resources.clone();
    for resource in &mut resources {
        resource.alternatives = Default::default();
    }
    resources
}

#[test]
fn what_was_chosen_stands_when_a_newer_image_and_a_cheaper_type_appear() {
    let before = facts();
    let (first, _) = lower(&examples().join("nvidia"), &known(&before));
    let mut after = facts();
    for (key, image) in &mut after.images {
        if key.contains("/x86_64") {
            image.id = format!("{}9", image.id);
            image.name = image.name.replace("202503", "202504");
        }
    }
    let half = TypePrices {
        on_demand: Some(0.5615),
        spot: None,
    };
    after.prices = [("g5.xlarge".to_owned(), half)].into();
    after.prices_date = Some("2025-04-01".to_owned());

    let (second, problems) = lower(&examples().join("nvidia"), &applied(&first, known(&after)));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert_eq!(as_asked(&first), as_asked(&second));
    assert_shown("pinned.txt", &notes(&second).join("\n"));

    let mut asked = applied(&first, known(&after));
    asked.upgraded = ["aws_instance.qwen/default/0".to_owned()].into();
    let (third, _) = lower(&examples().join("nvidia"), &asked);
    let machine = "aws_instance.qwen/default/0";
    assert_eq!(text(&third, machine, "instance_type"), "g5.xlarge");
    assert_eq!(text(&third, machine, "ami"), "ami-0a1b2c3d4e5f600039");
    let gateway = "aws_instance.my-gateway";
    assert_eq!(find(&first, gateway).inputs, find(&third, gateway).inputs);
}

#[test]
fn what_no_longer_meets_the_need_is_chosen_anew() {
    let (first, _) = lower(&examples().join("nvidia"), &known(&facts()));
    let larger = [("qwen.dstack.yml", "8GB..24GB:1", "20GB..:1")];
    let (second, problems) = changed("nvidia", &larger, &applied(&first, known(&facts())));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    assert_eq!(
        text(&second, "aws_instance.qwen/default/0", "instance_type"),
        "g5.xlarge"
    );
    let told = notes(&second);
    assert!(
        told.iter()
            .any(|note| note.starts_with("`qwen/default`: g4dn.xlarge no longer meets")),
        "{told:?}"
    );
}

#[test]
fn the_documents_wishes_are_heeded() {
    let chosen = |keys: &str, facts: &RegionFacts| {
        let with = format!("port: 8000\n{keys}\nmodel");
        let (configuration, problems) = changed(
            "nvidia",
            &[("qwen.dstack.yml", "port: 8000\nmodel", &with)],
            &known(facts),
        );
        assert_eq!(errors(&problems), Vec::<&str>::new(), "{keys}: {problems:?}");
        let machine = find(&configuration, "aws_instance.qwen/default/0").inputs.clone();
        let unmet = configuration.unmet.values().next().map(|why| why.detail.clone());
        (machine, unmet)
    };
    let name = |machine: &Attributes| machine["instance_type"].as_str().unwrap_or("none").to_owned();
    let facts = facts();
    let (machine, _) = chosen("instance_types: [g5.xlarge, g5.2xlarge]", &facts);
    assert_eq!(name(&machine), "g5.xlarge");
    let (machine, _) = chosen("availability_zones: [eu-west-1c]", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert_eq!(machine["subnet_id"], "subnet-0a1b2c3d4e5f60002".into());
    let (machine, why) = chosen(
        "availability_zones: [eu-west-1c]\ninstance_types: [g5.xlarge]",
        &facts,
    );
    assert_eq!(name(&machine), "none");
    assert!(
        why.unwrap()
            .contains("g5.xlarge ($1.123/h on demand): it is in eu-west-1a, eu-west-1b only")
    );
    let (_, why) = chosen("max_price: 0.5", &facts);
    assert!(
        why.unwrap()
            .contains("$0.587/h on demand, and `max_price` is 0.5")
    );
    let (machine, _) = chosen("max_price: 0.6", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert!(!machine.contains_key("instance_market_options"));
    let (machine, _) = chosen("spot_policy: spot", &facts);
    assert_eq!(name(&machine), "g4dn.xlarge");
    assert!(machine.contains_key("instance_market_options"));
    let (machine, _) = chosen("reservation: cr-0123", &facts);
    assert!(format!("{:?}", machine["capacity_reservation_specification"]).contains("cr-0123"));
    // A spot price that is known beats the list price on demand.
    let mut with_spot = facts.clone();
    let spot = TypePrices {
        on_demand: None,
        spot: Some(0.4),
    };
    with_spot.prices = [("g5.xlarge".to_owned(), spot)].into();
    let (machine, _) = chosen("spot_policy: auto", &with_spot);
    assert_eq!(name(&machine), "g5.xlarge");
    assert!(machine.contains_key("instance_market_options"));
}

#[test]
fn a_region_without_prices_shows_those_of_another_and_says_so() {
    let mut facts = facts();
    facts.region = "eu-north-1".to_owned();
    let mut known = Known::default();
    let region = ResourceAddress::of("aws_region", "eu-north-1").unwrap();
    known.surveyed.insert(region, Ok(facts.to_attributes()));
    let there = [("gateway.dstack.yml", "eu-west-1", "eu-north-1")];
    let (configuration, problems) = changed("nvidia", &there, &known);
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let told = notes(&configuration).join("\n");
    assert!(
        told.contains("$0.526/h on demand (the price of us-east-1) in eu-north-1"),
        "{told}"
    );
}

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
fn a_gateway_without_a_public_address_has_no_elastic_one() {
    let mut facts = facts();
    for subnet in &mut facts.subnets {
        subnet.egress = "nat".to_owned();
    }
    let private = [(
        "gateway.dstack.yml",
        "domain: example.com",
        "domain: example.com\npublic_ip: false\ncertificate: null",
    )];
    let (configuration, problems) = changed("nvidia", &private, &known(&facts));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let of_type = |name: &str| {
        let mut resources = configuration.resources.iter();
        resources.any(|resource| resource.address.resource_type.as_str() == name)
    };
    assert!(!of_type("aws_eip"));
    assert_eq!(
        find(&configuration, "ssh_host.my-gateway").inputs["hostname"],
        Value::template("${{ aws_instance.my-gateway.private_ip }}")
    );
    assert_eq!(
        text(
            &configuration,
            "aws_vpc_security_group_ingress_rule.my-gateway/http",
            "cidr_ipv4"
        ),
        "172.31.0.0/16"
    );
    // By an internet gateway alone it does not get out.
    for subnet in &mut facts.subnets {
        subnet.egress = "igw".to_owned();
    }
    let (configuration, _) = changed("nvidia", &private, &known(&facts));
    let codes: Vec<&str> = configuration.unmet.values().map(|why| why.code).collect();
    assert_eq!(codes, ["no-subnet"]);
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
fn more_processors_than_the_quota_are_refused_where_it_is_known() {
    let mut facts = facts();
    facts.vcpu_quotas = [("g".to_owned(), 4), ("standard".to_owned(), 5)].into();
    let replicas = [(
        "qwen.dstack.yml",
        "port: 8000\nmodel",
        "port: 8000\nreplicas: 2\nmodel",
    )];
    let (configuration, _) = changed("nvidia", &replicas, &known(&facts));
    let unmet: Vec<(String, &str)> = configuration
        .unmet
        .iter()
        .map(|(address, why)| (address.to_string(), why.code))
        .collect();
    assert_eq!(unmet, [("aws_instance.qwen/default/1".to_owned(), "over-quota")]);
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
