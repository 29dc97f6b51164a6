//! A cloud of our own: EC2 and Route 53, as far as gabion calls them, in memory and quick.
//!
//! It speaks the protocols of AWS (forms and XML; REST with XML) and keeps these rules, each taken from AWS's documentation:
//!
//! | Rule | Where AWS says so |
//! | --- | --- |
//! | The same `ClientToken` with the same parameters is the same instance or volume; with others it is `IdempotentParameterMismatch`. | EC2 Developer Guide, "Ensuring idempotency" |
//! | A `CallerReference` is used once, else `HostedZoneAlreadyExists`. | Route 53 API, CreateHostedZone |
//! | An instance goes `pending` → `running`, `stopping` → `stopped`, `shutting-down` → `terminated`, and is shown for about an hour after its end. | EC2 User Guide, "Instance lifecycle" |
//! | What it holds (groups, volumes, addresses, its placement group) is free when it is terminated, not before. | EC2 User Guide, "Terminate Amazon EC2 instances" |
//! | Tags come with the creating call or later; `aws:` is reserved, and there are at most 50. | EC2 User Guide, "Tag your resources" |
//! | Names of key pairs, security groups and placement groups are used once: `InvalidKeyPair.Duplicate`, `InvalidGroup.Duplicate`, `InvalidPlacementGroup.Duplicate`. | EC2 API, "Error codes" |
//! | A security group lets everything out at first; equal rules are `InvalidPermission.Duplicate`; a group that an instance or a rule of another group names is `DependencyViolation`. | EC2 API, CreateSecurityGroup, DeleteSecurityGroup |
//! | An address is associated with an instance that runs or is stopped; an associated one is `InvalidIPAddress.InUse`; a region has five. | EC2 API, AssociateAddress, ReleaseAddress; EC2 User Guide |
//! | A volume is attached in its own zone, by one device once, and is deleted when nothing has it. | EC2 API, AttachVolume, DeleteVolume |
//! | Type and user data are changed while the instance is stopped, else `IncorrectInstanceState`; each start sets the launch time anew. | EC2 API, ModifyInstanceAttribute |
//! | A question by id that nothing has is an error, one by filter is not; a call has at most 200 filter values. | EC2 API, "Filter" |
//! | A machine may be accepted and go from `pending` to `terminated`, with the reason `Server.InsufficientInstanceCapacity`. | EC2 User Guide, "Instance terminates immediately"; EC2 API, `StateReason` |
//! | Descriptions may lag behind what was made, for as long as a test says. | EC2 Developer Guide, "Eventual consistency" |
//! | A batch of record changes is made whole or not at all, over values that match, else `InvalidChangeBatch`; it is `PENDING` at first. | Route 53 API, ChangeResourceRecordSets, GetChange |
//! | A zone goes when only its own `NS` and `SOA` are left, else `HostedZoneNotEmpty`. | Route 53 API, DeleteHostedZone |
//!
//! It knows few images and types (`catalogue.rs`), no VPC but the default one, and neither quotas of processors nor prices.

mod catalogue;
mod groups;
mod instances;
mod network;
mod question;
mod region;
mod storage;
mod tagging;
mod xml;
mod zones;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use region::Region;
use xml::Xml;
use zones::Zones;

use super::http::{Answer, Asked};
use super::{all_between, between};

/// The regions of the cloud.
const REGIONS: [&str; 4] = ["eu-central-1", "eu-west-1", "us-east-1", "us-west-2"];

/// An account of the cloud.
#[derive(Debug)]
pub(super) struct Cloud {
    account: String,
    access_key: String,
    regions: BTreeMap<String, Region>,
    zones: Zones,
    tokens: BTreeMap<Token, Used>,
}

/// Where a token counts: its region, the operation, and its text.
type Token = (String, String, String);

/// What a token was used for.
#[derive(Debug)]
struct Used {
    /// Everything else that was asked.
    parameters: String,
    /// What it made.
    ids: Vec<String>,
    reservation: String,
}

/// The circumstances of a call.
#[derive(Debug)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// How long machines take from one state to the next.
    pub(super) boot: Duration,
    /// How long descriptions do not show what was made.
    pub(super) lag: Duration,
    /// Whether machines that it starts end for want of capacity.
    pub(super) starved: bool,
    /// What the console of the machine shows that is asked about.
    pub(super) console: String,
}

/// A refusal.
#[derive(Debug)]
struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

/// What is in an answer's root element, or why there is none.
type Outcome = Result<Xml, Refused>;

impl Refused {
    fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self::with_status(400, code, message)
    }

    fn with_status(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn answer(&self, route53: bool) -> Answer {
        Answer::refused(route53, self.status, self.code, &self.message)
    }
}

impl Cloud {
    /// Opens an account whose requests are signed with a key.
    pub(super) fn new(account: &str, access_key: &str) -> Self {
        Self {
            account: account.to_owned(),
            access_key: access_key.to_owned(),
            regions: BTreeMap::new(),
            zones: Zones::default(),
            tokens: BTreeMap::new(),
        }
    }

    /// Answers a request.
    pub(super) fn answer(&mut self, asked: &Asked, moment: &Moment) -> Answer {
        let authorization = asked.parts.headers.get("authorization");
        let authorization = authorization
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default();
        let scope = between(authorization, "Credential=", ",").unwrap_or_default();
        let mut parts = scope.split('/');
        if parts.next() != Some(&self.access_key) {
            let refused = Refused::with_status(
                401,
                "AuthFailure",
                "AWS was not able to validate the provided access credentials",
            );
            return refused.answer(asked.route53);
        }
        let region = parts.nth(1).unwrap_or_default().to_owned();
        if !REGIONS.contains(&region.as_str()) {
            let refused = Refused::with_status(
                401,
                "AuthFailure",
                format!("Credential should be scoped to a valid region, not '{region}'."),
            );
            return refused.answer(asked.route53);
        }
        if asked.route53 {
            return match self.zones.answer(asked, moment) {
                Ok((status, root, xml)) => Answer {
                    status,
                    body: format!(
                        "<?xml version=\"1.0\"?><{root} xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">{}</{root}>",
                        xml.done()
                    )
                    .into_bytes(),
                },
                Err(refused) => refused.answer(true),
            };
        }
        match self.ec2(&region, asked, moment) {
            Ok(xml) => {
                let operation = &asked.operation;
                Answer::ok(format!(
                    "<?xml version=\"1.0\"?><{operation}Response xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                     <requestId>test-request</requestId>{}</{operation}Response>",
                    xml.done()
                ))
            }
            Err(refused) => refused.answer(false),
        }
    }

    fn ec2(&mut self, name: &str, asked: &Asked, moment: &Moment) -> Outcome {
        let account = &self.account;
        let region = self
            .regions
            .entry(name.to_owned())
            .or_insert_with(|| Region::new(name, account));
        region.settle(moment);
        if !matches!(asked.operation.as_str(), "RunInstances" | "CreateVolume") {
            return dispatch(region, asked, moment);
        }
        let Some(token) = asked.parameter("ClientToken") else {
            return dispatch(region, asked, moment);
        };
        let key = (name.to_owned(), asked.operation.clone(), token.to_owned());
        let parameters = all_parameters(asked);
        if let Some(used) = self.tokens.get(&key) {
            if used.parameters != parameters {
                return Err(Refused::new(
                    "IdempotentParameterMismatch",
                    "Arguments on this idempotent request are inconsistent with arguments used in previous request(s).",
                ));
            }
            return Ok(match asked.operation.as_str() {
                "RunInstances" => region.reservation(&used.reservation, &used.ids),
                _ => region.tell_volume(used.ids.first().map(String::as_str).unwrap_or_default()),
            });
        }
        let told = dispatch(region, asked, moment)?.done();
        let ids = match asked.operation.as_str() {
            "RunInstances" => all_between(&told, "<instanceId>", "</instanceId>"),
            _ => all_between(&told, "<volumeId>", "</volumeId>"),
        };
        let used = Used {
            parameters,
            ids: ids.into_iter().map(str::to_owned).collect(),
            reservation: between(&told, "<reservationId>", "</reservationId>")
                .unwrap_or_default()
                .to_owned(),
        };
        self.tokens.insert(key, used);
        Ok(Xml::of(told))
    }
}

/// Returns all that a request says, however it is ordered.
fn all_parameters(asked: &Asked) -> String {
    let mut all: Vec<String> = asked
        .parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    all.sort();
    all.join("&")
}

fn dispatch(region: &mut Region, asked: &Asked, moment: &Moment) -> Outcome {
    match asked.operation.as_str() {
        "AllocateAddress" => region.allocate_address(asked, moment),
        "AssociateAddress" => region.associate_address(asked),
        "AttachVolume" => region.attach_volume(asked),
        "AuthorizeSecurityGroupEgress" | "AuthorizeSecurityGroupIngress" => region.authorize(asked, moment),
        "CreatePlacementGroup" => region.create_placement_group(asked, moment),
        "CreateSecurityGroup" => region.create_security_group(asked, moment),
        "CreateTags" => region.create_tags(asked),
        "CreateVolume" => region.create_volume(asked, moment),
        "DeleteKeyPair" => region.delete_key_pair(asked),
        "DeletePlacementGroup" => region.delete_placement_group(asked),
        "DeleteSecurityGroup" => region.delete_security_group(asked),
        "DeleteTags" => region.delete_tags(asked),
        "DeleteVolume" => region.delete_volume(asked),
        "DescribeAddresses" => region.describe_addresses(asked, moment),
        "DescribeAvailabilityZones" => region.describe_availability_zones(asked),
        "DescribeImages" => catalogue::describe_images(asked),
        "DescribeInstanceAttribute" => region.describe_instance_attribute(asked),
        "DescribeInstanceTypeOfferings" => region.describe_instance_type_offerings(asked),
        "DescribeInstanceTypes" => catalogue::describe_instance_types(asked),
        "DescribeInstances" => region.describe_instances(asked, moment),
        "DescribeKeyPairs" => region.describe_key_pairs(asked, moment),
        "DescribeNetworkInterfaces" => region.describe_network_interfaces(asked),
        "DescribePlacementGroups" => region.describe_placement_groups(asked, moment),
        "DescribeRouteTables" => region.describe_route_tables(asked),
        "DescribeSecurityGroupRules" => region.describe_security_group_rules(asked, moment),
        "DescribeSecurityGroups" => region.describe_security_groups(asked, moment),
        "DescribeSubnets" => region.describe_subnets(asked),
        "DescribeVolumes" => region.describe_volumes(asked, moment),
        "DescribeVpcs" => region.describe_vpcs(asked),
        "DetachVolume" => region.detach_volume(asked),
        "DisassociateAddress" => region.disassociate_address(asked),
        "GetConsoleOutput" => region.get_console_output(asked, moment),
        "ImportKeyPair" => region.import_key_pair(asked, moment),
        "ModifyInstanceAttribute" => region.modify_instance_attribute(asked),
        "ModifyInstanceMetadataOptions" => region.modify_instance_metadata_options(asked),
        "ModifySecurityGroupRules" => region.modify_security_group_rules(asked),
        "ModifyVolume" => region.modify_volume(asked),
        "MonitorInstances" | "UnmonitorInstances" => region.monitor_instances(asked),
        "ReleaseAddress" => region.release_address(asked),
        "RevokeSecurityGroupEgress" | "RevokeSecurityGroupIngress" => region.revoke(asked),
        "RunInstances" => region.run_instances(asked, moment),
        "StartInstances" | "StopInstances" | "TerminateInstances" => region.change_instances(asked, moment),
        other => Err(Refused::new(
            "InvalidAction",
            format!("The action {other} is not valid for this web service."),
        )),
    }
}

/// Returns the time as AWS writes it.
fn timestamp() -> String {
    jiff::Timestamp::now()
        .strftime("%Y-%m-%dT%H:%M:%S%.3fZ")
        .to_string()
}
