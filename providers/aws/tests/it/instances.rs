//! Instances and what they hold on to.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_aws::Arrivals;
use gabion_engine::provider::{Call, Effect, ErrorClass, Observation, Provider, ReadOutcome, ReadRequest};
use gabion_engine::value::{Attributes, Value};
use gabion_testing::aws::{Fault, between};

use crate::support::{
    REGION, Server, World, block, inputs, on_both_servers, operation, provider, texts, uid, with,
};

on_both_servers!(
    a_machine_asks_for_tokens_and_its_disk_is_encrypted_unless_told_otherwise,
    a_stopped_machine_is_started_and_a_terminated_one_is_absent,
    a_group_in_use_is_kept_and_the_error_names_the_machine,
    an_address_leads_to_one_machine_and_then_to_another_without_the_machines_changing,
    a_found_image_is_kept_when_a_newer_one_appears,
    a_machine_is_known_by_the_key_that_its_console_shows,
    a_console_that_may_not_be_read_is_of_one_machine_only,
    how_a_machine_was_bought_is_read_back,
    user_data_that_somebody_changed_is_seen_and_set_back_in_place
);

async fn machine(world: &World) -> Attributes {
    inputs([
        ("ami", world.image().await.as_str().into()),
        ("instance_type", "t3.micro".into()),
    ])
}

async fn a_machine_asks_for_tokens_and_its_disk_is_encrypted_unless_told_otherwise(server: Server) {
    let world = World::open(server).await;
    let plain = machine(&world).await;
    let made = world.create("aws_instance.web", &plain).await;
    let filter = [("InstanceId.1", made.state.id.as_str())];
    let text = world.aws.ec2(REGION, "DescribeInstances", &filter).await;
    assert_eq!(between(&text, "<httpTokens>", "</httpTokens>"), Some("required"));
    let filter = [("VolumeId.1", made.text("root_volume_id"))];
    let volume = world.aws.ec2(REGION, "DescribeVolumes", &filter).await;
    assert_eq!(between(&volume, "<encrypted>", "</encrypted>"), Some("true"));
    assert_eq!(between(&volume, "<volumeType>", "</volumeType>"), Some("gp3"));

    let weak = with(
        &plain,
        "metadata_options",
        block([("http_tokens", "optional".into())]),
    );
    let made = world.create("aws_instance.old", &weak).await;
    let filter = [("InstanceId.1", made.state.id.as_str())];
    let text = world.aws.ec2(REGION, "DescribeInstances", &filter).await;
    assert_eq!(between(&text, "<httpTokens>", "</httpTokens>"), Some("optional"));
}

async fn a_stopped_machine_is_started_and_a_terminated_one_is_absent(server: Server) {
    let world = World::open(server).await;
    let plain = machine(&world).await;
    let mut made = world.create("aws_instance.web", &plain).await;
    let id = made.state.id.clone();
    world
        .aws
        .ec2(REGION, "StopInstances", &[("InstanceId.1", id.as_str())])
        .await;
    world.stopped(id.as_str()).await;
    let ReadOutcome::Present(read) = world.read(&made).await else {
        panic!("a stopped machine is there");
    };
    assert_eq!(read.attributes["instance_state"], Value::from("stopped"));
    made.state = read;
    let response = world.plan(&made.address, &plain, Some(&made));
    assert!(response.replace.is_empty());
    assert_eq!(response.planned["instance_state"], Value::from("running"));
    let started = world.try_update(&made, &plain).await.unwrap();
    assert_eq!(started.attributes["instance_state"], Value::from("running"));

    world
        .aws
        .ec2(REGION, "TerminateInstances", &[("InstanceId.1", id.as_str())])
        .await;
    assert_eq!(world.read(&made).await, ReadOutcome::Absent);
}

async fn a_group_in_use_is_kept_and_the_error_names_the_machine(server: Server) {
    let world = World::open(server).await;
    let group = world.create("aws_security_group.web", &inputs([])).await;
    let machine = with(
        &machine(&world).await,
        "vpc_security_group_ids",
        texts(&[group.state.id.as_str()]),
    );
    let made = world.create("aws_instance.web", &machine).await;
    let error = world.delete(&group).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Transient, "{error}");
    assert!(error.message.contains("DependencyViolation"), "{error}");
    world.delete(&made).await.unwrap();
    world.delete(&group).await.unwrap();
}

/// The addresses that were waited for.
#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

#[async_trait]
impl Arrivals for Seen {
    async fn arrived(&self, address: &str, _: &Call) {
        self.0.lock().unwrap().push(address.to_owned());
    }
}

async fn an_address_leads_to_one_machine_and_then_to_another_without_the_machines_changing(server: Server) {
    let mut world = World::open(server).await;
    let seen = Arc::new(Seen::default());
    world.provider = Arc::new(provider(&world.aws).with_arrivals(seen.clone()));
    let plain = machine(&world).await;
    let one = world.create("aws_instance.one", &plain).await;
    let other = world.create("aws_instance.other", &plain).await;
    let leads = inputs([("instance", one.state.id.as_str().into())]);
    let mut address = world.create("aws_eip.gw", &leads).await;
    assert_eq!(address.text("instance"), one.state.id.as_str());
    let ReadOutcome::Present(read) = world.read(&one).await else {
        panic!("the machine is there");
    };
    assert_eq!(
        read.attributes.get("public_ip"),
        one.state.attributes.get("public_ip")
    );

    // What is made was nowhere else before, and what leads nowhere arrives nowhere.
    assert_eq!(*seen.0.lock().unwrap(), Vec::<String>::new());
    let moved = inputs([("instance", other.state.id.as_str().into())]);
    address.state = world.try_update(&address, &moved).await.unwrap();
    assert_eq!(address.text("instance"), other.state.id.as_str());
    let nowhere = inputs([("instance", Value::Null)]);
    world.try_update(&address, &nowhere).await.unwrap();
    assert_eq!(*seen.0.lock().unwrap(), [address.text("public_ip")]);
    world.delete(&address).await.unwrap();
    assert_eq!(world.read(&address).await, ReadOutcome::Absent);
}

async fn a_found_image_is_kept_when_a_newer_one_appears(server: Server) {
    let world = World::open(server).await;
    let found = inputs([
        ("ami_owner", "amazon".into()),
        ("ami_name", "al2023-ami-2023*-x86_64".into()),
        ("instance_type", "t3.micro".into()),
    ]);
    let made = world.create("aws_instance.web", &found).await;
    assert!(made.text("ami").starts_with("ami-"));
    let address = made.address.clone();
    let request = |image: &str| gabion_engine::provider::PlanRequest {
        resource_type: address.resource_type.clone(),
        address: address.clone(),
        desired: found.clone(),
        prior: Some(gabion_engine::provider::PriorObject {
            inputs: found.clone(),
            attributes: made.state.attributes.clone(),
            private: serde_json::Value::Null,
        }),
        replaces: None,
        facts: [(
            "image///amazon/al2023-ami-2023*-x86_64".to_owned(),
            Value::map([("id", Value::from(image)), ("name", "newer".into())]),
        )]
        .into(),
    };
    let response = world.provider.plan(&request("ami-newer")).unwrap();
    assert!(response.replace.is_empty());
    assert_eq!(response.planned["ami"], made.state.attributes["ami"]);
    assert!(response.notes[0].contains("ami-newer"), "{:?}", response.notes);
}

/// What cloud-init prints at the first start, with the key of a machine in it.
fn console(key: &str) -> String {
    format!(
        "[   21.3] cloud-init[812]: Generating public/private ed25519 key pair.\r\n\
         -----BEGIN SSH HOST KEY KEYS-----\r\nssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 root@ip\r\n{key} root@ip\r\n\
         -----END SSH HOST KEY KEYS-----\r\n\r\nip-172-31-0-7 login: "
    )
}

async fn a_machine_is_known_by_the_key_that_its_console_shows(server: Server) {
    const HOST_KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f";
    let world = World::open(server).await;
    let plain = machine(&world).await;
    let wanted = with(&plain, "wait_for_host_key", Value::Bool(true));
    let made = world.create("aws_instance.plain", &plain).await;
    assert!(!world.aws.take_calls().contains(&"GetConsoleOutput".to_owned()));
    assert_eq!(
        made.state.attributes.get("host_key").and_then(Value::as_str),
        None
    );

    world.aws.console(&console(HOST_KEY));
    let known = world.create("aws_instance.known", &wanted).await;
    assert_eq!(known.text("host_key"), HOST_KEY);

    // What is recorded is not asked for again, whatever the console shows by now.
    world.aws.console("");
    world.aws.take_calls();
    let ReadOutcome::Present(read) = world.read(&known).await else {
        panic!("the machine is there");
    };
    assert_eq!(read.attributes["host_key"], Value::from(HOST_KEY));
    assert!(!world.aws.take_calls().contains(&"GetConsoleOutput".to_owned()));

    // One that was made without it learns it in place.
    world.aws.console(&console(HOST_KEY));
    let response = world.plan(&made.address, &wanted, Some(&made));
    assert!(response.replace.is_empty(), "{response:?}");
    assert!(!response.planned["host_key"].is_wholly_known());
    let updated = world.try_update(&made, &wanted).await.unwrap();
    assert_eq!(updated.attributes["host_key"], Value::from(HOST_KEY));
}

async fn a_console_that_may_not_be_read_is_of_one_machine_only(server: Server) {
    let world = World::open(server).await;
    let plain = machine(&world).await;
    let known = world.create("aws_instance.known", &plain).await;
    let mut keyless = world.create("aws_instance.keyless", &plain).await;
    keyless.inputs = with(&plain, "wait_for_host_key", Value::Bool(true));
    let request = ReadRequest {
        resource_type: known.address.resource_type.clone(),
        objects: vec![keyless.recorded(), known.recorded()],
    };
    world.aws.fault(
        "GetConsoleOutput",
        Fault::Refused(403, "UnauthorizedOperation".to_owned()),
    );
    let outcomes = world.provider.read(request.clone()).await.unwrap();
    let [ReadOutcome::CannotTell { reason }, ReadOutcome::Present(_)] = &outcomes[..] else {
        panic!("{outcomes:?}");
    };
    assert!(reason.contains("EC2 GetConsoleOutput"), "{reason}");
    assert!(reason.contains("UnauthorizedOperation"), "{reason}");

    // What may work in a moment is for the engine to try again.
    world.aws.fault(
        "GetConsoleOutput",
        Fault::Refused(503, "RequestLimitExceeded".to_owned()),
    );
    let error = world.provider.read(request).await.unwrap_err();
    assert_eq!(error.class, ErrorClass::Throttled, "{error}");
}

async fn how_a_machine_was_bought_is_read_back(server: Server) {
    let world = World::open(server).await;
    let plain = machine(&world).await;
    let spot = block([
        ("market_type", "spot".into()),
        ("spot_options", block([("max_price", "0.5".into())])),
    ]);
    let reserved = block([(
        "capacity_reservation_target",
        block([("capacity_reservation_id", "cr-0123456789abcdef0".into())]),
    )]);
    let wanted = with(&plain, "instance_market_options", spot.clone());
    let wanted = with(&wanted, "capacity_reservation_specification", reserved.clone());
    let mut bought = world.create("aws_instance.spot", &wanted).await;
    assert_eq!(bought.state.attributes["instance_market_options"], spot);
    assert_eq!(
        bought.state.attributes["capacity_reservation_specification"],
        reserved
    );
    assert_eq!(world.plan(&bought.address, &wanted, Some(&bought)).replace, []);

    // Told without the words of inputs, as when it is imported.
    bought.inputs = Attributes::new();
    let ReadOutcome::Present(read) = world.read(&bought).await else {
        panic!("the machine is there");
    };
    assert_eq!(
        read.attributes["instance_market_options"],
        block([("market_type", "spot".into())])
    );
    assert_eq!(read.attributes["capacity_reservation_specification"], reserved);
}

async fn user_data_that_somebody_changed_is_seen_and_set_back_in_place(server: Server) {
    let world = World::open(server).await;
    let wanted = with(&machine(&world).await, "user_data", "#!/bin/sh\ntrue\n".into());
    let mut made = world.create("aws_instance.web", &wanted).await;
    world.aws.take_calls();
    let ReadOutcome::Present(_) = world.read(&made).await else {
        panic!("the machine is there");
    };
    assert!(
        !world
            .aws
            .take_calls()
            .contains(&"DescribeInstanceAttribute".to_owned())
    );

    let id = made.state.id.to_string();
    let which = [("InstanceId.1", id.as_str())];
    world.aws.ec2(REGION, "StopInstances", &which).await;
    world.stopped(&id).await;
    let other = STANDARD.encode("#!/bin/sh\nfalse\n");
    let other = match server {
        // It decodes it twice.
        Server::Moto => STANDARD.encode(other),
        Server::Own => other,
    };
    let change = [("InstanceId", id.as_str()), ("UserData.Value", other.as_str())];
    world.aws.ec2(REGION, "ModifyInstanceAttribute", &change).await;
    let ReadOutcome::Present(read) = world.read(&made).await else {
        panic!("the machine is there");
    };
    assert_eq!(read.attributes["user_data"], Value::from("#!/bin/sh\nfalse\n"));
    assert!(
        !read
            .unreadable
            .contains(&gabion_engine::value::AttributePath::root("user_data"))
    );
    made.state = read;
    let response = world.plan(&made.address, &wanted, Some(&made));
    assert_eq!(response.replace, []);
    made.state = world.try_update(&made, &wanted).await.unwrap();
    assert_eq!(made.state.id.as_str(), id);
    world.aws.take_calls();
    let ReadOutcome::Present(read) = world.read(&made).await else {
        panic!("the machine is there");
    };
    assert_eq!(read.attributes["user_data"], wanted["user_data"]);
    assert!(
        !world
            .aws
            .take_calls()
            .contains(&"DescribeInstanceAttribute".to_owned())
    );
    // Started again by somebody else, and it runs: it may be other than it was.
    let known = std::mem::replace(
        &mut made.state.private,
        serde_json::json!({ "launch": "another" }),
    );
    let ReadOutcome::Present(read) = world.read(&made).await else {
        panic!("the machine is there");
    };
    assert!(
        world
            .aws
            .take_calls()
            .contains(&"DescribeInstanceAttribute".to_owned())
    );
    assert_eq!(read.private, known);
    let ask = [("InstanceId", id.as_str()), ("Attribute", "userData")];
    let told = world.aws.ec2(REGION, "DescribeInstanceAttribute", &ask).await;
    let set = STANDARD.encode("#!/bin/sh\ntrue\n");
    assert!(told.contains(&set), "{told}");

    // Other words in the configuration are another machine: what it did at its first start is done.
    let changed = with(&wanted, "user_data", "#!/bin/sh\nuname\n".into());
    let response = world.plan(&made.address, &changed, Some(&made));
    assert_eq!(response.replace.len(), 1, "{response:?}");
}

#[tokio::test]
async fn a_machine_that_ends_for_want_of_capacity_says_so_and_is_gone() {
    let world = World::open(Server::Own).await;
    world.aws.starve(1);
    let plain = machine(&world).await;
    let (operation, uid) = (operation(), uid());
    let error = world
        .try_create(operation, uid, "aws_instance.web", &plain)
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::NoCapacity, Effect::Partial)
    );
    let said = "ended while it was waited for: Server.InsufficientInstanceCapacity: Insufficient capacity to satisfy instance request.";
    assert!(error.message.ends_with(said), "{error}");
    let seen = world.observe(operation, uid, "aws_instance.web", &plain).await;
    assert_eq!(seen, Observation::Absent);
    world.create("aws_instance.web", &plain).await;
}
