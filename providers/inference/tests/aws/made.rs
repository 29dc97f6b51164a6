//! What gateways and services are made of.

use gabion_engine::resource::{Configuration, Resource};
use gabion_engine::value::Value;

use crate::scene::{
    applied, assert_shown, changed, errors, examples, facts, find, known, lower, notes, shown, text,
};

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
fn an_address_that_stays_follows_another_machine_of_a_gateway_once_all_stands_there() {
    let mut without = facts();
    without.hosted_zones.clear();
    let plain = [(
        "gateway.dstack.yml",
        "domain: example.com",
        "domain: example.com\ncertificate: null",
    )];
    let led_to = |configuration: &Configuration| {
        let address = find(configuration, "aws_eip.my-gateway");
        let led_to = address.update_after.iter();
        led_to.map(ToString::to_string).collect::<Vec<_>>()
    };
    let (configuration, _) = changed("router", &plain, &known(&without));
    let all = [
        "gateway_listener.my-gateway",
        "router_worker.qwen/default/0",
        "gateway_route.qwen",
    ];
    assert_eq!(led_to(&configuration), all);
    // A new machine has an address of its own meanwhile; one that is made first is reached by the one that stays.
    let instance = find(&configuration, "aws_instance.my-gateway");
    assert_eq!(instance.inputs["associate_public_ip_address"], Value::Bool(true));
    let host = |configuration: &Configuration| find(configuration, "ssh_host.my-gateway").clone();
    assert_eq!(host(&configuration).inputs.get("own_hostname"), None);
    let mut made = applied(&configuration, known(&without));
    for (of, attribute) in [
        ("aws_instance.my-gateway", "id"),
        ("aws_eip.my-gateway", "instance"),
    ] {
        let recorded = made.recorded.get_mut(of).unwrap();
        recorded.insert(attribute.into(), "i-1".into());
    }
    let (configuration, _) = changed("router", &plain, &made);
    assert_eq!(
        host(&configuration).inputs["own_hostname"],
        Value::template("${{ aws_instance.my-gateway.public_ip }}")
    );
    // Nothing of it is a reason to change what an earlier version made.
    let ignored = |resource: &Resource| {
        let paths = resource.lifecycle.ignore_changes.iter();
        paths.map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(ignored(&host(&configuration)), ["own_hostname"]);
    assert_eq!(
        ignored(find(&configuration, "aws_instance.my-gateway")),
        ["user_data", "associate_public_ip_address"]
    );

    // A route over HTTPS needs its certificate, which is asked for at the address.
    let (configuration, _) = changed("router", &[], &known(&without));
    assert_eq!(led_to(&configuration), all[..2]);
    // Where names follow, another machine has another address.
    let (configuration, _) = changed("router", &plain, &known(&facts()));
    assert_eq!(led_to(&configuration), Vec::<String>::new());
    let instance = find(&configuration, "aws_instance.my-gateway");
    assert_eq!(instance.inputs["associate_public_ip_address"], Value::Bool(false));
}

#[test]
fn an_address_that_leads_to_the_machine_before_moves_once_the_new_one_can_be_met() {
    let mut without = facts();
    without.hosted_zones.clear();
    // What is recorded of the machine and of the address: whether the address moves last, and whether the machine's own one is
    // taken up anew.
    let lowered = |machine: &[(&'static str, Value)], address: &[(&'static str, Value)]| {
        let mut known = known(&without);
        for (of, recorded) in [
            ("aws_instance.my-gateway", machine),
            ("aws_eip.my-gateway", address),
        ] {
            let attributes = recorded.iter().cloned().map(|(name, value)| (name.into(), value));
            known.recorded.insert(of.to_owned(), attributes.collect());
        }
        let (configuration, _) = changed("router", &[], &known);
        let moves_last = !find(&configuration, "aws_eip.my-gateway").update_after.is_empty();
        let host = find(&configuration, "ssh_host.my-gateway");
        assert!(host.inputs.contains_key("own_hostname"));
        (moves_last, host.lifecycle.ignore_changes.is_empty())
    };
    let id = |id: &'static str| ("id", Value::from(id));
    let leads_to = |id: &'static str| [("instance", Value::from(id))];
    let has_own = |own: bool| ("associate_public_ip_address", Value::Bool(own));
    let public = ("public_ip", Value::from("203.0.113.9"));
    // In the making, or stopped, it has no address for now.
    for made in [
        vec![has_own(true)],
        vec![has_own(true), id("i-2")],
        vec![has_own(true), id("i-2"), public],
    ] {
        assert_eq!(lowered(&made, &leads_to("i-1")), (true, true), "{made:?}");
    }
    // What an earlier version made never has one: it is met once the elastic one leads to it.
    for made in [vec![has_own(false)], vec![has_own(false), id("i-2")]] {
        assert_eq!(lowered(&made, &leads_to("i-1")), (false, false), "{made:?}");
    }
    // Where the address leads to the machine already, the next one has one of its own.
    for own in [true, false] {
        let made = [has_own(own), id("i-2")];
        assert_eq!(lowered(&made, &leads_to("i-2")), (true, false), "{own}");
    }
    // Somebody took the address away.
    assert_eq!(lowered(&[has_own(true), id("i-2")], &[]), (true, false));
    assert_eq!(lowered(&[has_own(false), id("i-2")], &[]), (false, false));
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
