//! Records: only our own values are replaced.

use gabion_engine::provider::{Effect, ErrorClass, Observation, ReadOutcome};
use gabion_engine::value::{Attributes, Value};
use gabion_testing::aws::Fault;

use crate::support::{Made, Server, World, inputs, on_both_servers, operation, texts, uid, with};

on_both_servers!(
    a_record_that_somebody_else_made_is_a_conflict_that_names_it,
    a_record_that_was_re_pointed_is_neither_changed_to_something_new_nor_deleted,
    a_record_whose_answer_was_lost_is_found_by_its_values,
    a_zone_whose_answer_was_lost_is_found_by_its_reference_and_made_once,
    values_are_told_in_the_words_in_which_they_were_written
);

async fn zone(world: &World, name: &str) -> Made {
    let zone = inputs([("name", name.into()), ("force_destroy", Value::Bool(true))]);
    world.create("aws_route53_zone.zone", &zone).await
}

fn record(zone: &Made, name: &str, value: &str) -> Attributes {
    inputs([
        ("zone_id", zone.state.id.as_str().into()),
        ("name", name.into()),
        ("type", "A".into()),
        ("ttl", Value::Int(60)),
        ("records", texts(&[value])),
    ])
}

/// Sets a record as somebody else.
async fn foreign(world: &World, zone: &Made, name: &str, value: &str) {
    let body = format!(
        "<ChangeResourceRecordSetsRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\"><ChangeBatch><Changes>\
         <Change><Action>UPSERT</Action><ResourceRecordSet><Name>{name}.</Name><Type>A</Type><TTL>60</TTL>\
         <ResourceRecords><ResourceRecord><Value>{value}</Value></ResourceRecord></ResourceRecords></ResourceRecordSet>\
         </Change></Changes></ChangeBatch></ChangeResourceRecordSetsRequest>"
    );
    let path = format!("/2013-04-01/hostedzone/{}/rrset/", zone.state.id);
    world.aws.route53("POST", &path, &body).await;
}

async fn a_record_that_somebody_else_made_is_a_conflict_that_names_it(server: Server) {
    let world = World::open(server).await;
    let zone = zone(&world, "foreign.example.com").await;
    foreign(&world, &zone, "*.foreign.example.com", "198.51.100.9").await;
    let ours = record(&zone, "*.foreign.example.com", "192.0.2.1");
    let (operation, uid) = (operation(), uid());
    let error = world
        .try_create(operation, uid, "aws_route53_record.gw", &ours)
        .await
        .unwrap_err();
    assert_eq!(
        (error.class, error.effect),
        (ErrorClass::Conflict, Effect::None),
        "{error}"
    );
    assert!(error.message.contains("198.51.100.9"), "{error}");
    assert!(error.hint.unwrap().contains("gabion import"));
    // It is none of ours afterwards either.
    let seen = world
        .observe(operation, uid, "aws_route53_record.gw", &ours)
        .await;
    assert_eq!(seen, Observation::Absent);
}

async fn a_record_that_was_re_pointed_is_neither_changed_to_something_new_nor_deleted(server: Server) {
    let world = World::open(server).await;
    let zone = zone(&world, "moved.example.com").await;
    let name = "gw.moved.example.com";
    let mut made = world
        .create("aws_route53_record.gw", &record(&zone, name, "192.0.2.1"))
        .await;
    foreign(&world, &zone, name, "198.51.100.9").await;
    for error in [
        world
            .try_update(&made, &record(&zone, name, "192.0.2.2"))
            .await
            .unwrap_err(),
        world.delete(&made).await.unwrap_err(),
    ] {
        assert_eq!(error.class, ErrorClass::Conflict, "{error}");
        assert!(error.message.contains("198.51.100.9"), "{error}");
    }
    // To put back what was recorded is what a plan shows as the repair of drift.
    let inputs = made.inputs.clone();
    made.state = world.try_update(&made, &inputs).await.unwrap();
    assert_eq!(made.state.attributes["records"], texts(&["192.0.2.1"]));
    world.delete(&made).await.unwrap();
    assert_eq!(world.read(&made).await, ReadOutcome::Absent);
}

async fn a_record_whose_answer_was_lost_is_found_by_its_values(server: Server) {
    let world = World::open(server).await;
    let zone = zone(&world, "lost.example.com").await;
    let ours = record(&zone, "lost.example.com", "192.0.2.1");
    let (operation, uid) = (operation(), uid());
    world.aws.fault("ChangeResourceRecordSets", Fault::AnswerLost);
    let lost = world
        .try_create(operation, uid, "aws_route53_record.gw", &ours)
        .await
        .unwrap_err();
    assert_eq!(lost.effect, Effect::Unknown, "{lost}");
    let seen = world
        .observe(operation, uid, "aws_route53_record.gw", &ours)
        .await;
    assert!(matches!(seen, Observation::Present(_)), "{seen:?}");
}

async fn a_zone_whose_answer_was_lost_is_found_by_its_reference_and_made_once(server: Server) {
    let world = World::open(server).await;
    let zone = inputs([("name", "once.example.com".into())]);
    let (operation, uid) = (operation(), uid());
    world.aws.fault("CreateHostedZone", Fault::AnswerLost);
    world
        .try_create(operation, uid, "aws_route53_zone.once", &zone)
        .await
        .unwrap_err();
    let Observation::Present(found) = world
        .observe(operation, uid, "aws_route53_zone.once", &zone)
        .await
    else {
        panic!("the zone was not found");
    };
    let again = world
        .try_create(operation, uid, "aws_route53_zone.once", &zone)
        .await
        .unwrap_err();
    assert_eq!(again.class, ErrorClass::Conflict, "{again}");
    // Its marks, which the lost call could not set, come with the next update.
    let made = Made {
        uid,
        address: "aws_route53_zone.once".parse().unwrap(),
        inputs: with(&zone, "comment", "ours".into()),
        state: found,
    };
    let inputs = made.inputs.clone();
    world.try_update(&made, &inputs).await.unwrap();
    use gabion_engine::provider::{ListRequest, Provider};
    let lineage = world.lineage;
    let listed = world.provider.list(ListRequest { lineage }).await.unwrap();
    assert!(
        listed.objects.iter().any(|object| object.uid == Some(uid)),
        "{listed:?}"
    );
}

async fn values_are_told_in_the_words_in_which_they_were_written(server: Server) {
    let world = World::open(server).await;
    let zone = zone(&world, "words.example.com").await;
    for (number, (kind, value)) in [
        ("TXT", "say \"hi\""),
        ("AAAA", "2001:DB8:0::1"),
        ("CNAME", "Other.Example.com."),
    ]
    .into_iter()
    .enumerate()
    {
        let name = format!("N{number}.words.example.com");
        let written = with(&record(&zone, &name, value), "type", kind.into());
        let made = world
            .create(&format!("aws_route53_record.n{number}"), &written)
            .await;
        for attribute in ["name", "records", "type"] {
            assert_eq!(made.state.attributes[attribute], written[attribute], "{kind}");
        }
    }
}
