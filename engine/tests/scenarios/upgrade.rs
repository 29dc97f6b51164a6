//! Records of older schema versions are upgraded once, by the next apply; those of newer ones are refused.

use gabion_engine::address::Uid;
use gabion_engine::plan::options::PlanOptions;
use gabion_engine::state::event::EventBody;
use gabion_engine::state::record::Record;
use gabion_engine::value::{Attributes, Value};

use crate::support::{Scenario, resource, same, summary, texts_of};

const OLD: &str = "10.0.0.1";

fn text() -> String {
    resource("fake_record", "r", &format!("name: r.example, values: ['{OLD}']"))
}

/// A project whose record was written by another version of its provider.
async fn recorded(version: u32) -> Scenario {
    let scenario = Scenario::new();
    scenario.settle(&text()).await;
    let record = scenario.record("fake_record.r").await;
    let rename = |attributes: &Attributes| {
        let mut attributes = attributes.clone();
        attributes.remove("values");
        attributes.insert("value".into(), Value::string(OLD));
        attributes
    };
    let mut old = Record {
        uid: Uid::from_uuid(uuid::Uuid::from_u64_pair(7, 7)),
        inputs: rename(&record.inputs),
        attributes: rename(&record.attributes),
        ..record.clone()
    };
    std::sync::Arc::make_mut(&mut old.declaration).schema_version = version;
    let journal = scenario.open().await;
    journal
        .commit(vec![
            EventBody::Forgotten { uid: record.uid },
            EventBody::Imported {
                record: Box::new(old),
            },
        ])
        .await
        .unwrap();
    journal.close().await.unwrap();
    scenario
}

#[tokio::test(start_paused = true)]
async fn a_record_of_an_older_version_is_upgraded_once() {
    let scenario = recorded(1).await;
    let plan = scenario.plan(&text()).await;
    assert_eq!(summary(&plan), "nothing");
    assert!(plan.drift.is_empty(), "{:?}", plan.drift);
    assert_eq!(plan.upgrades.len(), 1);
    assert!(!plan.is_empty() && !plan.has_changes());
    scenario.apply_plan(&plan).await;
    let record = scenario.record("fake_record.r").await;
    assert_eq!(record.declaration.schema_version, 2);
    for attributes in [&record.inputs, &record.attributes] {
        assert_eq!(
            attributes.get("values"),
            Some(&Value::List(vec![Value::string(OLD)]))
        );
        assert!(!attributes.contains_key("value"));
    }
    scenario.expect_empty(&text()).await;
    assert!(scenario.plan(&text()).await.is_empty());
    let upgrades = scenario.log().await;
    let upgrades = upgrades
        .iter()
        .filter(|event| matches!(event, EventBody::Upgraded { .. }));
    assert_eq!(upgrades.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_is_changed_or_deleted_is_upgraded_first() {
    let scenario = recorded(1).await;
    let changed = text().replace(OLD, "10.0.0.2");
    let plan = scenario.plan(&changed).await;
    same(&summary(&plan), "update fake_record.r (values)");
    scenario.apply_plan(&plan).await;
    // The same plan again has nothing to upgrade.
    scenario.apply_plan(&plan).await;
    scenario.expect_empty(&changed).await;
    let scenario = recorded(1).await;
    scenario.destroy(&text()).await;
    assert!(scenario.state().await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_record_of_a_newer_version_is_refused_with_both_versions() {
    let scenario = recorded(9).await;
    let serial = scenario.state().await.serial;
    let configuration = scenario.configuration(&text());
    let (plan, problems) = scenario.try_plan(&configuration, PlanOptions::default()).await;
    assert!(plan.is_none());
    let said = texts_of(&problems);
    assert!(
        said.contains(
            "`fake_record.r` was recorded by a newer gabion: its schema version is 9, and this one knows 2."
        ),
        "{said}"
    );
    assert_eq!(scenario.state().await.serial, serial);
}
