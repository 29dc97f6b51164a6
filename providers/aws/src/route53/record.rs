//! `aws_route53_record`: what a name answers.
//!
//! A change is made only over values of our own: a creation fails when the name has such a record already, a change and a
//! deletion name the values that they replace, and Route 53 refuses them when there are others.

use std::collections::BTreeMap;

use async_trait::async_trait;
use aws_sdk_route53::types::{Change, ChangeAction, ChangeBatch, ResourceRecordSet, RrType};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, ErrorClass, ObjectState, ObserveRequest, ProviderError,
    RecordedObject, UpdateRequest,
};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Equality, Idempotency, ReplaceOrder, ResourceSchema,
};
use gabion_engine::value::{Attributes, Value};

use super::record_set::{Answer, RecordSet, dns_name, name_of, parse_id};
use super::{CONSISTENCY, in_sync, zone_id};
use crate::attributes::{Written, as_written, is_set, problem, required, text};
use crate::clients::Clients;
use crate::error::{Api, Failed};
use crate::kind::{self, Found, Kind, Sought, block_kind};

/// The resource type.
pub(crate) const TYPE: &str = "aws_route53_record";

/// The types of records that are made.
const TYPES: [&str; 4] = ["A", "AAAA", "CNAME", "TXT"];

/// With so few records of a zone each is looked up; else the zone is listed.
const FEW: usize = 3;

pub(crate) struct Records;

#[async_trait]
impl Kind for Records {
    fn schema(&self) -> ResourceSchema {
        let text = AttributeKind::String;
        let mut schema = kind::schema(
            TYPE,
            "What a name answers. Only values of its own are replaced: a record that somebody else made is a conflict.",
        )
        .attribute(
            "zone_id",
            AttributeSchema::required(text.clone(), "The hosted zone.").forces_replacement(),
        )
        .attribute(
            "name",
            AttributeSchema::required(text.clone(), "The whole name, such as `*.example.com`.")
                .equality(Equality::CaseInsensitive)
                .forces_replacement(),
        )
        .attribute(
            "type",
            AttributeSchema::required(text.clone(), "`A`, `AAAA`, `CNAME` or `TXT`.").forces_replacement(),
        )
        .attribute(
            "ttl",
            AttributeSchema::optional(
                AttributeKind::Int,
                "For how many seconds an answer may be kept; not of an alias.",
            ),
        )
        .attribute(
            "records",
            kind::text_set(AttributeSchema::optional, "The values; those of `TXT` get their quotes here. Not of an alias."),
        )
        .attribute(
            "alias",
            AttributeSchema::optional(
                block_kind(&[
                    ("name", text.clone()),
                    ("zone_id", text.clone()),
                    ("evaluate_target_health", AttributeKind::Bool),
                ]),
                "One block: the name in Route 53 whose answers it gives, in place of `records` and `ttl`.",
            ),
        )
        .attribute("fqdn", AttributeSchema::computed(text, "The name, without the dot at its end."));
        schema.idempotency = Idempotency::NaturalUpsert;
        schema.consistency_window = CONSISTENCY;
        schema.replace_order = ReplaceOrder::DeleteThenCreate;
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        if text(inputs, "type").is_some_and(|kind| !TYPES.contains(&kind)) {
            problems.push(problem(
                "type",
                "Records of this type are not made.",
                "write `A`, `AAAA`, `CNAME` or `TXT`",
            ));
        }
        match (is_set(inputs, "records"), is_set(inputs, "alias")) {
            (false, false) => problems.push(problem(
                "records",
                "It answers nothing.",
                "set `records` and `ttl`, or `alias`",
            )),
            (true, true) => problems.push(problem(
                "alias",
                "An alias has no values.",
                "remove `alias`, or `records` and `ttl`",
            )),
            (true, false) if !is_set(inputs, "ttl") => {
                problems.push(problem(
                    "ttl",
                    "It is not said for how long an answer may be kept.",
                    "set `ttl` in seconds, such as 60",
                ));
            }
            (false, true) if is_set(inputs, "ttl") => {
                problems.push(problem(
                    "ttl",
                    "An alias has the TTL of what it is an alias of.",
                    "remove `ttl`",
                ));
            }
            _ => {}
        }
        let one = inputs.get("records").and_then(Value::as_list).map(<[Value]>::len);
        if text(inputs, "type") == Some("CNAME") && one.is_some_and(|count| count > 1) {
            problems.push(problem(
                "records",
                "A name is an alias of one other name.",
                "keep one",
            ));
        }
        problems
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut zones: BTreeMap<String, Vec<(&Sought, String, String)>> = BTreeMap::new();
        for sought in sought {
            if let Some((zone, name, kind)) = parse_id(sought.id.as_str()) {
                zones.entry(zone).or_default().push((sought, name, kind));
            }
        }
        let mut found = Found::new();
        for (zone, wanted) in zones {
            let mut sets = Vec::new();
            if wanted.len() <= FEW {
                for (_, name, kind) in &wanted {
                    sets.extend(one(clients, &zone, name, kind).await?);
                }
            } else {
                sets = all(clients, &zone).await?;
            }
            for (sought, name, kind) in wanted {
                let set = sets.iter().find(|set| is(set, &name, &kind));
                if let Some(set) = set {
                    found.insert(sought.id.clone(), state(&zone, set, &sought.inputs));
                }
            }
        }
        Ok(found)
    }

    async fn create(
        &self,
        clients: &Clients,
        request: &CreateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let inputs = &request.inputs;
        let zone = zone_id(required(inputs, "zone_id"));
        let set = RecordSet::of(inputs);
        let changes = vec![change(ChangeAction::Create, &set)?];
        let made = match send(clients, zone, changes, call).await {
            Ok(made) => made,
            Err(failed) => return Err(conflict(clients, zone, &set, failed, None).await),
        };
        let id = ObjectId::new(set.id(zone));
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        call.phase("name servers");
        in_sync(clients, &made, call).await?;
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let inputs = &request.inputs;
        let zone = zone_id(required(inputs, "zone_id"));
        let wanted = RecordSet::of(inputs);
        let there = one(clients, zone, &wanted.name, &wanted.kind).await?;
        let there = there.as_ref().map(RecordSet::there);
        let id = ObjectId::new(wanted.id(zone));
        if there.as_ref() == Some(&wanted) {
            return kind::read_made(self, clients, &id, inputs, call).await;
        }
        let recorded = recorded_set(&request.object);
        // Where what was recorded is what is wanted, the plan was to put it back: what is there now is what the plan
        // showed as drift. Else only what is recorded is replaced.
        let replaced = match &there {
            Some(there) if recorded == wanted => Some(there.clone()),
            Some(_) => Some(recorded),
            None => None,
        };
        let mut changes = Vec::new();
        if let Some(replaced) = &replaced {
            changes.push(change(ChangeAction::Delete, replaced)?);
        }
        changes.push(change(ChangeAction::Create, &wanted)?);
        match send(clients, zone, changes, call).await {
            Ok(made) => in_sync(clients, &made, call).await?,
            Err(failed) => return Err(conflict(clients, zone, &wanted, failed, replaced.as_ref()).await),
        }
        kind::read_made(self, clients, &id, inputs, call).await
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError> {
        let recorded = recorded_set(object);
        let zone = text(&object.attributes, "zone_id")
            .or(text(&object.inputs, "zone_id"))
            .map(zone_id)
            .unwrap_or_default();
        let there = one(clients, zone, &recorded.name, &recorded.kind).await?;
        let Some(there) = there.as_ref().map(RecordSet::there) else {
            return Ok(());
        };
        if there != recorded {
            return Err(foreign(&recorded, &there, zone));
        }
        match send(
            clients,
            zone,
            vec![change(ChangeAction::Delete, &recorded)?],
            call,
        )
        .await
        {
            Ok(made) => in_sync(clients, &made, call).await,
            Err(failed) => Err(conflict(clients, zone, &recorded, failed, Some(&recorded)).await),
        }
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let zone = zone_id(required(&request.inputs, "zone_id"));
        let wanted = RecordSet::of(&request.inputs);
        let there = one(clients, zone, &wanted.name, &wanted.kind).await?;
        // One with other values is somebody else's: the creation was refused, or never sent.
        let own = there.filter(|there| RecordSet::there(there) == wanted);
        Ok(own.map(|set| state(zone, &set, &request.inputs)))
    }
}

/// Returns what is recorded of a record: what it was when it was last made or changed.
fn recorded_set(object: &RecordedObject) -> RecordSet {
    let mut attributes = object.inputs.clone();
    attributes.extend(
        object
            .attributes
            .iter()
            .map(|(name, value)| (name.clone(), value.clone())),
    );
    RecordSet::of(&attributes)
}

fn change(action: ChangeAction, set: &RecordSet) -> Result<Change, ProviderError> {
    Change::builder()
        .action(action)
        .resource_record_set(set.to_sdk()?)
        .build()
        .map_err(|error| {
            ProviderError::new(ErrorClass::Invalid, format!("The record {}: {error}.", set.name))
        })
}

/// Sends changes of which all or none are made; returns the id to wait for.
async fn send(clients: &Clients, zone: &str, changes: Vec<Change>, call: &Call) -> Result<String, Failed> {
    let batch = ChangeBatch::builder()
        .comment(format!("gabion {}", call.operation))
        .set_changes(Some(changes))
        .build()
        .map_err(|error| Failed {
            code: None,
            error: ProviderError::new(ErrorClass::Invalid, format!("No changes can be sent: {error}.")),
        })?;
    let request = clients
        .route53
        .change_resource_record_sets()
        .hosted_zone_id(zone)
        .change_batch(batch)
        .send();
    let answer = clients
        .call(Api::route53("ChangeResourceRecordSets").changing(), request)
        .await?;
    let id = answer.change_info().map(|info| info.id().to_owned());
    Ok(id.unwrap_or_default())
}

/// Says what is there when a change was refused because of it.
async fn conflict(
    clients: &Clients,
    zone: &str,
    wanted: &RecordSet,
    failed: Failed,
    replaced: Option<&RecordSet>,
) -> ProviderError {
    if !failed.is("InvalidChangeBatch") && !failed.is("InvalidInput") {
        return failed.error;
    }
    let there = match one(clients, zone, &wanted.name, &wanted.kind).await {
        Ok(there) => there.as_ref().map(RecordSet::there),
        Err(_) => None,
    };
    match there {
        Some(there) if Some(&there) != replaced => foreign(replaced.unwrap_or(wanted), &there, zone),
        _ => failed.error,
    }
}

/// The error of a record that is not ours, or not any more.
fn foreign(ours: &RecordSet, there: &RecordSet, zone: &str) -> ProviderError {
    let id = there.id(zone);
    ProviderError::new(
        ErrorClass::Conflict,
        format!(
            "The zone {zone} has a record {} {} that is not ours: it is {}; ours is {}. It was left as it is.",
            there.name,
            there.kind,
            there.described(),
            ours.described()
        ),
    )
    .with_hint(format!(
        "remove it if nobody needs it, or take it over:\n    gabion import ADDRESS {id}\nOf a recorded one, `gabion drift` \
         shows what changed"
    ))
}

/// Returns whether a set is the plain one of a name and type.
fn is(set: &ResourceRecordSet, name: &str, kind: &str) -> bool {
    set.set_identifier().is_none() && dns_name(set.name()) == name && set.r#type().as_str() == kind
}

/// Looks one record up. A zone that is gone has no records.
async fn one(
    clients: &Clients,
    zone: &str,
    name: &str,
    kind: &str,
) -> Result<Option<ResourceRecordSet>, ProviderError> {
    let request = clients
        .route53
        .list_resource_record_sets()
        .hosted_zone_id(zone)
        .start_record_name(format!("{name}."))
        .start_record_type(RrType::from(kind))
        .max_items(5)
        .send();
    match clients
        .call(Api::route53("ListResourceRecordSets"), request)
        .await
    {
        Ok(answer) => Ok(answer
            .resource_record_sets
            .into_iter()
            .find(|set| is(set, name, kind))),
        Err(failed) if failed.is("NoSuchHostedZone") => Ok(None),
        Err(failed) => Err(failed.into()),
    }
}

/// Lists a zone. One that is gone has no records.
async fn all(clients: &Clients, zone: &str) -> Result<Vec<ResourceRecordSet>, ProviderError> {
    let mut sets = Vec::new();
    let (mut name, mut kind) = (None, None);
    loop {
        let request = clients
            .route53
            .list_resource_record_sets()
            .hosted_zone_id(zone)
            .set_start_record_name(name)
            .set_start_record_type(kind)
            .send();
        let answer = match clients
            .call(Api::route53("ListResourceRecordSets"), request)
            .await
        {
            Ok(answer) => answer,
            Err(failed) if failed.is("NoSuchHostedZone") => return Ok(Vec::new()),
            Err(failed) => return Err(failed.into()),
        };
        sets.extend(answer.resource_record_sets);
        if !answer.is_truncated {
            return Ok(sets);
        }
        (name, kind) = (answer.next_record_name, answer.next_record_type);
    }
}

fn state(zone: &str, set: &ResourceRecordSet, inputs: &Attributes) -> ObjectState {
    let there = RecordSet::there(set);
    let id = there.id(zone);
    let written_name = text(inputs, "name").filter(|_| name_of(inputs).as_ref() == Some(&there.name));
    let mut attributes = Written::default();
    attributes
        .text("profile", text(inputs, "profile"))
        .text("id", Some(&id))
        .text(
            "zone_id",
            text(inputs, "zone_id")
                .filter(|written| zone_id(written) == zone)
                .or(Some(zone)),
        )
        .text("name", Some(written_name.unwrap_or(&there.name)))
        .text("type", Some(&there.kind))
        .text("fqdn", Some(&there.name));
    let meaning = |name: &'static str| {
        let mut base = inputs.clone();
        base.insert("type".into(), Value::string(&there.kind));
        move |value: &Value| {
            let mut attributes = base.clone();
            if name == "records" {
                attributes.remove("alias");
            }
            attributes.insert(name.into(), value.clone());
            let set = RecordSet::of(&attributes);
            match set.answer {
                Answer::Records { values, .. } => format!("{values:?}"),
                alias @ Answer::Alias { .. } => format!("{alias:?}"),
            }
        }
    };
    match &there.answer {
        Answer::Records { ttl, values } => {
            let values = Value::List(values.iter().map(Value::string).collect());
            attributes.value("ttl", Some(Value::Int(*ttl))).value(
                "records",
                Some(as_written(inputs.get("records"), values, meaning("records"))),
            );
        }
        Answer::Alias { zone, name, health } => {
            let alias = Value::List(vec![Value::map([
                ("name", Value::string(name)),
                ("zone_id", Value::string(zone)),
                ("evaluate_target_health", Value::Bool(*health)),
            ])]);
            attributes.value(
                "alias",
                Some(as_written(inputs.get("alias"), alias, meaning("alias"))),
            );
        }
    }
    ObjectState {
        id: ObjectId::new(id),
        attributes: attributes.done(),
        private: serde_json::Value::Null,
        unreadable: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inputs(entries: &[(&str, Value)]) -> Attributes {
        entries
            .iter()
            .map(|(name, value)| ((*name).into(), value.clone()))
            .collect()
    }

    #[test]
    fn a_record_has_values_or_is_an_alias() {
        let records = || ("records", Value::List(vec!["192.0.2.1".into()]));
        let check = |entries: &[(&str, Value)]| Records.validate(&inputs(entries)).len();
        assert_eq!(
            check(&[("type", "A".into()), records(), ("ttl", Value::Int(60))]),
            0
        );
        assert_eq!(check(&[("type", "A".into()), records()]), 1);
        assert_eq!(check(&[("type", "A".into())]), 1);
        assert_eq!(
            check(&[("type", "SRV".into()), records(), ("ttl", Value::Int(60))]),
            1
        );
    }
}
