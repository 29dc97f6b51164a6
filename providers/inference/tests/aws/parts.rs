//! Services in parts: routers that are replica groups, prefill and decode workers.

use std::collections::BTreeMap;

use gabion_engine::resource::Configuration;
use gabion_engine::value::Value;
use gabion_inference::offers::RegionFacts;

use crate::scene::{changed, errors, facts, find, known, text};

/// A change of an example's file: the file, the old text, the new one.
type Change<'a> = (&'a str, &'a str, &'a str);

const QWEN: &str = "qwen.dstack.yml";

/// The example, lowered with changes to its service.
fn separate(changes: &[Change<'_>]) -> Configuration {
    let (configuration, problems) = changed("prefill-decode", changes, &known(&facts()));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    configuration
}

/// The example with its router beside the gateway instead of in a group of its own.
fn beside_the_gateway() -> Configuration {
    let directory = crate::scene::examples().join("prefill-decode");
    let service = std::fs::read_to_string(directory.join(QWEN)).unwrap();
    let (_, group) = service.split_once("replicas:\n").unwrap();
    let (group, _) = group.split_once("  # Reads prompts.").unwrap();
    separate(&[
        (QWEN, group, ""),
        (
            QWEN,
            "replicas:\n",
            "router: {type: sglang, pd_disaggregation: true}\nreplicas:\n",
        ),
    ])
}

/// Who is let in to a service's machines: `GROUP: PORTS from PEER`.
fn let_in(configuration: &Configuration) -> String {
    let rule = |name: &str| {
        let of = |attribute: &str| {
            let rule = find(configuration, name);
            rule.inputs[attribute].clone()
        };
        let group = |attribute: &str| {
            let reference = format!("{:?}", of(attribute));
            let (_, named) = reference.split_once("aws_security_group.").unwrap();
            named.split_once(".id").unwrap().0.to_owned()
        };
        let ports = ["from_port", "to_port"].map(|name| of(name).as_int().unwrap());
        assert_eq!(of("ip_protocol").as_str(), Some("tcp"));
        format!(
            "{}: {}-{} from {} ({})",
            group("security_group_id"),
            ports[0],
            ports[1],
            group("referenced_security_group_id"),
            text(configuration, name, "description"),
        )
    };
    let names = configuration
        .resources
        .iter()
        .map(|resource| resource.address.to_string());
    let of_service = "aws_vpc_security_group_ingress_rule.qwen/";
    let rules = names.filter(|name| name.starts_with(of_service));
    rules.map(|name| rule(&name)).collect::<Vec<_>>().join("\n")
}

/// What a resource waits for.
fn after(configuration: &Configuration, address: &str) -> Vec<String> {
    let dependencies = find(configuration, address).depends_on.iter();
    dependencies.map(|(on, _)| on.to_string()).collect()
}

#[test]
fn who_talks_to_whom_is_let_in_and_nobody_else() {
    insta::assert_snapshot!(let_in(&separate(&[])), @r"
        qwen/replicas: 30000-34999 from qwen/router (requests, from the router)
        qwen/replicas: 22-22 from my-gateway (gabion, through the gateway)
        qwen/replicas: 1024-65535 from qwen/replicas (what prefill and decode workers hand over)
        qwen/router: 30000-34999 from my-gateway (requests, from the gateway)
        qwen/router: 22-22 from my-gateway (gabion, through the gateway)
    ");
    insta::assert_snapshot!(let_in(&beside_the_gateway()), @r"
        qwen/replicas: 30000-34999 from my-gateway (requests, from the gateway)
        qwen/replicas: 22-22 from my-gateway (gabion, through the gateway)
        qwen/replicas: 1024-65535 from qwen/replicas (what prefill and decode workers hand over)
    ");
    // Workers that do all of it hand nothing over.
    let whole = separate(&[
        (QWEN, " --pd-disaggregation", ""),
        (
            QWEN,
            " \\\n          --disaggregation-mode prefill \\\n          --disaggregation-bootstrap-port $BOOTSTRAP_PORT",
            "",
        ),
        (QWEN, " \\\n          --disaggregation-mode decode", ""),
    ]);
    insta::assert_snapshot!(let_in(&whole), @r"
        qwen/replicas: 30000-34999 from qwen/router (requests, from the router)
        qwen/replicas: 22-22 from my-gateway (gabion, through the gateway)
        qwen/router: 30000-34999 from my-gateway (requests, from the gateway)
        qwen/router: 22-22 from my-gateway (gabion, through the gateway)
    ");
    // Without parts it is as it was.
    let (plain, _) = changed("router", &[], &known(&facts()));
    insta::assert_snapshot!(let_in(&plain), @r"
        qwen/replicas: 30000-34999 from my-gateway (requests, from the gateway)
        qwen/replicas: 22-22 from my-gateway (gabion, through the gateway)
    ");
}

#[test]
fn a_bootstrap_port_that_engines_do_not_choose_by_themselves_is_let_in_too() {
    let low = [(QWEN, "-port $BOOTSTRAP_PORT", "-port 998")];
    let rules = let_in(&separate(&low));
    assert!(
        rules.contains("qwen/replicas: 998-998 from qwen/replicas"),
        "{rules}"
    );
    let usual = [(QWEN, "-port $BOOTSTRAP_PORT", "-port 8998")];
    assert!(!let_in(&separate(&usual)).contains("8998"));
}

#[test]
fn relays_stand_once_the_rules_do_by_which_they_are_reached() {
    let rules = |configuration: &Configuration, relay: &str| {
        let mut after = after(configuration, &format!("host_unit.{relay}/relay"));
        after.retain(|on| on.starts_with("aws_"));
        after
    };
    let of_replicas = |name: &str| format!("aws_vpc_security_group_ingress_rule.qwen/replicas/{name}");
    let configuration = separate(&[]);
    assert_eq!(
        rules(&configuration, "qwen/router/0"),
        ["aws_vpc_security_group_ingress_rule.qwen/router/relay"]
    );
    for worker in ["qwen/prefill/0", "qwen/decode/0"] {
        assert_eq!(
            rules(&configuration, worker),
            ["router", "workers"].map(of_replicas)
        );
    }
    let freed = |configuration: &Configuration| {
        let route = find(configuration, "gateway_route.qwen");
        let freed = route.frees.iter().map(ToString::to_string);
        freed.collect::<Vec<_>>()
    };
    // What let in the gateway goes once requests go through the router's machine, also where nobody recorded who needs it.
    assert_eq!(freed(&configuration), [of_replicas("relay")]);
    let configuration = beside_the_gateway();
    assert_eq!(
        rules(&configuration, "qwen/decode/0"),
        ["relay", "workers"].map(of_replicas)
    );
    assert_eq!(freed(&configuration), Vec::<String>::new());
}

#[test]
fn addresses_that_are_known_once_machines_are_made_are_where_commands_and_peers_need_them() {
    let named = [(
        QWEN,
        "--disaggregation-mode decode",
        "--disaggregation-mode decode --peer ${{ groups[1].replicas[0].IP_ADDRESS }}",
    )];
    let configuration = separate(&named);
    let address = |machine: &str| format!("${{{{ aws_instance.{machine}.private_ip }}}}");
    let argv = |unit: &str| format!("{:?}", find(&configuration, unit).inputs["argv"]);
    let command = argv("host_unit.qwen/decode/0");
    assert!(
        command.contains(&format!("--peer {}", address("qwen/prefill/0"))),
        "{command}"
    );
    for (relay, client) in [
        ("qwen/router/0", "my-gateway"),
        ("qwen/prefill/0", "qwen/router/0"),
        ("qwen/decode/0", "qwen/router/0"),
    ] {
        let command = argv(&format!("host_unit.{relay}/relay"));
        let from = format!("\"--from\", Unknown({})", address(client));
        assert!(command.contains(&from), "{command}");
    }
    // Decode workers fetch from the host of a prefill worker's URL.
    let worker = find(&configuration, "router_worker.qwen/prefill/0");
    let url = format!("{:?}", worker.inputs["url"]);
    assert!(
        url.contains(&format!("http://{}", address("qwen/prefill/0"))),
        "{url}"
    );
    assert_eq!(
        worker.inputs["bootstrap_port"],
        Value::template("${{ host_unit.qwen/prefill/0.port.bootstrap }}")
    );
    // A router's second machine is another one, as a gateway's is.
    let id = Value::template("${{ ssh_host.qwen/router/0.id }}");
    for on_it in [
        "host_unit.agent/qwen/router/0",
        "host_unit.qwen/router/0",
        "host_unit.qwen/router/0/relay",
        "router_worker.qwen/prefill/0",
        "router_worker.qwen/decode/0",
    ] {
        assert_eq!(find(&configuration, on_it).inputs["machine"], id, "{on_it}");
    }
    assert_eq!(
        find(&configuration, "ssh_host.qwen/router/0").inputs["instance"],
        Value::template("${{ aws_instance.qwen/router/0.id }}")
    );
    assert!(
        !find(&configuration, "ssh_host.qwen/decode/0")
            .inputs
            .contains_key("instance")
    );
}

#[test]
fn a_router_has_the_cheapest_machine_that_it_needs_whatever_workers_run_on() {
    let types = [(QWEN, "port: 8000", "port: 8000\ninstance_types: [g5.xlarge]")];
    let configuration = separate(&types);
    let machine = |replica: &str| {
        let instance = format!("aws_instance.qwen/{replica}/0");
        text(&configuration, &instance, "instance_type")
    };
    assert_eq!(
        ["router", "prefill", "decode"].map(machine),
        ["t3.medium", "g5.xlarge", "g5.xlarge"]
    );
}

#[test]
fn decode_workers_are_near_prefill_workers_before_all() {
    let mut facts = facts();
    // What reads prompts is not where the gateway is.
    for offered in &mut facts.instance_types {
        if offered.name == "g5.xlarge" {
            offered.zones = vec!["eu-west-1c".to_owned()];
        }
    }
    let types = [(
        QWEN,
        "$BOOTSTRAP_PORT\n    resources: {gpu: 8GB..24GB:1}",
        "$BOOTSTRAP_PORT\n    resources: {gpu: A10G:1}",
    )];
    let (configuration, problems) = changed("prefill-decode", &types, &known(&facts));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    let zones: BTreeMap<&str, &str> = facts
        .subnets
        .iter()
        .map(|subnet| (subnet.id.as_str(), subnet.availability_zone.as_str()))
        .collect();
    let zone = |machine: &str| {
        let subnet = text(&configuration, &format!("aws_instance.{machine}"), "subnet_id");
        zones[subnet]
    };
    assert_eq!(
        ["my-gateway", "qwen/router/0", "qwen/prefill/0", "qwen/decode/0"].map(zone),
        ["eu-west-1a", "eu-west-1a", "eu-west-1c", "eu-west-1c"]
    );
}

#[test]
fn a_prefill_worker_that_decode_workers_do_not_reach_is_refused() {
    let loopback = [(
        QWEN,
        "--host 0.0.0.0 \\\n          --port $PORT \\\n          --disaggregation-mode prefill",
        "--port $PORT \\\n          --disaggregation-mode prefill",
    )];
    let (_, problems) = changed("prefill-decode", &loopback, &known(&facts()));
    assert_eq!(errors(&problems), ["out-of-reach"], "{problems:?}");
}

/// The example without a router in a group, its one replica over two nodes.
fn over_two_nodes(facts: &RegionFacts) -> Configuration {
    let changes = [(QWEN, "port: 8000", "port: 8000\nreplicas: 1\nnodes: 2")];
    let (configuration, problems) = changed("router", &changes, &known(facts));
    assert_eq!(errors(&problems), Vec::<&str>::new(), "{problems:?}");
    configuration
}

#[test]
fn a_replica_over_two_nodes_is_two_alike_machines_in_one_zone_that_reach_each_other() {
    let mut facts = facts();
    let configuration = over_two_nodes(&facts);
    insta::assert_snapshot!(let_in(&configuration), @r"
        qwen/replicas: 30000-34999 from my-gateway (requests, from the gateway)
        qwen/replicas: 22-22 from my-gateway (gabion, through the gateway)
        qwen/replicas: 1024-65535 from qwen/replicas (what the nodes of a replica tell each other)
    ");
    let instance = |rank: u32, attribute: &str| {
        let instance = format!("aws_instance.qwen/default/0/{rank}");
        text(&configuration, &instance, attribute).to_owned()
    };
    for attribute in ["instance_type", "ami", "subnet_id"] {
        assert_eq!(instance(0, attribute), instance(1, attribute));
    }
    for rank in 0..2 {
        let instance = find(&configuration, &format!("aws_instance.qwen/default/0/{rank}"));
        assert!(instance.alternatives.others.is_empty());
        let unit = find(&configuration, &format!("host_unit.qwen/default/0/{rank}"));
        let env = format!("{:?}", unit.inputs["env"]);
        let address = |rank: u32| format!("${{{{ aws_instance.qwen/default/0/{rank}.private_ip }}}}");
        for told in [
            format!("\"DSTACK_MASTER_NODE_IP\": Unknown({})", address(0)),
            format!("\"DSTACK_NODES_IPS\": Unknown({}\n{})", address(0), address(1)),
            format!("\"DSTACK_NODE_RANK\": \"{rank}\""),
        ] {
            assert!(env.contains(&told), "{told}: {env}");
        }
        let waits = after(&configuration, &format!("host_unit.qwen/default/0/{rank}"));
        let rule = "aws_vpc_security_group_ingress_rule.qwen/replicas/workers";
        assert!(waits.iter().any(|on| on == rule), "{waits:?}");
        assert!(
            waits.contains(&format!("ssh_host.qwen/default/0/{rank}")),
            "{waits:?}"
        );
    }
    // Where the first of them has to be, the second is.
    let chosen = instance(0, "instance_type");
    for offered in &mut facts.instance_types {
        if offered.name == chosen {
            offered.zones = vec!["eu-west-1c".to_owned()];
        }
    }
    let elsewhere = over_two_nodes(&facts);
    let subnet = |rank: u32| {
        let instance = format!("aws_instance.qwen/default/0/{rank}");
        text(&elsewhere, &instance, "subnet_id").to_owned()
    };
    let zone = |subnet: &str| {
        let mut subnets = facts.subnets.iter();
        let found = subnets.find(|known| known.id == subnet).unwrap();
        found.availability_zone.clone()
    };
    assert_eq!(
        [subnet(0), subnet(1)].map(|subnet| zone(&subnet)),
        ["eu-west-1c", "eu-west-1c"]
    );
}
