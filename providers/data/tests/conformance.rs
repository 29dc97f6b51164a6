//! `gabion_data` passes the suite.

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
        ]
    }

    fn record_is_object(&self) -> bool {
        true
    }
}

#[tokio::test(start_paused = true)]
async fn data_passes() {
    check(&Data(Arc::default())).await;
}
