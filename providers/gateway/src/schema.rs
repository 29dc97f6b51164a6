//! The schemas of `gateway_certificate`, `gateway_listener`, `gateway_route` and `gateway_replica`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use gabion_engine::address::{ProviderName, ResourceType};
use gabion_engine::schema::{
    AttributeKind, AttributeSchema, Equality, Idempotency, ProviderSchema, ReplaceOrder, ResourceSchema,
    Timeouts,
};
use gabion_engine::value::Value;

/// The resource type of the certificate of one host name.
pub const GATEWAY_CERTIFICATE: &str = "gateway_certificate";
/// The resource type of a place where a gateway accepts requests.
pub const GATEWAY_LISTENER: &str = "gateway_listener";
/// The resource type of one service's route.
pub const GATEWAY_ROUTE: &str = "gateway_route";
/// The resource type of one replica of a route without a router.
pub const GATEWAY_REPLICA: &str = "gateway_replica";

fn object(entries: &[(&str, AttributeKind)]) -> AttributeKind {
    AttributeKind::Object(
        entries
            .iter()
            .map(|(name, kind)| (Arc::from(*name), kind.clone()))
            .collect(),
    )
}

fn list(kind: AttributeKind) -> AttributeKind {
    AttributeKind::List(Box::new(kind))
}

/// Returns the schema of the provider `gateway`.
pub fn provider_schema() -> ProviderSchema {
    ProviderSchema {
        name: ProviderName::new("gateway"),
        source: "gabion/gateway".to_owned(),
        resource_types: [certificate(), listener(), replica(), route()]
            .into_iter()
            .map(|schema| (schema.resource_type.clone(), schema))
            .collect::<BTreeMap<_, _>>(),
    }
}

fn start(name: &str, description: &str) -> ResourceSchema {
    let resource_type = ResourceType::new(name).expect("the name is a well-formed resource type");
    let mut schema = ResourceSchema::new(resource_type, description);
    schema.idempotency = Idempotency::NaturalUpsert;
    schema
}

fn certificate() -> ResourceSchema {
    use AttributeKind::{Int, String};
    let mut schema = start(
        GATEWAY_CERTIFICATE,
        "The certificate of one host name of a gateway that speaks HTTPS. The gateway's agent gets it from an ACME \
         authority by HTTP-01 and renews it after two thirds of its life; its keys are made there and never leave.",
    );
    schema.replace_order = ReplaceOrder::DeleteThenCreate;
    schema.timeouts = Timeouts {
        create: Duration::from_secs(3600),
        update: Duration::from_secs(3600),
        delete: Duration::from_secs(60),
    };
    let fixed = |description: &str| AttributeSchema::required(String, description).forces_replacement();
    let seen =
        |description: &str| AttributeSchema::computed(String, description).equality(Equality::Volatile);
    schema
        .attribute(
            "machine",
            AttributeSchema::optional(String, "The agent's machine: `local` is the one that runs gabion.")
                .default_value("local")
                .forces_replacement(),
        )
        .attribute("agent", fixed("The id of the agent's unit that gets it."))
        .attribute("gateway", fixed("The name of the listener that serves it, and that answers the authority."))
        .attribute("host", fixed("The host name, in lower case."))
        .attribute(
            "address",
            AttributeSchema::required(
                String,
                "The gateway's address, or a name that leads to it: a certificate is asked for only once the host name \
                 leads there and nowhere else.",
            ),
        )
        .attribute("directory", AttributeSchema::required(String, "The URL of the authority's directory."))
        .attribute(
            "root_certificate",
            AttributeSchema::optional(
                String,
                "The certificates in PEM that the authority itself is known by; the machine's own without it.",
            )
            .equality(Equality::NormalisedText),
        )
        .attribute("email", AttributeSchema::optional(String, "Where the authority may write to."))
        .attribute(
            "nameserver",
            AttributeSchema::optional(
                String,
                "The address and port of the DNS server that is asked where the host name leads; the machine's own without it.",
            ),
        )
        .attribute(
            "zone",
            AttributeSchema::optional(
                object(&[("name", String), ("id", String), ("name_servers", list(String))]),
                "The hosted zone that has the host name's record, with its name servers: a name that leads nowhere is looked \
                 into further, for the world may ask other ones.",
            ),
        )
        .attribute(
            "name_timeout",
            AttributeSchema::optional(Int, "Seconds that apply waits for the host name to lead here.")
                .default_value(Value::Int(300)),
        )
        .attribute("id", AttributeSchema::computed(String, "Agent, gateway and host name."))
        .attribute("issuer", seen("Who made it."))
        .attribute("serial_number", seen("Its serial number, in hexadecimal."))
        .attribute("not_after", seen("Until when it is good."))
        .attribute(
            "problem",
            AttributeSchema::computed(
                String,
                "What is wrong with it: it is missing, expired or another one, or it cannot be renewed. Absent when \
                 nothing is.",
            ),
        )
}

fn listener() -> ResourceSchema {
    use AttributeKind::{Bool, Int, String};
    let mut schema = start(GATEWAY_LISTENER, "A place where a gateway accepts requests.");
    schema.replace_order = ReplaceOrder::DeleteThenCreate;
    schema
        .attribute(
            "agent",
            AttributeSchema::required(String, "The id of the agent's unit that serves it.").forces_replacement(),
        )
        .attribute("name", AttributeSchema::required(String, "The gateway's name.").forces_replacement())
        .attribute(
            "machine",
            AttributeSchema::required(String, "The machine: `local` is the one that runs gabion.").forces_replacement(),
        )
        .attribute(
            "address",
            AttributeSchema::optional(String, "The address to listen on.")
                .default_value("127.0.0.1")
                .forces_replacement(),
        )
        .attribute(
            "host",
            AttributeSchema::optional(
                String,
                "The name or address by which it is reached from elsewhere; without it, the one it listens on.",
            )
            .forces_replacement(),
        )
        .attribute(
            "ports",
            AttributeSchema::required(
                object(&[("range", String), ("port", Int)]),
                "`{range: 8000-8999}` leases the first free port, `{port: 8080}` claims that very one.",
            )
            .forces_replacement(),
        )
        .attribute(
            "http_ports",
            AttributeSchema::optional(
                object(&[("range", String), ("port", Int)]),
                "With this, it speaks HTTPS on `ports`, and on this one, chosen in the same way, plain HTTP: it answers \
                 authorities, and sends everybody else to HTTPS.",
            )
            .forces_replacement(),
        )
        .attribute(
            "domain",
            AttributeSchema::optional(
                String,
                "With a domain, services have host names below it and the model endpoint is at `gateway.DOMAIN`.",
            ),
        )
        .attribute("id", AttributeSchema::computed(String, "Agent and name."))
        .attribute(
            "listening",
            AttributeSchema::computed(Bool, "Whether it accepts requests. Always meant to be true."),
        )
        .attribute("port", AttributeSchema::computed(Int, "The port it listens on."))
        .attribute("http_port", AttributeSchema::computed(Int, "The port of plain HTTP beside HTTPS; absent without `http_ports`."))
        .attribute("url", AttributeSchema::computed(String, "`http://HOST:PORT`, or `https://HOST:PORT`."))
}

fn replica() -> ResourceSchema {
    use AttributeKind::{Int, String};
    let mut schema = start(
        GATEWAY_REPLICA,
        "One replica that a gateway sends the requests of a service to, without a router between them.",
    );
    schema.replace_order = ReplaceOrder::CreateThenDelete;
    schema.timeouts = Timeouts {
        create: Duration::from_secs(60),
        update: Duration::from_secs(60),
        delete: Duration::from_secs(900),
    };
    let fixed = |description: &str| AttributeSchema::required(String, description).forces_replacement();
    schema
        .attribute(
            "machine",
            AttributeSchema::optional(
                String,
                "The agent's machine: `local` is the one that runs gabion.",
            )
            .default_value("local")
            .forces_replacement(),
        )
        .attribute(
            "agent",
            fixed("The id of the agent's unit that serves the gateway."),
        )
        .attribute("gateway", fixed("The listener's name."))
        .attribute("service", fixed("The service's name."))
        .attribute(
            "name",
            fixed("The replica's name, unique among those of the service."),
        )
        .attribute(
            "url",
            fixed("Where it serves, as the gateway's machine reaches it: `http://HOST:PORT`."),
        )
        .attribute(
            "drain_timeout",
            AttributeSchema::optional(
                Int,
                "Seconds that its running requests may take to finish once it is removed.",
            )
            .default_value(Value::Int(300)),
        )
        .attribute(
            "id",
            AttributeSchema::computed(String, "Agent, gateway, service and name."),
        )
}

fn route() -> ResourceSchema {
    use AttributeKind::{Bool, Float, Int, Map, String};
    let mut schema = start(GATEWAY_ROUTE, "The way from a gateway to one service.");
    schema.replace_order = ReplaceOrder::DeleteThenCreate;
    schema.timeouts = Timeouts {
        create: Duration::from_secs(120),
        update: Duration::from_secs(900),
        delete: Duration::from_secs(900),
    };
    schema
        .attribute(
            "machine",
            AttributeSchema::optional(String, "The agent's machine: `local` is the one that runs gabion.")
                .default_value("local")
                .forces_replacement(),
        )
        .attribute(
            "agent",
            AttributeSchema::required(String, "The id of the agent's unit that serves it.").forces_replacement(),
        )
        .attribute("gateway", AttributeSchema::required(String, "The listener's name.").forces_replacement())
        .attribute("gateway_url", AttributeSchema::required(String, "The listener's URL, from which the route's own are made."))
        .attribute("service", AttributeSchema::required(String, "The service's name.").forces_replacement())
        .attribute("hosts", AttributeSchema::optional(list(String), "Host names that lead to it; none: every one."))
        .attribute("path_prefix", AttributeSchema::optional(String, "The path below which it answers, `/services/NAME/`."))
        .attribute(
            "strip_prefix",
            AttributeSchema::optional(Bool, "Whether the prefix is cut off before the request goes on.")
                .default_value(true),
        )
        .attribute("model", AttributeSchema::optional(String, "The name under which the model endpoint serves it."))
        .attribute(
            "model_prefix",
            AttributeSchema::optional(String, "Where the service has its OpenAI API.").default_value("/v1"),
        )
        .attribute("auth", AttributeSchema::required(Bool, "Whether a request needs one of `tokens`."))
        .attribute(
            "tokens",
            AttributeSchema::optional(Map(Box::new(String)), "Accepted bearer tokens, by label. Only digests leave gabion.")
                .sensitive(),
        )
        .attribute(
            "restricted",
            AttributeSchema::required(
                Bool,
                "Whether only `/v1/`, `/generate`, `/chat/completions` and `extra_paths` pass; everything else is 403.",
            ),
        )
        .attribute("extra_paths", AttributeSchema::optional(list(String), "More path prefixes that pass when restricted."))
        .attribute(
            "rate_limits",
            AttributeSchema::optional(
                list(object(&[("prefix", String), ("rps", Float), ("burst", Int), ("header", String)])),
                "How many requests pass: `rps` a second below `prefix` (of several, the longest counts), `burst` more \
                 at once; counted by the client's address, or by the value of `header`. Others get 429.",
            ),
        )
        .attribute(
            "router",
            AttributeSchema::optional(
                object(&[("id", String), ("url", String), ("type", String), ("machine", String)]),
                "The router that requests go through: its unit's id, its URL, `smg`, `sglang-router` or \
                 `vllm-router`, and the \
                 machine that it is on, if that is another one. The agent forgets a router and its members once its unit \
                 is gone and no route uses it; one of another machine with the last route through it.",
            ),
        )
        .attribute(
            "replicas",
            AttributeSchema::optional(
                list(object(&[("name", String), ("url", String)])),
                "Without a router: the replicas that requests go to, in turn. Without this too: those that are `gateway_replica`s of the service.",
            ),
        )
        .attribute(
            "drain_timeout",
            AttributeSchema::optional(Int, "Seconds that requests on upstreams the route leaves may take to finish.")
                .default_value(Value::Int(300)),
        )
        .attribute(
            "linger",
            AttributeSchema::optional(
                Int,
                "Seconds for which it goes on serving once a route on another machine has taken its place: names may lead \
                 here for as long.",
            ),
        )
        .attribute("id", AttributeSchema::computed(String, "Agent, gateway and service."))
        .attribute("url", AttributeSchema::computed(String, "Where the service answers."))
        .attribute("model_url", AttributeSchema::computed(String, "The base URL for OpenAI clients; absent without a model."))
}
