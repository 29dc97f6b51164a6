//! `type: gateway`.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostics, Span};

use super::router::RouterSpec;

/// A gateway document.
#[derive(Clone, Debug, PartialEq)]
pub struct Gateway {
    /// Its name.
    pub name: Spanned<String>,
    /// The backend that it runs on.
    pub backend: Spanned<String>,
    /// The region, for backends that have some.
    pub region: Option<Spanned<String>>,
    /// Whether services that name no gateway use this one.
    pub default: bool,
    /// The domain below which each service has its host name.
    pub domain: Option<Spanned<String>>,
    /// The router that every service behind it gets.
    pub router: Option<RouterSpec>,
    /// Keys that only backends with machines of their own can do, each with its place.
    pub machine_keys: Vec<(&'static str, Span)>,
}

/// Keys whose meaning needs a backend with machines of its own.
const MACHINE_KEYS: [&str; 6] = [
    "instance_type",
    "public_ip",
    "load_balancer",
    "certificate",
    "replicas",
    "tags",
];

impl FromNode for Gateway {
    fn expected() -> String {
        "a gateway document".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "gateway", problems)?;
        map.known(&["type"]);
        let name = map.required("name");
        let backend = map.required("backend");
        let region = map.optional("region");
        let default = map.or("default", false);
        let domain: Option<Option<Spanned<String>>> = map.optional("domain");
        let router = map.optional("router");
        let machine_keys = MACHINE_KEYS
            .iter()
            .filter_map(|key| map.key_span(key).map(|span| (*key, span)))
            .collect();
        map.finish();
        Some(Self {
            name: name?,
            backend: backend?,
            region: region?,
            default: default?,
            domain: domain?,
            router: router?,
            machine_keys,
        })
    }
}
