//! From a made-up project to the configuration that the engine plans, without a detour through files.

use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::resource::{
    Alternative, Alternatives, Configuration, Directives, DocumentRef, Import, InputPlaces, Lifecycle, Moved,
    Place, Removed, Resource, TimeoutOverrides,
};
use gabion_engine::schema::ReplaceOrder;
use gabion_engine::value::{Attributes, TemplateText, Unknown, Value};

use crate::project::{Key, Kind, Node, Project};

/// How long each action may take: short, so that nobody watches a dead holder for long.
const TIMEOUTS: TimeoutOverrides = TimeoutOverrides {
    create: Some(Duration::from_secs(30)),
    update: Some(Duration::from_secs(20)),
    delete: Some(Duration::from_secs(20)),
};

/// Returns the address of a resource.
pub(crate) fn address(key: Key) -> ResourceAddress {
    ResourceAddress::of(key.kind.resource_type(), &format!("x{}", key.number))
        .expect("made-up addresses are well formed")
}

/// Returns the configuration that a project is.
pub(crate) fn configuration(project: &Project) -> Configuration {
    let place = Place {
        file: "simulation.gabion.yml".into(),
        line: 1,
        column: 1,
        length: 0,
    };
    let mut resources: Vec<Resource> = project
        .nodes
        .iter()
        .map(|(key, node)| resource(project, *key, node, &place))
        .collect();
    resources.sort_by(|a, b| a.address.cmp(&b.address));
    Configuration {
        project: "simulation".into(),
        digest: "simulation".into(),
        resources,
        directives: Directives {
            moved: project
                .moved
                .iter()
                .map(|(from, to)| Moved {
                    from: address(*from),
                    to: address(*to),
                    place: place.clone(),
                })
                .collect(),
            removed: project
                .forgotten
                .iter()
                .map(|key| Removed {
                    from: address(*key),
                    destroy: false,
                    place: place.clone(),
                })
                .collect(),
            imports: project
                .imports
                .iter()
                .map(|(key, id)| Import {
                    to: address(*key),
                    id: id.as_str().into(),
                    place: place.clone(),
                })
                .collect(),
        },
        ..Configuration::default()
    }
}

fn resource(project: &Project, key: Key, node: &Node, place: &Place) -> Resource {
    let order = if project.deletes_first(key) {
        ReplaceOrder::DeleteThenCreate
    } else {
        ReplaceOrder::CreateThenDelete
    };
    Resource {
        address: address(key),
        inputs: inputs(key, node),
        places: InputPlaces::default(),
        depends_on: node
            .waits_for
            .iter()
            .map(|on| (address(*on), place.clone()))
            .collect(),
        lifecycle: Lifecycle {
            replace_order: Some(order),
            ..Lifecycle::default()
        }
        .into(),
        timeouts: TIMEOUTS.into(),
        conditions: Vec::new(),
        alternatives: alternatives(key).into(),
        update_after: Default::default(),
        frees: Default::default(),
        document: DocumentRef::new(
            "resource".into(),
            address(key).name.as_str().into(),
            place.clone(),
        ),
    }
}

/// Machines may be in other zones than the one that the cloud chooses; what leads to them learns that when they are made.
fn alternatives(key: Key) -> Alternatives {
    if key.kind != Kind::Machine {
        return Alternatives::default();
    }
    let zone = |zone: &str| Alternative {
        label: zone.into(),
        inputs: [("zone".into(), Value::string(zone))].into(),
    };
    Alternatives {
        chosen: "any zone".into(),
        others: vec![zone("zone-b"), zone("zone-c")],
    }
}

fn inputs(key: Key, node: &Node) -> Attributes {
    let Node {
        label,
        fixed,
        loose,
        uses,
        ..
    } = node;
    let used = |kind: Kind| uses.iter().copied().find(|used| used.kind == kind);
    let mut inputs = Attributes::new();
    let mut set = |name: &str, value: Value| drop(inputs.insert(name.into(), value));
    let number = |number: u64| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    match key.kind {
        Kind::Network => {
            set("name", Value::string(label));
            set("cidr", Value::string(format!("10.{fixed}.0.0/16")));
            set("tags", tags(*loose));
        }
        Kind::Disk => {
            set("name", Value::string(label));
            set("size", number(*loose));
        }
        Kind::Machine => {
            set("name", Value::string(label));
            set("image", Value::string(format!("image-{fixed}")));
            set("size", Value::string(format!("size-{loose}")));
            if let Some(network) = used(Kind::Network) {
                set("network", attribute(network, "id"));
            }
            if let Some(disk) = used(Kind::Disk) {
                set("disks", Value::List(vec![attribute(disk, "id")]));
            }
        }
        Kind::Address => {
            set("name", Value::string(label));
            set("ip", Value::string(format!("192.0.2.{fixed}")));
            if let Some(machine) = used(Kind::Machine) {
                set("machine", attribute(machine, "id"));
            }
        }
        Kind::Record => {
            set("name", Value::string(format!("{label}-{fixed}.example")));
            set("ttl", number(60 * loose));
            let value = match used(Kind::Machine) {
                Some(machine) => attribute(machine, "ip"),
                None => Value::string("192.0.2.1"),
            };
            set("values", Value::List(vec![value]));
        }
        Kind::Member => {
            if let [router, member] = uses.as_slice() {
                set("router", attribute(*router, "id"));
                set("member", attribute(*member, "ip"));
            }
            set("weight", number(*loose));
        }
        Kind::Data => {
            let input = match used(Kind::Machine) {
                Some(machine) => attribute(machine, "zone"),
                None => number(*loose),
            };
            set("input", input);
        }
    }
    inputs
}

fn tags(loose: u64) -> Value {
    Value::Map([("tier".into(), Value::string(format!("t{loose}")))].into())
}

/// Returns a reference to an attribute of another resource.
fn attribute(of: Key, name: &str) -> Value {
    let text: Arc<str> = format!("${{{{ {}.{name} }}}}", address(of)).into();
    Value::Unknown(Unknown {
        template: Some(TemplateText::new(&*text)),
    })
}
