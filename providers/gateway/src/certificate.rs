//! `gateway_certificate`: read, create, update, delete.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use gabion_agent::access::{Agents, fence, provider_error};
use gabion_agent::dns;
use gabion_agent::offline::Deletion;
use gabion_agent::protocol::{Certificate, CertificateReport, Operation, Progress, Zone};
use gabion_engine::address::ObjectId;
use gabion_engine::provider::{
    AttributeProblem, Call, Claim, CreateRequest, Effect, ErrorClass, ObjectState, PlanRequest, PlanResponse,
    ProviderError, ReadOutcome, RecordedObject, UpdateRequest, propose,
};
use gabion_engine::schema::{ReplaceOrder, ResourceSchema};
use gabion_engine::value::{AttributePath, Attributes, Value};
use tokio::time::Instant;

use crate::place::{Place, moves, parts_of};
use crate::values::{Reader, invalid, set};

/// Attributes of which the agent knows nothing.
const UNREADABLE: [&str; 2] = ["machine", "name_timeout"];

/// What only the certificate itself tells.
const SEEN: [&str; 3] = ["issuer", "serial_number", "not_after"];

/// How often the agent is asked how far it is.
const POLL: Duration = Duration::from_millis(500);

/// What is said while the authority is asked.
const ORDERS: &str = "certificate";

/// Seconds that apply waits for a host name to lead here.
const NAME_TIMEOUT: u64 = 300;

/// Returns the id of a certificate.
pub(crate) fn id(agent: &str, gateway: &str, host: &str) -> String {
    format!("{agent}/{gateway}/{host}")
}

/// Returns the inputs that an id tells.
pub(crate) fn inputs_of_id(id: &str) -> Option<Attributes> {
    let mut parts = id.splitn(3, '/');
    ["agent", "gateway", "host"]
        .into_iter()
        .map(|name| {
            let part = parts.next().filter(|part| !part.is_empty())?;
            Some((Arc::from(name), Value::from(part)))
        })
        .collect()
}

pub(crate) fn validate(inputs: &Attributes) -> Vec<AttributeProblem> {
    let reader = Reader(inputs);
    let mut problems = Vec::new();
    let mut wrong = |name: &str, message: String| {
        problems.push(AttributeProblem {
            path: AttributePath::root(name),
            message,
            hint: None,
        });
    };
    if let Some(host) = reader.text("host")
        && (host != host.to_ascii_lowercase() || !host.contains('.') || host.contains(['/', '*', ' ']))
    {
        wrong("host", format!("`{host}` is no host name in lower case."));
    }
    if let Some(directory) = reader.text("directory")
        && !directory.starts_with("https://")
    {
        wrong(
            "directory",
            format!("`{directory}` is no URL that begins with `https://`."),
        );
    }
    if let Some(email) = reader.text("email")
        && !email.contains('@')
    {
        wrong("email", format!("`{email}` is no address of e-mail."));
    }
    if let Some(server) = reader.text("nameserver")
        && nameserver(server).is_none()
    {
        wrong(
            "nameserver",
            format!("`{server}` is neither an IP address nor `ADDRESS:PORT`."),
        );
    }
    if let Some(value) = reader.get("zone")
        && value.is_wholly_known()
        && zone(value).is_none()
    {
        wrong("zone", "A zone has `name`, `id` and `name_servers`.".to_owned());
    }
    problems
}

fn nameserver(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse::<SocketAddr>().ok();
    with_port.or_else(|| Some((text.parse::<IpAddr>().ok()?, dns::PORT).into()))
}

pub(crate) fn plan(schema: &ResourceSchema, request: &PlanRequest) -> PlanResponse {
    let mut response = propose(schema, request);
    // Nothing is ever meant to be wrong with it; when something is, that is a difference.
    response.planned.remove("problem");
    if request.prior.is_none() || !response.replace.is_empty() {
        for name in ["id"].into_iter().chain(SEEN) {
            response.planned.insert(Arc::from(name), Value::unknown());
        }
    }
    if moves(request, &response) {
        response.replace_order = Some(ReplaceOrder::CreateThenDelete);
        response.notes.push(
            "It is asked for once names lead to the new machine; until it is there, new connections over HTTPS fail where \
             they lead there already."
                .to_owned(),
        );
    }
    let planned = Reader(&response.planned);
    if let (Some(agent), Some(host)) = (planned.text("agent"), planned.text("host")) {
        response.claims = vec![Claim {
            key: format!("certificate/{agent}/{host}").into(),
            path: AttributePath::root("host"),
        }];
    }
    response
}

/// Reads certificates, asking each agent once.
pub(crate) async fn read(agents: &Agents, objects: &[RecordedObject]) -> Vec<ReadOutcome> {
    let mut views: BTreeMap<_, Result<Option<Vec<CertificateReport>>, String>> = BTreeMap::new();
    let mut outcomes = Vec::with_capacity(objects.len());
    for object in objects {
        let reader = Reader(&object.inputs);
        let Some([agent, gateway, host]) = parts_of(object, ["agent", "gateway", "host"]) else {
            outcomes.push(ReadOutcome::Absent);
            continue;
        };
        let place = Place::new(agents, reader, agent);
        if let Entry::Vacant(entry) = views.entry(place.key()) {
            entry.insert(place.ask(async |client| client.certificates().await).await);
        }
        let is_it = |report: &&CertificateReport| {
            report.wanted.object.host == host && report.wanted.object.gateway == gateway
        };
        outcomes.push(match &views[&place.key()] {
            Err(reason) => ReadOutcome::CannotTell {
                reason: reason.clone(),
            },
            Ok(None) => ReadOutcome::Absent,
            Ok(Some(reports)) => match reports.iter().find(is_it) {
                None => ReadOutcome::Absent,
                Some(report) => ReadOutcome::Present(describe(place.agent(), report, reader)),
            },
        });
    }
    outcomes
}

/// Describes a certificate in the words of the schema, spelled as the inputs spell it.
fn describe(agent: &str, report: &CertificateReport, inputs: Reader<'_>) -> ObjectState {
    let wanted = &report.wanted.object;
    let id = id(agent, &wanted.gateway, &wanted.host);
    let mut attributes = Attributes::new();
    let mut text = |name: &str, value: Option<&str>| {
        set(&mut attributes, name, value.map_or(Value::Null, Value::from));
    };
    text("id", Some(&id));
    text("agent", Some(agent));
    text("gateway", Some(&wanted.gateway));
    text("host", Some(&wanted.host));
    text("address", Some(&wanted.address));
    text("directory", Some(&wanted.directory));
    text("root_certificate", wanted.root_certificate.as_deref());
    text("email", wanted.email.as_deref());
    let server = wanted.nameserver.map(|server| server.to_string());
    let own = inputs.text("nameserver");
    text(
        "nameserver",
        own.filter(|own| nameserver(own) == wanted.nameserver)
            .or(server.as_deref()),
    );
    let zone = wanted.zone.as_ref();
    if let Some(held) = &report.held {
        text("issuer", Some(&held.issuer));
        text("serial_number", Some(&held.serial_number));
        text("not_after", Some(&moment(held.not_after)));
    }
    text("problem", problem(report).as_deref());
    set(&mut attributes, "zone", zone.map_or(Value::Null, zone_value));
    ObjectState {
        id: ObjectId::new(id),
        attributes,
        private: serde_json::Value::Null,
        unreadable: UNREADABLE.iter().map(AttributePath::root).collect(),
    }
}

fn moment(seconds: u64) -> String {
    let moment = i64::try_from(seconds).ok().map(jiff::Timestamp::from_second);
    match moment {
        Some(Ok(moment)) => moment.to_string(),
        _ => format!("{seconds} s after 1970"),
    }
}

/// Returns what is wrong with a certificate, if anything is.
fn problem(report: &CertificateReport) -> Option<String> {
    let why = match &report.progress {
        Progress::Failed { reason, .. } => Some(reason.clone()),
        Progress::AwaitsName { found, delegated_to } => {
            let wanted = &report.wanted.object;
            let why = delegation(wanted, delegated_to.as_deref());
            Some(format!("`{}` {found}{why}", wanted.host))
        }
        Progress::Rests | Progress::Begins | Progress::Orders => None,
    };
    match (&report.defect, why) {
        (Some(defect), Some(why)) => Some(format!("{defect}: {why}")),
        (Some(defect), None) => Some(defect.clone()),
        (None, Some(why)) => Some(format!("it cannot be renewed: {why}")),
        (None, None) => None,
    }
}

/// Returns a zone in the words of the schema.
fn zone_value(zone: &Zone) -> Value {
    let servers = zone.name_servers.iter().map(|name| name.as_str().into());
    Value::map([
        ("name", Value::from(zone.name.as_str())),
        ("id", zone.id.as_str().into()),
        ("name_servers", Value::List(servers.collect())),
    ])
}

fn zone(value: &Value) -> Option<Zone> {
    let value = value.as_map()?;
    let text = |name: &str| Some(value.get(name)?.as_str()?.to_owned());
    let servers = value.get("name_servers").and_then(Value::as_list)?;
    let names = servers.iter().filter_map(Value::as_str).map(str::to_owned);
    Some(Zone {
        name: text("name")?,
        id: text("id")?,
        name_servers: names.collect(),
    })
}

fn wanted(reader: Reader<'_>) -> Result<Certificate, ProviderError> {
    let nameserver = match reader.text("nameserver") {
        None => None,
        Some(text) => {
            let server = nameserver(text);
            Some(server.ok_or_else(|| invalid("nameserver", "must be an IP address, or one with a port"))?)
        }
    };
    Ok(Certificate {
        host: reader.need("host")?.to_owned(),
        gateway: reader.need("gateway")?.to_owned(),
        address: reader.need("address")?.to_owned(),
        directory: reader.need("directory")?.to_owned(),
        root_certificate: reader.text("root_certificate").map(str::to_owned),
        email: reader.text("email").map(str::to_owned),
        nameserver,
        zone: reader.get("zone").and_then(zone),
    })
}

pub(crate) async fn create(
    agents: &Agents,
    request: CreateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    put(agents, &request.inputs, &request.planned, call).await
}

pub(crate) async fn update(
    agents: &Agents,
    request: UpdateRequest,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    put(agents, &request.inputs, &request.planned, call).await
}

/// Has the agent want the certificate, and waits until it has it. The same when done again: the agent asks for another one
/// only when what it has does not do.
async fn put(
    agents: &Agents,
    inputs: &Attributes,
    planned: &Attributes,
    call: &Call,
) -> Result<ObjectState, ProviderError> {
    let reader = Reader(inputs);
    let wanted = wanted(reader)?;
    let agent = reader.need("agent")?;
    let client = Place::new(agents, reader, agent).client()?;
    let object = ObjectId::new(id(agent, &wanted.gateway, &wanted.host));
    call.checkpoint(&object, &serde_json::Value::Null).await?;
    client
        .change(&fence(call), Operation::PutCertificate(wanted.clone()))
        .await
        .map_err(|error| provider_error(&error))?;
    call.phase(ORDERS);
    let _waiting = call.waiting();
    let patience = Duration::from_secs(reader.seconds("name_timeout", NAME_TIMEOUT));
    let mut name_deadline = None;
    // What is waited for is said once, and again when it changes.
    let mut said = ORDERS.to_owned();
    // Whatever comes now, the agent goes on with it, and the next apply finds how far it is.
    let partial = |error: ProviderError| error.with_effect(Effect::Partial);
    loop {
        let reports = client.certificates().await;
        let reports = reports.map_err(|error| partial(provider_error(&error)))?;
        let is_it = |report: &&CertificateReport| report.wanted.object == wanted;
        let Some(report) = reports.iter().find(is_it) else {
            return Err(partial(ProviderError::new(
                ErrorClass::Conflict,
                format!(
                    "Somebody else changed the certificate of `{}` meanwhile.",
                    wanted.host
                ),
            )));
        };
        match &report.progress {
            Progress::Rests if report.defect.is_none() => {
                return Ok(achieved(agent, report, planned, inputs));
            }
            Progress::Failed { reason, .. } => return Err(partial(failed(&wanted, reason))),
            Progress::AwaitsName { found, delegated_to } => {
                let delegated_to = delegated_to.as_deref();
                let deadline = *name_deadline.get_or_insert_with(|| Instant::now() + patience);
                if Instant::now() >= deadline {
                    return Err(partial(not_here(&wanted, found, delegated_to)));
                }
                let why = delegation(&wanted, delegated_to);
                let phase = format!("waits for {}, which {found}{why}", record(&wanted));
                if phase != said {
                    call.phase(&phase);
                    said = phase;
                }
            }
            Progress::Rests | Progress::Begins => {}
            Progress::Orders => {
                name_deadline = None;
                if said != ORDERS {
                    call.phase(ORDERS);
                    ORDERS.clone_into(&mut said);
                }
            }
        }
        if call.cancel.is_cancelled() || call.remaining() < POLL * 4 {
            return Err(partial(ProviderError::new(
                ErrorClass::Invalid,
                format!(
                    "There is no certificate for `{}` yet; the agent goes on getting it.",
                    wanted.host
                ),
            )));
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Returns the DNS record that a certificate needs.
fn record(wanted: &Certificate) -> String {
    let kind = match wanted.address.parse() {
        Ok(IpAddr::V4(_)) => "A",
        Ok(IpAddr::V6(_)) => "AAAA",
        Err(_) => "CNAME",
    };
    format!("{} {kind} {}", wanted.host, wanted.address)
}

/// Returns which name servers are asked in place of the zone's own, as the end of a sentence; nothing where they are not.
fn delegation(wanted: &Certificate, delegated_to: Option<&[String]>) -> String {
    let (Some(zone), Some(asked)) = (&wanted.zone, delegated_to) else {
        return String::new();
    };
    let (name, own) = (&zone.name, zone.name_servers.join(", "));
    match asked {
        [] => format!("; no name servers are known of `{name}`, whose hosted zone has {own}"),
        asked => format!(
            "; the name servers of `{name}` are {}, and not those of its hosted zone, {own}",
            asked.join(", ")
        ),
    }
}

fn not_here(wanted: &Certificate, found: &str, delegated_to: Option<&[String]>) -> ProviderError {
    let hint = match (&wanted.zone, delegated_to) {
        (Some(zone), Some(_)) => format!(
            "set these name servers, and no others, where `{}` is registered, or as its NS record in the zone above it; others \
             may remember the old ones for two days; then run `gabion apply` again:\n    {}",
            zone.name,
            zone.name_servers.join("\n    ")
        ),
        (Some(zone), None) => format!(
            "the record is in the hosted zone {}: see that it has no other one of the name, and that the name servers of `{}` are \
             {}; then run `gabion apply` again",
            zone.id,
            zone.name,
            zone.name_servers.join(", ")
        ),
        (None, _) => format!(
            "set this record where the domain's DNS is, and remove others of the name, then run `gabion apply` again:\n    {}",
            record(wanted)
        ),
    };
    ProviderError::new(
        ErrorClass::Invalid,
        format!(
            "No certificate was asked for: `{}` {found}, and must lead to {} alone{}.",
            wanted.host,
            wanted.address,
            delegation(wanted, delegated_to)
        ),
    )
    .with_hint(hint)
    .at(AttributePath::root("host"))
}

fn failed(wanted: &Certificate, reason: &str) -> ProviderError {
    ProviderError::new(
        ErrorClass::Invalid,
        format!(
            "There is no new certificate for `{}` from {}: {reason}.",
            wanted.host,
            wanted.directory
        ),
    )
    .with_hint(
        "the authority must reach the gateway at port 80 of the address that the name leads to; the agent tries again by \
         itself, and at once with `gabion apply`",
    )
    .at(AttributePath::root("host"))
}

/// Returns the state after a call, in which what cannot be read is what was planned.
fn achieved(
    agent: &str,
    report: &CertificateReport,
    planned: &Attributes,
    inputs: &Attributes,
) -> ObjectState {
    let mut state = describe(agent, report, Reader(inputs));
    for path in std::mem::take(&mut state.unreadable) {
        let Some(name) = path.first_key() else { continue };
        if let Some(value) = inputs.get(name).or_else(|| planned.get(name)) {
            set(&mut state.attributes, name, value.clone());
        }
    }
    state
}

pub(crate) async fn delete(
    agents: &Agents,
    object: &RecordedObject,
    call: &Call,
) -> Result<(), ProviderError> {
    let Some([agent, _, host]) = parts_of(object, ["agent", "gateway", "host"]) else {
        return Ok(());
    };
    let place = Place::new(agents, Reader(&object.inputs), agent);
    let host = host.to_owned();
    let operation = Operation::DeleteCertificate { host: host.clone() };
    if let Err(error) = place.client()?.change(&fence(call), operation).await {
        let deletion = Deletion::Certificate { host };
        place.delete_without_agent(error, fence(call), deletion).await?;
    }
    Ok(())
}
