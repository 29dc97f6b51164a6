//! What EC2 has: one resource type a file.

pub(crate) mod ebs_volume;
pub(crate) mod eip;
mod host_key;
pub(crate) mod images;
pub(crate) mod instance;
mod instance_change;
mod instance_launch;
mod instance_view;
pub(crate) mod key_pair;
pub(crate) mod permission;
pub(crate) mod placement_group;
pub(crate) mod security_group;
pub(crate) mod security_group_rule;
mod user_data;
pub(crate) mod volume_attachment;

use std::time::Duration;

/// For how long after a change EC2's descriptions may not show it. AWS names no bound ("eventual consistency"); what is
/// seen in practice is seconds.
pub(crate) const CONSISTENCY: Duration = Duration::from_secs(20);
