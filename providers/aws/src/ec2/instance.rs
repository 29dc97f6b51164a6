//! `aws_instance`: a virtual machine.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_ec2::types::{AttributeValue, Instance, InstanceStateName};
use gabion_engine::address::{Lineage, ObjectId};
use gabion_engine::provider::{
    AttributeProblem, Call, CreateRequest, Effect, ErrorClass, ListedObject, ObjectState, ObserveRequest,
    PlanRequest, PlanResponse, ProviderError, RecordedObject, ReplaceCause, UpdateRequest, propose,
};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Idempotency, ReplaceOrder, ResourceSchema, Timeouts,
};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::host_key;
use super::images::ImagePattern;
use super::instance_change::{in_place, set_source_dest_check};
use super::instance_launch::launch;
use super::instance_view::{Volumes, state};
use super::security_group::recorded_id;
use super::user_data::{self, UserData};
use crate::attributes::{block, int, is_set, opened, problem, text, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::facts::ImageFacts;
use crate::kind::{self, FILTER_VALUES, Found, Kind, Sought, block_kind};
use crate::{tags, wait};

/// The resource type.
pub(crate) const TYPE: &str = "aws_instance";

/// For how long a new instance may not be seen by descriptions.
const WINDOW: Duration = Duration::from_secs(30);

pub(crate) struct Instances;

#[async_trait]
impl Kind for Instances {
    fn schema(&self) -> ResourceSchema {
        let mut schema = attributes(kind::schema(
            TYPE,
            "A virtual machine. Its metadata service asks for a token (IMDSv2), and its root volume is encrypted, unless \
             told otherwise.",
        ));
        schema.idempotency = Idempotency::Token;
        schema.consistency_window = WINDOW;
        schema.replace_order = ReplaceOrder::CreateThenDelete;
        schema.timeouts = Timeouts {
            create: Duration::from_secs(600),
            update: Duration::from_secs(900),
            // Machines with many GPUs take their time.
            delete: Duration::from_secs(1200),
        };
        schema
    }

    fn validate(&self, inputs: &Attributes) -> Vec<AttributeProblem> {
        let mut problems = Vec::new();
        match (
            is_set(inputs, "ami"),
            is_set(inputs, "ami_name"),
            is_set(inputs, "ami_owner"),
        ) {
            (false, false, _) => problems.push(problem(
                "ami",
                "An instance is made from an image.",
                "set `ami`, or `ami_owner` and `ami_name` to have the newest image of a name pattern",
            )),
            (true, true, _) | (true, _, true) => problems.push(problem(
                "ami",
                "`ami` names one image; `ami_owner` and `ami_name` find one.",
                "remove `ami`, or the other two",
            )),
            (false, true, false) => problems.push(problem(
                "ami_owner",
                "Anybody can publish an image of any name: without its owner a name says nothing.",
                "set `ami_owner` to the account that publishes it, or to `amazon`",
            )),
            _ => {}
        }
        for name in ["root_block_device", "metadata_options", "instance_market_options"] {
            let items = inputs.get(name).map(opened).and_then(Value::as_list);
            if items.is_some_and(|items| items.len() > 1) {
                problems.push(problem(name, "There is at most one of these blocks.", "keep one"));
            }
        }
        if let Some(Err(why)) = text(inputs, "user_data").map(|text| UserData::check(text.as_bytes())) {
            problems.push(problem(
                "user_data",
                why,
                "shorten it: have the machine fetch what is long",
            ));
        }
        problems
    }

    fn plan(&self, schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
        let mut response = propose(schema, request);
        plan_image(request, &mut response);
        plan_state(request, &mut response);
        response
    }

    async fn read(&self, clients: &Clients, sought: &[Sought]) -> Result<Found, ProviderError> {
        let mut instances = BTreeMap::new();
        for chunk in sought.chunks(FILTER_VALUES) {
            let ids = chunk.iter().map(|sought| sought.id.to_string()).collect();
            instances.extend(by_id(clients, ids).await?);
        }
        let volumes = Volumes::of(clients, instances.values()).await?;
        let mut found = Found::new();
        for sought in sought {
            if let Some(instance) = instances.get(sought.id.as_str()) {
                let mut state = state(clients, instance, &volumes, sought);
                user_data::fill(clients, instance, &mut state, sought).await?;
                match host_key::fill(clients, &mut state, &sought.inputs, &sought.attributes).await {
                    Ok(()) => found.insert(sought.id.clone(), state),
                    // It would go wrong for the others as well, and may work in a moment.
                    Err(error) if matches!(error.class, ErrorClass::Throttled | ErrorClass::Transient) => {
                        return Err(error);
                    }
                    Err(error) => found.untold(sought.id.clone(), error),
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
        let made = launch(clients, request, call).await?;
        let id = kind::made_id("RunInstances", made.instance_id())?;
        call.checkpoint(&id, &serde_json::Value::Null).await?;
        call.phase("boot");
        reach(clients, &id, InstanceStateName::Running, call).await?;
        // Of a new interface the check is on.
        if truth(&request.inputs, "source_dest_check") == Some(false) {
            set_source_dest_check(clients, &id, false).await?;
        }
        let mut state = kind::read_made(self, clients, &id, &request.inputs, call).await?;
        host_key::wait_for(clients, &mut state, &request.inputs, &Attributes::new(), call).await?;
        Ok(state)
    }

    async fn update(
        &self,
        clients: &Clients,
        request: &UpdateRequest,
        call: &Call,
    ) -> Result<ObjectState, ProviderError> {
        let id = recorded_id(&request.object)?;
        let Some(there) = by_id(clients, vec![id.to_string()]).await?.remove(id.as_str()) else {
            return Err(crate::error::not_found("instance", id.as_str(), &clients.region));
        };
        in_place(clients, &id, &there, request).await?;
        let resize =
            there.instance_type().map(|kind| kind.as_str()) != text(&request.inputs, "instance_type");
        let rewrite = request
            .changed
            .iter()
            .any(|path| path.first_key() == Some(user_data::NAME));
        if resize || rewrite {
            call.phase("stop");
            stop(clients, &id, call).await?;
        }
        if rewrite {
            user_data::set(clients, &id, &request.inputs).await?;
        }
        if resize {
            let modify = clients
                .ec2
                .modify_instance_attribute()
                .instance_id(id.as_str())
                .instance_type(
                    AttributeValue::builder()
                        .set_value(text(&request.inputs, "instance_type").map(str::to_owned))
                        .build(),
                )
                .send();
            clients
                .call(Api::ec2("ModifyInstanceAttribute").changing(), modify)
                .await?;
        }
        call.phase("boot");
        start(clients, &id, call).await?;
        let mut state = kind::read_made(self, clients, &id, &request.inputs, call).await?;
        host_key::wait_for(
            clients,
            &mut state,
            &request.inputs,
            &request.object.attributes,
            call,
        )
        .await?;
        Ok(state)
    }

    async fn delete(
        &self,
        clients: &Clients,
        object: &RecordedObject,
        call: &Call,
    ) -> Result<(), ProviderError> {
        let id = recorded_id(object)?;
        let terminate = clients.ec2.terminate_instances().instance_ids(id.as_str()).send();
        match clients
            .call(Api::ec2("TerminateInstances").changing(), terminate)
            .await
        {
            Ok(_) => {}
            Err(failed)
                if failed.is("InvalidInstanceID.NotFound") || failed.is("InvalidInstanceID.Malformed") =>
            {
                return Ok(());
            }
            Err(failed) => return Err(failed.into()),
        }
        call.phase("terminate");
        // What the instance holds (its groups, its volumes, its address) is free only when it is gone.
        wait::until(call, "the instance is terminated", || async {
            let seen = look(clients, id.as_str()).await?;
            let is_gone = seen.is_none_or(|seen| state_name(&seen) == Some(&InstanceStateName::Terminated));
            Ok(is_gone.then_some(()))
        })
        .await
    }

    async fn find(
        &self,
        clients: &Clients,
        request: &ObserveRequest,
    ) -> Result<Option<ObjectState>, ProviderError> {
        let filters = vec![tags::made_by(request.operation)];
        let instances = describe(clients, filters).await?;
        let Some(instance) = instances.into_iter().find(is_there) else {
            return Ok(None);
        };
        let volumes = Volumes::of(clients, [&instance]).await?;
        let id = ObjectId::new(instance.instance_id().unwrap_or_default());
        let sought = Sought::new(id, &request.inputs);
        let mut state = state(clients, &instance, &volumes, &sought);
        user_data::fill(clients, &instance, &mut state, &sought).await?;
        host_key::fill(clients, &mut state, &sought.inputs, &sought.attributes).await?;
        Ok(Some(state))
    }

    async fn list(&self, clients: &Clients, lineage: Lineage) -> Result<Vec<ListedObject>, ProviderError> {
        let instances = describe(clients, vec![tags::owned_by(lineage)]).await?;
        let listed = instances
            .iter()
            .filter(|instance| is_there(instance))
            .filter_map(|instance| {
                kind::listed(TYPE, instance.instance_id()?, &tags::by_name(instance.tags()))
            });
        Ok(listed.collect())
    }
}

fn attributes(schema: ResourceSchema) -> ResourceSchema {
    let (text, int, truth) = (AttributeKind::String, AttributeKind::Int, AttributeKind::Bool);
    let optional = AttributeSchema::optional;
    let either = AttributeSchema::optional_computed;
    let computed = AttributeSchema::computed;
    schema
        .attribute("region", kind::region())
        .attribute(
            "ami",
            either(
                text.clone(),
                "The image. Found by `ami_owner` and `ami_name` it is chosen once and kept: a newer image is no change.",
            )
            .forces_replacement(),
        )
        .attribute(
            "ami_owner",
            optional(
                text.clone(),
                "Who publishes the image: an account's number, or an alias such as `amazon`.",
            ),
        )
        .attribute(
            "ami_name",
            optional(text.clone(), "The name of the image, with `*` and `?`; the newest that matches is taken."),
        )
        .attribute(
            "instance_type",
            AttributeSchema::required(text.clone(), "The type, such as `g5.xlarge`. Changing it stops and starts the machine."),
        )
        .attribute(
            "availability_zone",
            either(text.clone(), "The zone; null is that of the subnet, or AWS's choice.").forces_replacement(),
        )
        .attribute(
            "subnet_id",
            either(text.clone(), "The subnet; null is the default one of the zone.").forces_replacement(),
        )
        .attribute(
            "vpc_security_group_ids",
            kind::text_set(AttributeSchema::optional_computed, "The security groups; null is the default one of the VPC."),
        )
        .attribute(
            "key_name",
            optional(text.clone(), "The key pair whose key may log in.").forces_replacement(),
        )
        .attribute(
            "associate_public_ip_address",
            either(truth.clone(), "Whether it gets a public address; null is what the subnet says.").forces_replacement(),
        )
        .attribute(
            "private_ip",
            either(text.clone(), "Its address in the subnet; null is AWS's choice.").forces_replacement(),
        )
        .attribute(
            "user_data",
            optional(
                text.clone(),
                "What the machine gets to do at its first start, at most 16 KiB. A change replaces the instance. EC2 shows \
                 it to whoever may describe the instance: no secrets.",
            )
            .forces_replacement(),
        )
        .attribute(
            "iam_instance_profile",
            optional(text.clone(), "The name of the instance profile with its role.").forces_replacement(),
        )
        .attribute("placement_group", optional(text.clone(), "The placement group.").forces_replacement())
        .attribute("tenancy", either(text.clone(), "`default`, `dedicated` or `host`.").forces_replacement())
        .attribute(
            "ebs_optimized",
            either(truth.clone(), "Whether volumes get a bandwidth of their own.").forces_replacement(),
        )
        .attribute("monitoring", optional(truth.clone(), "Whether metrics come every minute.").default_value(false))
        .attribute(
            "source_dest_check",
            optional(truth.clone(), "Whether packets for other addresses are dropped.").default_value(true),
        )
        .attribute(
            "instance_market_options",
            optional(
                block_kind(&[
                    ("market_type", text.clone()),
                    (
                        "spot_options",
                        block_kind(&[
                            ("max_price", text.clone()),
                            ("instance_interruption_behavior", text.clone()),
                            ("spot_instance_type", text.clone()),
                        ]),
                    ),
                ]),
                "One block: `market_type: spot` makes it a spot instance, with at most `max_price` dollars an hour.",
            )
            .forces_replacement(),
        )
        .attribute(
            "capacity_reservation_specification",
            optional(
                block_kind(&[
                    ("capacity_reservation_preference", text.clone()),
                    (
                        "capacity_reservation_target",
                        block_kind(&[
                            ("capacity_reservation_id", text.clone()),
                            ("capacity_reservation_resource_group_arn", text.clone()),
                        ]),
                    ),
                ]),
                "One block: the reservation that it runs in.",
            )
            .forces_replacement(),
        )
        .attribute(
            "root_block_device",
            optional(
                block_kind(&[
                    ("volume_size", int.clone()),
                    ("volume_type", text.clone()),
                    ("iops", int.clone()),
                    ("throughput", int.clone()),
                    ("encrypted", truth.clone()),
                    ("kms_key_id", text.clone()),
                    ("delete_on_termination", truth.clone()),
                ]),
                "One block: the root volume, sizes in GiB. It is encrypted, and goes with the instance, unless told \
                 otherwise. Size, type, iops and throughput change in place; a volume never shrinks.",
            ),
        )
        .attribute(
            "metadata_options",
            optional(
                block_kind(&[
                    ("http_endpoint", text.clone()),
                    ("http_tokens", text.clone()),
                    ("http_put_response_hop_limit", int),
                    ("instance_metadata_tags", text.clone()),
                ]),
                "One block: the metadata service. `http_tokens` is `required` (IMDSv2) unless told otherwise; programs in \
                 containers need `http_put_response_hop_limit: 2`.",
            ),
        )
        .attribute(
            host_key::WANTED,
            optional(
                truth,
                "Whether its start is waited for until the machine's console shows its SSH host key, as cloud-init prints it.",
            )
            .default_value(false),
        )
        .attribute("tags", kind::tags())
        .attribute(
            host_key::KEY,
            computed(text.clone(), "Its SSH host key, with `wait_for_host_key`: `ssh-ed25519 AAAA…`."),
        )
        .attribute("arn", computed(text.clone(), "Its Amazon Resource Name."))
        .attribute(
            "instance_state",
            computed(text.clone(), "`running`; one that was stopped is started again."),
        )
        .attribute(
            "primary_network_interface_id",
            computed(text.clone(), "Its first network interface."),
        )
        .attribute("private_dns", computed(text.clone(), "Its name in the VPC."))
        .attribute("public_dns", computed(text.clone(), "Its public name, if it has one."))
        .attribute(
            "public_ip",
            computed(
                text.clone(),
                "The public address that it got at its start. Of one with an elastic address use that of the `aws_eip`.",
            ),
        )
        .attribute("root_volume_id", computed(text, "Its root volume."))
}

/// Returns the pattern that inputs find their image by.
pub(crate) fn pattern(inputs: &Attributes) -> Option<ImagePattern> {
    Some(ImagePattern {
        owner: text(inputs, "ami_owner")?.to_owned(),
        name: text(inputs, "ami_name")?.to_owned(),
        architecture: None,
    })
}

/// Returns the name of the fact with the image of a pattern.
pub(crate) fn image_fact(place: &crate::clients::Place, pattern: &ImagePattern) -> String {
    let named = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "image/{}/{}/{}",
        named(&place.profile),
        named(&place.region),
        pattern.key()
    )
}

/// Chooses the image of a pattern, once: it stands until the pattern changes.
fn plan_image(request: &PlanRequest, response: &mut PlanResponse) {
    let Some(pattern) = pattern(&request.desired) else {
        return;
    };
    let fact = image_fact(&crate::clients::Place::of(&request.desired), &pattern);
    let newest = request.facts.get(&fact).and_then(Value::as_map);
    let newest_id = newest.and_then(|image| text(image, "id"));
    let Some(prior) = &request.prior else {
        if let Some(id) = newest_id {
            response.planned.insert("ami".into(), Value::string(id));
        }
        return;
    };
    let kept = text(&prior.attributes, "ami");
    let same_pattern = super::instance::pattern(&prior.inputs).is_some_and(|before| before == pattern);
    if same_pattern {
        if let (Some(kept), Some(newest)) = (kept, newest)
            && let Some(id) = newest_id
            && id != kept
        {
            let name = text(newest, "name").unwrap_or_default();
            response.notes.push(format!(
                "A newer image matches `{}`: {id} ({name}). The instance keeps {kept} until it is replaced.",
                pattern.name
            ));
        }
        return;
    }
    // Another pattern is another image, unless it finds the same.
    let planned = newest_id.map_or_else(Value::unknown, Value::string);
    if planned.as_str() != kept {
        response.planned.insert("ami".into(), planned);
        let path = AttributePath::root("ami");
        if !response.replace.iter().any(|cause| cause.path == path) {
            response.replace.push(ReplaceCause {
                path,
                why: Some("The image is found by another pattern now.".to_owned()),
            });
        }
    }
}

/// A machine runs; starting one that does not gives it another public address.
fn plan_state(request: &PlanRequest, response: &mut PlanResponse) {
    response
        .planned
        .insert("instance_state".into(), Value::string("running"));
    let recorded = request.prior.as_ref();
    let recorded = recorded.and_then(|prior| text(&prior.attributes, host_key::KEY));
    let key = match (host_key::is_wanted(&request.desired), recorded) {
        (false, _) => Value::Null,
        (true, Some(key)) => Value::string(key),
        (true, None) => Value::unknown(),
    };
    response.planned.insert(host_key::KEY.into(), key);
    let Some(prior) = &request.prior else {
        return;
    };
    let runs = text(&prior.attributes, "instance_state") == Some("running");
    let resized = match (
        text(&prior.attributes, "instance_type"),
        text(&request.desired, "instance_type"),
    ) {
        (Some(before), Some(after)) => before != after,
        _ => false,
    };
    let rewritten = user_data::plan(request, response);
    if !runs || resized || rewritten {
        for name in ["public_ip", "public_dns"] {
            if is_set(&prior.attributes, name) || !runs {
                response.planned.insert(name.into(), Value::unknown());
            }
        }
    }
    for (name, _) in [("instance_type", resized), ("user_data", rewritten)]
        .into_iter()
        .filter(|(_, changed)| *changed && runs)
    {
        response.notes.push(format!(
            "Changing `{name}` stops the machine and starts it again."
        ));
    }
    plan_root_volume(prior, request, response);
}

/// Of the root volume some things cannot be changed.
fn plan_root_volume(
    prior: &gabion_engine::provider::PriorObject,
    request: &PlanRequest,
    response: &mut PlanResponse,
) {
    let (Some(before), Some(after)) = (
        block(&prior.attributes, "root_block_device"),
        block(&request.desired, "root_block_device"),
    ) else {
        return;
    };
    let at = |name: &str| AttributePath::root("root_block_device").index(0).key(name);
    for name in ["encrypted", "kms_key_id"] {
        if is_set(before, name) && is_set(after, name) && before.get(name) != after.get(name) {
            response.replace.push(ReplaceCause {
                path: at(name),
                why: Some(format!("`{name}` of a volume is chosen when it is made.")),
            });
        }
    }
    if let (Some(was), Some(wanted)) = (int(before, "volume_size"), int(after, "volume_size"))
        && wanted < was
    {
        response.replace.push(ReplaceCause {
            path: at("volume_size"),
            why: Some("A volume never shrinks.".to_owned()),
        });
    }
}

/// Returns whether an instance counts: one that is terminated is gone, though EC2 shows it for a while.
pub(crate) fn is_there(instance: &Instance) -> bool {
    !matches!(
        instance.state().and_then(|state| state.name()),
        Some(InstanceStateName::Terminated | InstanceStateName::ShuttingDown)
    )
}

/// Returns the state's name.
pub(crate) fn state_name(instance: &Instance) -> Option<&InstanceStateName> {
    instance.state().and_then(|state| state.name())
}

async fn describe(
    clients: &Clients,
    filters: Vec<aws_sdk_ec2::types::Filter>,
) -> Result<Vec<Instance>, ProviderError> {
    let mut instances = Vec::new();
    let mut next = None;
    loop {
        let request = clients
            .ec2
            .describe_instances()
            .set_filters(Some(filters.clone()))
            .max_results(1000)
            .set_next_token(next)
            .send();
        let answer = clients.call(Api::ec2("DescribeInstances"), request).await?;
        next = answer.next_token().map(str::to_owned);
        for reservation in answer.reservations.unwrap_or_default() {
            instances.extend(reservation.instances.unwrap_or_default());
        }
        if next.is_none() {
            return Ok(instances);
        }
    }
}

/// Returns those that are there, by id. A filter does not mind ids that nothing has.
async fn by_id(clients: &Clients, ids: Vec<String>) -> Result<BTreeMap<String, Instance>, ProviderError> {
    let instances = describe(clients, vec![tags::filter("instance-id", ids)]).await?;
    let there = instances.into_iter().filter(is_there);
    Ok(there
        .filter_map(|instance| Some((instance.instance_id()?.to_owned(), instance)))
        .collect())
}

/// Looks at an instance together with all others that are waited for. One that ended is shown for about an hour.
async fn look(clients: &Clients, id: &str) -> Result<Option<Instance>, ProviderError> {
    let poll = clients.looks.poll;
    clients
        .looks
        .instances
        .at(id, poll, |wanted| async move {
            let mut found = BTreeMap::new();
            for chunk in wanted.chunks(FILTER_VALUES) {
                let filters = vec![tags::filter("instance-id", chunk.iter().cloned())];
                found.extend(
                    describe(clients, filters)
                        .await?
                        .into_iter()
                        .filter_map(|instance| Some((instance.instance_id()?.to_owned(), instance))),
                );
            }
            Ok(found)
        })
        .await
}

/// Waits until an instance is in a state. One that ends instead will never be: EC2 says why.
async fn reach(
    clients: &Clients,
    id: &ObjectId,
    wanted: InstanceStateName,
    call: &Call,
) -> Result<(), ProviderError> {
    let mut unseen_since = None;
    let what = format!("the instance is {}", wanted.as_str());
    wait::until(call, &what, || {
        let wanted = wanted.clone();
        let now = tokio::time::Instant::now();
        let first_unseen = *unseen_since.get_or_insert(now);
        async move {
            let Some(instance) = look(clients, id.as_str()).await? else {
                if now.duration_since(first_unseen) < WINDOW {
                    return Ok(None);
                }
                return Err(ended(id, "it is gone", &clients.region));
            };
            match state_name(&instance) {
                Some(state) if *state == wanted => Ok(Some(())),
                // What it holds is free, and another may be asked for, only when it is gone.
                Some(InstanceStateName::ShuttingDown) if lacks_capacity(&instance) => Ok(None),
                Some(InstanceStateName::ShuttingDown | InstanceStateName::Terminated) => {
                    Err(ended_by(&instance, id, &clients.region))
                }
                _ => Ok(None),
            }
        }
    })
    .await
}

/// The error of an instance that ended, with what EC2 says about it (EC2 API, `StateReason`).
fn ended_by(instance: &Instance, id: &ObjectId, region: &str) -> ProviderError {
    let reason = instance.state_reason();
    let code = reason.and_then(|reason| reason.code()).unwrap_or_default();
    // Most messages begin with the code.
    let why = match reason.and_then(|reason| reason.message()) {
        Some(said) if code.is_empty() || said.starts_with(code) => said.to_owned(),
        Some(said) => format!("{code}: {said}"),
        None if code.is_empty() => "EC2 does not say why".to_owned(),
        None => code.to_owned(),
    };
    let error = ended(id, &why, region);
    if !lacks_capacity(instance) {
        return error;
    }
    ProviderError {
        class: ErrorClass::NoCapacity,
        ..error
    }
    .with_hint("set another `availability_zone` or `instance_type`, or run the command again later")
}

/// Returns whether an instance ends because there is no capacity for it.
fn lacks_capacity(instance: &Instance) -> bool {
    let code = instance.state_reason().and_then(|reason| reason.code());
    matches!(
        code,
        Some("Server.InsufficientInstanceCapacity" | "Server.SpotInstanceTermination")
    )
}

fn ended(id: &ObjectId, why: &str, region: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::Invalid,
        format!("The instance {id} in {region} ended while it was waited for: {why}."),
    )
    .with_effect(Effect::Partial)
}

async fn stop(clients: &Clients, id: &ObjectId, call: &Call) -> Result<(), ProviderError> {
    let request = clients.ec2.stop_instances().instance_ids(id.as_str()).send();
    clients
        .call(Api::ec2("StopInstances").changing(), request)
        .await?;
    reach(clients, id, InstanceStateName::Stopped, call).await
}

/// Starts an instance unless it runs.
async fn start(clients: &Clients, id: &ObjectId, call: &Call) -> Result<(), ProviderError> {
    let there = by_id(clients, vec![id.to_string()]).await?;
    match there.get(id.as_str()).and_then(state_name) {
        Some(InstanceStateName::Running | InstanceStateName::Pending) | None => {}
        Some(InstanceStateName::Stopping) => reach(clients, id, InstanceStateName::Stopped, call).await?,
        Some(_) => {}
    }
    if !matches!(
        there.get(id.as_str()).and_then(state_name),
        Some(InstanceStateName::Running | InstanceStateName::Pending)
    ) {
        let request = clients.ec2.start_instances().instance_ids(id.as_str()).send();
        clients
            .call(Api::ec2("StartInstances").changing(), request)
            .await?;
    }
    reach(clients, id, InstanceStateName::Running, call).await
}

/// Returns an image's facts as the value of a fact.
pub(crate) fn image_value(image: &ImageFacts) -> Value {
    Value::map([
        ("id", Value::string(&image.id)),
        ("name", Value::string(&image.name)),
        ("created", Value::string(&image.created)),
    ])
}
