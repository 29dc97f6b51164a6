//! What became of calls whose answers were lost: found, once, and nothing made twice.

use gabion_engine::provider::{Effect, ErrorClass, Observation};
use gabion_engine::value::{Attributes, Value};
use gabion_testing::aws::{Fault, all_between};

use crate::support::{KEY, REGION, Server, World, inputs, on_both_servers, operation, uid};

on_both_servers!(
    an_instance_whose_answer_was_lost_is_found_by_its_operation_and_made_once,
    a_request_that_never_arrived_is_absent_although_descriptions_lag,
    what_descriptions_do_not_show_yet_is_waited_for,
    a_group_that_was_made_halfway_is_finished_by_the_next_update,
    a_deletion_whose_answer_was_lost_can_be_made_again
);

/// Returns how many instances run.
async fn running(world: &World) -> usize {
    let filter = [
        ("Filter.1.Name", "instance-state-name"),
        ("Filter.1.Value.1", "running"),
        ("Filter.1.Value.2", "pending"),
    ];
    let text = world.aws.ec2(REGION, "DescribeInstances", &filter).await;
    all_between(&text, "<instanceId>", "</instanceId>").len()
}

async fn machine(world: &World) -> Attributes {
    inputs([
        ("ami", world.image().await.as_str().into()),
        ("instance_type", "t3.micro".into()),
    ])
}

async fn an_instance_whose_answer_was_lost_is_found_by_its_operation_and_made_once(server: Server) {
    let world = World::open(server).await;
    let machine = machine(&world).await;
    let (operation, uid) = (operation(), uid());
    world.aws.fault("RunInstances", Fault::AnswerLost);
    let lost = world
        .try_create(operation, uid, "aws_instance.web", &machine)
        .await
        .unwrap_err();
    assert_eq!(
        (lost.class, lost.effect),
        (ErrorClass::Uncertain, Effect::Unknown),
        "{lost}"
    );
    let Observation::Present(found) = world.observe(operation, uid, "aws_instance.web", &machine).await
    else {
        panic!("what the call made was not found");
    };
    // The same operation again is the same instance.
    let again = world
        .try_create(operation, uid, "aws_instance.web", &machine)
        .await
        .unwrap();
    assert_eq!(again.id, found.id);
    assert_eq!(running(&world).await, 1);
}

async fn a_request_that_never_arrived_is_absent_although_descriptions_lag(server: Server) {
    let world = World::open(server).await;
    let key = inputs([("key_name", "ada".into()), ("public_key", KEY.into())]);
    let (operation, uid) = (operation(), uid());
    world.aws.fault("ImportKeyPair", Fault::RequestLost);
    let lost = world
        .try_create(operation, uid, "aws_key_pair.ada", &key)
        .await
        .unwrap_err();
    assert_eq!(lost.effect, Effect::Unknown, "{lost}");
    let seen = world.observe(operation, uid, "aws_key_pair.ada", &key).await;
    assert_eq!(seen, Observation::Absent);
}

async fn what_descriptions_do_not_show_yet_is_waited_for(server: Server) {
    let world = World::open(server).await;
    world.aws.lag(std::time::Duration::from_millis(1500));
    let machine = machine(&world).await;
    let made = world.create("aws_instance.web", &machine).await;
    assert_eq!(made.text("instance_state"), "running");
    let group = world.create("aws_security_group.web", &inputs([])).await;
    // The rule that lets everything out is gone.
    let filter = [("GroupId.1", group.state.id.as_str())];
    let text = world.aws.ec2(REGION, "DescribeSecurityGroups", &filter).await;
    assert!(!text.contains("0.0.0.0/0"), "{text}");
    // A creation whose answer was lost is found when it shows, not given up before.
    let (operation, uid) = (operation(), uid());
    world.aws.fault("AllocateAddress", Fault::AnswerLost);
    let nothing = Attributes::new();
    world
        .try_create(operation, uid, "aws_eip.gw", &nothing)
        .await
        .unwrap_err();
    let seen = world.observe(operation, uid, "aws_eip.gw", &nothing).await;
    assert!(matches!(seen, Observation::Present(_)), "{seen:?}");
}

async fn a_group_that_was_made_halfway_is_finished_by_the_next_update(server: Server) {
    let world = World::open(server).await;
    let (operation, uid) = (operation(), uid());
    let nothing = Attributes::new();
    world.aws.fault("CreateSecurityGroup", Fault::AnswerLost);
    world
        .try_create(operation, uid, "aws_security_group.web", &nothing)
        .await
        .unwrap_err();
    let Observation::Present(found) = world
        .observe(operation, uid, "aws_security_group.web", &nothing)
        .await
    else {
        panic!("the group was not found");
    };
    let made = crate::support::Made {
        uid,
        address: "aws_security_group.web".parse().unwrap(),
        inputs: nothing.clone(),
        state: found,
    };
    let finished = world.try_update(&made, &nothing).await.unwrap();
    assert_eq!(finished.private, serde_json::Value::Null);
    let filter = [("GroupId.1", made.state.id.as_str())];
    let text = world.aws.ec2(REGION, "DescribeSecurityGroups", &filter).await;
    assert!(!text.contains("0.0.0.0/0"), "{text}");
}

async fn a_deletion_whose_answer_was_lost_can_be_made_again(server: Server) {
    let world = World::open(server).await;
    for (address, operation, entries) in [
        ("aws_eip.gw", "ReleaseAddress", inputs([])),
        (
            "aws_key_pair.ada",
            "DeleteKeyPair",
            inputs([("public_key", KEY.into())]),
        ),
        ("aws_security_group.web", "DeleteSecurityGroup", inputs([])),
        (
            "aws_ebs_volume.disk",
            "DeleteVolume",
            inputs([
                ("availability_zone", "eu-west-1a".into()),
                ("size", Value::Int(1)),
            ]),
        ),
    ] {
        let made = world.create(address, &entries).await;
        world.aws.fault(operation, Fault::AnswerLost);
        let lost = world.delete(&made).await.unwrap_err();
        assert_eq!(lost.effect, Effect::Unknown, "{address}: {lost}");
        world.delete(&made).await.unwrap();
    }
}
