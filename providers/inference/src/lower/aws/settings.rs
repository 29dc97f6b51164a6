//! What `gabion.yml` says about AWS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use gabion_engine::config::{Lowered, MapReader, Settings, Spanned};
use gabion_engine::diagnostic::{Diagnostic, Diagnostics, Span};

use super::{AWS, CloudMachine};
use crate::grammar::tags::Tags;
use crate::lower::acme::AcmeSettings;

/// How long a replica on a new machine may take to become ready: it boots, pulls an image and loads a model.
const READY_TIMEOUT: Duration = Duration::from_secs(1800);

/// For how long others may remember the record of a gateway.
const RECORD_TTL: Duration = Duration::from_secs(60);

/// The backend's settings: `backends: [{type: aws, …}]`.
#[derive(Clone, Debug, Default)]
pub(crate) struct AwsSettings {
    /// The regions that gateways may be in; any if none are given.
    pub(super) regions: Vec<Spanned<String>>,
    /// The profile of the AWS configuration; without one, the SDK's own choice.
    pub(super) profile: Option<Spanned<String>>,
    /// The network, where there is one region.
    vpc_id: Option<Spanned<String>>,
    /// The networks by region.
    vpc_ids: BTreeMap<String, Spanned<String>>,
    /// The subnets that machines may be in; any of the network if none are given.
    pub(super) subnet_ids: Vec<Spanned<String>>,
    /// Whether replicas get a public address. They are not reached there; they reach the internet by it.
    pub(super) public_ip: bool,
    /// Who may log in to gateways over SSH.
    pub(super) admin_cidrs: Vec<Spanned<String>>,
    /// The public key that gabion and people log in with.
    pub(super) ssh_key: Option<Spanned<String>>,
    /// The file of the private key, for SSH; without one, the user's agent and own configuration.
    pub(super) identity_file: Option<String>,
    /// The instance profile of all machines.
    pub(super) iam_instance_profile: Option<String>,
    /// Tags for all that is made.
    pub(super) tags: BTreeMap<String, String>,
    /// The file of the agent's program.
    pub(crate) agent_path: Option<String>,
    /// How long a replica may take to become ready.
    pub(crate) ready_timeout: Duration,
    /// For how long others may remember the record of a gateway: one whose machine is replaced is kept that long.
    pub(crate) record_ttl: Duration,
    /// Whom certificates are asked from.
    pub(crate) acme: AcmeSettings,
    /// Whether a key is written that is none.
    key_was_refused: bool,
    /// Where the backend is listed.
    span: Option<Span>,
}

impl AwsSettings {
    /// Reads the settings.
    pub(crate) fn of(settings: &Settings, problems: &mut Diagnostics) -> Self {
        let mut found = Self {
            public_ip: true,
            ready_timeout: READY_TIMEOUT,
            record_ttl: RECORD_TTL,
            ..Self::default()
        };
        let mut backends = settings.backends.iter();
        let Some(backend) = backends.find(|backend| backend.plugin_type.value == AWS) else {
            return found;
        };
        found.span = Some(backend.plugin_type.span.clone());
        if backend.node.as_map().is_none() {
            return found;
        }
        let Some(mut map) = MapReader::open(&backend.node, "AWS backend", problems) else {
            return found;
        };
        map.known(&["type"]);
        map.alias("public_ips", "public_ip");
        map.exclusive(&["vpc_id", "vpc_ids"]);
        map.refuse(
            "creds",
            "Credentials are looked for where the AWS CLI looks for them, and stand in no file of the project.",
            "remove `creds`; choose between several with `profile`",
        );
        map.refuse(
            "vpc_name",
            "This build finds a VPC by its id, not by its name.",
            "write `vpc_id: vpc-…`",
        );
        map.refuse(
            "os_images",
            "This build chooses images itself, by the family of the machine.",
            "remove `os_images`",
        );
        found.regions = map.each("regions");
        found.profile = map.optional("profile").flatten();
        found.vpc_id = map.optional("vpc_id").flatten();
        found.vpc_ids = map
            .each_entry::<Spanned<String>>("vpc_ids")
            .into_iter()
            .filter_map(|(key, id)| Some((key.name, id?)))
            .collect();
        found.subnet_ids = map.each("subnet_ids");
        found.public_ip = map.or("public_ip", true).unwrap_or(true);
        found.admin_cidrs = map.each("admin_cidrs");
        found.ssh_key = map.optional("ssh_key").flatten();
        found.identity_file = map.optional("identity_file").flatten();
        found.iam_instance_profile = map.optional("iam_instance_profile").flatten();
        found.tags = map.or("tags", Tags::default()).unwrap_or_default().0;
        found.agent_path = map.optional("agent_path").flatten();
        found.acme = map.optional("acme").flatten().unwrap_or_default();
        found.acme.refuse_ports(map.problems());
        let timeout = map.or("ready_timeout", READY_TIMEOUT);
        found.ready_timeout = timeout.unwrap_or(READY_TIMEOUT);
        let ttl = map.or("record_ttl", RECORD_TTL);
        found.record_ttl = ttl.unwrap_or(RECORD_TTL);
        let place = backend.plugin_type.span.clone();
        found.check(&place, map.problems());
        map.finish();
        found
    }

    fn check(&mut self, place: &Span, problems: &mut Diagnostics) {
        for cidr in &self.admin_cidrs {
            if let Err(hint) = check_cidr(&cidr.value) {
                problems.push(
                    Diagnostic::error("bad-cidr", "bad network")
                        .detail(format!("`{}` is no network in CIDR form.", cidr.value))
                        .at(cidr.span.clone())
                        .hint(hint),
                );
            }
        }
        let Some(key) = &self.ssh_key else { return };
        let problem = Diagnostic::error("bad-ssh-key", "bad SSH key");
        if key.value.contains("PRIVATE KEY") {
            // Its line is not shown: it holds the key.
            problems.push(
                problem
                    .detail("`ssh_key` holds a private key. It belongs in no file of the project.")
                    .at(place.clone())
                    .hint("write the public one, which is in the file that ends in `.pub`"),
            );
            self.ssh_key = None;
            self.key_was_refused = true;
        } else if !["ssh-ed25519 ", "ssh-rsa "]
            .iter()
            .any(|kind| key.value.starts_with(kind))
        {
            problems.push(
                problem
                    .detail("EC2 takes public keys of the kinds `ssh-ed25519` and `ssh-rsa`.")
                    .at(key.span.clone())
                    .hint("write what is in the file that ends in `.pub`: `ssh-ed25519 AAAA… name`"),
            );
        }
    }

    /// Returns the names of its regions.
    pub(crate) fn region_names(&self) -> impl Iterator<Item = String> + use<> {
        let names: Vec<String> = self.regions.iter().map(|region| region.value.clone()).collect();
        names.into_iter()
    }

    /// Returns the network that is set for a region.
    pub(super) fn vpc_id(&self, region: &str) -> Option<&Spanned<String>> {
        self.vpc_ids.get(region).or(self.vpc_id.as_ref())
    }

    /// Reports what a plan on AWS cannot do without; `at` is where AWS is asked for.
    pub(super) fn check_for_plan(&self, region: &Spanned<String>, at: &Span, problems: &mut Diagnostics) {
        let place = self.span.as_ref().unwrap_or(at);
        let mut missing = |key: &str, why: &str, hint: &str| {
            problems.push(
                Diagnostic::error("missing-setting", "missing setting of AWS")
                    .detail(format!("The backend `{AWS}` needs `{key}`: {why}"))
                    .at(place.clone())
                    .hint(format!(
                        "in gabion.yml:\n    backends: [{{type: aws, {hint}, …}}]"
                    )),
            );
        };
        if self.ssh_key.is_none() && !self.key_was_refused {
            missing(
                "ssh_key",
                "the public half of the key that its machines are logged in to with.",
                "ssh_key: ssh-ed25519 AAAA… you",
            );
        }
        if self.admin_cidrs.is_empty() {
            missing(
                "admin_cidrs",
                "the networks from which gabion logs in to gateways over SSH, such as your own address.",
                "admin_cidrs: [203.0.113.7/32]",
            );
        }
        if !self.regions.is_empty() && !self.regions.iter().any(|known| known.value == region.value) {
            let known: Vec<&str> = self.regions.iter().map(|region| region.value.as_str()).collect();
            problems.push(
                Diagnostic::error("region-not-allowed", "region that the backend does not have")
                    .detail(format!(
                        "The backend's `regions` are {}, and the gateway is in `{}`.",
                        known.join(", "),
                        region.value
                    ))
                    .at(region.span.clone())
                    .related(self.regions[0].span.clone(), "the backend's regions")
                    .hint("put it in another region, or add this one to `regions`"),
            );
        }
    }
}

fn check_cidr(text: &str) -> Result<(), String> {
    let wrong = || "write an address and the length of its network: `203.0.113.7/32`".to_owned();
    let Some((address, length)) = text.split_once('/') else {
        return Err(match text.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => format!("write `{address}/32`"),
            Ok(IpAddr::V6(address)) => format!("write `{address}/128`"),
            Err(_) => wrong(),
        });
    };
    let most = match address.parse::<IpAddr>() {
        Ok(IpAddr::V4(_)) => 32,
        Ok(IpAddr::V6(_)) => 128,
        Err(_) => return Err(wrong()),
    };
    match length.parse::<u8>() {
        Ok(length) if length <= most => Ok(()),
        _ => Err(wrong()),
    }
}

/// Says of what people should think twice: who may log in.
pub(super) fn flag(gateways: &[&CloudMachine], settings: &AwsSettings, lowered: &mut Lowered) {
    if gateways.is_empty() {
        return;
    }
    for cidr in settings
        .admin_cidrs
        .iter()
        .filter(|cidr| cidr.value.ends_with("/0"))
    {
        let note = format!(
            "`admin_cidrs` holds {}: everybody on the internet can try to log in to gateways over SSH.",
            cidr.value
        );
        lowered.notes.push((note.into(), Some(cidr.span.place())));
    }
}
