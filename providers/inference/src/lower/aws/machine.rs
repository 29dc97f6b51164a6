//! A machine that is made: its instance, and the host that it is once it has an address.

use std::collections::BTreeMap;
use std::sync::Arc;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{Lowered, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Span};
use gabion_engine::resource::{Alternative, Alternatives, DocumentRef, Place, Resource};
use gabion_engine::value::{AttributePath, Attributes, Value};

use super::cloud_init::{Docker, Setup};
use super::gateway::Leads;
use super::network::{self, Circle};
use super::pick::Choice;
use super::settings::AwsSettings;
use crate::lower::builder::{ResourceBuilder, address, reference};
use crate::lower::machines::Machine;
use crate::offers::HostedZone;
use crate::term::Text;

/// The resource type of a virtual machine.
pub(crate) const INSTANCE: &str = "aws_instance";

/// A machine of the backend.
#[derive(Clone, Debug)]
pub(crate) struct CloudMachine {
    /// What programs see of it.
    pub(crate) machine: Machine,
    /// What is in the way of it, if nothing meets the need.
    pub(crate) unmet: Option<Diagnostic>,
    /// Its region.
    pub(super) region: String,
    /// What it is for.
    pub(super) role: Role,
    /// What was chosen.
    pub(super) choice: Choice,
    /// Whether containers run on it.
    pub(super) runs_containers: bool,
    /// Tags of its document.
    pub(super) tags: BTreeMap<String, String>,
    /// Its document.
    pub(super) document: DocumentRef,
    /// Where its type is asked for.
    pub(super) span: Span,
}

/// What a machine is for.
#[derive(Clone, Debug)]
pub(super) enum Role {
    /// It is a gateway.
    Gateway {
        /// Whether it has a public address.
        is_public: bool,
        /// Its domain.
        domain: Option<Spanned<Text>>,
        /// Whether it speaks HTTPS.
        is_secure: bool,
        /// The public zone of the account that has its host names, if there is one.
        zone: Option<HostedZone>,
    },
    /// A replica of a service runs on it.
    Replica {
        /// Who talks to whom in the service.
        circle: Arc<Circle>,
        /// Whether it is the service's router.
        is_router: bool,
        /// Where SSH connects to the machine of the service's gateway.
        gateway_host: String,
    },
}

impl CloudMachine {
    /// Returns the address of its instance.
    pub(crate) fn instance(&self) -> ResourceAddress {
        instance_of(&self.machine.name)
    }

    /// Returns what people should know of its choice.
    pub(super) fn notes(&self) -> Vec<(Arc<str>, Option<Place>)> {
        let place = self.span.place();
        self.choice
            .notes
            .iter()
            .map(|note| (note.as_str().into(), Some(place.clone())))
            .collect()
    }

    /// Returns the zone of the account that has the host names of a gateway, if there is one.
    pub(crate) fn zone(&self) -> Option<&HostedZone> {
        match &self.role {
            Role::Gateway { zone, .. } => zone.as_ref(),
            Role::Replica { .. } => None,
        }
    }

    /// Returns whether the elastic address of a gateway stays when another machine takes the place of this one: names follow
    /// none.
    pub(super) fn shares_address(&self) -> bool {
        matches!(
            self.role,
            Role::Gateway {
                is_public: true,
                zone: None,
                ..
            }
        )
    }

    fn low_ports(&self) -> bool {
        matches!(self.role, Role::Gateway { .. })
    }

    /// Returns whether a router may run on it, other than in a container.
    fn runs_routers(&self) -> bool {
        match &self.role {
            Role::Gateway { .. } => true,
            Role::Replica { is_router, .. } => *is_router && !self.runs_containers,
        }
    }
}

/// Returns the address of a machine's instance.
pub(super) fn instance_of(machine: &str) -> ResourceAddress {
    address(INSTANCE, machine)
}

/// Returns an attribute of a machine's instance, as a text.
pub(super) fn attribute_of(machine: &str, attribute: &str) -> String {
    format!("${{{{ {}.{attribute} }}}}", instance_of(machine))
}

/// Starts a resource of a machine, in its region and for its document.
pub(super) fn start(
    address: ResourceAddress,
    machine: &CloudMachine,
    settings: &AwsSettings,
) -> ResourceBuilder {
    let builder = ResourceBuilder::new(address, &machine.document);
    with_profile(builder, settings).input("region", machine.region.as_str())
}

/// Has a resource made with the profile that is set.
pub(super) fn with_profile(builder: ResourceBuilder, settings: &AwsSettings) -> ResourceBuilder {
    match &settings.profile {
        Some(profile) => builder.input("profile", profile.value.as_str()),
        None => builder,
    }
}

/// Returns the tags of what is made, the document's over those of all.
pub(super) fn tags(machine: &CloudMachine, name: &str, settings: &AwsSettings) -> Value {
    let mut tags = settings.tags.clone();
    tags.extend(machine.tags.clone());
    tags.insert("Name".to_owned(), format!("gabion {name}"));
    Value::map(tags.into_iter().map(|(name, value)| (name, Value::from(value))))
}

/// Adds the key pair of each region.
pub(super) fn keys(gateways: &[&CloudMachine], settings: &AwsSettings, lowered: &mut Lowered) {
    let mut seen: Vec<&str> = Vec::new();
    let Some(key) = &settings.ssh_key else { return };
    for gateway in gateways {
        if seen.contains(&gateway.region.as_str()) {
            continue;
        }
        seen.push(&gateway.region);
        let pair = start(key_pair(&gateway.region), gateway, settings)
            .input("public_key", key.value.as_str())
            .at("public_key", &key.span)
            .input("tags", tags(gateway, &gateway.region, settings));
        lowered.resources.push(pair.build());
    }
}

fn key_pair(region: &str) -> ResourceAddress {
    address("aws_key_pair", region)
}

/// Adds a machine: its instance and its host.
///
/// `leads` says where the elastic address leads that it is to have, if any.
pub(super) fn lower(machine: &CloudMachine, leads: Leads, settings: &AwsSettings, lowered: &mut Lowered) {
    // A machine is replaced in turn with the replica on it.
    let unit = address("host_unit", &machine.machine.name);
    let mut units = lowered.resources.iter();
    let unit = units.find(|resource| resource.address == unit);
    let roll = unit.and_then(|unit| unit.lifecycle.roll.clone());
    let mut made = instance(machine, settings);
    made.alternatives = alternatives(machine, &made, settings).into();
    for mut resource in [made, host(machine, leads, settings)] {
        resource.lifecycle.roll.clone_from(&roll);
        lowered.resources.push(resource);
    }
}

/// Returns a list with one map, as blocks are written.
fn block<const N: usize>(entries: [(&'static str, Value); N]) -> Value {
    Value::List(vec![Value::map(entries)])
}

fn instance(machine: &CloudMachine, settings: &AwsSettings) -> Resource {
    let choice = &machine.choice;
    let known = |text: &Option<String>| match text {
        Some(text) => Value::string(text),
        None => Value::unknown(),
    };
    let has_public = match &machine.role {
        // Its public address is an elastic one, which may lead to the machine before it at its start.
        Role::Gateway { .. } => machine.shares_address(),
        Role::Replica { .. } => settings.public_ip,
    };
    let docker = match (machine.runs_containers, choice.image.has_docker) {
        (false, _) => Docker::No,
        (true, true) => Docker::InImage,
        (true, false) => Docker::Install,
    };
    let setup = Setup {
        user: &choice.image.user,
        public_key: settings.ssh_key.as_ref().map_or("", |key| key.value.as_str()),
        docker,
        low_ports: machine.low_ports(),
        routers: machine.runs_routers(),
    };
    let group = network::group_of(machine);
    let mut builder = start(machine.instance(), machine, settings)
        .input("ami", known(&choice.image_id))
        .input("instance_type", known(&choice.instance_type))
        .input("subnet_id", known(&choice.subnet_id))
        .input(
            "vpc_security_group_ids",
            Value::List(vec![reference(&group, "id")]),
        )
        .input("associate_public_ip_address", has_public)
        .input("user_data", setup.user_data())
        .input(
            "root_block_device",
            block([
                ("volume_size", Value::Int(choice.disk_gib)),
                ("volume_type", "gp3".into()),
                ("encrypted", true.into()),
            ]),
        )
        // Nobody on the way to the machine can put another key in the place of the one on its console.
        .input("wait_for_host_key", true)
        .input("tags", tags(machine, &machine.machine.name, settings))
        // It is read at the first start only, and another one would mean another machine.
        .ignore_changes(AttributePath::root("user_data"))
        .at("instance_type", &machine.span)
        .at("ami", &machine.span);
    if settings.ssh_key.is_some() {
        builder = builder.input("key_name", reference(&key_pair(&machine.region), "key_name"));
    }
    if let Some(profile) = &settings.iam_instance_profile {
        builder = builder.input("iam_instance_profile", profile.as_str());
    }
    if let Role::Gateway { .. } = machine.role {
        // Only another machine needs it, and gets it.
        builder = builder.ignore_changes(AttributePath::root("associate_public_ip_address"));
    }
    // From inside a container the metadata service is one hop further.
    let hops = if machine.runs_containers { 2 } else { 1 };
    builder = builder.input(
        "metadata_options",
        block([
            ("http_tokens", "required".into()),
            ("http_put_response_hop_limit", Value::Int(hops)),
        ]),
    );
    if choice.is_spot {
        builder = builder.input(
            "instance_market_options",
            block([
                ("market_type", "spot".into()),
                (
                    "spot_options",
                    block([
                        ("spot_instance_type", "one-time".into()),
                        ("instance_interruption_behavior", "terminate".into()),
                    ]),
                ),
            ]),
        );
    }
    if let Some(reservation) = &choice.reservation {
        builder = builder.input(
            "capacity_reservation_specification",
            block([(
                "capacity_reservation_target",
                block([("capacity_reservation_id", Value::string(reservation))]),
            )]),
        );
    }
    builder.build()
}

/// Returns what may be made in a machine's place, as the inputs that differ.
fn alternatives(machine: &CloudMachine, made: &Resource, settings: &AwsSettings) -> Alternatives {
    let other = |choice: &Choice| {
        let other = CloudMachine {
            choice: choice.clone(),
            ..machine.clone()
        };
        let inputs = instance(&other, settings).inputs;
        let names = made.inputs.keys().chain(inputs.keys());
        let differing = names.filter(|name| made.inputs.get(*name) != inputs.get(*name));
        let inputs: Attributes = differing
            .map(|name| (name.clone(), inputs.get(name).cloned().unwrap_or_default()))
            .collect();
        inputs
            .iter()
            .all(|(_, value)| value.is_wholly_known())
            .then(|| Alternative {
                label: choice.label.as_str().into(),
                inputs,
            })
    };
    Alternatives {
        chosen: machine.choice.label.as_str().into(),
        others: machine.choice.others.iter().filter_map(other).collect(),
    }
}

/// The machine as programs reach it: over SSH, at an address that is known once it is made.
fn host(machine: &CloudMachine, leads: Leads, settings: &AwsSettings) -> Resource {
    let name = &machine.machine.name;
    let place = machine.document.place.clone();
    let own_instance = match machine.machine.is_replaced_beside() {
        true => vec![("instance", reference(&machine.instance(), "id"))],
        false => Vec::new(),
    };
    let mut builder = ResourceBuilder::new(machine.machine.resource(), &machine.document)
        .input("machine", name.as_str())
        .input("hostname", Value::template(&machine.machine.hostname))
        .input("user", machine.choice.image.user.as_str())
        .input("host_key", Value::template(attribute_of(name, "host_key")))
        .input("internal_ip", Value::template(attribute_of(name, "private_ip")))
        .inputs(own_instance)
        .replaced_with(&machine.instance(), "id");
    if let Some(file) = &settings.identity_file {
        builder = builder.input("identity_file", file.as_str());
    }
    if machine.shares_address() {
        // It is of use until the elastic one leads to it, and another one after every stop until then.
        if leads != (Leads::Before { has_own: true }) {
            builder = builder.ignore_changes(AttributePath::root("own_hostname"));
        }
        if leads != Leads::Nowhere {
            let own = attribute_of(name, "public_ip");
            builder = builder.input("own_hostname", Value::template(own));
        }
    }
    if let Role::Replica {
        circle, gateway_host, ..
    } = &machine.role
    {
        let gateway = circle.gateway.as_str();
        let mut jump = vec![
            ("hostname", Value::template(gateway_host)),
            ("user", machine.choice.gateway_user.into()),
            ("host_key", Value::template(attribute_of(gateway, "host_key"))),
        ];
        jump.extend(
            settings
                .identity_file
                .as_ref()
                .map(|file| ("identity_file", Value::string(file))),
        );
        builder = builder
            .input("proxy_jump", Value::map(jump))
            .depends_on(address("ssh_host", gateway), place.clone());
    }
    // Nobody gets to it before the rules let them.
    for rule in network::rules_before(machine, settings) {
        builder = builder.depends_on(rule, place.clone());
    }
    builder.build()
}
