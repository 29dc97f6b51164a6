//! `gabion_data` and `replica_count` pass the suite.

use std::sync::Arc;

use async_trait::async_trait;
use gabion_data::DataProvider;
use gabion_engine::provider::Provider;
use gabion_engine::value::{Attributes, Secret, Value};
use gabion_testing::conformance::{Case, Subject, check};

struct Data(Arc<DataProvider>);

#[async_trait]
impl Subject for Data {
    fn provider(&self) -> Arc<dyn Provider> {
        self.0.clone()
    }

    async fn cases(&self) -> Vec<Case> {
        let input = |value: Value| Attributes::from([("input".into(), value)]);
        let secret = Value::Secret(Secret::new(None, "correct-horse".into()));
        let triggered = Attributes::from([("triggers_replace".into(), Value::Int(1))]);
        vec![
            Case::new("gabion_data", "plain", input(Value::map([("a", Value::Int(1))])))
                .update(input(Value::List(vec!["b".into()])))
                .replace(triggered),
            Case::new("gabion_data", "secret", input(Value::map([("a", secret)])))
                .update(input(Value::Null))
                .secret("correct-horse"),
            Case::new("gabion_data", "empty", Attributes::new()).update(input("now".into())),
            Case::new("replica_count", "qwen/default", count(1)).update(count(3)),
        ]
    }

    fn record_is_object(&self) -> bool {
        true
    }
}

/// How many replicas a group of one to four has.
fn count(count: i64) -> Attributes {
    let entries = [
        ("count", Value::Int(count)),
        ("min", Value::Int(1)),
        ("max", Value::Int(4)),
        ("metric", "rps".into()),
        ("target", Value::Float(10.0)),
        ("window_seconds", Value::Int(60)),
        ("scale_up_delay_seconds", Value::Int(300)),
        ("scale_down_delay_seconds", Value::Int(600)),
    ];
    entries.map(|(name, value)| (name.into(), value)).into()
}

#[tokio::test(start_paused = true)]
async fn data_passes() {
    check(&Data(Arc::default())).await;
}
