//! The backend `aws`: machines that gabion makes on EC2, for gateways and for replicas.
//!
//! Everything comes from the settings, from what is recorded, and from what the region's survey says: nothing is asked
//! here. A machine is an `aws_instance` and, once it has an address, an `ssh_host` of the same name, on which programs
//! run as on any machine. What was chosen once (type, image, subnet) is kept for as long as it meets the need.

mod cloud_init;
mod dns;
mod gateway;
mod machine;
mod network;
mod pick;
mod region;
mod replica;
mod settings;

pub(crate) use gateway::gateways;
pub(crate) use machine::CloudMachine;
pub(crate) use region::{survey, surveys};
pub(crate) use replica::replicas;
pub(crate) use settings::AwsSettings;

use gabion_engine::config::{Lowered, RecordedView};

use self::gateway::Leads;
use super::project::Context;

/// The name of the backend.
pub(crate) const AWS: &str = "aws";

/// The pseudo-type of a region in a survey.
pub const AWS_REGION: &str = "aws_region";

/// Adds the resources of machines: the instances with their networks, keys, addresses and records.
pub(crate) fn lower(
    gateways: &[&CloudMachine],
    replicas: &[CloudMachine],
    context: &Context,
    recorded: &dyn RecordedView,
    lowered: &mut Lowered,
) {
    network::check_quotas(gateways, replicas, &context.aws, recorded, lowered);
    machine::keys(gateways, &context.aws, lowered);
    for gateway in gateways {
        gateway::lower(gateway, &context.aws, recorded, lowered);
    }
    replica::groups(replicas, &context.aws, lowered);
    for replica in replicas {
        machine::lower(replica, Leads::Nowhere, &context.aws, lowered);
    }
    let machines = gateways.iter().copied().chain(replicas);
    for machine in machines {
        lowered.notes.extend(machine.notes());
        if let Some(why) = &machine.unmet {
            lowered.unmet.insert(machine.instance(), why.clone());
        }
    }
    settings::flag(gateways, &context.aws, lowered);
}
