//! How few calls a refresh takes.

use gabion_engine::address::{IdSource, ObjectId, RandomIds, ResourceAddress, Uid};
use gabion_engine::provider::{Provider, ReadOutcome, ReadRequest, RecordedObject};
use gabion_engine::value::{Attributes, Value};
use gabion_testing::aws::all_between;

use crate::support::{REGION, Server, World, inputs, on_both_servers};

on_both_servers!(a_thousand_instances_with_their_groups_and_records_are_read_in_thirty_calls);

const MANY: usize = 1000;

async fn instances(world: &World) -> Vec<String> {
    let image = world.image().await;
    let count = MANY.to_string();
    let run = [
        ("ImageId", image.as_str()),
        ("InstanceType", "t3.micro"),
        ("MinCount", count.as_str()),
        ("MaxCount", count.as_str()),
    ];
    let text = world.aws.ec2(REGION, "RunInstances", &run).await;
    all_between(&text, "<instanceId>", "</instanceId>")
        .into_iter()
        .map(str::to_owned)
        .collect()
}

async fn groups(world: &World) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..MANY {
        let name = format!("g{number}");
        let create = [("GroupName", name.as_str()), ("GroupDescription", "for a test")];
        let text = world.aws.ec2(REGION, "CreateSecurityGroup", &create).await;
        ids.extend(
            all_between(&text, "<groupId>", "</groupId>")
                .first()
                .map(|id| (*id).to_owned()),
        );
    }
    ids
}

async fn records(world: &World) -> Vec<String> {
    let zone = inputs([("name", "many.example.com".into())]);
    let zone = world.create("aws_route53_zone.many", &zone).await;
    let changes: String = (0..MANY)
        .map(|number| {
            format!(
                "<Change><Action>CREATE</Action><ResourceRecordSet><Name>r{number}.many.example.com.</Name><Type>A</Type>\
                 <TTL>60</TTL><ResourceRecords><ResourceRecord><Value>192.0.2.1</Value></ResourceRecord></ResourceRecords>\
                 </ResourceRecordSet></Change>"
            )
        })
        .collect();
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         {changes}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    let path = format!("/2013-04-01/hostedzone/{}/rrset/", zone.state.id);
    world.aws.route53("POST", &path, &body).await;
    (0..MANY)
        .map(|number| format!("{}_r{number}.many.example.com_A", zone.state.id))
        .collect()
}

fn recorded(resource_type: &str, ids: &[String]) -> ReadRequest {
    let object = |(number, id): (usize, &String)| RecordedObject {
        uid: Uid::from_uuid(RandomIds.next()),
        address: ResourceAddress::of(resource_type, &format!("n{number}")).unwrap(),
        id: Some(ObjectId::new(id)),
        inputs: Attributes::new(),
        attributes: inputs([("region", Value::from(REGION))]),
        private: serde_json::Value::Null,
    };
    let objects: Vec<RecordedObject> = ids.iter().enumerate().map(object).collect();
    ReadRequest {
        resource_type: objects[0].address.resource_type.clone(),
        objects,
    }
}

async fn a_thousand_instances_with_their_groups_and_records_are_read_in_thirty_calls(server: Server) {
    let world = World::open(server).await;
    let all = [
        ("aws_instance", instances(&world).await),
        ("aws_security_group", groups(&world).await),
        ("aws_route53_record", records(&world).await),
    ];
    world.aws.take_calls();
    for (resource_type, mut ids) in all {
        // One unknown id does not fail the rest.
        let unknown = match resource_type {
            "aws_route53_record" => "Z0_nowhere.example.com_A",
            _ => "nowhere",
        };
        if resource_type != "aws_route53_record" {
            ids[7] = unknown.to_owned();
        }
        let batch = world.provider.read_batch().unwrap();
        assert!(ids.len() <= batch, "the engine would split what is read at once");
        let outcomes = world.provider.read(recorded(resource_type, &ids)).await.unwrap();
        let present = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, ReadOutcome::Present(_)))
            .count();
        let expected = if resource_type == "aws_route53_record" {
            MANY
        } else {
            MANY - 1
        };
        assert_eq!(present, expected, "{resource_type}");
    }
    let calls = world.aws.take_calls();
    assert!(calls.len() <= 30, "{} calls: {calls:?}", calls.len());
}
