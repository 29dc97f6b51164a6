//! `type: gateway`.

use gabion_engine::config::{FromNode, MapReader, Node, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics};
use serde_json::{Value as Json, json};
use serde_yaml::{Mapping, Value as Yaml};

use super::backend::Backend;
use super::router::GatewayRouter;
use super::rules::is_set;
use super::task::AtLeastOne;
use crate::grammar::reference::EntityReference;
use crate::grammar::tags::Tags;
use crate::term::{MapTerm, Term, Text, keyword, map_schema, map_type, plain_map, read_map, write_map};

map_type! {
    /// A gateway document.
    pub struct Gateway: "gateway" {
        /// Its name, unique among the gateways.
        name: Spanned<String>,
        /// The backend that it runs on. This build plans `local`, the machine that runs gabion, `ssh`, a machine of a fleet with `ssh_config`, and `aws`, a machine that it makes; documents for others can be validated.
        backend: Spanned<Backend>,
        /// The fleets that its machine may be of, for the backend `ssh`; any if none are given. gabion's own.
        fleets: Vec<Spanned<EntityReference>> = Vec::new(),
        /// The region, for backends that have some.
        region: Option<Spanned<String>> = None,
        /// Whether services that name no gateway use this one. Needed only where there are several.
        default: bool = false,
        /// With a domain, a service is served at `NAME.DOMAIN` and the models at `gateway.DOMAIN/v1`. Without one, services are at `/services/NAME/` and the models at `/v1`.
        domain: Option<Spanned<Text>> = None,
        /// The router that every service behind this gateway gets, one each. Without one the gateway goes from replica to replica in turn. The older form.
        router: Option<Spanned<GatewayRouter>> = None,
        /// The type of its machine, for the backend `aws`; the cheapest that will do if not given.
        instance_type: Option<String> = None,
        /// Whether it has a public address. On `aws` without one it serves its VPC alone.
        public_ip: bool = true,
        /// A load balancer before it. No backend of this build makes one.
        load_balancer: Option<LoadBalancer> = None,
        /// Where its certificates come from: an ACME authority (`lets-encrypt`, or the one that the backend's `acme` names), or nowhere (`null`), which is plain HTTP. They need a `domain`. Without this key a gateway on `aws` has them, and one on another backend has not.
        certificate: Spanned<Certificate> => Certificate::LetsEncrypt,
        /// How many machines it has. No backend of this build makes more than one.
        replicas: Spanned<AtLeastOne> => AtLeastOne(1),
        /// Tags for what is made, for the backend `aws`.
        tags: Tags = Tags::default(),
    }
    known ["type"]
    check Gateway::check;
}

/// Keys whose meaning needs a backend with machines of its own.
pub(crate) const MACHINE_KEYS: [&str; 6] = [
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
        read_map(node, problems)
    }
}

impl Gateway {
    fn check(&mut self, map: &mut MapReader<'_>) {
        let here = map.node().span.clone();
        let backend = self.backend.value;
        if self.region.is_none() && !backend.is_local() && !backend.is_ssh() {
            map.problems().push(
                Diagnostic::error("missing-key", "missing key")
                    .detail(format!(
                        "A gateway on {} needs the key `region`.",
                        backend.title()
                    ))
                    .at(here)
                    .related(self.backend.span.clone(), "its backend")
                    .hint("add `region: …`"),
            );
        }
        // `certificate: null` says that there is none, which is not what its absence says.
        if let Some(node) = map.get("certificate").filter(|node| node.is_null()) {
            self.certificate = Spanned::new(Certificate::None, node.span.clone());
        }
        self.check_machine(map);
    }

    /// The rules of a gateway's machines, addresses and certificates.
    fn check_machine(&self, map: &mut MapReader<'_>) {
        let backend = self.backend.value.name();
        let is = |names: &[&str]| names.contains(&backend);
        let certificate = &self.certificate;
        let mut wrong = |key: &'static str, good: bool, why: &str, hint: &str| {
            if good {
                return;
            }
            let place = map.get(key).map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("bad-gateway", "gateway that cannot be")
                    .detail(why)
                    .at(place)
                    .hint(hint),
            );
        };
        wrong(
            "backend",
            is(&["local", "ssh", "aws", "azure", "gcp", "kubernetes"]),
            &format!("There are no gateways on {}.", self.backend.value.title()),
            "use `aws`, `azure`, `gcp`, `kubernetes`, `local` or `ssh`",
        );
        wrong(
            "public_ip",
            self.public_ip || is(&["local", "ssh", "aws", "gcp"]),
            "A gateway without a public address is possible on AWS and GCP.",
            "remove `public_ip`",
        );
        wrong(
            "load_balancer",
            self.load_balancer.is_none() || is(&["local", "aws", "gcp"]),
            "Load balancers are possible on AWS and GCP.",
            "remove `load_balancer`",
        );
        let has_balancer = self.load_balancer.is_some();
        let (good, why, hint) = match &certificate.value {
            Certificate::Acm(_) => (
                is(&["local", "aws"]),
                "Certificates of AWS Certificate Manager need the backend `aws`.",
                "write `certificate: {type: lets-encrypt}`",
            ),
            Certificate::GcpCm(_) => (
                is(&["local", "gcp"]) && has_balancer,
                "Certificates of Google Cloud's Certificate Manager need the backend `gcp` and a load balancer.",
                "add `load_balancer: {type: alb}`",
            ),
            Certificate::LetsEncrypt => (
                self.backend.value.is_local()
                    || self.backend.value.is_ssh()
                    || (self.public_ip && self.replicas.value.0 == 1),
                "Let's Encrypt needs a public address and one replica.",
                "write `certificate: null`, or use certificates of the cloud",
            ),
            Certificate::None => (true, "", ""),
        };
        if !good {
            // Let's Encrypt is the default; then it is the other key that does not go with it.
            let keys = ["certificate", "replicas", "public_ip"];
            let key = keys.into_iter().find(|key| is_set(map, key));
            let place = key
                .and_then(|key| map.node().get(key))
                .map(|node| node.span.clone());
            map.problems().push(
                Diagnostic::error("bad-gateway", "gateway that cannot be")
                    .detail(why)
                    .at(place)
                    .hint(hint),
            );
        }
    }

    /// Writes the document, with `type` first.
    pub fn write(&self) -> Yaml {
        let mut out = Mapping::new();
        out.insert("type".into(), "gateway".into());
        self.write_into(&mut out);
        if self.certificate.value == Certificate::None {
            out.insert("certificate".into(), Yaml::Null);
        }
        Yaml::Mapping(out)
    }
}

keyword! {
    /// A type of load balancer.
    pub enum LoadBalancerType: "a type of load balancer" {
        /// An application load balancer.
        Alb = "alb",
    }
}

map_type! {
    /// A load balancer before a gateway.
    pub struct LoadBalancer: "load balancer" {
        /// What it is.
        ("type") balancer_type: LoadBalancerType,
    }
}

plain_map!(LoadBalancer, "a map: `{type: alb}`");

keyword! {
    /// Where certificates come from.
    pub enum CertificateType: "a source of certificates" {
        /// Let's Encrypt.
        LetsEncrypt = "lets-encrypt",
        /// AWS Certificate Manager.
        Acm = "acm",
        /// Google Cloud's Certificate Manager.
        GcpCm = "gcp-cm",
    }
}

map_type! {
    /// The written form of where certificates come from.
    pub struct CertificateMap: "certificate" {
        /// What it is.
        ("type") certificate_type: CertificateType,
        /// The certificate's ARN, with `acm`.
        arn: Option<Spanned<String>> = None,
        /// The certificate's full name, with `gcp-cm`.
        name: Option<Spanned<String>> = None,
    }
}

/// Where a gateway's certificates come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certificate {
    /// From Let's Encrypt.
    LetsEncrypt,
    /// From AWS Certificate Manager, by ARN.
    Acm(String),
    /// From Google Cloud's Certificate Manager, by its full name.
    GcpCm(String),
    /// There are none.
    None,
}

impl FromNode for Certificate {
    fn expected() -> String {
        "a map such as `{type: lets-encrypt}`, or `null`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let map: CertificateMap = read_map(node, problems)?;
        let (key, value, extra) = match map.certificate_type {
            CertificateType::LetsEncrypt => ("", None, map.arn.or(map.name)),
            CertificateType::Acm => ("arn", map.arn, map.name),
            CertificateType::GcpCm => ("name", map.name, map.arn),
        };
        if let Some(extra) = extra {
            problems.push(
                Diagnostic::error("unknown-key", "unknown key")
                    .detail(format!(
                        "A certificate of type `{}` has no such key.",
                        map.certificate_type
                    ))
                    .at(extra.span)
                    .hint("remove it, or change the `type`"),
            );
            return None;
        }
        match (map.certificate_type, value) {
            (CertificateType::LetsEncrypt, _) => Some(Self::LetsEncrypt),
            (CertificateType::Acm, Some(arn)) => Some(Self::Acm(arn.value)),
            (CertificateType::GcpCm, Some(name)) => Some(Self::GcpCm(name.value)),
            (_, None) => {
                problems.push(
                    node.error("missing-key", "missing key")
                        .detail(format!(
                            "A certificate of type `{}` needs the key `{key}`.",
                            map.certificate_type
                        ))
                        .hint(format!("add `{key}: …`")),
                );
                None
            }
        }
    }
}

impl Term for Certificate {
    fn write(&self) -> Yaml {
        let of = |certificate_type, arn: Option<&String>, name: Option<&String>| {
            let here =
                gabion_engine::diagnostic::Span::of_file(&gabion_engine::diagnostic::SourceFile::new("", ""));
            let placed = |text: &String| Spanned::new(text.clone(), here.clone());
            write_map(&CertificateMap {
                certificate_type,
                arn: arn.map(placed),
                name: name.map(placed),
            })
        };
        match self {
            Self::None => Yaml::Null,
            Self::LetsEncrypt => of(CertificateType::LetsEncrypt, None, None),
            Self::Acm(arn) => of(CertificateType::Acm, Some(arn), None),
            Self::GcpCm(name) => of(CertificateType::GcpCm, None, Some(name)),
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [{"type": "null"}, map_schema::<CertificateMap>()],
            "title": "certificate",
            "examples": [{"type": "lets-encrypt"}],
        })
    }
}
