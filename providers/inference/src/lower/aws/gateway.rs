//! Gateways on AWS: their machines, chosen before services are placed, and what they consist of.

use gabion_engine::config::{Lowered, Purpose, RecordedView, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use gabion_engine::value::Value;

use super::machine::{self, CloudMachine, Role, attribute_of, instance_of, start, tags};
use super::pick::{self, Asked};
use super::region::Region;
use super::settings::AwsSettings;
use super::{AWS, dns, network};
use crate::document::gateway::{Certificate, Gateway};
use crate::document::resources::Resources;
use crate::grammar::cpu::CpuSpec;
use crate::grammar::memory::Memory;
use crate::grammar::range::Range;
use crate::lower::builder::{address, reference};
use crate::lower::machines::Machine;
use crate::lower::project::{Context, Placed};
use crate::offers::OfferNeed;

/// The disk of a gateway, in GB.
const DISK_GB: u64 = 30;

/// Returns the machines of the gateways on AWS, and reports what is missing for them.
pub(crate) fn gateways(
    gateways: &[Placed<Gateway>],
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Vec<CloudMachine> {
    if context.purpose == Purpose::Validate {
        return Vec::new();
    }
    let on_aws = gateways
        .iter()
        .filter(|gateway| gateway.document.backend.value.name() == AWS);
    on_aws
        .filter_map(|gateway| of(gateway, context, recorded, problems))
        .collect()
}

fn of(
    placed: &Placed<Gateway>,
    context: &Context,
    recorded: &dyn RecordedView,
    problems: &mut Diagnostics,
) -> Option<CloudMachine> {
    let gateway = &placed.document;
    // A gateway without one was refused when it was read.
    let region_name = gateway.region.as_ref()?;
    let settings = &context.aws;
    settings.check_for_plan(region_name, &gateway.backend.span, problems);
    let region = Region::of(&region_name.value, settings, recorded);
    if let Region::Failed(failure) = &region {
        let problem = Diagnostic::error("unknown-region", "nothing known of a region")
            .detail(format!(
                "What the region `{}` has cannot be found out. {}",
                region_name.value, failure.message
            ))
            .at(region_name.span.clone());
        problems.push(match &failure.hint {
            Some(hint) => problem.hint(hint.clone()),
            None => problem,
        });
        // Nothing is made of what nobody knows anything about.
        return None;
    }
    let span = instance_type_span(placed);
    let types: Vec<String> = gateway.instance_type.iter().cloned().collect();
    let (cpus, memory) = match types.is_empty() {
        // A router and the gateway beside each other.
        true => (2, 2),
        false => (1, 0),
    };
    let resources = Resources {
        cpu: Spanned::new(
            CpuSpec {
                arch: None,
                count: Range::at_least(cpus),
            },
            span.clone(),
        ),
        memory: Range::at_least(Memory::gigabytes(memory)),
        ..Resources::unsaid(&span)
    };
    let name = gateway.name.value.as_str();
    let asked = Asked {
        machine: name,
        need: OfferNeed {
            instance_types: &types,
            ..OfferNeed::of(&resources)
        },
        disk_gb: DISK_GB,
        reservation: None,
        has_public_address: gateway.public_ip,
        near: None,
        what: format!("gateway `{name}`"),
        wish: match types.first() {
            Some(wanted) => format!("`instance_type: {wanted}`"),
            None => "what a gateway needs (2 CPUs, 2GB)".to_owned(),
        },
        span: span.clone(),
    };
    let (choice, unmet) = pick::choose(&asked, &region, recorded, settings);
    let hostname = match gateway.public_ip {
        true => format!("${{{{ {}.public_ip }}}}", elastic_address(name)),
        false => attribute_of(name, "private_ip"),
    };
    Some(CloudMachine {
        machine: Machine::made(
            name,
            hostname,
            attribute_of(name, "private_ip"),
            &instance_of(name),
            &gateway.name.span,
        )
        .replaced_beside(),
        unmet,
        region: region_name.value.clone(),
        role: Role::Gateway {
            is_public: gateway.public_ip,
            domain: gateway.domain.clone(),
            zone: gateway
                .domain
                .as_ref()
                .and_then(|domain| dns::zone(&domain.value, &region)),
            is_secure: gateway.domain.is_some() && gateway.certificate.value == Certificate::LetsEncrypt,
        },
        choice,
        runs_containers: false,
        tags: gateway.tags.0.clone(),
        document: placed.reference.clone(),
        span,
    })
}

fn instance_type_span(placed: &Placed<Gateway>) -> gabion_engine::diagnostic::Span {
    let written = placed.node.entry("instance_type");
    written.map_or_else(
        || placed.document.backend.span.clone(),
        |(_, value)| value.span.clone(),
    )
}

fn elastic_address(gateway: &str) -> gabion_engine::address::ResourceAddress {
    address("aws_eip", gateway)
}

/// Where a gateway's elastic address leads, as the record has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leads {
    /// Nowhere: it is made with the first machine.
    Nowhere,
    /// To the machine that is there, or to none any more.
    There,
    /// To the machine before the one that is to have it.
    Before {
        /// Whether that one has an address of its own meanwhile. One that an earlier version made has none: nobody meets it
        /// until the elastic one leads to it.
        has_own: bool,
    },
}

impl Leads {
    fn of(gateway: &CloudMachine, recorded: &dyn RecordedView) -> Self {
        let Some(address) = recorded.attributes(&elastic_address(&gateway.machine.name)) else {
            return Self::Nowhere;
        };
        let Some(made) = recorded.attributes(&gateway.instance()) else {
            return Self::There;
        };
        // The machine may be still in the making, or stopped: then no address is recorded of it.
        let has_own = made.get("associate_public_ip_address") == Some(&Value::Bool(true));
        let leads_to = address.get("instance").filter(|instance| !instance.is_null());
        match leads_to {
            to if to == made.get("id") => Self::There,
            None if has_own => Self::There,
            _ => Self::Before { has_own },
        }
    }
}

/// Adds a gateway's machine, its network, its address and its DNS record.
pub(super) fn lower(
    gateway: &CloudMachine,
    settings: &AwsSettings,
    recorded: &dyn RecordedView,
    lowered: &mut Lowered,
) {
    let Role::Gateway {
        is_public, domain, ..
    } = &gateway.role
    else {
        return;
    };
    let region = Region::of(&gateway.region, settings, recorded);
    network::of_gateway(gateway, &region, *is_public, settings, lowered);
    let name = gateway.machine.name.as_str();
    let leads = Leads::of(gateway, recorded);
    machine::lower(gateway, leads, settings, lowered);
    if *is_public {
        let mut eip = start(elastic_address(name), gateway, settings)
            .input("domain", "vpc")
            .input("instance", reference(&gateway.instance(), "id"))
            .input("tags", tags(gateway, name, settings));
        eip = match gateway.shares_address() {
            true if leads == (Leads::Before { has_own: false }) => eip,
            true => eip.update_after(dns::served_by(gateway, lowered)),
            // Names follow another machine's own address, and both are reached for as long as both are there.
            false => eip.replaced_with(&gateway.instance(), "id"),
        };
        lowered.resources.push(eip.build());
    }
    if let Some(domain) = domain {
        let points_to = Value::template(&gateway.machine.hostname);
        dns::lower(gateway, domain, points_to, &region, settings, recorded, lowered);
    }
}
