//! What of an instance is changed while it runs.

use aws_sdk_ec2::types::{
    AttributeBooleanValue, HttpTokensState, Instance, InstanceMetadataEndpointState,
    InstanceMetadataTagsState,
};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{ProviderError, UpdateRequest};
use gabion_engine::value::{Attributes, Value};

use crate::attributes::{block, int, is_set, text, texts, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::tags;

/// Says whether packets for other addresses are dropped.
pub(super) async fn set_source_dest_check(
    clients: &Clients,
    id: &ObjectId,
    wanted: bool,
) -> Result<(), ProviderError> {
    let request = clients
        .ec2
        .modify_instance_attribute()
        .instance_id(id.as_str())
        .source_dest_check(AttributeBooleanValue::builder().value(wanted).build())
        .send();
    clients
        .call(Api::ec2("ModifyInstanceAttribute").changing(), request)
        .await?;
    Ok(())
}

/// Changes what can be changed while the machine runs.
pub(super) async fn in_place(
    clients: &Clients,
    id: &ObjectId,
    there: &Instance,
    request: &UpdateRequest,
) -> Result<(), ProviderError> {
    let inputs = &request.inputs;
    tags::converge(clients, id.as_str(), &tags::by_name(there.tags()), inputs).await?;
    if is_set(inputs, "vpc_security_group_ids") {
        let mut wanted = texts(inputs, "vpc_security_group_ids");
        let mut groups: Vec<String> = there
            .security_groups()
            .iter()
            .filter_map(|group| group.group_id().map(str::to_owned))
            .collect();
        wanted.sort();
        groups.sort();
        if wanted != groups {
            let modify = clients
                .ec2
                .modify_instance_attribute()
                .instance_id(id.as_str())
                .set_groups(Some(wanted))
                .send();
            clients
                .call(Api::ec2("ModifyInstanceAttribute").changing(), modify)
                .await?;
        }
    }
    let check = truth(inputs, "source_dest_check").unwrap_or(true);
    if there.source_dest_check().unwrap_or(true) != check {
        set_source_dest_check(clients, id, check).await?;
    }
    monitoring(
        clients,
        id,
        there,
        truth(inputs, "monitoring").unwrap_or_default(),
    )
    .await?;
    metadata(clients, id, there, inputs).await?;
    super::instance_view::change_root_volume(clients, there, inputs).await
}

async fn monitoring(
    clients: &Clients,
    id: &ObjectId,
    there: &Instance,
    wanted: bool,
) -> Result<(), ProviderError> {
    let state = there.monitoring().and_then(|monitoring| monitoring.state());
    let is = state.is_some_and(|state| matches!(state.as_str(), "enabled" | "pending"));
    if is == wanted {
        return Ok(());
    }
    if wanted {
        let request = clients.ec2.monitor_instances().instance_ids(id.as_str()).send();
        clients
            .call(Api::ec2("MonitorInstances").changing(), request)
            .await?;
    } else {
        let request = clients.ec2.unmonitor_instances().instance_ids(id.as_str()).send();
        clients
            .call(Api::ec2("UnmonitorInstances").changing(), request)
            .await?;
    }
    Ok(())
}

async fn metadata(
    clients: &Clients,
    id: &ObjectId,
    there: &Instance,
    inputs: &Attributes,
) -> Result<(), ProviderError> {
    let none = Attributes::new();
    let wanted = block(inputs, "metadata_options").unwrap_or(&none);
    let is = super::instance_view::metadata(there);
    let differs = |name: &str, default: Option<&str>| {
        let wanted = wanted.get(name).cloned().filter(|value| !value.is_null());
        let wanted = wanted.or_else(|| default.map(Value::string));
        wanted.is_some_and(|wanted| is.get(name) != Some(&wanted))
    };
    let any = differs("http_tokens", Some("required"))
        || differs("http_endpoint", Some("enabled"))
        || differs("http_put_response_hop_limit", None)
        || differs("instance_metadata_tags", None);
    if !any {
        return Ok(());
    }
    let request = clients
        .ec2
        .modify_instance_metadata_options()
        .instance_id(id.as_str())
        .http_tokens(HttpTokensState::from(
            text(wanted, "http_tokens").unwrap_or("required"),
        ))
        .http_endpoint(InstanceMetadataEndpointState::from(
            text(wanted, "http_endpoint").unwrap_or("enabled"),
        ))
        .set_http_put_response_hop_limit(int(wanted, "http_put_response_hop_limit"))
        .set_instance_metadata_tags(
            text(wanted, "instance_metadata_tags").map(InstanceMetadataTagsState::from),
        )
        .send();
    clients
        .call(Api::ec2("ModifyInstanceMetadataOptions").changing(), request)
        .await?;
    Ok(())
}
