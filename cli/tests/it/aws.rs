//! The article's files on AWS, planned from recorded facts of a region: nobody's account is asked.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use gabion_testing::aws::Aws;
use tokio::runtime::{Builder, Runtime};

use crate::harness::{Project, assert_said};

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/seed-aws")
}

/// Returns a project with an example's files.
fn example(name: &str) -> Project {
    let facts = examples().join("facts.json");
    let project = Project::new()
        .set("GABION_AWS_FACTS", &facts.to_string_lossy())
        .set("CLIENT_TOKEN", "token")
        .set("HF_TOKEN", "token");
    for entry in fs::read_dir(examples().join(name)).unwrap().flatten() {
        let text = fs::read(entry.path()).unwrap();
        project.write(&entry.file_name().to_string_lossy(), text);
    }
    project
}

#[test]
fn the_seeds_gateway_and_nvidia_service_are_planned() {
    let project = example("nvidia");
    for (format, suffix) in [("text", "txt"), ("markdown", "md"), ("json", "json")] {
        let said = project.run(&["plan", "--format", format]);
        assert_eq!(said.code, 0, "{}", said.err);
        assert_eq!(said.err, "");
        assert_said(&format!("aws/plan-nvidia.{suffix}"), &said.out);
    }
    let entries = project.entries();
    assert!(!entries.contains(&".gabion".to_owned()), "{entries:?}");
}

/// The first of each is a `t3.small` and a `g4dn.xlarge`, together $0.6098 an hour.
#[test]
fn policies_hold_for_every_offer_that_apply_may_take() {
    let project = example("nvidia");
    let settings = fs::read_to_string(project.directory().join("gabion.yml")).unwrap();
    let with = |policy: &str| project.write("gabion.yml", format!("{settings}policy:\n{policy}"));
    with("  max_price: {per_hour: 1}\n");
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out
            .contains("With the dearest of its offers everything would cost $1.5354/h"),
        "{}",
        said.out
    );
    with(
        "  rules:\n    - name: no-g5\n      deny: has(change.after.instance_type) && change.after.instance_type.startsWith('g5.')\n      message: \
         Not here.\n",
    );
    let said = project.exits(5, &["plan"]);
    assert!(
        said.out.contains("no-g5: aws_instance.qwen/default/0"),
        "{}",
        said.out
    );
    with("  max_price: {per_hour: 2}\n");
    project.exits(0, &["plan"]);
}

#[test]
fn the_amd_service_is_refused_and_the_rest_is_planned_without_it() {
    let project = example("amd");
    let said = project.run(&["plan"]);
    assert_eq!((said.code, said.out.as_str()), (1, ""));
    assert_said("aws/plan-amd.txt", &said.err);
    let said = project.run(&["plan", "--exclude", "aws_instance.qwen/default/*"]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(
        said.out.contains("+ aws_instance.my-gateway  create"),
        "{}",
        said.out
    );
    assert!(
        !said.out.contains("+ host_unit.qwen/default/0  create"),
        "{}",
        said.out
    );
}

#[test]
fn what_untrusted_people_wrote_is_planned_from_recorded_facts_too() {
    let said = example("nvidia").exits(0, &["plan", "--untrusted"]);
    assert!(said.out.contains("\"g4dn.xlarge\""), "{}", said.out);
}

#[test]
fn a_mistyped_upgrade_is_told() {
    let said = example("nvidia").run(&["plan", "--upgrade", "aws_instance.qwe/*"]);
    assert_eq!(said.code, 1);
    assert!(
        said.err
            .contains("No resource fits `--upgrade aws_instance.qwe/*`."),
        "{}",
        said.err
    );
}

#[test]
fn offers_are_listed_for_services_and_for_what_is_asked() {
    let project = example("nvidia");
    for (format, suffix) in [("text", "txt"), ("json", "json")] {
        let said = project.exits(0, &["offer", "--limit", "4", "--format", format]);
        assert_said(&format!("aws/offer-nvidia.{suffix}"), &said.out);
    }
    let asked = ["offer", "--region", "eu-west-1", "--gpu", "A100:40GB:8"];
    assert_said("aws/offer-asked.txt", &project.exits(0, &asked).out);
    let said = example("amd").exits(0, &["offer"]);
    assert!(
        said.out
            .contains("Nothing meets it. What comes closest:\n  g5.xlarge"),
        "{}",
        said.out
    );
    let said = project.exits(1, &["offer", "--gpu", "24GB..:x:y"]);
    assert!(said.err.contains("bad request"), "{}", said.err);
    let said = project.exits(1, &["offer", "--region", "us-east-1", "--gpu", "1"]);
    assert!(
        said.err.contains("has nothing about the region `us-east-1`"),
        "{}",
        said.err
    );
}

/// Asks the server of AWS's APIs, and returns what it answers.
fn ask(service: &str, request: &str, content_type: &str, body: &str) -> String {
    let endpoint = std::env::var("GABION_TEST_S3");
    let endpoint = endpoint
        .expect("GABION_TEST_S3 is not set; run the tests with: cargo xtask test -p gabion --test it");
    let host = endpoint
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let mut stream = TcpStream::connect(&host).unwrap();
    let scope = format!("Credential=test/20250101/eu-west-1/{service}/aws4_request");
    write!(
        stream,
        "{request} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
         Authorization: AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    answer
}

fn describe(action: &str) -> String {
    let body = format!("Action={action}&Version=2016-11-15");
    ask("ec2", "POST /", "application/x-www-form-urlencoded", &body)
}

/// Returns the texts of an XML element.
fn texts(xml: &str, element: &str) -> Vec<String> {
    let (start, end) = (format!("<{element}>"), format!("</{element}>"));
    xml.split(&start)
        .skip(1)
        .filter_map(|rest| rest.split_once(&end))
        .map(|(text, _)| text.to_owned())
        .collect()
}

/// What is between gabion and the server: consoles show the host keys of machines there.
struct Proxy {
    aws: Aws,
    _runtime: Runtime,
}

impl Proxy {
    fn start(server: &str) -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let aws = runtime.block_on(Aws::start(server));
        aws.console(&format!(
            "-----BEGIN SSH HOST KEY KEYS-----\n{HOST_KEY} root@ip\n-----END SSH HOST KEY KEYS-----\n"
        ));
        Self {
            aws,
            _runtime: runtime,
        }
    }
}

const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";

/// Makes a project of which the server has the network and the zone.
fn on_server(name: &str, domain: &str) -> (Project, PathBuf, Proxy) {
    let subnets = describe("DescribeSubnets");
    let zone = format!(
        "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><Name>{domain}</Name>\
         <CallerReference>{domain}</CallerReference></CreateHostedZoneRequest>"
    );
    let zone = ask("route53", "POST /2013-04-01/hostedzone", "text/xml", &zone);
    let zone = texts(&zone, "Id")[0].rsplit('/').next().unwrap().to_owned();
    let mut facts: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(examples().join("facts.json")).unwrap()).unwrap();
    let region = &mut facts["eu-west-1"];
    region["vpc"]["id"] = texts(&subnets, "vpcId")[0].clone().into();
    let found = texts(&subnets, "subnetId")
        .into_iter()
        .zip(texts(&subnets, "availabilityZone"));
    for (subnet, (id, zone)) in region["subnets"].as_array_mut().unwrap().iter_mut().zip(found) {
        subnet["id"] = id.into();
        subnet["availability_zone"] = zone.into();
    }
    let images = texts(&describe("DescribeImages"), "imageId");
    for (_, image) in region["images"].as_object_mut().unwrap() {
        image["id"] = images[0].clone().into();
    }
    region["hosted_zones"] = serde_json::json!([{"name": domain, "id": zone, "private": false}]);
    let mut project = example(name);
    let path = project.home().join("facts.json");
    fs::create_dir_all(project.home()).unwrap();
    fs::write(&path, facts.to_string()).unwrap();
    let proxy = Proxy::start(&std::env::var("GABION_TEST_S3").unwrap());
    for (name, value) in [
        ("GABION_AWS_FACTS", path.to_string_lossy().as_ref()),
        ("AWS_ENDPOINT_URL", proxy.aws.endpoint().as_str()),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
    ] {
        project = project.set(name, value);
    }
    (project, path, proxy)
}

#[test]
fn what_is_planned_is_made_found_again_kept_and_destroyed() {
    let (project, facts, _proxy) = on_server("nvidia", "pins.example");
    let gateway = fs::read_to_string(project.directory().join("gateway.dstack.yml")).unwrap();
    project.write(
        "gateway.dstack.yml",
        gateway.replace("example.com", "pins.example"),
    );
    // The server's machines are none that anybody could log in to.
    let apply = ["apply", "-y", "--exclude", "ssh_host.*"];
    project.exits(0, &apply);
    let plan = ["plan", "--exclude", "ssh_host.*"];
    let said = project.exits(0, &plan);
    assert!(said.out.contains("Nothing to do."), "{}", said.all());
    let machine = ["state", "show", "aws_instance.my-gateway", "--format", "json"];
    let machine = project.exits(0, &machine).json();
    assert_eq!(machine["outputs"]["host_key"], HOST_KEY, "{machine}");

    // A newer image appears, and another type becomes cheaper than the one that was chosen.
    let text = fs::read_to_string(&facts).unwrap();
    let mut changed: serde_json::Value = serde_json::from_str(&text).unwrap();
    let region = &mut changed["eu-west-1"];
    for (_, image) in region["images"].as_object_mut().unwrap() {
        image["id"] = "ami-0123456789abcdef0".into();
    }
    region["prices"] = serde_json::json!({"g5.xlarge": {"on_demand": 0.5615}});
    fs::write(&facts, changed.to_string()).unwrap();
    let said = project.exits(0, &plan);
    assert!(said.out.contains("Nothing to do."), "{}", said.all());
    assert!(
        said.out.contains("g5.xlarge would cost $0.5615/h"),
        "{}",
        said.all()
    );
    assert!(
        said.out.contains("there is a newer one, ami-0123456789abcdef0"),
        "{}",
        said.all()
    );
    let mut asked = plan.to_vec();
    asked.extend(["--upgrade", "aws_instance.qwen/*"]);
    let said = project.exits(0, &asked);
    assert!(
        said.out.contains("\"g4dn.xlarge\" → \"g5.xlarge\""),
        "{}",
        said.all()
    );
    assert!(
        said.out.contains("0 to create, 0 to update, 1 to replace"),
        "{}",
        said.all()
    );

    project.exits(0, &["destroy", "-y"]);
    fs::remove_dir_all(project.directory().join(".gabion")).unwrap();
}
