//! HTTPS of gateways: whom certificates are asked from, and which there are.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gabion_engine::address::ResourceAddress;
use gabion_engine::config::{FromNode, Lowered, MapReader, Node, Purpose, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};
use gabion_engine::resource::{DocumentRef, Resource};
use gabion_engine::value::Value;

use super::backend::Usable;
use super::builder::{ResourceBuilder, address, reference};
use super::gateway::GatewayTarget;
use super::program::{seconds, text};
use super::project::{Context, Placed};
use crate::document::gateway::{Certificate, Gateway};
use crate::offers::HostedZone;

/// The authority of dstack's gateways, and of most of the web.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The ports of HTTPS and HTTP.
pub(crate) const HTTPS: u16 = 443;
pub(crate) const HTTP: u16 = 80;

/// The label of the host name of the model endpoint.
const MODELS: &str = "gateway";

/// The most bytes of a file with certificates.
const LARGEST: u64 = 256 << 10;

/// The setting `acme` of a backend: whom the certificates of its gateways are asked from.
#[derive(Clone, Debug, Default)]
pub(crate) struct AcmeSettings {
    directory: Option<Spanned<String>>,
    root_certificate: Option<Spanned<String>>,
    email: Option<Spanned<String>>,
    nameserver: Option<Spanned<String>>,
    name_timeout: Option<Duration>,
    http_port: Option<Spanned<u16>>,
    https_port: Option<Spanned<u16>>,
}

impl AcmeSettings {
    /// Returns the DNS server that is asked where host names lead; `None` for that of whoever asks.
    pub(crate) fn nameserver(&self) -> Option<&str> {
        self.nameserver.as_ref().map(|server| server.value.as_str())
    }

    /// Reports ports, on a backend whose gateways have the usual ones.
    pub(crate) fn refuse_ports(&self, problems: &mut Diagnostics) {
        for (name, port) in [("http_port", &self.http_port), ("https_port", &self.https_port)] {
            if let Some(port) = port {
                problems.push(
                    Diagnostic::error("unusable-setting", "setting that has no use here")
                        .detail(format!(
                            "Gateways on machines that gabion makes serve on the ports {HTTPS} and {HTTP}, and `{name}` is for others."
                        ))
                        .at(port.span.clone())
                        .hint(format!("remove `{name}`")),
                );
            }
        }
    }
}

impl FromNode for AcmeSettings {
    fn expected() -> String {
        "a map such as `{email: you@example.com}`".to_owned()
    }

    fn from_node(node: &Node, problems: &mut Diagnostics) -> Option<Self> {
        let mut map = MapReader::open(node, "ACME settings", problems)?;
        let found = Self {
            directory: map.optional("directory").flatten(),
            root_certificate: map.optional("root_certificate").flatten(),
            email: map.optional("email").flatten(),
            nameserver: map.optional("nameserver").flatten(),
            name_timeout: map.optional("name_timeout").flatten(),
            http_port: map.optional("http_port").flatten(),
            https_port: map.optional("https_port").flatten(),
        };
        map.finish();
        Some(found)
    }
}

/// How a gateway speaks HTTPS.
#[derive(Clone, Debug)]
pub(crate) struct Https<'a> {
    settings: &'a AcmeSettings,
    /// The certificates that the authority is known by, in PEM.
    root_certificate: Option<String>,
}

impl<'a> Https<'a> {
    /// Returns how a gateway speaks HTTPS; `None` for one that speaks plain HTTP. One on a machine that is made does so
    /// unless it says otherwise, one on another machine only when it says so, and none without a domain.
    pub(crate) fn of(
        placed: &Placed<Gateway>,
        usable: Usable,
        context: &'a Context,
        problems: &mut Diagnostics,
    ) -> Option<Self> {
        let gateway = &placed.document;
        let says_so = usable == Usable::Aws || placed.node.entry("certificate").is_some();
        let wants =
            says_so && gateway.domain.is_some() && gateway.certificate.value == Certificate::LetsEncrypt;
        if !wants {
            return None;
        }
        let settings = match usable {
            Usable::Aws => &context.aws.acme,
            other => context.acme.get(other.name()).unwrap_or(&NOTHING),
        };
        let root_certificate = settings.root_certificate.as_ref();
        let root_certificate = root_certificate
            .filter(|_| context.purpose == Purpose::Plan)
            .and_then(|file| match read(&file.value, context) {
                Ok(text) => Some(text),
                Err(why) => {
                    problems.push(
                        Diagnostic::error("unusable-file", "file with certificates that cannot be read")
                            .detail(why)
                            .at(file.span.clone())
                            .hint("`root_certificate` is a file in PEM, and its path starts at the project's directory"),
                    );
                    None
                }
            });
        Some(Self {
            settings,
            root_certificate,
        })
    }

    /// Returns the port requests of the listener: that of HTTPS, and that of HTTP beside it.
    pub(crate) fn ports(&self, is_made: bool, range: &str) -> [Value; 2] {
        let request = |own: &Option<Spanned<u16>>, usual: u16| {
            let own = own.as_ref().map(|port| port.value);
            let fixed = if is_made { Some(usual) } else { own };
            Value::map([match fixed {
                Some(port) => ("port", Value::Int(i64::from(port))),
                None => ("range", Value::from(range)),
            }])
        };
        [
            request(&self.settings.https_port, HTTPS),
            request(&self.settings.http_port, HTTP),
        ]
    }
}

/// The settings of a backend that has none.
static NOTHING: AcmeSettings = AcmeSettings {
    directory: None,
    root_certificate: None,
    email: None,
    nameserver: None,
    name_timeout: None,
    http_port: None,
    https_port: None,
};

fn read(file: &str, context: &Context) -> Result<String, String> {
    let path = Path::new(&context.project_directory).join(file);
    let shown = path.display();
    if let Some(Err(why)) = context.root.as_ref().map(|root| root.check(&path)) {
        return Err(format!("`{shown}` {why}."));
    }
    let metadata = std::fs::metadata(&path).map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(format!("`{shown}` is no file of at most {} KB.", LARGEST >> 10));
    }
    let text =
        std::fs::read_to_string(&path).map_err(|error| format!("`{shown}` cannot be read: {error}."))?;
    if text.contains("PRIVATE KEY") {
        return Err(format!(
            "`{shown}` holds a private key, which belongs in no plan."
        ));
    }
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(format!("`{shown}` holds no certificate in PEM."));
    }
    Ok(text)
}

/// Returns the address of the certificate of one of a gateway's host names: that of a service, or of its models.
pub(crate) fn certificate_of(gateway: &str, label: &str) -> ResourceAddress {
    address("gateway_certificate", &format!("{gateway}/{label}"))
}

/// Adds the certificates of a gateway: of its model endpoint, and of each of its services. The zone is that of the account
/// which has its host names.
pub(crate) fn lower(
    gateway: &GatewayTarget<'_>,
    services: &[(&str, &DocumentRef, &Span)],
    zone: Option<&HostedZone>,
    lowered: &mut Lowered,
) {
    let (Some(https), Some(document)) = (&gateway.https, gateway.document) else {
        return;
    };
    // Whoever asks must find the way, and the authority too.
    let way = gateway.machine.map(|machine| {
        let name = machine.name.as_str();
        [
            address("aws_route53_record", name),
            address("aws_vpc_security_group_ingress_rule", &format!("{name}/http")),
            address("aws_vpc_security_group_ingress_rule", &format!("{name}/https")),
        ]
    });
    let mut way = Vec::from_iter(way.into_iter().flatten());
    way.retain(|address| {
        lowered
            .resources
            .iter()
            .any(|resource| resource.address == *address)
    });
    // One document each: who removes a service removes its certificate.
    let mut hosts = BTreeMap::from([(MODELS, (document, None))]);
    for (service, document, span) in services {
        hosts.entry(service).or_insert((document, Some(*span)));
    }
    for (label, (document, span)) in hosts {
        let mut certificate = one(gateway, https, label, document, span, &way);
        // Without its name servers there is nothing to say of a zone.
        if let Some(zone) = zone.filter(|zone| !zone.name_servers.is_empty()) {
            certificate.inputs.insert("zone".into(), zone_value(zone));
        }
        lowered.resources.push(certificate);
    }
}

fn zone_value(zone: &HostedZone) -> Value {
    let servers = zone.name_servers.iter().map(|name| name.as_str().into());
    Value::map([
        ("name", Value::from(zone.name.as_str())),
        ("id", zone.id.as_str().into()),
        ("name_servers", Value::List(servers.collect())),
    ])
}

fn one(
    gateway: &GatewayTarget<'_>,
    https: &Https<'_>,
    label: &str,
    document: &DocumentRef,
    span: Option<&Span>,
    way: &[ResourceAddress],
) -> Resource {
    let settings = https.settings;
    let domain = gateway.domain.map(|domain| domain.value.trim_end_matches('.'));
    let host = format!("{label}.{}", domain.unwrap_or_default()).to_ascii_lowercase();
    let directory = settings
        .directory
        .as_ref()
        .map(|directory| directory.value.as_str());
    let mut builder = ResourceBuilder::new(certificate_of(gateway.name, label), document)
        .input("agent", reference(&gateway.agent(), "id"))
        .input("gateway", reference(&gateway.listener(), "name"))
        .input("host", host)
        .input("directory", directory.unwrap_or(LETS_ENCRYPT));
    builder = match gateway.machine {
        None => builder.input("address", "127.0.0.1"),
        Some(machine) => {
            let private = machine.neighbour_address().filter(|_| !gateway.is_public);
            builder.input("machine", machine.id()).input(
                "address",
                text(&private.unwrap_or_else(|| machine.hostname.clone())),
            )
        }
    };
    if let Some(pem) = &https.root_certificate {
        builder = builder.input("root_certificate", pem.as_str());
    }
    for (name, value) in [("email", &settings.email), ("nameserver", &settings.nameserver)] {
        if let Some(value) = value {
            builder = builder.input(name, value.value.as_str()).at(name, &value.span);
        }
    }
    if let Some(directory) = &settings.directory {
        builder = builder.at("directory", &directory.span);
    }
    if let Some(timeout) = settings.name_timeout {
        builder = builder.input("name_timeout", seconds(timeout));
    }
    if let Some(span) = span.or(gateway.domain.map(|domain| &domain.span)) {
        builder = builder.at("host", span);
    }
    for address in way {
        builder = builder.depends_on(address.clone(), document.place.clone());
    }
    builder.build()
}

/// Says of the gateways that people may take for secure ones that they are not.
pub(crate) fn note_plain_http(
    gateways: &[Placed<Gateway>],
    targets: &[GatewayTarget<'_>],
    lowered: &mut Lowered,
) {
    for (placed, target) in gateways.iter().zip(targets) {
        let gateway = &placed.document;
        let certificate = &gateway.certificate;
        let is_written = placed.node.entry("certificate").is_some();
        let name = &gateway.name.value;
        // On this machine alone nobody reads along, and on one that is there already nobody expects more.
        let is_expected = target
            .machine
            .is_some_and(|machine| machine.made.is_some() || is_written);
        if !target.usable || target.https.is_some() || !is_expected {
            continue;
        }
        let place = match is_written {
            true => certificate.span.place(),
            false => gateway.name.span.place(),
        };
        let why = match (&certificate.value, &gateway.domain) {
            (Certificate::None, _) => format!("`certificate: null`: `{name}` serves plain HTTP"),
            (_, None) => format!(
                "`{name}` has no `domain`, so there is no host name to get a certificate for, and it serves plain HTTP"
            ),
            _ => continue,
        };
        let note = format!("{why}; requests and bearer tokens can be read on the way.");
        lowered.notes.push((note.into(), Some(place)));
    }
}
