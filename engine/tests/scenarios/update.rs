//! Changes in place.

use crate::support::{Scenario, machine, resource, same, summary};

fn sized(size: &str) -> String {
    resource("fake_machine", "a", &format!("name: a, image: one, size: {size}"))
}

#[tokio::test(start_paused = true)]
async fn only_what_differs_is_changed() {
    let scenario = Scenario::new();
    scenario.settle(&machine("a", "one")).await;
    let text = resource("fake_machine", "a", "name: a, image: one, tags: {k: v}");
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "update fake_machine.a (tags.k)");
    let before = scenario.cloud.objects("fake_machine")[0].clone();
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done",
    );
    let after = &scenario.cloud.objects("fake_machine")[0];
    assert_eq!(before.id, after.id);
    assert_eq!(after.fields["tags"]["k"], "v");
    scenario.expect_empty(&text).await;
    // And back.
    scenario.settle(&machine("a", "one")).await;
    assert!(
        !scenario.cloud.objects("fake_machine")[0]
            .fields
            .contains_key("tags")
    );
}

#[tokio::test(start_paused = true)]
async fn what_a_change_makes_unknown_reaches_those_that_refer_to_it() {
    let scenario = Scenario::new();
    let record = resource(
        "fake_record",
        "a",
        "name: a.example, values: ['${{ fake_machine.a.ip }}']",
    );
    scenario.settle(&(sized("small") + &record)).await;
    let text = sized("big") + &record;
    let plan = scenario.plan(&text).await;
    same(
        &summary(&plan),
        "update fake_machine.a (ip, size)
         update fake_record.a (values)",
    );
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done
         update fake_record.a: done",
    );
    let machine = &scenario.cloud.objects("fake_machine")[0];
    let record = &scenario.cloud.objects("fake_record")[0];
    assert_eq!(record.fields["values"][0], machine.fields["ip"]);
    scenario.expect_empty(&text).await;
}

#[tokio::test(start_paused = true)]
async fn equal_in_its_schemas_sense_is_no_change() {
    let scenario = Scenario::new();
    scenario
        .settle(&resource("fake_record", "a", "name: a.example, values: [x, y]"))
        .await;
    scenario
        .expect_empty(&resource(
            "fake_record",
            "a",
            "name: A.EXAMPLE, values: [y, x], ttl: 300",
        ))
        .await;
}
