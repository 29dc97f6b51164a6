//! What a machine gets to do at its first start, as EC2 keeps it.
//!
//! EC2 tells it of one instance a call, and lets it be changed only while the instance is stopped; each start sets the
//! instance's launch time anew (EC2 API, `ModifyInstanceAttribute` and `Instance`). So it is asked for only of machines
//! that do not run, were started again since they were last looked at, or come under management.

use aws_sdk_ec2::primitives::Blob;
use aws_sdk_ec2::types::{Instance, InstanceAttributeName, InstanceStateName, SecureBlobAttributeValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{ErrorClass, ObjectState, PlanRequest, PlanResponse, ProviderError};
use gabion_engine::value::{AttributePath, Attributes, Value};
use serde_json::json;

use super::instance::state_name;
use crate::attributes::{is_set, text};
use crate::clients::Clients;
use crate::error::Api;
use crate::kind::Sought;

/// The attribute.
pub(super) const NAME: &str = "user_data";
/// In a machine's private data: the launch since which its user data is known.
const LAUNCH: &str = "launch";

/// What EC2 takes as user data.
pub(super) struct UserData;

impl UserData {
    /// The most bytes that EC2 takes, before their encoding.
    const MOST: usize = 16 * 1024;

    pub(super) fn check(bytes: &[u8]) -> Result<(), String> {
        if bytes.len() > Self::MOST {
            return Err(format!(
                "EC2 takes user data of at most 16 KiB; this has {} bytes.",
                bytes.len()
            ));
        }
        Ok(())
    }
}

/// Puts the user data into what is known of a machine, if it may be other than recorded.
///
/// # Errors
/// When asking may work later. Where it is not allowed, what is recorded stands.
pub(super) async fn fill(
    clients: &Clients,
    instance: &Instance,
    state: &mut ObjectState,
    sought: &Sought,
) -> Result<(), ProviderError> {
    let launch = instance.launch_time().map(ToString::to_string);
    let known = sought.private.get(LAUNCH).and_then(serde_json::Value::as_str);
    let runs = matches!(
        state_name(instance),
        Some(InstanceStateName::Running | InstanceStateName::Pending)
    );
    let is_imported = sought.inputs.is_empty() && sought.attributes.is_empty();
    let was_started_again = known.is_some() && known != launch.as_deref();
    if runs && !is_imported && !was_started_again {
        if known.is_none() {
            state.private = json!({ LAUNCH: launch });
        }
        return Ok(());
    }
    let there = match ask(clients, &state.id).await {
        Ok(there) => there,
        Err(error) if matches!(error.class, ErrorClass::Throttled | ErrorClass::Transient) => {
            return Err(error);
        }
        Err(_) => return Ok(()),
    };
    // What is no text, gabion did not write, and cannot compare.
    let Ok(there) = String::from_utf8(there) else {
        return Ok(());
    };
    state.unreadable.retain(|path| *path != AttributePath::root(NAME));
    if there.is_empty() {
        state.attributes.remove(NAME);
    } else {
        state.attributes.insert(NAME.into(), Value::from(there));
    }
    if runs {
        state.private = json!({ LAUNCH: launch });
    }
    Ok(())
}

async fn ask(clients: &Clients, id: &ObjectId) -> Result<Vec<u8>, ProviderError> {
    let request = clients
        .ec2
        .describe_instance_attribute()
        .instance_id(id.as_str())
        .attribute(InstanceAttributeName::UserData)
        .send();
    let answer = clients
        .call(Api::ec2("DescribeInstanceAttribute"), request)
        .await?;
    let encoded = answer
        .user_data()
        .and_then(|value| value.value())
        .unwrap_or_default();
    STANDARD.decode(encoded).map_err(|error| {
        ProviderError::new(
            ErrorClass::Invalid,
            format!("EC2 gave user data that cannot be decoded (DescribeInstanceAttribute): {error}."),
        )
    })
}

/// Sets the user data of a machine that is stopped.
pub(super) async fn set(clients: &Clients, id: &ObjectId, inputs: &Attributes) -> Result<(), ProviderError> {
    let wanted = Blob::new(text(inputs, NAME).unwrap_or_default());
    let request = clients
        .ec2
        .modify_instance_attribute()
        .instance_id(id.as_str())
        .user_data(SecureBlobAttributeValue::builder().value(wanted).build())
        .send();
    clients
        .call(Api::ec2("ModifyInstanceAttribute").changing(), request)
        .await?;
    Ok(())
}

/// Keeps a machine whose user data somebody else changed: it did at its first start what it was to do, and what it
/// would do at another is set back in place. Returns whether it is.
pub(super) fn plan(request: &PlanRequest, response: &mut PlanResponse) -> bool {
    let path = AttributePath::root(NAME);
    let wanted_before = request.prior.as_ref().is_some_and(|prior| {
        let set = |attributes: &Attributes| attributes.get(NAME).cloned().filter(|value| !value.is_null());
        is_set(&prior.inputs, NAME) == is_set(&request.desired, NAME)
            && set(&prior.inputs) == set(&request.desired)
    });
    let differs = response.replace.iter().any(|cause| cause.path == path);
    if !wanted_before || !differs {
        return false;
    }
    response.replace.retain(|cause| cause.path != path);
    true
}
