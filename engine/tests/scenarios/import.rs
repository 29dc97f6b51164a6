//! Objects that existed before: taken under management, changed where the configuration asks for it.

use gabion_testing::fake::api::{ApiRequest, CloudClient, Marks};

use crate::support::{Scenario, machine, resource, same, summary};

async fn existing(scenario: &Scenario) {
    let request = ApiRequest::Create {
        resource_type: "fake_machine".to_owned(),
        fields: serde_json::from_value(serde_json::json!({"name": "a", "image": "one"})).unwrap(),
        marks: Marks::default(),
        token: None,
    };
    scenario.cloud.send(request).await;
}

const IMPORT: &str = "---\ntype: import\nto: fake_machine.a\nid: machine-0001\n";

#[tokio::test(start_paused = true)]
async fn an_object_that_fits_is_only_recorded() {
    let scenario = Scenario::new();
    existing(&scenario).await;
    let text = machine("a", "one") + IMPORT;
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "import fake_machine.a");
    let applied = scenario.apply_plan(&plan).await;
    assert!(applied.report.steps.is_empty());
    assert_eq!(
        scenario.record("fake_machine.a").await.id.unwrap().as_str(),
        "machine-0001"
    );
    scenario.expect_empty(&text).await;
    scenario.destroy(&machine("a", "one")).await;
    assert!(scenario.cloud.dump().objects.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_that_differs_is_changed() {
    let scenario = Scenario::new();
    existing(&scenario).await;
    let text = resource("fake_machine", "a", "name: b, image: one") + IMPORT;
    let plan = scenario.plan(&text).await;
    same(&summary(&plan), "import and update fake_machine.a (name)");
    same(
        &scenario.apply_plan(&plan).await.outcomes(),
        "update fake_machine.a: done",
    );
    assert_eq!(scenario.cloud.objects("fake_machine")[0].fields["name"], "b");
    scenario.expect_empty(&text).await;
}
