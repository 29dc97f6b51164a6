//! Values that are known only at apply may make an action less than planned, and never more.

use gabion_testing::fake::api::Verb;

use crate::support::{Scenario, data, machine, resource, same, summary};

#[tokio::test(start_paused = true)]
async fn an_update_whose_value_proved_equal_is_not_made() {
    let scenario = Scenario::new();
    let text = |size: &str| {
        resource("fake_machine", "a", &format!("name: a, image: one, size: {size}"))
            + &data("zone", "'${{ fake_machine.a.zone }}'")
            + &resource(
                "fake_machine",
                "b",
                "name: b, image: one, user_data: 'see ${{ fake_machine.a.ip }}'",
            )
            + &resource(
                "fake_record",
                "c",
                "name: c.example, values: ['${{ fake_machine.b.zone }}']",
            )
    };
    scenario.settle(&text("small")).await;
    let applied = scenario.settle(&text("big")).await;
    same(
        &applied.outcomes(),
        "update fake_machine.a: done
         update fake_machine.b: done",
    );
}

/// A replaced object whose replacement gives the same value: what refers to it stays as it is.
#[tokio::test(start_paused = true)]
async fn a_replacement_whose_forcing_value_proved_equal_is_not_carried_out() {
    let scenario = Scenario::new();
    let text = |image: &str, tag: &str| {
        machine("a", image)
            + &resource(
                "fake_machine",
                "b",
                &format!("name: b, image: '${{{{ fake_machine.a.zone }}}}', tags: {{t: {tag}}}"),
            )
    };
    scenario.settle(&text("one", "x")).await;
    let uid = scenario.record("fake_machine.b").await.uid;
    // A new machine may be anywhere; it comes up where the old one was.
    let plan = scenario.plan(&text("two", "x")).await;
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: done
         create (deposing) fake_machine.b: unneeded
         delete fake_machine.b: unneeded
         delete fake_machine.a: done",
    );
    assert_eq!(scenario.record("fake_machine.b").await.uid, uid);
    scenario.expect_empty(&text("two", "x")).await;
    // With something else to change besides, it is changed in place.
    let applied = scenario.apply(&text("three", "y")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: done
         create (deposing) fake_machine.b: done
         delete fake_machine.b: unneeded
         delete fake_machine.a: done",
    );
    assert_eq!(scenario.record("fake_machine.b").await.uid, uid);
    assert_eq!(scenario.cloud.objects("fake_machine").len(), 2);
    let updates = scenario.cloud.dump().changes;
    assert_eq!(
        updates
            .iter()
            .filter(|change| change.verb == Verb::Update)
            .count(),
        1
    );
    scenario.expect_empty(&text("three", "y")).await;
}

/// Of an object that is kept nothing is changed that is to be left alone, although another one would be made without that.
#[tokio::test(start_paused = true)]
async fn what_is_ignored_stays_where_a_replacement_proves_unneeded() {
    let scenario = Scenario::new();
    let text = |image: &str, tag: &str| {
        let b = resource(
            "fake_machine",
            "b",
            &format!("name: b, image: '${{{{ fake_machine.a.zone }}}}', tags: {{t: {tag}}}"),
        );
        machine("a", image) + &b.replace("properties:", "lifecycle: {ignore_changes: [tags]}\nproperties:")
    };
    scenario.settle(&text("one", "x")).await;
    let applied = scenario.settle(&text("two", "y")).await;
    same(
        &applied.outcomes(),
        "create (deposing) fake_machine.a: done
         create (deposing) fake_machine.b: unneeded
         delete fake_machine.b: unneeded
         delete fake_machine.a: done",
    );
    let updates = scenario.cloud.dump().changes;
    assert!(updates.iter().all(|change| change.verb != Verb::Update));
}

/// The deletion comes first, before the new value is there: the old one says nothing.
#[tokio::test(start_paused = true)]
async fn a_delete_first_replacement_is_not_judged_by_a_value_that_is_about_to_change() {
    let scenario = Scenario::new();
    let text = |size: &str| {
        let record = resource(
            "fake_record",
            "r",
            "name: '${{ fake_machine.a.ip }}.example', values: ['192.0.2.1']",
        );
        resource("fake_machine", "a", &format!("name: a, image: one, size: {size}"))
            + &record.replace(
                "properties:",
                "lifecycle: {create_before_destroy: false}\nproperties:",
            )
    };
    scenario.settle(&text("small")).await;
    let applied = scenario.settle(&text("big")).await;
    assert!(applied.report.is_complete(), "{}", applied.outcomes());
    assert_eq!(scenario.cloud.objects("fake_record").len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_value_that_would_need_more_than_planned_fails_its_branch() {
    let scenario = Scenario::new();
    let text = |input: &str| {
        data("size", input)
            + &resource(
                "fake_disk",
                "d",
                "name: d, size: '${{ gabion_data.size.output }}'",
            )
            + &data("after", "'${{ fake_disk.d.id }}'")
    };
    scenario.settle(&text("10")).await;
    let mut plan = scenario.plan(&text("20")).await;
    same(
        &summary(&plan),
        "update fake_disk.d (size)
         update gabion_data.size (input, output)",
    );
    // As if the plan had not known what the output would be, and it turned out to be less.
    for change in &mut plan.changes {
        let disk = change.address.resource_type.as_str() == "fake_disk";
        let unknown = gabion_engine::value::Value::template("${{ gabion_data.size.output }}");
        if disk {
            change
                .inputs
                .as_mut()
                .unwrap()
                .insert("size".into(), unknown.clone());
            change.after.as_mut().unwrap().insert("size".into(), unknown);
        } else if let Some(inputs) = &mut change.inputs {
            inputs.insert("input".into(), gabion_engine::value::Value::Int(5));
            let after = change.after.as_mut().unwrap();
            after.insert("input".into(), gabion_engine::value::Value::Int(5));
            after.insert("output".into(), gabion_engine::value::Value::Int(5));
        }
    }
    let applied = scenario.apply_plan(&plan).await;
    same(
        &applied.outcomes(),
        "update gabion_data.size: done
         update fake_disk.d: failed: `fake_disk.d` would have to be replaced because of `size`, whose value was not \
         known when the plan was made; the plan says only that it is updated.",
    );
    assert_eq!(scenario.cloud.objects("fake_disk")[0].fields["size"], 10);
}
