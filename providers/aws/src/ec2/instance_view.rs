//! Instances as attributes, and their root volumes.

use std::collections::BTreeMap;

use aws_sdk_ec2::types::{Instance, InstanceLifecycleType, Volume, VolumeType};
use gabion_engine::provider::{ObjectState, ProviderError};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::{host_key, user_data};
use crate::attributes::{Written, block, int, is_set, only_named, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::{FILTER_VALUES, Sought};
use crate::tags;

/// The root volumes of some instances, by id.
pub(super) struct Volumes(BTreeMap<String, Volume>);

impl Volumes {
    /// Reads them, many in one call.
    pub(super) async fn of<'a>(
        clients: &Clients,
        instances: impl IntoIterator<Item = &'a Instance>,
    ) -> Result<Self, ProviderError> {
        let ids: Vec<String> = instances
            .into_iter()
            .filter_map(|instance| root_volume_id(instance).map(str::to_owned))
            .collect();
        let mut volumes = BTreeMap::new();
        for chunk in ids.chunks(FILTER_VALUES) {
            for volume in
                super::ebs_volume::describe(clients, tags::filter("volume-id", chunk.iter().cloned())).await?
            {
                if let Some(id) = volume.volume_id() {
                    volumes.insert(id.to_owned(), volume);
                }
            }
        }
        Ok(Self(volumes))
    }
}

fn root_mapping(instance: &Instance) -> Option<&aws_sdk_ec2::types::EbsInstanceBlockDevice> {
    let root = instance.root_device_name()?;
    instance
        .block_device_mappings()
        .iter()
        .find(|mapping| mapping.device_name() == Some(root))?
        .ebs()
}

fn root_volume_id(instance: &Instance) -> Option<&str> {
    root_mapping(instance)?.volume_id()
}

/// Returns an instance's state, told in the words of its inputs.
pub(super) fn state(
    clients: &Clients,
    instance: &Instance,
    volumes: &Volumes,
    sought: &Sought,
) -> ObjectState {
    let inputs = &sought.inputs;
    let id = instance.instance_id().unwrap_or_default();
    let interface = instance.network_interfaces().first();
    let groups = instance
        .security_groups()
        .iter()
        .filter_map(|group| group.group_id());
    let groups: Vec<&str> = groups.collect();
    // A stopped machine may show its groups on its interface only.
    let groups = if groups.is_empty() {
        interface
            .into_iter()
            .flat_map(|interface| interface.groups())
            .filter_map(|group| group.group_id())
            .collect()
    } else {
        groups
    };
    let placement = instance.placement();
    let owner = interface
        .and_then(|interface| interface.owner_id())
        .unwrap_or_default();
    let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
    let mut attributes = Written::default();
    attributes
        .place(&clients.region, inputs)
        .text("id", Some(id))
        .text(
            "arn",
            Some(format!("arn:aws:ec2:{}:{owner}:instance/{id}", clients.region)),
        )
        .text("ami", instance.image_id())
        .text("ami_owner", text(inputs, "ami_owner"))
        .text("ami_name", text(inputs, "ami_name"))
        .text(
            "instance_type",
            instance.instance_type().map(|kind| kind.as_str()),
        )
        .text(
            "availability_zone",
            placement.and_then(|placement| placement.availability_zone()),
        )
        .text(
            "placement_group",
            named(placement.and_then(|placement| placement.group_name())),
        )
        .text(
            "tenancy",
            placement
                .and_then(|placement| placement.tenancy())
                .map(|tenancy| tenancy.as_str()),
        )
        .text("subnet_id", instance.subnet_id())
        .texts("vpc_security_group_ids", groups)
        .text("key_name", named(instance.key_name()))
        .text("private_ip", instance.private_ip_address())
        .text("private_dns", named(instance.private_dns_name()))
        .text("iam_instance_profile", profile(instance))
        .truth(
            "ebs_optimized",
            Some(instance.ebs_optimized().unwrap_or_default()),
        )
        .truth(
            "monitoring",
            instance
                .monitoring()
                .and_then(|monitoring| monitoring.state())
                .map(|state| matches!(state.as_str(), "enabled" | "pending")),
        )
        .truth(
            "source_dest_check",
            Some(instance.source_dest_check().unwrap_or(true)),
        )
        .text(
            "instance_state",
            super::instance::state_name(instance).map(|state| state.as_str()),
        )
        .text(
            "primary_network_interface_id",
            interface.and_then(|interface| interface.network_interface_id()),
        )
        .text("root_volume_id", root_volume_id(instance))
        .truth(host_key::WANTED, Some(host_key::is_wanted(inputs)))
        .value("tags", tags::attribute(&tags::by_name(instance.tags()), inputs));
    let mut unreadable = Vec::new();
    if inputs.is_empty() {
        // Told in the words of the inputs, which what is imported does not have yet.
        unreadable.push(AttributePath::root("root_block_device"));
    }
    public_address(instance, sought, &mut attributes, &mut unreadable);
    written_blocks(instance, volumes, inputs, &mut attributes);
    market(instance, inputs, &mut attributes);
    let mut untold = vec!["associate_public_ip_address", user_data::NAME];
    if !reservation(instance, inputs, &mut attributes) {
        untold.push(RESERVATION);
    }
    for name in untold {
        unreadable.push(AttributePath::root(name));
        if let Some(value) = inputs.get(name).filter(|value| !value.is_null()) {
            attributes.value(name, Some(value.clone()));
        }
    }
    ObjectState {
        id: sought.id.clone(),
        attributes: attributes.done(),
        private: sought.private.clone(),
        unreadable,
    }
}

const MARKET: &str = "instance_market_options";
const RESERVATION: &str = "capacity_reservation_specification";

/// Puts how the instance was bought. What was bid for a spot instance, EC2 tells of the request only; it is as written.
fn market(instance: &Instance, inputs: &Attributes, attributes: &mut Written) {
    let is_spot = instance.instance_lifecycle() == Some(&InstanceLifecycleType::Spot);
    let written = block(inputs, MARKET);
    let wants_spot = written.is_some_and(|written| text(written, "market_type").unwrap_or("spot") == "spot");
    match (is_spot, wants_spot) {
        (true, true) => {
            attributes.value(MARKET, inputs.get(MARKET).cloned());
        }
        (true, false) => {
            let spot = Value::map([("market_type", Value::from("spot"))]);
            attributes.value(MARKET, Some(Value::List(vec![spot])));
        }
        (false, true) => {}
        (false, false) => {
            attributes.value(
                MARKET,
                inputs.get(MARKET).cloned().filter(|value| !value.is_null()),
            );
        }
    }
}

/// Puts the reservation that the instance may run in, as far as the inputs speak of it. Returns whether EC2 tells.
fn reservation(instance: &Instance, inputs: &Attributes, attributes: &mut Written) -> bool {
    let Some(told) = instance.capacity_reservation_specification() else {
        return false;
    };
    let mut there = Written::default();
    there.text(
        "capacity_reservation_preference",
        told.capacity_reservation_preference()
            .map(|preference| preference.as_str()),
    );
    let written = block(inputs, RESERVATION);
    if let Some(target) = told.capacity_reservation_target() {
        let mut named = Written::default();
        named
            .text("capacity_reservation_id", target.capacity_reservation_id())
            .text(
                "capacity_reservation_resource_group_arn",
                target.capacity_reservation_resource_group_arn(),
            );
        let named = named.done();
        let target = match written.and_then(|written| block(written, "capacity_reservation_target")) {
            Some(written) => only_named(written, &named),
            None => Value::Map(named),
        };
        there.value("capacity_reservation_target", Some(Value::List(vec![target])));
    }
    let there = there.done();
    // Any open reservation that fits is what EC2 does by itself.
    let is_usual = !there.contains_key("capacity_reservation_target")
        && there
            .get("capacity_reservation_preference")
            .is_none_or(|preference| preference.as_str() == Some("open"));
    match written {
        Some(written) => {
            attributes.value(RESERVATION, Some(Value::List(vec![only_named(written, &there)])));
        }
        None if !is_usual => {
            attributes.value(RESERVATION, Some(Value::List(vec![Value::Map(there)])));
        }
        None => {}
    }
    true
}

fn profile(instance: &Instance) -> Option<String> {
    let arn = instance.iam_instance_profile()?.arn()?;
    let (_, name) = arn.rsplit_once('/')?;
    Some(name.to_owned())
}

/// Puts the address that the instance got at its start. An elastic address takes its place and is told by its own
/// resource: it comes and goes without the instance changing.
fn public_address(
    instance: &Instance,
    sought: &Sought,
    attributes: &mut Written,
    unreadable: &mut Vec<AttributePath>,
) {
    let association = instance
        .network_interfaces()
        .first()
        .and_then(|interface| interface.association());
    let own = association
        .and_then(|association| association.ip_owner_id())
        .is_some_and(|owner| owner == "amazon");
    let running = super::instance::state_name(instance).is_some_and(|state| state.as_str() == "running");
    if own || association.is_none() || !running {
        let named = |text: Option<&str>| text.filter(|text| !text.is_empty()).map(str::to_owned);
        attributes
            .text("public_ip", named(instance.public_ip_address()))
            .text("public_dns", named(instance.public_dns_name()));
        return;
    }
    for name in ["public_ip", "public_dns"] {
        let recorded = sought
            .attributes
            .get(name)
            .filter(|value| value.as_str().is_some());
        attributes.value(name, recorded.cloned());
        unreadable.push(AttributePath::root(name));
    }
}

/// Puts the blocks that the inputs have, with what is there in place of what they say.
fn written_blocks(instance: &Instance, volumes: &Volumes, inputs: &Attributes, attributes: &mut Written) {
    if let Some(written) = block(inputs, "root_block_device") {
        let there = root_volume(instance, volumes);
        attributes.value(
            "root_block_device",
            Some(Value::List(vec![only_named(written, &there)])),
        );
    }
    if let Some(written) = block(inputs, "metadata_options") {
        let there = metadata(instance);
        attributes.value(
            "metadata_options",
            Some(Value::List(vec![only_named(written, &there)])),
        );
    } else if metadata(instance)
        .get("http_tokens")
        .is_some_and(|tokens| tokens.as_str() == Some("optional"))
    {
        // The default is what gabion makes; where somebody weakened it, that shows.
        let weak = Value::map([("http_tokens", Value::from("optional"))]);
        attributes.value("metadata_options", Some(Value::List(vec![weak])));
    }
}

fn root_volume(instance: &Instance, volumes: &Volumes) -> Attributes {
    let mapping = root_mapping(instance);
    let volume = root_volume_id(instance).and_then(|id| volumes.0.get(id));
    let mut there = Written::default();
    there
        .int("volume_size", volume.and_then(|volume| volume.size()))
        .text(
            "volume_type",
            volume
                .and_then(|volume| volume.volume_type())
                .map(|kind| kind.as_str()),
        )
        .int("iops", volume.and_then(|volume| volume.iops()))
        .int("throughput", volume.and_then(|volume| volume.throughput()))
        .truth("encrypted", volume.and_then(|volume| volume.encrypted()))
        .text("kms_key_id", volume.and_then(|volume| volume.kms_key_id()))
        .truth(
            "delete_on_termination",
            mapping.and_then(|mapping| mapping.delete_on_termination()),
        );
    there.done()
}

/// Returns the options of the metadata service that are there.
pub(super) fn metadata(instance: &Instance) -> Attributes {
    let options = instance.metadata_options();
    let mut there = Written::default();
    there
        .text(
            "http_tokens",
            options
                .and_then(|options| options.http_tokens())
                .map(|value| value.as_str()),
        )
        .text(
            "http_endpoint",
            options
                .and_then(|options| options.http_endpoint())
                .map(|value| value.as_str()),
        )
        .int(
            "http_put_response_hop_limit",
            options.and_then(|options| options.http_put_response_hop_limit()),
        )
        .text(
            "instance_metadata_tags",
            options
                .and_then(|options| options.instance_metadata_tags())
                .map(|value| value.as_str()),
        );
    there.done()
}

/// Makes the root volume what the inputs say, as far as a volume can be changed.
pub(super) async fn change_root_volume(
    clients: &Clients,
    instance: &Instance,
    inputs: &Attributes,
) -> Result<(), ProviderError> {
    let Some(wanted) = block(inputs, "root_block_device") else {
        return Ok(());
    };
    let Some(id) = root_volume_id(instance) else {
        return Ok(());
    };
    let volumes = Volumes::of(clients, [instance]).await?;
    let there = root_volume(instance, &volumes);
    let differs = |name: &str| is_set(wanted, name) && wanted.get(name) != there.get(name);
    if !["volume_size", "volume_type", "iops", "throughput"]
        .iter()
        .any(|name| differs(name))
    {
        return Ok(());
    }
    let request = clients
        .ec2
        .modify_volume()
        .volume_id(id)
        .set_size(int(wanted, "volume_size"))
        .set_volume_type(text(wanted, "volume_type").map(VolumeType::from))
        .set_iops(int(wanted, "iops"))
        .set_throughput(int(wanted, "throughput"))
        .send();
    clients.call(Api::ec2("ModifyVolume").changing(), request).await?;
    Ok(())
}
