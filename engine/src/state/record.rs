//! The record of one object: everything it takes to plan, read and delete it, also when its configuration is gone.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::address::{ObjectId, OperationId, ProviderName, ResourceAddress, Uid};
use crate::form::is_left_out;
use crate::intern::interned_option;
use crate::provider::{CallAction, RecordedObject};
use crate::resource::{DocumentRef, Lifecycle};
use crate::schema::{ReplaceOrder, Timeouts};
use crate::seldom::Seldom;
use crate::value::{Attributes, Value};

/// The record of one object. Secrets in it are sealed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Record {
    /// The object's identifier for life.
    pub uid: Uid,
    /// The address that it has, or had when it was deposed.
    pub address: ResourceAddress,
    /// Whether another object has taken its address and this one awaits deletion.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deposed: bool,
    /// How far it is.
    pub status: Status,
    /// The provider's id, as soon as it is known.
    pub id: Option<ObjectId>,
    /// The inputs that it was last made or updated with.
    pub inputs: Attributes,
    /// Its attributes as the provider last returned them.
    pub attributes: Attributes,
    /// Data that only the provider reads.
    #[serde(default, skip_serializing_if = "Seldom::is_usual")]
    pub private: Seldom<serde_json::Value>,
    /// What the configuration says about it beyond its inputs.
    pub declaration: Arc<Declaration>,
    /// The call whose result is not recorded, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub open: Option<Box<OpenCall>>,
    /// The serial at which it was created.
    pub created_at: u64,
    /// When its creation was last heard of, or it was imported, by the writer's clock; `None` in records of earlier
    /// versions. While it is young, that it is not found proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub made_at: Option<Timestamp>,
    /// The serial at which it last changed.
    pub changed_at: u64,
    /// When it last changed; `None` in records of earlier versions.
    #[serde(default, skip_serializing_if = "WrittenAt::is_unknown")]
    #[schemars(with = "Option<String>")]
    pub written_at: WrittenAt,
    /// The digest of the plan whose run last changed it; `None` when it was no plan's run.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "interned_option"
    )]
    pub changed_by: Option<Arc<str>>,
    /// The last call that was meant for it, whatever became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_call: Option<LastCall>,
}

/// With how many texts one is compared: an object with many more has other worries.
const SHARED: usize = 16;

/// When a record last changed, by the writer's clock.
///
/// Earlier versions did not keep it. It follows from the log, so a record without it is the same as one with it.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WrittenAt(pub Option<Timestamp>);

impl WrittenAt {
    /// Returns whether it was not kept.
    pub fn is_unknown(&self) -> bool {
        self.0.is_none()
    }
}

impl PartialEq for WrittenAt {
    fn eq(&self, other: &Self) -> bool {
        match (self.0, other.0) {
            (Some(at), Some(other)) => at == other,
            _ => true,
        }
    }
}

/// A call that was meant for an object: which step of which plan it carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LastCall {
    /// The digest of the plan.
    #[serde(deserialize_with = "interned_option")]
    pub plan: Option<Arc<str>>,
    /// The number of the plan's step.
    pub step: u32,
    /// What was to be done.
    pub action: CallAction,
    /// Whether it succeeded.
    pub done: bool,
}

/// How far an object is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Its creation was meant and has no result yet.
    Creating,
    /// It exists, and what it is must be read before it is relied on; what cannot be read counts as different.
    Incomplete,
    /// It was made or updated as intended and passed its readiness.
    Ready,
    /// A person wants it replaced.
    Tainted,
    /// Its deletion was meant and has no result yet, or did not finish.
    Deleting,
}

impl Status {
    /// Returns whether an object that is so far must never be relied on unread.
    pub fn must_be_read(self) -> bool {
        matches!(self, Self::Creating | Self::Incomplete | Self::Deleting)
    }
}

/// What the configuration says about an object beyond its inputs; kept so that the object can be deleted without it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Declaration {
    /// The provider that manages it.
    pub provider: ProviderName,
    /// The schema version that its attributes have.
    pub schema_version: u32,
    /// The document that declared it; `None` for an imported object without configuration.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub document: Option<DocumentRef>,
    /// Direct dependencies.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub dependencies: Vec<Dependency>,
    /// How it may be changed.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub lifecycle: Seldom<Lifecycle>,
    /// How long each action may take.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub timeouts: Seldom<Timeouts>,
    /// The order in which it is replaced.
    #[serde(default, skip_serializing_if = "is_left_out")]
    pub replace_order: ReplaceOrder,
    /// What it holds exclusively.
    #[serde(default, skip_serializing_if = "Seldom::is_usual")]
    pub claims: Seldom<Vec<Arc<str>>>,
    /// Resolved choices that later plans keep while they satisfy the need, each with what it was chosen from.
    #[serde(default, skip_serializing_if = "Seldom::is_usual")]
    pub pins: Seldom<BTreeMap<Arc<str>, Pin>>,
}

/// A direct dependency of an object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Dependency {
    /// What it depends on.
    pub address: ResourceAddress,
    /// The object that stood at that address when this one was last applied.
    pub uid: Option<Uid>,
}

/// A resolved choice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pin {
    /// What was chosen.
    pub value: Value,
    /// What it was chosen from: a name pattern, a version range, a need.
    pub chosen_from: Value,
}

/// A call whose result is not recorded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OpenCall {
    /// Its idempotency key.
    pub operation: OperationId,
    /// What was to be done.
    pub action: CallAction,
    /// The inputs that it carries.
    pub inputs: Attributes,
    /// The status before it.
    pub before: Option<Status>,
    /// The object that the same event deposed.
    pub deposes: Option<Uid>,
    /// The serial of its intent.
    pub since: u64,
    /// The lease epoch under which it was sent.
    pub epoch: u64,
}

impl Record {
    /// Keeps texts once that the object has as id, input and attribute, or as its name and its document's: what was just
    /// read has each by itself.
    pub(super) fn share(&mut self) {
        // A document that is one resource has its name. What others share already stays as it is.
        let document = Arc::get_mut(&mut self.declaration).and_then(|own| own.document.as_mut());
        if let Some(document) = document {
            document.share_name(self.address.name.text());
        }
        let known = |name: &Arc<str>, text: &Arc<str>| {
            let of_id = self.id.as_ref().map(ObjectId::text);
            let of_inputs = self.inputs.get(name).into_iter().chain(self.inputs.values());
            let texts = of_id.into_iter().chain(of_inputs.filter_map(|value| match value {
                Value::String(text) => Some(text),
                _ => None,
            }));
            texts.take(SHARED).find(|known| **known == *text).cloned()
        };
        for (name, value) in self.attributes.iter_mut() {
            if let Value::String(text) = value
                && let Some(known) = known(name, text)
            {
                *text = known;
            }
        }
    }

    /// Returns what a provider needs to find, read or delete the object.
    pub fn to_object(&self) -> RecordedObject {
        RecordedObject {
            uid: self.uid,
            address: self.address.clone(),
            id: self.id.clone(),
            inputs: self.inputs.clone(),
            attributes: self.attributes.clone(),
            private: (*self.private).clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &Value) -> &Arc<str> {
        match value {
            Value::String(text) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_record_keeps_a_text_once_and_reads_the_same() {
        let mut record: Record = serde_json::from_value(serde_json::json!({
            "uid": "00000000-0000-0001-0000-000000000001",
            "address": "box.a",
            "status": "ready",
            "id": "id-of-a",
            "inputs": {"input": "a text", "other": "another text", "size": 1},
            "attributes": {"id": "id-of-a", "input": "a text", "output": "another text", "size": 1, "zone": "z"},
            "private": null,
            "declaration": {
                "provider": "toy",
                "schema_version": 1,
                "document": {"document_type": "resource", "name": "a", "place": {"file": "a.yml", "line": 1, "column": 1}}
            },
            "created_at": 1,
            "changed_at": 1
        }))
        .unwrap();
        let before: Record = serde_json::from_str(&serde_json::to_string(&record).unwrap()).unwrap();
        let written = serde_json::to_string(&record).unwrap();
        record.share();
        assert_eq!(record, before);
        assert_eq!(serde_json::to_string(&record).unwrap(), written);
        let Record {
            id,
            inputs,
            attributes,
            declaration,
            address,
            ..
        } = &record;
        let document = declaration.document.as_ref().unwrap();
        assert!(Arc::ptr_eq(&document.name, address.name.text()));
        let one = |a, b| Arc::ptr_eq(a, text(b));
        assert!(one(id.as_ref().unwrap().text(), &attributes["id"]));
        assert!(one(text(&inputs["input"]), &attributes["input"]));
        assert!(one(text(&inputs["other"]), &attributes["output"]));
        assert!(!one(text(&before.inputs["input"]), &before.attributes["input"]));
    }
}
