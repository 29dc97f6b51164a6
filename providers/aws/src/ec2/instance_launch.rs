//! Starting an instance: everything that one `RunInstances` says.

use aws_sdk_ec2::types::{
    BlockDeviceMapping, CapacityReservationPreference, CapacityReservationSpecification,
    CapacityReservationTarget, EbsBlockDevice, HttpTokensState, IamInstanceProfileSpecification, Instance,
    InstanceInterruptionBehavior, InstanceMarketOptionsRequest, InstanceMetadataEndpointState,
    InstanceMetadataOptionsRequest, InstanceMetadataTagsState, InstanceNetworkInterfaceSpecification,
    InstanceType, MarketType, Placement, ResourceType as Tagged, RunInstancesMonitoringEnabled,
    SpotInstanceType, SpotMarketOptions, Tenancy, VolumeType,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_engine::provider::{Call, CreateRequest, ErrorClass, ProviderError};
use gabion_engine::value::Attributes;

use super::{images, instance};
use crate::attributes::{block, int, text, texts, truth};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::token;
use crate::tags;

/// Makes one instance. The operation is the token: the same call again gives the same instance.
pub(super) async fn launch(
    clients: &Clients,
    request: &CreateRequest,
    call: &Call,
) -> Result<Instance, ProviderError> {
    let inputs = &request.inputs;
    let image = image(clients, request).await?;
    let mut run = clients
        .ec2
        .run_instances()
        .client_token(token(call.operation))
        .min_count(1)
        .max_count(1)
        .image_id(&image.id)
        .set_instance_type(text(inputs, "instance_type").map(InstanceType::from))
        .set_key_name(text(inputs, "key_name").map(str::to_owned))
        .set_user_data(text(inputs, "user_data").map(|text| STANDARD.encode(text)))
        .set_ebs_optimized(truth(inputs, "ebs_optimized"))
        .metadata_options(metadata(inputs))
        .block_device_mappings(root_volume(inputs, &image.root_device))
        .set_instance_market_options(market(inputs))
        .set_capacity_reservation_specification(reservation(inputs))
        .monitoring(
            RunInstancesMonitoringEnabled::builder()
                .enabled(truth(inputs, "monitoring").unwrap_or_default())
                .build(),
        )
        .tag_specifications(tags::specification(Tagged::Instance, inputs, call))
        .tag_specifications(tags::specification(Tagged::Volume, inputs, call));
    if let Some(profile) = text(inputs, "iam_instance_profile") {
        run = run.iam_instance_profile(IamInstanceProfileSpecification::builder().name(profile).build());
    }
    if let Some(placement) = placement(inputs) {
        run = run.placement(placement);
    }
    let groups = texts(inputs, "vpc_security_group_ids");
    let groups = (!groups.is_empty()).then_some(groups);
    // A public address is said of the interface, and then everything about the interface is.
    run = match truth(inputs, "associate_public_ip_address") {
        Some(public) => run.network_interfaces(
            InstanceNetworkInterfaceSpecification::builder()
                .device_index(0)
                .associate_public_ip_address(public)
                .delete_on_termination(true)
                .set_subnet_id(text(inputs, "subnet_id").map(str::to_owned))
                .set_private_ip_address(text(inputs, "private_ip").map(str::to_owned))
                .set_groups(groups)
                .build(),
        ),
        None => run
            .set_subnet_id(text(inputs, "subnet_id").map(str::to_owned))
            .set_private_ip_address(text(inputs, "private_ip").map(str::to_owned))
            .set_security_group_ids(groups),
    };
    let answer = clients
        .call(Api::ec2("RunInstances").changing(), run.send())
        .await?;
    answer.instances.into_iter().flatten().next().ok_or_else(|| {
        ProviderError::new(
            ErrorClass::Uncertain,
            format!(
                "EC2 RunInstances in {}: it was answered without an instance.",
                clients.region
            ),
        )
    })
}

/// Returns the image: the one that is named, or planned, or the newest of the pattern.
async fn image(
    clients: &Clients,
    request: &CreateRequest,
) -> Result<crate::facts::ImageFacts, ProviderError> {
    let named = text(&request.inputs, "ami").or_else(|| text(&request.planned, "ami"));
    if let Some(id) = named {
        return images::by_id(clients, id)
            .await?
            .ok_or_else(|| crate::error::not_found("image", id, &clients.region));
    }
    let nothing = || {
        ProviderError::new(ErrorClass::NotFound, format!("No image is found in {}.", clients.region))
            .with_hint("see `ami_owner` and `ami_name`: the owner is an account's number or an alias, the name may hold `*`")
    };
    let pattern = instance::pattern(&request.inputs).ok_or_else(nothing)?;
    let found = images::newest(clients, std::slice::from_ref(&pattern)).await?;
    found.into_values().next().ok_or_else(nothing)
}

fn metadata(inputs: &Attributes) -> InstanceMetadataOptionsRequest {
    let none = Attributes::new();
    let options = block(inputs, "metadata_options").unwrap_or(&none);
    InstanceMetadataOptionsRequest::builder()
        .http_tokens(HttpTokensState::from(
            text(options, "http_tokens").unwrap_or("required"),
        ))
        .http_endpoint(InstanceMetadataEndpointState::from(
            text(options, "http_endpoint").unwrap_or("enabled"),
        ))
        .set_http_put_response_hop_limit(int(options, "http_put_response_hop_limit"))
        .set_instance_metadata_tags(
            text(options, "instance_metadata_tags").map(InstanceMetadataTagsState::from),
        )
        .build()
}

fn root_volume(inputs: &Attributes, device: &str) -> BlockDeviceMapping {
    let none = Attributes::new();
    let volume = block(inputs, "root_block_device").unwrap_or(&none);
    let ebs = EbsBlockDevice::builder()
        .encrypted(truth(volume, "encrypted").unwrap_or(true))
        .delete_on_termination(truth(volume, "delete_on_termination").unwrap_or(true))
        .volume_type(VolumeType::from(text(volume, "volume_type").unwrap_or("gp3")))
        .set_volume_size(int(volume, "volume_size"))
        .set_iops(int(volume, "iops"))
        .set_throughput(int(volume, "throughput"))
        .set_kms_key_id(text(volume, "kms_key_id").map(str::to_owned))
        .build();
    BlockDeviceMapping::builder().device_name(device).ebs(ebs).build()
}

fn market(inputs: &Attributes) -> Option<InstanceMarketOptionsRequest> {
    let market = block(inputs, "instance_market_options")?;
    let spot = block(market, "spot_options").map(|spot| {
        SpotMarketOptions::builder()
            .set_max_price(text(spot, "max_price").map(str::to_owned))
            .set_instance_interruption_behavior(
                text(spot, "instance_interruption_behavior").map(InstanceInterruptionBehavior::from),
            )
            .set_spot_instance_type(text(spot, "spot_instance_type").map(SpotInstanceType::from))
            .build()
    });
    Some(
        InstanceMarketOptionsRequest::builder()
            .market_type(MarketType::from(text(market, "market_type").unwrap_or("spot")))
            .set_spot_options(spot)
            .build(),
    )
}

fn reservation(inputs: &Attributes) -> Option<CapacityReservationSpecification> {
    let wanted = block(inputs, "capacity_reservation_specification")?;
    let target = block(wanted, "capacity_reservation_target").map(|target| {
        CapacityReservationTarget::builder()
            .set_capacity_reservation_id(text(target, "capacity_reservation_id").map(str::to_owned))
            .set_capacity_reservation_resource_group_arn(
                text(target, "capacity_reservation_resource_group_arn").map(str::to_owned),
            )
            .build()
    });
    Some(
        CapacityReservationSpecification::builder()
            .set_capacity_reservation_preference(
                text(wanted, "capacity_reservation_preference").map(CapacityReservationPreference::from),
            )
            .set_capacity_reservation_target(target)
            .build(),
    )
}

fn placement(inputs: &Attributes) -> Option<Placement> {
    let named = ["availability_zone", "placement_group", "tenancy"];
    if named.iter().all(|name| text(inputs, name).is_none()) {
        return None;
    }
    Some(
        Placement::builder()
            .set_availability_zone(text(inputs, "availability_zone").map(str::to_owned))
            .set_group_name(text(inputs, "placement_group").map(str::to_owned))
            .set_tenancy(text(inputs, "tenancy").map(Tenancy::from))
            .build(),
    )
}
